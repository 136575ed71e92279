"""The chain rule: an op remembers what it was given and how to go back, and `backward` goes back to the leaves.

An op (see `tinygrad_dls.engine.ops`) is made of a rule, one function that returns its value and, for each input, a
*vector-Jacobian product* (vjp): the function that takes ``dz``, the gradient of the cost with respect to the op's
output, to the gradient with respect to that input. In the notation of the course, ``dz`` stands for ``dJ/dz``; those
who come from JAX call it the cotangent.

What happens once, here, so that no rule has to think of it: un-broadcasting, dtypes, shape checks, the order of the
backward pass, and who owns a gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from tinygrad_dls.engine.arrays import Array, unbroadcast
from tinygrad_dls.engine.errors import EXPLAINED, explained
from tinygrad_dls.engine.inplace import is_watched, refuse_changed, refuse_changed_since_escape, watched
from tinygrad_dls.engine.operands import (
    PLAIN,
    added,
    as_gradient,
    in_dtype_of,
    number_of_inputs,
    of_level,
    opened,
    operand,
    owned,
    refuse_lost_gradients,
    refuse_other_functions,
    refuse_tensors,
    seed_of,
)
from tinygrad_dls.engine.recording import recording
from tinygrad_dls.engine.tensor import LEAF, Op, Origin, P, Rule, Tensor, implementations

__all__ = ["backward", "op"]

# -- forward: an op computes, and remembers ---------------------------------------------------------------------------


def op(*numpy_functions: Callable[..., Any]) -> Callable[[Callable[P, Rule]], Op[P]]:
    """Make an op of a rule: a function that returns its value and one vector-Jacobian product per input.

    The op takes Tensors and arrays. With plain arrays it is just the forward pass and returns a plain array. Only
    positional arguments are inputs of the graph; keyword arguments are options. Tensors have levels: 1 if they hold
    plain arrays, 2 if they hold such Tensors, and so on. The Tensors of the highest level among the inputs are
    differentiated; the rule takes lower ones for arrays. The rule itself remains as ``op.rule``: called with arrays,
    it returns the value and the products.

    Parameters
    ----------
    *numpy_functions : callable
        The NumPy functions that mean this op: ``@op(np.tanh)`` makes ``np.tanh(tensor)`` keep the graph.

    Raises
    ------
    TypeError
        If one of them is not NumPy's, as where ``@tg.op`` lacks its parentheses.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> @tg.op()
    ... def cube(x):
    ...     return x ** 3, (lambda dz: dz * 3 * x ** 2,)
    >>> float(tg.grad(cube)(2.0))
    12.0
    >>> z, (dx,) = cube.rule(2.0)
    >>> z, dx(1.0)
    (8.0, 12.0)
    """
    refuse_other_functions(numpy_functions)

    def decorate(rule: Callable[P, Rule]) -> Op[P]:
        @functools.wraps(rule)
        def apply(*args: Any, **options: Any) -> Any:
            level, depth, arrays = 0, 0, []  # the highest level, and the depth of the deepest input
            exposed: Any = None  # the arrays that a caller holds and could change, as a linked list
            for x in args:
                if isinstance(x, Tensor):
                    if x._level > level:
                        level = x._level
                    if x._depth > depth:
                        depth = x._depth
                    if x._escaped is not None:
                        if x._escaped.array is x._value:
                            exposed = x._escaped, exposed
                        else:  # an optimizer has replaced the array since, and no caller holds the new one
                            x._escaped = None
                    arrays.append(x._value)
                elif x.__class__ is _NDARRAY and x.dtype.kind in "fiub":
                    exposed = x, exposed
                    arrays.append(x)
                elif x.__class__ in PLAIN:
                    arrays.append(x)
                else:
                    arrays.append(operand(x, apply.__name__, args, len(arrays), number_of_inputs(rule)))
                    if is_watched(x, arrays[-1]):
                        exposed = arrays[-1], exposed
            if level > 1:  # Tensors in Tensors: the rule is given those of lower levels as they are
                depth, arrays = opened(level, args, arrays)
            if options:
                refuse_tensors(apply.__name__, options)
            try:
                value, vjps = rule(*arrays, **options)
            except EXPLAINED as error:
                if any(isinstance(x, Tensor) for x in arrays):
                    raise  # explained already, one level down, by an op of the rule
                raise explained(error, apply.__name__, args) from error
            if not level:
                return value

            z: Tensor = _new(Tensor)
            z._value = value
            z._level = level
            z._grad = z._escaped = z.name = None
            if not depth or not (observer := recording.get()):
                z._depth = 0
                z._origin = LEAF
                return z
            if vjps.__class__ is not tuple or len(vjps) != len(args):
                refuse_lost_gradients(vjps, apply.__name__, args)
            if level > 1:
                vjps = of_level(level, vjps, args)
            z._depth = depth + 1
            z._origin = _record(Origin, (apply, args, options, vjps, () if exposed is None else watched(exposed)))
            if observer is not True:
                observer(z)
            return z

        made = cast(Op[P], apply)
        made.__name__ = rule.__name__.lstrip("_")  # for errors and pictures
        made.rule = rule
        implementations.update(dict.fromkeys(numpy_functions, made))
        return made

    return decorate


_NDARRAY = np.ndarray
_new = object.__new__
_record: Any = tuple.__new__  # makes an Origin faster than Origin(...), whose __new__ is a Python function

# -- backward: the chain rule, from the cost to the leaves ------------------------------------------------------------


def backward(self: Tensor, seed: Array | None = None) -> None:
    """Compute the gradient of this Tensor with respect to every Tensor that it was computed from.

    Visits every node once, from the deepest to the leaves, and hands ``dz`` through the node's vector-Jacobian
    products. A node's depth is the length of the longest path to it from a leaf; all that used it lie deeper, so
    its gradient is complete when its turn comes. No recursion, and linear in nodes and edges.

    Leaves accumulate: two calls double their gradient exactly. Computed Tensors keep the gradient of the last
    call, so that ``dZ`` can be looked at. A gradient is the same kind of array as the value of the cost: if that is
    itself a Tensor, so is the gradient, and it can be differentiated again.

    Parameters
    ----------
    seed : array_like, optional
        The gradient to start from, of this Tensor's shape; 1 by default, for a Tensor of a single entry.

    Raises
    ------
    RuntimeError
        If no Tensor that requires a gradient led here.
    ValueError
        If this Tensor has more than one entry and no seed is given, or if the seed has another shape.
    RuntimeError
        If an array that a gradient depends on was changed in place since it was used; no leaf is changed then.
    """
    gradients = {self: seed_of(self, seed)}
    wide: dict[Tensor, Array] = {}  # sums of gradients of half precision, in single precision
    waiting: list[list[Tensor]] = [[] for _ in range(self._depth + 1)]  # the nodes to visit, by their depth
    waiting[self._depth].append(self)
    for nodes in waiting[:1:-1]:  # leaves, of depth 1, are not visited: their sums stay in `gradients`
        for z in nodes:
            z._grad = dz = gradients.pop(z)
            origin = z._origin
            if origin.watched:
                refuse_changed(z)
            if z._escaped is not None:
                refuse_changed_since_escape(z, z)
            for x, vjp in zip(origin.inputs, origin.vjps):  # noqa: B905  # inputs without a vjp are constants
                if not isinstance(x, Tensor):
                    continue
                if x._escaped is not None:
                    refuse_changed_since_escape(z, x)
                if vjp is None or not x._depth:
                    continue
                dx = vjp(dz)
                try:
                    shape = dx.shape
                except AttributeError:
                    shape = (dx := as_gradient(dx, origin.op)).shape
                if shape != x._value.shape:
                    dx = unbroadcast(dx, x._value.shape, origin.op)
                if x in gradients:
                    gradients[x] = added(x, gradients[x], dx, wide)
                elif x._depth > 1:
                    gradients[x] = dx
                    waiting[x._depth].append(x)
                else:
                    gradients[x] = owned(dx) if dx is dz or getattr(dx, "base", None) is not None else dx
    observer = recording.get()
    for leaf, dx in gradients.items():  # only now: a rule that fails changes no leaf
        if dx.dtype is not leaf._value.dtype and dx.dtype != leaf._value.dtype:
            dx = in_dtype_of(leaf, dx)
        leaf._grad = dx if leaf._grad is None else leaf._grad + dx
        if observer is not True and observer:
            observer(leaf)


Tensor.backward = backward  # type: ignore[assignment, method-assign]  # `stubs` declares it for type checkers
