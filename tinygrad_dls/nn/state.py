"""The arrays of a module: as a state, set from a state, and moved to where they shall lie; each time all or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tinygrad_dls.engine.arrays import Array, as_array
from tinygrad_dls.engine.devices import beside
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import values

__all__ = ["Stateful"]


class Stateful:
    """What a `tinygrad_dls.nn.Module` does with all its arrays."""

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """The parameters with their names."""
        raise NotImplementedError

    def _buffers(self) -> Iterator[tuple[str, Any, str]]:
        """The arrays that are saved beside the parameters: their paths, the modules and their attributes."""
        raise NotImplementedError

    def _kept_arrays(self) -> dict[str, Array]:
        """The arrays that are saved beside the parameters, by their paths."""
        return {name: getattr(module, own) for name, module, own in self._buffers()}

    def _keep_arrays(self, arrays: Iterable[Array]) -> None:
        """Keep others in their places, which come in the same order."""
        for (_, module, own), x in zip(self._buffers(), arrays, strict=True):
            object.__setattr__(module, own, x)

    def state_dict(self) -> dict[str, Array]:
        """Copies of the parameters' arrays by name, ``{"W1": ..., "b1": ...}``, and of running statistics."""
        saved = {name: p._value for name, p in self.named_parameters()} | self._kept_arrays()
        return {name: array.copy() for name, array in saved.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Set the parameters to copies of the arrays in `state_dict`; each stays where it lies, see `to`.

        Raises
        ------
        TypeError
            If it is no mapping, or an entry is no array of numbers.
        ValueError
            If a name, shape or dtype differs. The error lists all the differences; nothing is changed then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"this is not the state of a model, a dict of arrays by name: {shown(state_dict)}.")
        new = {name: as_array(values(data), name) for name, data in state_dict.items()}
        if problems := self._differences(new):
            raise ValueError(f"this state does not fit {type(self).__name__}: " + "; ".join(problems) + ".")
        for name, p in list(self.named_parameters()):
            p.data = beside(new[name], p._value).copy()
        self._keep_arrays(beside(new[name], old).copy() for name, old in self._kept_arrays().items())

    def _differences(self, new: Mapping[str, Array]) -> list[str]:
        """In what arrays by name differ from the parameters and the running statistics: names, shapes and dtypes."""
        own = dict(self.named_parameters()) | self._kept_arrays()
        problems = [f"{name} is missing" for name in own if name not in new]
        problems += [f"{name} is not a parameter of this model" for name in new if name not in own]
        for name in own.keys() & new.keys():
            (was, kind), (wanted, wanted_kind) = ((x[name].shape, x[name].dtype) for x in (new, own))
            problems += [f"{name} is {was}; expected {wanted}"] * (was != wanted)
            problems += [f"{name} is {kind}; expected {wanted_kind}"] * (kind != wanted_kind)
        return sorted(problems)

    def to(self, move: Callable[[Array], Array]) -> None:
        """Move the parameters, their gradients and running statistics: to a device, or back to the host.

        The argument is any function from an array to an array of the same numbers, so no device and no library has a
        name here: ``model.to(cupy.asarray)`` moves a model to a GPU, ``model.to(cupy.asnumpy)`` brings it back. Its
        inputs are moved by the same function. `load_state_dict` and `tinygrad_dls.load` leave a model where it lies.

        An optimizer that has taken steps keeps its moments where they are. Let them follow:
        ``optimizer.load_state_dict(optimizer.state_dict())`` puts them where the parameters lie.

        Parameters
        ----------
        move : function
            Of an array; its result has the same shape and dtype.

        Raises
        ------
        TypeError, ValueError
            If `move` is no function, or gives something else than such arrays; nothing is moved then.

        Examples
        --------
        Any function will do, such as one to another order of the numbers in memory:

        >>> import numpy as np, tinygrad_dls as tg
        >>> model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
        >>> model.to(np.asfortranarray)
        >>> model.parameters()[0].data.flags.f_contiguous
        True
        """
        if not callable(move):
            raise TypeError(f"to takes a function from array to array, such as cupy.asarray, got {shown(move)}.")
        parameters, kept = list(self.named_parameters()), self._kept_arrays()
        arrays = {name: values(p) for name, p in parameters} | kept
        moved = {name: as_array(values(move(x)), f"to: {name}") for name, x in arrays.items()}
        gradients = {p: None if p._grad is None else move(values(p._grad)) for _, p in parameters}
        if problems := self._differences(moved):
            raise ValueError(f"to: move gave other arrays than it took: {'; '.join(problems)}.")
        for name, p in parameters:
            p.data = moved[name]
            p._grad = gradients[p]
        self._keep_arrays(moved[name] for name in kept)
