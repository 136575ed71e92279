"""Leaves of graphs."""

import tinygrad_dls as tg


def leaf(data, **kwargs):
    return tg.Tensor(data, requires_grad=True, **kwargs)
