"""A network's forward and backward pass, step by step, as a person computes them; and autodiff's own results.

`tinygrad_dls.check.diagnose` walks along these steps. Each one is a line of the course's derivation:
``Z = W A_prev + b``, ``A = g(Z)``, ``dZ = dA * g'(Z)``, ``dW = dZ A_prev^T``, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_dls import nn
from tinygrad_dls.check.causes import ACTIVATIONS, HANDED_ON, Step, derivative, kind_of, multiple_of
from tinygrad_dls.engine import ops
from tinygrad_dls.engine.arrays import Array, as_array
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.graph.subject import Subject
from tinygrad_dls.nn import losses, substitution
from tinygrad_dls.nn.labels import one_hot

Arrays = dict[str, Array]


class Dropout(NamedTuple):
    """The zeros and ones that the A of some layers were multiplied with, by the layers' numbers."""

    masks: Mapping[str, Array] = MappingProxyType({})
    keep_prob: float = 1.0

    def applied(self, n: str, a: Any) -> Any:
        """An A, or its gradient, with those of a layer."""
        return a * (self.masks[n] / self.keep_prob) if n in self.masks else a


NONE = Dropout()


class Chain:
    """The steps of a Sequential of Linear layers and activations: ``Z1, A1, ..., dA2, dZ2, dW2, db2, dA1, ..., dA0``.

    With dropout, A is what the next layer gets, ``g(Z) * mask / keep_prob``, and dA is the gradient of ``g(Z)``, masked
    and divided too, as in the course.

    Parameters
    ----------
    given : Subject
        The model, X, Y, and the loss.
    dropout : Dropout
        The masks, by the layers' numbers, and what they are divided by.
    lambd : float
        Of an L2 penalty, ``lambd / (2 m) * sum(W^2)``, beside the loss.

    Attributes
    ----------
    names : list of str
        All the steps, each behind those that it is computed from.
    reference : dict of str to array
        Their values by autodiff.
    beside : dict of str to array
        The part of dW and db that does not come through the model's output, as of an L2 penalty in the cost, or comes
        through another layer with the same parameter. It is added to what comes through the step's own dZ.
    penalty : float
        lambda / m, if the cost has an L2 penalty on the weights.
    m : int
        Number of examples.
    half : bool
        Whether X or a parameter is of float16.
    """

    def __init__(self, given: Subject, dropout: Dropout = NONE, lambd: float = 0.0) -> None:
        model, (X, Y), loss = given.model, given.inputs, given.loss
        if not isinstance(model, nn.Sequential):
            raise TypeError(f"diagnose: expected a Sequential of Linear layers and activations, got {shown(model)}.")
        drops = any(isinstance(part, nn.Dropout) and part.training and part.keep_prob < 1 for part in model.modules())
        if drops and not dropout.masks:
            raise ValueError(
                "diagnose: the model drops out at random. Call model.eval() before, or give the masks that you used: "
                'masks={"D1": D1}, keep_prob=0.8.'
            )
        X = as_array(values(X), "X")
        self.half = "float16" in {X.dtype.name, *(p.dtype.name for p in model.parameters())}
        self.X = X.astype(float)
        if not np.all(np.isfinite(self.X)):
            raise ValueError("diagnose: X holds NaN or infinities, so no gradient is defined.")
        copies = {p: nn.Parameter(values(p).astype(float)) for p in model.parameters()}
        own = substitution.with_parameters(model, copies)
        # the cost takes the parameters themselves, if it has a penalty on them
        self.originals = {id(copy): p for p, copy in copies.items()}
        self.layers, parts = _layers(list(own._flat()))
        self.numbers = [""] if len(self.layers) == 1 else [str(k + 1) for k in range(len(self.layers))]
        self.m = np.shape(self.X)[-1] if self.X.ndim else 1
        rows = self.layers[-1].n_out
        self.Y = _labels(Y, rows, self.m)
        self.dropout = _found(dropout, self.numbers, self.layers, parts, self.m)
        self._choose_cost([_composed(functions) for functions in parts], loss, rows)
        self.lambd = lambd
        self.masked_gates = False  # whether ReLU's gate is that of an A that dropout has masked

        self.forward = [f"{kind}{n}" for n in self.numbers for kind in "ZA"]
        self.gradients = [f"{kind}{n}" for n in reversed(self.numbers) for kind in ("dA", "dZ", "dW", "db")] + ["dA0"]
        self.names = self.forward + self.gradients
        self.reference = self.by_autodiff()
        sizes = {name: np.abs(x) for name, x in self.reference.items()}
        sizes |= {f"beside {name}": np.abs(x) for name, x in self.beside.items()}
        self.magnitudes = {name: self.magnitude(name, sizes) for name in self.names}

    def _choose_cost(self, functions: list[Any], loss: Any, rows: int) -> None:
        """The cost of the last A, and the functions of all layers: behind a cross-entropy of Z, it has its own."""
        cross_entropies = (
            losses.binary_cross_entropy, losses.binary_cross_entropy_with_logits, losses.softmax_cross_entropy
        )  # fmt: skip
        self.fused = loss is None or loss in cross_entropies  # then the last dZ is (A - Y) / m
        self.penalised: Any = None  # a cross-entropy of the person's own, with terms in the parameters
        if not self.fused and self._is_cross_entropy(functions, loss):
            self.fused, self.penalised = True, (loss, functions[-1])
        if self.fused and functions[-1] is None:
            functions[-1] = ops.sigmoid if rows == 1 else ops.softmax
        self.functions = [function or _identity for function in functions]
        self.activations = [_activation(function) for function in self.functions]
        if self.fused and self.activations[-1] not in ("sigmoid", "softmax"):
            raise ValueError(
                f"diagnose: the model ends in {self.activations[-1]}, which gives no probabilities for the "
                "cross-entropy. Say which cost it has with loss=..., such as loss=tg.mean_squared_error."
            )
        self.cost: Any = (_cross_entropy if rows > 1 else losses.binary_cross_entropy) if self.fused else loss

    @property
    def alike(self) -> bool:
        """Whether the output is the same for every example, as with weights of zero."""
        A = self.reference[f"A{self.numbers[-1]}"]
        return self.m > 2 and bool(np.ptp(A, axis=1).max() <= 1e-12 * np.abs(A).max())

    def _is_cross_entropy(self, functions: list[Any], loss: Any) -> bool:
        """Whether a cost is the cross-entropy in all that comes through the model's output."""
        a: Any = self.X
        for n, layer, function in zip(self.numbers, self.layers, functions, strict=True):
            z = layer(a)
            a = self.dropout.applied(n, (function or _identity)(z))
        Z, A = values(z), values(a)
        rows = len(Z)
        output = Tensor(A, requires_grad=True)
        with _own_gradients(list(self.originals.values())):
            loss(output * 1, self.Y).backward()
        if output.grad is None or self.Y.shape != Z.shape:
            return False
        P = (ops.sigmoid if rows == 1 else ops.softmax)(Z)
        if functions[-1] is None:
            expected = (P - self.Y) / self.m
        elif _activation(functions[-1]) == ("sigmoid" if rows == 1 else "softmax"):
            with np.errstate(all="ignore"):
                expected = (-self.Y / P + ((1 - self.Y) / (1 - P) if rows == 1 else 0)) / self.m
        else:
            return False
        return bool(np.allclose(output.grad, expected, rtol=1e-9, atol=1e-12 / self.m))

    def by_autodiff(self) -> Arrays:
        """The values and gradients of every step, from the engine."""
        X = Tensor(self.X, requires_grad=True)
        a: Any = X
        tensors: dict[str, Any] = {}
        units: dict[str, Any] = {"dA0": X}
        for n, layer, function in zip(self.numbers, self.layers, self.functions, strict=True):
            layer.W.grad = layer.b.grad = None
            tensors[f"Z{n}"] = layer(a)
            units[f"dA{n}"] = function(tensors[f"Z{n}"])
            a = tensors[f"A{n}"] = self.dropout.applied(n, units[f"dA{n}"])
            tensors[f"W{n}"], tensors[f"b{n}"] = layer.W, layer.b
        J = self.cost(a, self.Y)
        with _own_gradients(list(self.originals.values())):
            J.backward()
            if self.penalised is not None:
                loss, function = self.penalised
                z = Tensor(values(tensors[f"Z{self.numbers[-1]}"]), requires_grad=True)
                loss((function or _identity)(z * 1), self.Y).backward()
            direct = {i: p.grad for i, p in self.originals.items()}
        out = {name: values(t) for name, t in tensors.items()}
        out |= {f"d{name}": t.grad for name, t in tensors.items()} | {name: t.grad for name, t in units.items()}
        self._add_terms(tensors, direct, out)
        return out

    def _add_terms(self, tensors: dict[str, Any], direct: dict[int, Array | None], out: Arrays) -> None:
        """To dW and db, the gradient of the terms that the cost has in the parameters themselves."""
        self.beside: Arrays = {}
        self.penalty = 0.0
        shared = [p for p in tensors.values() if id(p) in self.originals]
        for name, p in tensors.items():
            if id(p) not in self.originals:
                continue
            total, here = out[f"d{name}"], direct[id(p)]
            if name[0] == "W" and self.lambd:
                if here is not None and np.any(here):
                    raise ValueError("diagnose: the loss has terms in W already. Give lambd= or such a loss, not both.")
                here = self.lambd / self.m * values(p)
            if here is not None and np.any(here):
                self.beside[f"d{name}"] = here
                out[f"d{name}"] = total + here
                if name[0] == "W":
                    self.penalty = self.penalty or _multiple(here, values(p))
            if sum(q is p for q in shared) > 1:
                self.beside[f"d{name}"] = out[f"d{name}"] - self._alone(f"d{name}", out)

    # -- one step -----------------------------------------------------------------------------------------------------

    def place(self, name: str) -> tuple[str, int, str, str, str]:
        """A step's kind, its layer's index and number, and the numbers of the layers below and behind."""
        kind = kind_of(name)
        if name == "dA0":
            return kind, -1, "0", "", self.numbers[0]
        k = self.numbers.index(name[len(kind) :])
        below = self.numbers[k - 1] if k else "0"
        return kind, k, self.numbers[k], below, self.numbers[k + 1] if k + 1 < len(self.numbers) else "end"

    def before(self, name: str) -> list[str]:
        """The steps that one is computed from directly."""
        kind, k, n, below, behind = self.place(name)
        a_below = [f"A{below}"] if k else []
        return {
            "Z": a_below,
            "A": [f"Z{n}"],
            "dA": [f"A{n}"] if behind == "end" else [f"dZ{behind}"],
            "dZ": [f"dA{n}", f"Z{n}", f"A{n}"],
            "dW": [f"dZ{n}", *a_below],
            "db": [f"dZ{n}"],
        }[kind]

    def compute(self, name: str, out: Arrays, through_dA: bool, masked: bool = True) -> Array:
        """One step from those before it; the last dZ of a cross-entropy as ``(A - Y)/m``, or from dA if asked to.

        An A or dA of a layer with dropout comes masked, or not.
        """
        kind, k, n, below, behind = self.place(name)
        layer = self.layers[k]
        if kind == "Z":
            return layer.W._value @ (out[f"A{below}"] if k else self.X) + layer.b._value
        if kind == "A":
            A = values(self.functions[k](out[f"Z{n}"]))
            return self.dropout.applied(n, A) if masked else A
        if kind == "dA":
            if behind == "end":
                return self._slope_of_the_cost(out[f"A{n}"])
            dA = self.layers[k + 1].W._value.T @ out[f"dZ{behind}"]
            return self.dropout.applied(n, dA) if masked else dA
        if kind == "dZ":
            if behind == "end" and self.fused and not through_dA:
                return (out[f"A{n}"] - self.Y) / self.m  # without the cancellation in dA * A (1 - A)
            if n in self.dropout.masks and self.masked_gates and self.activations[k] == "ReLU":
                return out[f"dA{n}"] * (out[f"A{n}"] > 0)
            A = values(self.functions[k](out[f"Z{n}"])) if n in self.dropout.masks else out[f"A{n}"]
            return self._through(k, out[f"Z{n}"], A, out[f"dA{n}"])
        return self._alone(name, out) + self.beside.get(name, 0.0)

    def _alone(self, name: str, out: Arrays) -> Array:
        """The dW or db that comes through the step's own dZ."""
        kind, k, n, below, _ = self.place(name)
        if kind == "dW":
            return out[f"dZ{n}"] @ (out[f"A{below}"] if k else self.X).T
        return out[f"dZ{n}"].sum(axis=1, keepdims=True)

    def _slope_of_the_cost(self, A: Array) -> Array:
        a = Tensor(np.clip(A, 0, 1) if self.fused else A, requires_grad=True)  # a leaf; the cost may write `A -= Y`
        with _own_gradients(list(self.originals.values())):
            self.cost(a * 1, self.Y).backward()
        return a.grad

    def _through(self, k: int, Z: Array, A: Array, dA: Array) -> Array:
        """The activation's step of the backward pass, in A where the course writes it so."""
        if self.activations[k] in ACTIVATIONS:
            return dA * derivative(self.activations[k], Z, A)
        z = Tensor(Z, requires_grad=True)
        self.functions[k](z * 1).backward(dA)
        return z.grad

    def step(
        self,
        name: str,
        out: Arrays,
        expected: Array,
        got: Array | None,
        if_instead: Any,
        given: Mapping[str, Array] = MappingProxyType({}),
        apart: bool = False,
    ) -> Step:
        """What a cause gets to see of a step, with the cost's own terms in the parameter or `apart` from them."""
        kind, k, n, below, behind = self.place(name)
        last, first = behind == "end", name == "dA0"  # of which there is no layer
        here = out | {name: expected}
        return Step(
            name, kind, last, self.m, expected, got, "" if first else self.activations[k], self.Y,
            W=None if first else self.layers[k].W._value, b=None if first else self.layers[k].b._value,
            A_prev=None if first else here[f"A{below}"] if k else self.X,
            Z_prev=here[f"Z{below}"] if k > 0 else None,
            W_next=None if last else self.layers[k + 1].W._value,
            Z=here.get(f"Z{n}"), A=self.X if first else here.get(f"A{n}"), dA=here.get(f"dA{n}"),
            dZ=here.get(f"dZ{n}"), dA_next=here.get(f"dA{behind}"), dZ_next=here.get(f"dZ{behind}"),
            dW_next=here.get(f"dW{behind}"), if_instead=if_instead,
            arrays={"X": self.X, "Y": self.Y} | self.reference | here, right=self.reference,
            numbers=tuple(self.numbers),
            activations=dict(zip(self.numbers, self.activations, strict=True)), cross_entropy=self.fused,
            beside=None if apart else self.beside.get(name), given=given, penalty=self.penalty,
            mask=self.dropout.masks.get(n), keep_prob=self.dropout.keep_prob, masks=self.dropout.masks,
        )  # fmt: skip

    def magnitude(self, name: str, r: Arrays) -> Array:
        """The sum of the magnitudes of the terms that the step adds, entry by entry: what rounding is relative to."""
        kind, k, n, below, behind = self.place(name)
        a_below = r[f"A{below}"] if k > 0 else np.abs(self.X)
        if behind != "end":
            dZ = self.dropout.applied(n, r[f"W{behind}"].T @ r[f"dZ{behind}"])
        else:
            dZ = (r[f"A{n}"] + np.abs(self.Y)) / self.m if self.fused else r[f"dA{n}"]
        if kind == "dA" and behind == "end" and self.fused:  # 1 / (1 - A) loses the digits that 1 - A does
            return r[name] / np.maximum(r[f"A{n}"] * np.abs(1 - r[f"A{n}"]), np.finfo(float).eps)
        if kind in HANDED_ON:
            return r[name] if kind == "dA" and behind == "end" else dZ
        terms: dict[str, Any] = {
            "Z": lambda: r[f"W{n}"] @ a_below + r[f"b{n}"],
            "A": lambda: r[f"A{n}"],
            "dW": lambda: dZ @ a_below.T,
            "db": lambda: dZ.sum(axis=1, keepdims=True),
        }
        return terms[kind]() + r.get(f"beside {name}", 0.0)

    def spread(self, name: str) -> Array:
        """What independent roundings in the terms of a step add up to, for a relative error of 1 in each."""
        kind, k, n, below, behind = self.place(name)
        r = self.reference
        a_below = r[f"A{below}"] if k > 0 else self.X
        if kind == "Z":
            return np.sqrt(r[f"W{n}"] ** 2 @ a_below**2 + r[f"b{n}"] ** 2)
        if kind == "dW":
            return np.sqrt(r[f"dZ{n}"] ** 2 @ (a_below**2).T) + np.abs(self.beside.get(name, 0.0))
        if kind == "db":
            return np.sqrt((r[f"dZ{n}"] ** 2).sum(axis=1, keepdims=True)) + np.abs(self.beside.get(name, 0.0))
        if kind == "dA" and behind != "end":
            return np.sqrt((r[f"W{behind}"] ** 2).T @ r[f"dZ{behind}"] ** 2)
        return self.magnitudes[name]


@contextmanager
def _own_gradients(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Within it, these begin without gradients; behind it, they have theirs again."""
    before = [p.grad for p in parameters]
    try:
        for p in parameters:
            p.grad = None
        yield
    finally:
        for p, gradient in zip(parameters, before, strict=True):
            p.grad = gradient


def _layers(flat: list[Any]) -> tuple[list[nn.Linear], list[list[Any]]]:
    """The Linear layers, and the functions that stand behind each."""
    linear: list[nn.Linear] = []
    behind: list[list[Any]] = []
    for layer in flat:
        if isinstance(layer, nn.Linear):
            linear.append(layer)
            behind.append([])
        elif not linear or (isinstance(layer, nn.Module) and layer.parameters()):
            raise TypeError(f"diagnose: expected Linear layers, each with its activation, but {layer!r} is in the way.")
        elif not isinstance(layer, nn.Dropout):  # which does nothing here, or as the masks say
            behind[-1].append(layer)
    if not linear:
        raise TypeError("diagnose: the model has no Linear layer.")
    return linear, behind


def _found(given: Dropout, numbers: list[str], layers: list[nn.Linear], parts: list[list[Any]], m: int) -> Dropout:
    """The masks that were given, each of its layer's shape; or those that stand in the model as functions."""
    shapes = {n: (layer.n_out, m) for n, layer in zip(numbers, layers, strict=True)}
    for n, mask in given.masks.items():
        if n not in numbers[:-1]:
            hidden = ", ".join(f"D{x}" for x in numbers[:-1]) or "none, as it has no hidden layer"
            raise ValueError(f"diagnose: D{n} is none of this model's masks: {hidden}.")
        if mask.shape != shapes[n]:
            raise ValueError(f"diagnose: D{n} has shape {mask.shape}, expected {shapes[n]}, as A{n}.")
    if given.masks:
        return given
    found: Arrays = {}
    factors = set()
    for n, functions in list(zip(numbers, parts, strict=True))[:-1]:
        scale = _as_mask(functions[-1], shapes[n]) if len(functions) > 1 else None
        if scale is not None:
            found[n] = (scale != 0).astype(float)
            factors.add(float(scale.max()))
    if len(factors) != 1:
        return given
    for n, functions in zip(numbers, parts, strict=True):
        if n in found:
            functions.pop()
    return Dropout(found, 1 / factors.pop())


def _as_mask(function: Any, shape: tuple[int, int]) -> Array | None:
    """What a function multiplies with, if that is 0 in some places and one number in the others."""
    if isinstance(function, nn.Module):
        return None
    draws = np.random.default_rng(0).uniform(0.5, 1, size=shape)
    try:
        scale = values(function(np.ones(shape)))
        same = np.array_equal(scale, values(function(np.ones(shape))))
        linear = np.allclose(values(function(draws)), scale * draws, rtol=1e-12, atol=0)
    except (ValueError, TypeError):
        return None
    some = np.unique(scale)
    return scale if same and linear and scale.shape == shape and len(some) == 2 and some[0] == 0 < some[1] else None


def _multiple(x: Array, p: Array) -> float:
    """Of which multiple of a parameter something consists; 0 if of none."""
    factor = multiple_of(x, p)
    return factor if np.allclose(x, factor * p, rtol=1e-9, atol=0) else 0.0


def _composed(functions: list[Any]) -> Any:
    if len(functions) < 2:
        return functions[0] if functions else None

    def composed(z: Any) -> Any:
        for function in functions:
            z = function(z)
        return z

    return composed


def _identity(z: Any) -> Any:
    return z


def _activation(function: Any) -> str:
    """What an activation is called, so that causes can know its derivative."""
    known: dict[str, tuple[Any, ...]] = {
        "tanh": (nn.Tanh, ops.tanh, np.tanh),
        "sigmoid": (nn.Sigmoid, ops.sigmoid),
        "ReLU": (nn.ReLU, ops.relu),
        "softmax": (nn.Softmax, ops.softmax),
    }
    for name, (layer, *functions) in known.items():
        if isinstance(function, layer) or function in functions:
            return name
    return getattr(function, "__name__", type(function).__name__).strip("_")


def _labels(Y: Any, rows: int, m: int) -> Array:
    """Labels as floats, class indices as one-hot columns."""
    Y = as_array(values(Y), "Y")
    if rows > 1 and Y.shape == (1, m) and Y.dtype.kind in "iub":
        losses.softmax_cross_entropy(np.zeros((rows, m)), Y)  # refuses a class that there is no row for
        Y = one_hot(Y, rows)
    return Y.astype(float)


def _cross_entropy(A: Any, Y: Array) -> Any:
    """The cross-entropy of probabilities of several classes."""
    losses.mean_squared_error(A, Y)  # refuses labels of another shape
    return -ops.sum(Y * ops.log(ops.clip(A, np.finfo(float).tiny))) / Y.shape[1]
