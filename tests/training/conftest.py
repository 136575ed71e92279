"""What several tests of training are given."""

import pytest

import tinygrad_dls as tg


@pytest.fixture
def flower():
    return tg.datasets.planar_flower()
