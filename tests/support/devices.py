"""The devices that tests of arrays on a device run on: the strict class always, and CuPy where there is a GPU."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tests.support.device_array import DeviceArray, to_device, to_host

# A GPU adds up in another order, and its functions round otherwise in the last places.
ROUNDED = 1e-10


class Device(NamedTuple):
    """A kind of arrays on a device.

    Attributes
    ----------
    name : str
    kind : type
        Of its arrays.
    array, host : functions
        To the device and back.
    rtol : float
        How far its numbers may be from NumPy's, relatively.
    """

    name: str
    kind: type
    array: Callable[..., Any]
    host: Callable[[Any], np.ndarray]
    rtol: float

    def is_close(self, x, expected):
        """Hold an array on the device against NumPy's."""
        assert type(x) is self.kind
        assert x.shape == np.shape(expected)
        assert x.dtype == np.asarray(expected).dtype
        np.testing.assert_allclose(self.host(x), expected, rtol=self.rtol, atol=self.rtol)


STRICT = Device("strict", DeviceArray, to_device, to_host, 0)


def cupy_with_a_gpu():
    """CuPy, if it is installed and finds a GPU; else None, and why."""
    try:
        import cupy
    except ImportError as error:
        return None, f"CuPy is not installed ({error})"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return None, f"CuPy finds no GPU ({error})"
    return (cupy, "") if count else (None, "CuPy finds no GPU")


CUPY, WHY_NOT = cupy_with_a_gpu()
DEVICES = [STRICT] if CUPY is None else [STRICT, Device("cupy", CUPY.ndarray, CUPY.asarray, CUPY.asnumpy, ROUNDED)]
