"""Leaves of graphs."""

import tinygrad_dls as tg


def leaf(data, **kwargs):
    return tg.Tensor(data, requires_grad=True, **kwargs)


def vector(requires_grad=True):
    return tg.Tensor([1.0, 2.0], requires_grad, name="w")
