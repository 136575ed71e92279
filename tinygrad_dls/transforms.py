"""Function transforms: from a function to its gradient, its Jacobian, its Hessian.

There is no second engine here. A transform puts the argument into a Tensor of a level of its own, runs the function,
and calls `Tensor.backward`. Within another transform the argument is a Tensor already, so the rules run on Tensors, and
the gradient comes out as one that can be differentiated again: ``hessian`` is ``jacobian`` of ``grad``.

A level of its own keeps nested derivatives apart: to the inner one, what the outer one varies is a constant, and so are
the parameters of a model that the function merely uses.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from itertools import repeat
from typing import Any

import numpy as np

from tinygrad_dls.engine import ops
from tinygrad_dls.engine.arrays import as_array
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.recording import recording
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.nn.module import Module, Parameter
from tinygrad_dls.nn.substitution import with_parameters
from tinygrad_dls.trees import leaves as leaves_of
from tinygrad_dls.trees import leaves_like, mapped, named_leaves, spelled, with_leaves

__all__ = ["grad", "hessian", "hvp", "jacobian", "value_and_grad"]

Function = Callable[..., Any]
Argnums = int | tuple[int, ...]

# That of the innermost transform that runs, or 0. A caller's Tensors are of level 1, unless he nests them by hand.
_level: ContextVar[int] = ContextVar("tinygrad_dls_level", default=0)


def grad(f: Function, argnums: Argnums = 0) -> Function:
    """Make the function that computes the gradient of `f`, a function to a single number.

    Parameters
    ----------
    f : callable
        A function of arrays, or of modules; it returns a Tensor of one entry, a cost.
    argnums : int or tuple of int, default 0
        The argument, or arguments, to differentiate with respect to.

    Returns
    -------
    callable
        A function of the same arguments. For an array, it returns the gradient as an array of the same shape and
        dtype; for a dict, list or tuple of arrays, and for such within them, gradients in the same structure; for a
        `Module`, a dict of the gradients of its parameters by name, without the frozen ones; for several argnums, a
        tuple.

    Raises
    ------
    TypeError
        When it is called: if the argument, or an array in it, is not of floats, or if the result of `f` does not
        depend on it.
    ValueError
        When it is called: if the result has more than one entry.

    Notes
    -----
    The function gets a copy of a `Module`: the module's own ``grad`` stays as it is, and what ``__call__`` assigns to
    ``self`` is lost. Random generators are shared, so that each call draws its own mask of dropout.

    If the argument is a Tensor, so is the gradient. If `f` uses other Tensors that require gradients, such as the
    parameters of another model, the gradient is a Tensor that depends on them: a penalty on a gradient can be trained.
    Under `no_grad` it is a plain array.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> f = lambda x: np.sum(x ** 3)
    >>> tg.grad(f)(np.array([1.0, 2.0]))
    array([ 3., 12.])
    >>> tg.grad(tg.grad(f))(2.0)
    np.float64(12.0)
    >>> model, Y = tg.nn.LogisticRegression(2), np.array([[1, 0]])
    >>> tg.grad(lambda model: tg.binary_cross_entropy_with_logits(model(np.eye(2)), Y))(model)
    {'W': array([[-0.25,  0.25]]), 'b': array([[0.]])}
    >>> tg.grad(lambda p: np.sum(p["w"] ** 2) + p["b"])({"w": np.array([1.0, 2.0]), "b": 0.5})
    {'w': array([2., 4.]), 'b': np.float64(1.0)}
    """
    return _grad("grad", f, argnums)


def _grad(who: str, f: Function, argnums: Argnums = 0) -> Function:
    """Make the gradient's function for a transform, which its errors name."""
    both = _value_and_grad(who, f, argnums)
    return _named("grad", f, lambda *args, **kwargs: both(*args, **kwargs)[1])


def value_and_grad(f: Function, argnums: Argnums = 0) -> Function:
    """Make the function that returns ``(f(x), gradient)``; see `grad`.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> tg.value_and_grad(lambda x: np.sum(x * x))(np.array([1.0, 2.0]))
    (np.float64(5.0), array([2., 4.]))
    """
    return _named("value_and_grad", f, _value_and_grad("value_and_grad", f, argnums))


def _value_and_grad(who: str, f: Function, argnums: Argnums) -> Function:
    run = runner(who, f, argnums)

    def both(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        J, level, leaves = run(args, kwargs)
        check_level(who, f, J, level)
        if J.size != 1:
            other = ", or use tg.jacobian" if who in ("grad", "value_and_grad") else ""
            raise ValueError(
                f"{who}: {function_name(f)} returned shape {J.shape}, not a single number. Reduce it to a cost first "
                f"(np.sum, np.mean, a loss){other}."
            )
        return _outside(J._value, leaves), gradients(J, leaves)

    return both


def jacobian(f: Function, argnums: Argnums = 0) -> Function:
    """Make the function that computes the Jacobian of `f`: all the derivatives of all its outputs.

    It runs the backward pass once per entry of the output.

    Parameters
    ----------
    f : callable
        A function of arrays, or of modules; it returns a Tensor of any shape.
    argnums : int or tuple of int, default 0
        The argument, or arguments, to differentiate with respect to.

    Returns
    -------
    callable
        A function of the same arguments. For an array of shape s, it returns an array of shape ``f(x).shape + s``; for
        a `Module`, a dict of such arrays by parameter name; for a dict, list or tuple, one of such arrays; for several
        argnums, a tuple.

    Raises
    ------
    TypeError
        When it is called: if the argument is not of floats, or if the result of `f` does not depend on it.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> W = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> tg.jacobian(lambda x: W @ x)(np.ones(2))
    array([[1., 2.],
           [3., 4.]])
    """
    return _jacobian("jacobian", f, argnums)


def _jacobian(who: str, f: Function, argnums: Argnums) -> Function:
    run = runner(who, f, argnums)

    def derivatives(*args: Any, **kwargs: Any) -> Any:
        y, level, leaves = run(args, kwargs)

        def of_one(y: Any) -> Any:
            check_level(who, f, y, level)
            rows = []
            for index in np.ndindex(y.shape):
                one = np.zeros(y.shape)
                one[index] = 1
                rows.append(_gradients(y, leaves, one))
            columns = zip(*rows, strict=True) if rows else ((),) * sum(1 for _ in leaves_of(leaves))
            return with_leaves(leaves, map(_stacked, columns, repeat(y.shape), leaves_of(leaves)))

        return mapped(of_one, y)

    return _named("jacobian", f, derivatives)


def hessian(f: Function, argnums: Argnums = 0) -> Function:
    """Make the function that computes the Hessian of `f`, a function to a single number: `jacobian` of `grad`.

    Parameters
    ----------
    f : callable
        A function of arrays, or of a module; it returns a Tensor of one entry.
    argnums : int or tuple of int, default 0
        The argument, or arguments, to differentiate with respect to.

    Returns
    -------
    callable
        A function of the same arguments. For an array of shape s, it returns the second derivatives with shape
        ``s + s``; for a `Module`, and for a dict of arrays, a dict of dicts by two names, such as ``H["W"]["b"]``; for
        several argnums, a tuple of tuples.

    Raises
    ------
    TypeError, ValueError
        If `grad` would raise them.

    Examples
    --------
    The Hessian of logistic regression is ``X diag(a (1 - a)) X^T / m``:

    >>> import numpy as np, tinygrad_dls as tg
    >>> X, Y = np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]), np.array([[1, 0, 1]])
    >>> H = tg.hessian(lambda w: tg.binary_cross_entropy_with_logits(w @ X, Y))(np.zeros((1, 2)))
    >>> H.reshape(2, 2) * 3
    array([[3.5 , 1.5 ],
           [1.5 , 0.75]])
    >>> X @ np.diag([0.25, 0.25, 0.25]) @ X.T
    array([[3.5 , 1.5 ],
           [1.5 , 0.75]])
    """
    return _named("hessian", f, _jacobian("hessian", _grad("hessian", f, argnums), argnums))


def hvp(f: Function) -> Function:
    """Make the function that computes Hessian-vector products, ``H v``, without the Hessian.

    ``H v`` is the gradient of ``sum(grad(f)(x) * v)``, so it costs a few gradients, however large x is.

    Parameters
    ----------
    f : callable
        A function of one array, of one module, or of one dict, list or tuple of arrays; it returns a Tensor of one
        entry.

    Returns
    -------
    callable
        A function of x and v. For an array x, v has its shape, and so has the result; for a dict, list or tuple, they
        have its structure; for a `Module`, they are dicts by the names of the parameters that are not frozen.

    Raises
    ------
    TypeError, ValueError
        When it is called: as for `grad`, or if v has not the shape of x.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> tg.hvp(lambda x: np.sum(x ** 3))(np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    array([  6., 120.])
    """
    gradient = _grad("hvp", f)

    def slope(x: Any, v: list[Any]) -> Any:
        pairs = zip(leaves_of(gradient(x)), v, strict=True)
        return functools.reduce(ops.add, (ops.sum(ops.multiply(g, v)) for g, v in pairs))

    slope_along = _grad("hvp", slope)

    def product(x: Any, v: Any) -> Any:
        if isinstance(x, Module):
            tree = {name: p for name, p in x.named_parameters() if p.requires_grad}
            expected = [p.shape for p in tree.values()]
        else:
            tree, expected = x, [as_array(values(a), spelled("hvp: x", k)).shape for k, a in _arrays(x, "hvp: x")]
        along = []
        try:
            for (name, a), shape in zip(leaves_like(tree, v, "v"), expected, strict=True):
                along.append(as_array(a, name))
                if along[-1].shape != shape:
                    raise ValueError(f"{name} is {along[-1].shape}; expected {shape}")
        except ValueError as error:
            raise ValueError(f"hvp: {error}, as {function_name(f)}'s argument.") from None
        return slope_along(x, along)

    return _named("hvp", f, product)


# -- levels -----------------------------------------------------------------------------------------------------------


def runner(who: str, f: Function, argnums: Argnums) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
    """Return the function that runs f with the chosen arguments as leaves of a new level: (result, level, leaves)."""
    if not callable(f):
        raise TypeError(f"{who}: expected a function, got {f!r}. Write tg.{who}(f)(x), not tg.{who}(f(x)).")
    chosen = argnums if isinstance(argnums, tuple) else (argnums,)
    if not chosen or not all(isinstance(i, int) and not isinstance(i, bool) for i in chosen):
        raise TypeError(f"{who}: argnums must be an int or a tuple of ints, got {shown(argnums)}.")
    names = argument_names(f)

    def run(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for i in chosen:
            if not -len(args) <= i < len(args):
                count = f"{len(args)} argument{'s' if len(args) != 1 else ''}"
                raise TypeError(
                    f"{who}: {function_name(f)} was called with {count} by position; "
                    f"there is no number {i} (argnums counts from 0) to differentiate with respect to."
                )
        if len({i % len(args) for i in chosen}) < len(chosen):
            raise ValueError(f"{who}: argnums={argnums} names an argument twice.")
        varied, leaves = list(args), []
        try:
            level = 1 + max([1, _level.get(), *(x._level for x in leaves_of(args) if isinstance(x, Tensor))])
            for i in (i % len(args) for i in chosen):
                varied[i], leaf = _varied(args[i], level, names[i] if i < len(names) else f"argument {i + 1}")
                leaves.append(leaf)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{who}: {error}") from error
        tokens = _level.set(level), recording.set(recording.get() or True)
        try:
            y = f(*varied, **kwargs)
        finally:
            _level.reset(tokens[0])
            recording.reset(tokens[1])
        return y, level, tuple(leaves) if isinstance(argnums, tuple) else leaves[0]

    return run


def _varied(x: Any, level: int, name: str) -> tuple[Any, Any]:
    """An argument as f shall see it, and the leaves in it: a Tensor, a tree, or a module's parameters by name."""
    if isinstance(x, Module):
        parameters = {name: p for name, p in x.named_parameters() if p.requires_grad}
        if not parameters:
            raise TypeError(f"{type(x).__name__} has no parameter that requires a gradient.")
        leaves = {
            name: _leaf(Parameter, p if p._level > 1 else p._value, level, name)  # another transform's, or its own
            for name, p in parameters.items()
        }
        return with_parameters(x, {p: leaves[name] for name, p in parameters.items()}), leaves
    made = []
    for keys, leaf in _arrays(x, name):
        made.append(_leaf(_Argument, leaf, level, spelled(name, keys)))
        if keys and all(isinstance(key, str) for key in keys):
            made[-1].name = ".".join(keys)  # W1, or layer1.W as of a module
    varied = with_leaves(x, made)
    return varied, mapped(lambda leaf: leaf, varied)  # a structure of its own, which f cannot change


def _arrays(x: Any, name: str) -> list[tuple[tuple[Any, ...], Any]]:
    """The leaves of an argument that is an array or a tree of arrays, with their keys; else an error."""
    found = list(named_leaves(x))
    if not found:
        raise TypeError(
            f"{name} is a {type(x).__name__} without arrays: there is nothing to differentiate with respect to."
        )
    for keys, leaf in found:
        refuse_object(leaf, spelled(name, keys))
    return found


class _Argument(Tensor):
    """An argument of a function that is differentiated: in it, ``x += 1`` is another value of the user's variable."""

    __slots__ = ()
    _is_argument = True


def refuse_object(x: Any, name: str) -> None:
    """Raise for what is neither an array nor a tree of arrays, such as an object of the user's that holds some."""
    if isinstance(x, Module) and name.endswith("]"):
        raise TypeError(
            f"{name} is a {type(x).__name__}. A module is an argument of its own, and not one of several in a list or "
            "a dict: pass it as f(model, ...), for the gradients of its parameters by name."
        )
    if isinstance(x, Mapping):
        what, instead = f"of {len(x)} entries", "Write dict(...) around it, or pass"
    elif isinstance(x, (list, tuple)) and not _is_rectangular(x):
        what, instead = "of lists of different lengths", "Write np.array(...) around each row, or pass"
    elif hasattr(x, "__dict__") and not hasattr(x, "dtype") and not hasattr(x, "__array__"):
        what, instead = "of your own", "Pass"
    else:
        return
    raise TypeError(
        f"{name} is a {type(x).__name__} {what}, and only arrays, dicts, lists and tuples of arrays, and modules "
        f"have gradients. {instead} a dict of the arrays; or hold them as tg.nn.Parameter in a tg.nn.Module, and pass "
        "that."
    )


def _is_rectangular(x: Any) -> bool:
    try:
        np.asarray(x)
    except ValueError:
        return False
    return True


def _leaf(kind: type[Tensor], data: Any, level: int, name: str, requires_grad: bool = True) -> Tensor:
    """A leaf of a given level, whatever is inside."""
    leaf: Tensor = object.__new__(kind)
    Tensor.__init__(leaf, data, requires_grad, name=name)
    leaf._level = level
    return leaf


def check_level(who: str, f: Function, y: Any, level: int) -> None:
    if isinstance(y, (tuple, list, dict)):
        raise TypeError(
            f"{who}: {function_name(f)} returned a {type(y).__name__}, not a Tensor. Return the cost alone; "
            "tg.jacobian takes a tuple, a list or a dict of Tensors."
        )
    if not isinstance(y, Tensor) or y._level != level:
        raise TypeError(
            f"{who}: {function_name(f)} returned {_described(y)} that does not depend on its argument. "
            "Did it use .data, .detach(), float() or another array instead of its argument, or forget to return?"
        )


def _described(y: Any) -> str:
    return f"a {type(y).__name__}" if y is not None else "None,"


def gradients(y: Tensor, leaves: Any, seed: Any = None) -> Any:
    """The gradients of y with respect to the leaves, in their structure; and leave none behind."""
    return with_leaves(leaves, _gradients(y, leaves, seed))


def _gradients(y: Tensor, leaves: Any, seed: Any) -> list[Any]:
    for leaf in leaves_of(leaves):
        leaf._grad = None  # f may have called backward itself
    if y._depth:
        y.backward(seed)

    def taken(leaf: Tensor) -> Any:
        dx, leaf._grad = leaf._grad, None
        if dx is None:
            dx = np.zeros_like(values(leaf))
        x = leaf._value
        if isinstance(x, Tensor) and (not isinstance(dx, Tensor) or dx._level < x._level):
            dx = _leaf(Tensor, dx, x._level, "", requires_grad=False)  # constant, but still of the caller's level
        return _outside(dx, leaf)

    return [taken(leaf) for leaf in leaves_of(leaves)]


def _outside(x: Any, leaves: Any) -> Any:
    """What a transform hands to its caller: an array, unless a graph is recorded, or the argument was a Tensor.

    A constant of the level of another transform, within which this one runs, stays one of that level.
    """
    if not recording.get():
        return values(x)
    if not any(isinstance(leaf._value, Tensor) for leaf in leaves_of(leaves)):
        while isinstance(x, Tensor) and not x._depth and x._level > _level.get():
            x = x._value
    return x


def _stacked(rows: Sequence[Any], shape: tuple[int, ...], leaf: Tensor) -> Any:
    """Gradients of all the entries of an output with respect to a leaf, as one array."""
    if not rows:
        return np.zeros_like(values(leaf), shape=shape + leaf.shape)
    return ops.reshape(ops.stack(rows), shape + leaf.shape)


# -- names, for errors ------------------------------------------------------------------------------------------------


def function_name(f: Function) -> str:
    return getattr(f, "__name__", type(f).__name__)


def _named(transform: str, f: Function, function: Function) -> Function:
    function.__name__ = function.__qualname__ = f"{transform}({function_name(f)})"
    if transform != "hvp":  # which takes one argument more
        function.__wrapped__ = f  # type: ignore[attr-defined]  # tells inspect.signature where to look
    return function


def argument_names(f: Function) -> list[str]:
    try:
        return list(inspect.signature(f).parameters)
    except (TypeError, ValueError):  # a builtin
        return []
