"""The file: arrays by name, and beside them one text that says what they are, in the safetensors format.

The format holds numbers and texts, and nothing that runs. What is no number, text, array or random generator is refused
when it is saved, by its name.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_dls import schedules
from tinygrad_dls.engine.arrays import Array, as_array
from tinygrad_dls.engine.devices import to_host
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor
from tinygrad_dls.extras import install
from tinygrad_dls.files import write_whole
from tinygrad_dls.nn.init import generator
from tinygrad_dls.saving.generators import new_generator, state_of

__all__ = ["Parts", "Reader", "corrupt", "library", "read", "reader_of", "said", "write"]

_KEY = "tinygrad_dls"  # of the text in the file's header, behind its checksum
_DTYPES = {
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64",
}  # fmt: skip
_DEPTH = 50  # of lists in lists
_SCHEDULES = {name: getattr(schedules, name) for name in schedules.__all__}


class Parts:
    """What goes into a file, gathered: arrays by name, the states of generators, each once, and the text."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self.generators: list[dict[str, Any]] = []
        self._known: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no other object gets their ids

    def array(self, name: str, x: Array) -> str:
        """Add an array; what it is called in the file is another name, if that one is taken."""
        if x.dtype.name not in _DTYPES:
            instead = {"U": ".tolist()", "O": ".tolist()", "S": ".astype(str).tolist()", "c": ".real and .imag"}
            instead |= {"M": ".astype(str).tolist()", "m": ".astype(float)"}
            raise TypeError(
                f"save: {name} is of {x.dtype}, which the file has no place for. "
                f"Write {instead.get(x.dtype.kind, '.astype(float)')}."
            )
        x = np.array(to_host(as_array(x, name)), x.dtype.newbyteorder("="), copy=None, order="C")
        while name in self.arrays:
            name += "_"
        self.arrays[name] = x
        return name

    def generator(self, rng: Any, where: str) -> int:
        """The number of a generator, one for each, however many share it."""
        if id(rng) not in self._known:
            try:
                state = state_of(rng)
            except TypeError as error:
                raise TypeError(f"save: {where} {error}") from error
            self._known[id(rng)] = len(self.generators)
            self.generators.append(state)
            self._kept.append(rng)
        return self._known[id(rng)]

    def encode(self, x: Any, where: str, *, functions: bool = False, depth: int = 0) -> Any:
        """A value as JSON has it; arrays and generators go to their places, and JSON says where."""
        if depth > _DEPTH:
            raise ValueError(f"save: {where} is nested too deeply, or contains itself.")

        def inner(y: Any, key: Any) -> Any:
            return self.encode(y, f"{where}.{key}", functions=functions, depth=depth + 1)

        if x is None or isinstance(x, (bool, int, float, str)):
            return x if x is None or type(x) in (bool, int, float, str) else _plain(x)
        if isinstance(x, np.bool_ | np.integer | np.floating) and x.dtype.name in _DTYPES:
            return x.item()
        if isinstance(x, Tensor):
            raise TypeError(f"save: {where} is a Tensor. Keep its values: {where}.data.")
        if isinstance(x, (np.random.Generator, np.random.RandomState)) or x is np.random:
            return {"generator": self.generator(generator(x, "save"), where)}
        if type(x) in _SCHEDULES.values():
            return {"schedule": type(x).__name__, "settings": {k: self.encode(v, where) for k, v in vars(x).items()}}
        if hasattr(type(x), "__array_function__") and hasattr(x, "dtype"):
            return {"array": self.array(where, x)}
        if isinstance(x, (list, tuple)) and type(x) in (list, tuple):
            return {type(x).__name__: [inner(y, i) for i, y in enumerate(x)]}
        if isinstance(x, dict) and all(type(key) is str for key in x):
            return {"dict": {key: inner(y, key) for key, y in x.items()}}
        if functions and callable(x):
            return {"function": getattr(x, "__qualname__", type(x).__name__)}
        advice = ""
        if hasattr(x, "_rng"):
            advice = " Save the generator that it draws from: rng = np.random.default_rng(0), and save(..., rng=rng)."
        elif hasattr(x, "costs"):
            advice = " Save its lists, such as history.costs."
        elif hasattr(x, "recipe"):
            advice = " Save how its features were made: table.recipe."
        raise TypeError(
            f"save: {where} is {shown(x)}, and a file holds numbers, texts, arrays, random generators, and lists, "
            f"tuples and dicts (by texts) of them.{advice}"
        )


def _plain(x: Any) -> Any:
    """A number or a text of a subclass, such as ``np.float64``, as Python's own."""
    return next(kind(x) for kind in (int, float, str) if isinstance(x, kind))


class Reader:
    """What a file holds: its text, and arrays by name.

    Parameters
    ----------
    path : Path
    text : dict
        What the text says.
    arrays : dict of str to array
    """

    def __init__(self, path: Path, text: dict[str, Any], arrays: dict[str, Array]) -> None:
        self.path, self.text, self.arrays = path, text, arrays
        self.states = self.part(text, "generators", list)
        self.generators = [new_generator(state) for state in self.states]

    @classmethod
    def of(cls, parts: Parts) -> Reader:
        """What would be read of these parts."""
        return cls(Path(), {"generators": parts.generators}, parts.arrays)

    def part(self, of: Any, name: str, kind: type | tuple[type, ...]) -> Any:
        """An entry of a dict in the text, which must be of a kind."""
        x = of.get(name) if isinstance(of, dict) else None
        if not isinstance(x, kind) or (isinstance(x, bool) and kind is int):
            raise ValueError(f"its {name!r} is not what it should be")
        return x

    def array(self, name: str) -> Array:
        """An array by its name."""
        if name not in self.arrays:
            raise ValueError(f"it lacks {name}")
        return self.arrays[name]

    def below(self, prefix: str) -> dict[str, Array]:
        """The arrays whose names begin so, without the beginning."""
        return {name.removeprefix(prefix): x for name, x in self.arrays.items() if name.startswith(prefix)}

    def generator(self, number: Any) -> Any:
        """A generator by its number."""
        if type(number) is not int or not 0 <= number < len(self.generators):
            raise ValueError("it names a random generator that it does not have")
        return self.generators[number]

    def decode(self, x: Any, depth: int = 0) -> Any:
        """The value of what `Parts.encode` gave."""
        if x is None or isinstance(x, (bool, int, float, str)):
            return x
        if depth > _DEPTH or not isinstance(x, dict):
            raise ValueError("it holds a value that is none")
        match x:
            case {"generator": number}:
                return self.generator(number)
            case {"schedule": str(name), "settings": dict(settings)} if name in _SCHEDULES:
                return _SCHEDULES[name](**{key: self.decode(y, depth + 1) for key, y in settings.items()})
            case {"array": str(name)}:
                return self.array(name).copy()
            case {"list": list(items)}:
                return [self.decode(y, depth + 1) for y in items]
            case {"tuple": list(items)}:
                return tuple(self.decode(y, depth + 1) for y in items)
            case {"dict": dict(items)}:
                return {key: self.decode(y, depth + 1) for key, y in items.items()}
            case {"function": str()}:
                return x
        raise ValueError("it holds a value that is none")


def write(path: Path, text: dict[str, Any], parts: Parts) -> None:
    """Write a file, whole or not at all."""
    written = json.dumps({"format": 1, **text, "generators": parts.generators})
    signed = f"{_sum_of(written, parts.arrays)} {written}"  # under one key: of several, the order would be random
    write_whole(path, library().save(parts.arrays, {_KEY: signed}))


def read(path: Path) -> Reader:
    """Read a file.

    Raises
    ------
    ValueError
        If it is none that `write` wrote, or not whole.
    """
    content = path.read_bytes()
    try:
        arrays = library().load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except Exception as error:  # the library's own errors, and those of what it calls
        raise ValueError(
            f"load: {str(path)!r} is no file of tg.save, or it is cut off or damaged: {error}. Load an earlier one."
        ) from error
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or _KEY not in metadata:
        raise ValueError(
            f"load: {str(path)!r} is a safetensors file that tg.save has not written. For its arrays write "
            "safetensors.numpy.load_file(path), and give them to model.load_state_dict."
        )
    total, _, written = metadata[_KEY].partition(" ")
    if total != _sum_of(written, arrays):
        raise corrupt(path, ValueError("its checksum is that of other content"))
    return reader_of(path, written, arrays)


def reader_of(path: Path, written: str, arrays: dict[str, Array]) -> Reader:
    """A reader of the text and the arrays of a file, whatever the text says."""
    try:
        text = json.loads(written)
        if text["format"] == 1:
            return Reader(path, text, arrays)
    except Exception as error:  # whatever a hostile text brings about
        raise corrupt(path, error) from error
    raise ValueError(f"load: {str(path)!r} was written by a later version of tinygrad_dls.")


def corrupt(path: Path, error: Exception) -> ValueError:
    """The error of a file whose text is wrong."""
    return ValueError(f"load: {str(path)!r} is damaged, or tg.save has not written it: {said(error)}.")


def said(error: Exception) -> str:
    """What an error says, in a line."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".") or type(error).__name__


def _sum_of(text: str, arrays: dict[str, Array]) -> str:
    """A checksum of all that is read."""
    total = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        total.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        total.update(arrays[name].tobytes())
    return total.hexdigest()


def library() -> Any:
    """The library safetensors, for NumPy.

    Raises
    ------
    ImportError
        That names the command that installs it.
    """
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(f"files of models need safetensors: {install('save')}") from error
    return safetensors.numpy
