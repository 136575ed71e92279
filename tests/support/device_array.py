"""A strict array class with CuPy's manners, which stands for arrays on a device where there is no device.

It computes with NumPy, and refuses what CuPy refuses, so that code which passes with it converts nothing without saying
so. The manners are facts of CuPy 14.2 and of its documentation; where versions differ, the stricter one is taken:

- ``__array__`` raises TypeError: "Implicit conversion to a NumPy array is not allowed" (`cupy/_core/core.pyx`). There
  is no ``__array_interface__``, and ``.get()`` copies to the host.
- A ufunc takes CuPy's arrays, Python's numbers and NumPy's scalars. NumPy's arrays raise TypeError, "Unsupported type",
  those without axes as well (CuPy lets the latter pass in comparisons); of other types it returns NotImplemented.
- Methods of ufuncs (``np.add.at``, ``np.add.reduce``) return NotImplemented up to CuPy 13; some work in CuPy 14.
- A function of NumPy goes to CuPy's function of the same module and name, and is not implemented where there is none
  (`LACKING`). Keywords are those of CuPy's function: no ``initial=`` and ``where=`` in reductions.
- Results of reductions are arrays without axes, not NumPy's scalars ("Differences between CuPy and NumPy", in CuPy's
  user guide).
- Indices may be CuPy's arrays, NumPy's arrays and lists, which are moved to the device (`_routines_indexing.pyx`).
  What is assigned to entries may be CuPy's arrays and numbers.
- ``float(x)``, ``int(x)``, ``bool(x)``, ``x.item()`` and formatting work, and wait for the device; ``__index__`` and
  ``__round__`` are not there. Arrays are unhashable, have weak references and ``base``, and no ``flags.writeable``.
- Arrays have no ``__dict__``, and pickles and copies of them are arrays on the device again.

`test_cupy` holds `LACKING`, the refused keywords and the methods against CuPy, where that is installed.
"""

import numpy as np

# NumPy's functions that go through the protocols, and that CuPy has not
LACKING = {
    "block", "busday_count", "busday_offset", "datetime_as_string", "einsum_path", "geomspace", "histogram_bin_edges",
    "insert", "is_busday", "isnat", "matvec", "nanpercentile", "nanquantile", "polyder", "polydiv", "polyint",
    "spacing", "unstack", "vecdot", "vecmat", "linalg.diagonal", "linalg.matrix_norm", "linalg.multi_dot",
    "linalg.outer", "linalg.svdvals", "linalg.tensordot", "linalg.trace", "linalg.vecdot", "linalg.vector_norm",
}  # fmt: skip

# keywords of NumPy's functions that CuPy's do not take
REFUSED = {
    "sum": {"initial", "where"}, "prod": {"initial", "where"}, "max": {"initial", "where"}, "min": {"initial", "where"},
    "mean": {"where"}, "all": {"where"}, "any": {"where"}, "var": {"where", "mean", "correction"},
    "std": {"where", "mean", "correction"}, "clip": {"min", "max"}, "take": {"mode"}, "argsort": {"order", "stable"},
    "eye": {"device"},
}  # fmt: skip

NUMBERS = (bool, int, float, complex, np.generic)
MADE_LIKE = {np.asarray, np.array, np.zeros, np.ones, np.empty, np.full, np.arange, np.tri, np.eye, np.identity}
FACTS = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.may_share_memory, np.shares_memory}
INDICES = {np.take: 1, np.repeat: 1}  # the argument that is made an array on the device, whatever it is


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that behaves as if it lay on a device.

    Attributes
    ----------
    waits : int
        How often, over all arrays, numbers have been taken to the host.
    """

    __slots__ = ("__weakref__", "_host", "base")
    __hash__ = None
    __array_priority__ = 100

    waits = 0

    def __init__(self, host, base=None):
        assert isinstance(host, np.ndarray)
        self._host, self.base = host, base

    # -- NumPy's protocols --------------------------------------------------------------------------------------------

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct one.")

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if method != "__call__" or ufunc.__name__ in LACKING:
            return NotImplemented
        out = options.pop("out", ())
        for x in (*inputs, *out):
            if isinstance(x, np.ndarray):
                raise _unsupported(x)
            if not isinstance(x, (DeviceArray, *NUMBERS)):
                return NotImplemented
        if unknown := options.keys() - {"dtype", "casting", "where"}:
            raise TypeError(f"Wrong arguments {sorted(unknown)}")
        if out:
            options["out"] = tuple(x._host for x in out)
        result = ufunc(*map(_host, inputs), **{key: _host(x) for key, x in options.items()})
        return out[0] if out else _on_device(result)

    def __array_function__(self, func, types, args, kwargs):
        name = f"{func.__module__}.{func.__name__}".removeprefix("numpy.")
        if name in LACKING or not all(t in (DeviceArray, np.ndarray) for t in types):
            return NotImplemented
        if func in MADE_LIKE:
            _refuse_keywords(name, kwargs)
            return _on_device(func(*map(_host, args), **kwargs).copy())
        if func in FACTS:
            return func(*map(_host, args), **kwargs)
        _refuse_keywords(name, kwargs)
        for i, x in enumerate((*args, *kwargs.values())):
            if i != INDICES.get(func):
                _refuse_host(x)
        if func is np.where and not isinstance(args[0], DeviceArray):
            raise AttributeError(f"'{type(args[0]).__name__}' object has no attribute 'astype'")
        if func is np.isin and not isinstance(args[1], DeviceArray):
            raise AttributeError(f"'{type(args[1]).__name__}' object has no attribute 'ravel'")
        result = func(*map(_host, args), **{key: _host(x) for key, x in kwargs.items()})
        if isinstance(result, (tuple, list)):  # a plain tuple, also where NumPy's has names
            return type(result)(map(_on_device, result)) if isinstance(result, list) else tuple(map(_on_device, result))
        return _on_device(result, self)

    def __dlpack__(self, **options):
        raise BufferError("this array lies on a device")

    def __dlpack_device__(self):
        return (2, 0)

    # -- entries ------------------------------------------------------------------------------------------------------

    def __getitem__(self, index):
        return _on_device(self._host[_host(index)], self)

    def __setitem__(self, index, value):
        if isinstance(value, np.ndarray):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._host[_host(index)] = _host(value)

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    # -- to the host, by name -----------------------------------------------------------------------------------------

    def get(self):
        """A copy on the host."""
        DeviceArray.waits += 1
        return self._host.copy()

    def item(self, *index):
        return self.get().item(*index)

    def tolist(self):
        return self.get().tolist()

    def tobytes(self):
        return self.get().tobytes()

    def __bool__(self):
        return bool(self.get())

    def __int__(self):
        return int(self.get())

    def __float__(self):
        return float(self.get())

    def __complex__(self):
        return complex(self.get())

    def __repr__(self):
        return repr(self.get())

    def __str__(self):
        return str(self.get())

    def __format__(self, spec):
        return format(self.get(), spec)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __reduce__(self):
        return to_device, (self.get(),)

    # -- what is known of it ------------------------------------------------------------------------------------------

    @property
    def T(self):  # noqa: N802  # NumPy's name
        return _on_device(self._host.T, self)

    @property
    def flat(self):
        return self.ravel()

    @property
    def device(self):
        return "<a device>"

    def dot(self, other):
        _refuse_host(other)
        return np.dot(self, other)

    def astype(self, dtype, copy=True):
        new = self._host.astype(dtype, copy=copy)
        return self if new is self._host else _on_device(new)


def _fact(name):
    return property(lambda self: getattr(self._host, name))


def _method(name):
    refused = REFUSED.get(name, set())

    def method(self, *args, **options):
        if wrong := refused & options.keys():
            raise TypeError(f"{name}() got an unexpected keyword argument {wrong.pop()!r}")
        if name not in ("take", "repeat"):
            _refuse_host((args, tuple(options.values())))
        result = getattr(self._host, name)(*map(_host, args), **{key: _host(x) for key, x in options.items()})
        return tuple(map(_on_device, result)) if isinstance(result, tuple) else _on_device(result, self)

    method.__name__ = name
    return method


for _name in ("shape", "dtype", "ndim", "size", "strides", "nbytes", "itemsize"):
    setattr(DeviceArray, _name, _fact(_name))
for _name in (
    "all", "any", "argmax", "argmin", "argsort", "clip", "conj", "copy", "cumprod", "cumsum", "diagonal", "flatten",
    "max", "mean", "min", "nonzero", "prod", "ravel", "repeat", "reshape", "round", "squeeze", "std", "sum", "swapaxes",
    "take", "trace", "transpose", "var",
):  # fmt: skip
    setattr(DeviceArray, _name, _method(_name))


def to_device(x, dtype=None):
    """The array on the device, as ``cupy.asarray`` makes it of NumPy's, of numbers and of lists."""
    if isinstance(x, DeviceArray):
        return x if dtype is None else x.astype(dtype, copy=False)
    return DeviceArray(np.array(x, dtype=dtype))


asarray = to_device  # as CuPy calls it


def to_host(x):
    """NumPy's array, as ``cupy.asnumpy`` makes it."""
    return x.get() if isinstance(x, DeviceArray) else np.asarray(x)


def _on_device(x, of=None):
    """What NumPy gave, on the device; arrays share memory with `of` where NumPy's do."""
    if not isinstance(x, (np.ndarray, np.generic)):
        return x
    x = np.asarray(x)
    shares = of is not None and x.base is not None and np.may_share_memory(x, of._host)
    return DeviceArray(x, (of if of.base is None else of.base) if shares else None)


def _host(x):
    """What the computation sees within: all arrays on the device as NumPy's."""
    if isinstance(x, DeviceArray):
        return x._host
    if type(x) in (tuple, list):
        return type(x)(map(_host, x))
    return x


def _refuse_host(x):
    if isinstance(x, np.ndarray):
        raise _unsupported(x)
    if isinstance(x, (tuple, list)):
        for y in x:
            _refuse_host(y)


def _refuse_keywords(name, kwargs):
    if wrong := REFUSED.get(name, set()) & kwargs.keys():
        raise TypeError(f"{name}() got an unexpected keyword argument {wrong.pop()!r}")


def _unsupported(x):
    return TypeError(f"Unsupported type {type(x)}")
