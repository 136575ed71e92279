"""The class that stands for arrays on a device refuses what CuPy refuses, so that a test with it can fail."""

import copy
import pickle
import weakref

import numpy as np
import pytest

from tests.support.device_array import REFUSED, DeviceArray, to_device, to_host

ROWS = np.arange(6.0).reshape(2, 3)


def refused(kind, text, function, *args, **options):
    with pytest.raises(kind, match=text):
        function(*args, **options)


def test_it_becomes_no_array_of_numpy_by_itself():
    x = to_device(ROWS)
    for convert in (np.asarray, np.array, np.ascontiguousarray, lambda x: np.array([x, x]), np.ones(3).__getitem__):
        refused(TypeError, "Implicit conversion", convert, x)
    refused(TypeError, "Implicit conversion", np.ones((2, 3)).__setitem__, ..., x)
    assert not hasattr(DeviceArray, "__array_interface__")
    np.testing.assert_array_equal(x.get(), ROWS)
    assert type(to_host(x)) is np.ndarray


@pytest.mark.parametrize("other", [ROWS, np.array(1.0), np.ones(3, bool)], ids=["array", "without axes", "booleans"])
def test_it_does_not_mix_with_arrays_of_numpy(other):
    x = to_device(ROWS)
    for f in (np.add, np.multiply, np.greater, np.maximum, np.logical_and):
        refused(TypeError, "Unsupported type", f, x, other)
        refused(TypeError, "Unsupported type", f, other, x)
    for f in (lambda: x + other, lambda: other + x, lambda: x > other, lambda: x.__iadd__(other)):
        refused(TypeError, "Unsupported type", f)
    refused(TypeError, "Unsupported type", np.concatenate, [x, ROWS])
    refused(TypeError, "Unsupported type", np.where, x > 0, x, ROWS)
    refused(TypeError, "Unsupported type", np.dot, x, ROWS.T)
    refused(TypeError, "Unsupported type", np.einsum, "ij,kj->ik", x, ROWS)
    refused(ValueError, "cannot be used for fill", x.__setitem__, 0, np.ones(3))
    refused(TypeError, "Unsupported type", np.add, ROWS, ROWS, out=(x,))


def test_it_takes_numbers():
    x = to_device(ROWS)
    for number in (2, 2.0, True, np.float64(2), np.float32(2), np.int64(2)):
        np.testing.assert_array_equal((x * number).get(), ROWS * number)
        np.testing.assert_array_equal((number * x).get(), number * ROWS)
        assert (number * x).dtype == (number * ROWS).dtype
    x[0] = 1.0
    np.testing.assert_array_equal(x.get()[0], np.ones(3))


def test_results_without_axes_stay_on_the_device():
    x = to_device(ROWS)
    for s in (x.sum(), np.sum(x), np.mean(x), x[0, 0], np.max(x), x.sum() + 1, np.sqrt(x[0, 0]), (x > 0).any()):
        assert type(s) is DeviceArray
        assert s.shape == ()
    s = x.sum()
    assert (float(s), int(s), bool(s), s.item(), f"{s:.1f}") == (15.0, 15, True, 15.0, "15.0")
    refused(TypeError, "cannot be interpreted as an integer|must be integers", range, to_device(np.array(1)))
    refused(TypeError, "__round__", round, s)
    refused(TypeError, "unhashable", hash, s)


def test_indices_are_taken_to_the_device_and_conditions_are_not():
    x = to_device(ROWS)
    for index in (
        np.array([0, 0]),
        [1, 0],
        to_device(np.array([1])),
        np.array([True, False]),
        np.s_[:, ::-1],
        None,
        ...,
    ):
        np.testing.assert_array_equal(x[index].get(), ROWS[to_host(index) if isinstance(index, DeviceArray) else index])
    np.testing.assert_array_equal(np.take(x, np.array([2, 0]), axis=1).get(), ROWS[:, [2, 0]])
    refused(AttributeError, "astype", np.where, False, x, 0)
    refused(AttributeError, "ravel", np.isin, x, (0, 1))


@pytest.mark.parametrize("name", ["sum", "max", "min", "mean", "var", "any"])
def test_keywords_that_cupy_has_not_are_refused(name):
    for keyword in REFUSED[name]:
        value = {"initial": 0.0, "correction": 1}.get(keyword, to_device(ROWS > 0))
        refused(TypeError, "unexpected keyword", getattr(np, name), to_device(ROWS), **{keyword: value})


def test_methods_of_ufuncs_and_functions_that_cupy_has_not_are_not_there():
    x = to_device(ROWS)
    refused(TypeError, "NotImplemented", np.add.at, x, (slice(None), 0), x[:, 0])
    refused(TypeError, "NotImplemented", np.add.reduce, x)
    refused(TypeError, "NotImplemented|no implementation", np.vecdot, x, x)
    refused(TypeError, "no implementation", np.linalg.outer, x[0], x[0])
    refused(TypeError, "unexpected keyword", np.eye, 2, like=x)
    refused(AttributeError, "writeable|flags", lambda: x.flags.writeable)


def test_views_copies_pickles_and_references_are_as_of_cupy():
    x = to_device(ROWS)
    assert x.T.base is x
    assert x[:, 1:].T.base is x
    assert x.base is None
    assert (x + 1).base is None
    assert weakref.ref(x)() is x
    assert not hasattr(x, "__dict__")
    for twin in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(twin) is DeviceArray
        np.testing.assert_array_equal(twin.get(), ROWS)
    np.testing.assert_array_equal(np.asarray([1.0, 2.0], like=x).get(), [1.0, 2.0])
    assert type(np.zeros(2, like=x)) is DeviceArray
