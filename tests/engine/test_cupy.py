"""What the class that stands for arrays on a device says of CuPy, held against CuPy, which needs no GPU for it."""

import functools
import importlib
import inspect
import warnings

import numpy as np
import pytest

from tests.support.device_array import LACKING, REFUSED, DeviceArray


def of_cupy(name):
    """CuPy's function of a name such as ``linalg.norm``; None if it has none of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no GPU
        cupy = importlib.import_module("cupy")
    try:
        return functools.reduce(getattr, name.split("."), cupy)
    except AttributeError:
        return None


def test_cupy_lacks_these_functions():
    assert {name for name in LACKING if of_cupy(name) is not None} == set()


def test_cupy_has_all_others_that_go_through_the_protocols():
    names = {n for n, f in vars(np).items() if isinstance(f, np.ufunc) or hasattr(f, "_implementation")}
    names |= {f"linalg.{n}" for n, f in vars(np.linalg).items() if hasattr(f, "_implementation")}
    assert {name for name in names - LACKING if of_cupy(name) is None} == set()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_cupy_does_not_take_these_keywords(name):
    assert REFUSED[name] & inspect.signature(of_cupy(name)).parameters.keys() == set()


def test_arrays_of_cupy_have_all_that_is_used_of_them():
    there = dir(of_cupy("ndarray"))
    assert {name for name in vars(DeviceArray) if not name.startswith("_")} - {"waits"} - set(there) == set()
    for name in ("__array_interface__", "__index__", "__round__", "__dict__"):
        assert name not in there
        assert name not in dir(DeviceArray)
