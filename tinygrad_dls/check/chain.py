"""A network's forward and backward pass, step by step, as a person computes them; and autodiff's own results.

`tinygrad_dls.check.diagnose` walks along these steps. Each one is a line of the course's derivation:
``Z = W A_prev + b``, ``A = g(Z)``, ``dZ = dA * g'(Z)``, ``dW = dZ A_prev^T``, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_dls import nn
from tinygrad_dls.check.causes import ACTIVATIONS, Step, derivative
from tinygrad_dls.engine import ops
from tinygrad_dls.engine.arrays import Array, as_array
from tinygrad_dls.engine.errors import shown
from tinygrad_dls.engine.tensor import Tensor, values
from tinygrad_dls.graph.subject import Subject
from tinygrad_dls.nn import losses, substitution

Arrays = dict[str, Array]


class Chain:
    """The steps of a Sequential of Linear layers and activations: ``Z1, A1, ..., dA2, dZ2, dW2, db2, dA1, ...``.

    Attributes
    ----------
    names : list of str
        All the steps, each behind those that it is computed from.
    reference : dict of str to array
        Their values by autodiff.
    beside : dict of str to array
        The part of dW and db that does not come through the model's output, as of an L2 penalty in the cost, or comes
        through another layer with the same parameter. It is added to what comes through the step's own dZ.
    m : int
        Number of examples.
    """

    def __init__(self, given: Subject) -> None:
        model, (X, Y), loss = given.model, given.inputs, given.loss
        if not isinstance(model, nn.Sequential):
            raise TypeError(f"diagnose: expected a Sequential of Linear layers and activations, got {shown(model)}.")
        if any(isinstance(part, nn.Dropout) and part.training and part.keep_prob < 1 for part in model.modules()):
            raise ValueError("diagnose: the model drops out at random. Call model.eval() before.")
        self.X = as_array(values(X), "X").astype(float)
        if not np.all(np.isfinite(self.X)):
            raise ValueError("diagnose: X holds NaN or infinities, so no gradient is defined.")
        copies = {p: nn.Parameter(values(p).astype(float)) for p in model.parameters()}
        own = substitution.with_parameters(model, copies)
        # the cost takes the parameters themselves, if it has a penalty on them
        self.originals = {id(copy): p for p, copy in copies.items()}
        self.layers, functions = _layers(list(own._flat()))
        rows = self.layers[-1].n_out
        cross_entropies = (
            losses.binary_cross_entropy, losses.binary_cross_entropy_with_logits, losses.softmax_cross_entropy
        )  # fmt: skip
        self.fused = loss is None or loss in cross_entropies  # then the last dZ is (A - Y) / m
        if self.fused and functions[-1] is None:
            functions[-1] = ops.sigmoid if rows == 1 else ops.softmax
        self.functions = [function or _identity for function in functions]
        self.activations = [_activation(function) for function in self.functions]
        if self.fused and self.activations[-1] not in ("sigmoid", "softmax"):
            raise ValueError(
                f"diagnose: the model ends in {self.activations[-1]}, which gives no probabilities for the "
                "cross-entropy. Say which cost it has with loss=..., such as loss=tg.mean_squared_error."
            )
        self.Y = _labels(Y, rows, np.shape(self.X)[-1] if self.X.ndim else 1)
        self.cost: Any = (_cross_entropy if rows > 1 else losses.binary_cross_entropy) if self.fused else loss

        self.numbers = [""] if len(self.layers) == 1 else [str(k + 1) for k in range(len(self.layers))]
        self.forward = [f"{kind}{n}" for n in self.numbers for kind in "ZA"]
        self.gradients = [f"{kind}{n}" for n in reversed(self.numbers) for kind in ("dA", "dZ", "dW", "db")]
        self.names = self.forward + self.gradients
        self.reference = self._by_autodiff()
        self.m = self.X.shape[1]
        sizes = {name: np.abs(x) for name, x in self.reference.items()}
        sizes |= {f"beside {name}": np.abs(x) for name, x in self.beside.items()}
        self.magnitudes = {name: self._magnitude(name, sizes) for name in self.names}

    def _by_autodiff(self) -> Arrays:
        """The values and gradients of every step, from the engine."""
        a, tensors = self.X, {}
        for n, layer, function in zip(self.numbers, self.layers, self.functions, strict=True):
            layer.W.grad = layer.b.grad = None
            tensors[f"Z{n}"] = layer(a)
            a = tensors[f"A{n}"] = function(tensors[f"Z{n}"])
            tensors[f"W{n}"], tensors[f"b{n}"] = layer.W, layer.b
        J = self.cost(a, self.Y)
        with _own_gradients(list(self.originals.values())):
            J.backward()
            direct = {i: p.grad for i, p in self.originals.items()}
        out = {name: values(t) for name, t in tensors.items()} | {f"d{name}": t.grad for name, t in tensors.items()}
        self.beside = {}
        shared = [p for p in tensors.values() if id(p) in self.originals]
        for name, p in tensors.items():
            if id(p) not in self.originals:
                continue
            total, here = out[f"d{name}"], direct[id(p)]
            if here is not None and np.any(here):
                self.beside[f"d{name}"] = here
                out[f"d{name}"] = total + here
            if sum(q is p for q in shared) > 1:
                self.beside[f"d{name}"] = out[f"d{name}"] - self._alone(f"d{name}", out)
        return out

    # -- one step -----------------------------------------------------------------------------------------------------

    def kind(self, name: str) -> str:
        """``dW`` of ``dW1``."""
        return name.rstrip("0123456789")

    def place(self, name: str) -> tuple[str, int, str, str, str]:
        """A step's kind, its layer's index and number, and the numbers of the layers below and behind."""
        kind = self.kind(name)
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

    def compute(self, name: str, out: Arrays, through_dA: bool) -> Array:
        """One step from those before it; the last dZ of a cross-entropy as ``(A - Y)/m``, or from dA if asked to."""
        kind, k, n, below, behind = self.place(name)
        layer = self.layers[k]
        if kind == "Z":
            return layer.W._value @ (out[f"A{below}"] if k else self.X) + layer.b._value
        if kind == "A":
            return values(self.functions[k](out[f"Z{n}"]))
        if kind == "dA":
            return self._slope_of_the_cost(out[f"A{n}"]) if behind == "end" else self._carried(k, out)
        if kind == "dZ":
            if behind == "end" and self.fused and not through_dA:
                return (out[f"A{n}"] - self.Y) / self.m  # without the cancellation in dA * A (1 - A)
            return self._through(k, out[f"Z{n}"], out[f"A{n}"], out[f"dA{n}"])
        return self._alone(name, out) + self.beside.get(name, 0.0)

    def _alone(self, name: str, out: Arrays) -> Array:
        """The dW or db that comes through the step's own dZ."""
        kind, k, n, below, _ = self.place(name)
        if kind == "dW":
            return out[f"dZ{n}"] @ (out[f"A{below}"] if k else self.X).T
        return out[f"dZ{n}"].sum(axis=1, keepdims=True)

    def _carried(self, k: int, out: Arrays) -> Array:
        return self.layers[k + 1].W._value.T @ out[f"dZ{self.numbers[k + 1]}"]

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

    def step(self, name: str, out: Arrays, expected: Array, got: Array | None, if_instead: Any) -> Step:
        """What a cause gets to see of a step."""
        kind, k, n, below, behind = self.place(name)
        last = behind == "end"
        here = out | {name: expected}
        return Step(
            name, kind, last, self.m, expected, got, self.activations[k], self.Y,
            W=self.layers[k].W._value, b=self.layers[k].b._value, A_prev=here[f"A{below}"] if k else self.X,
            Z_prev=here[f"Z{below}"] if k else None,
            W_next=None if last else self.layers[k + 1].W._value,
            Z=here.get(f"Z{n}"), A=here.get(f"A{n}"), dA=here.get(f"dA{n}"), dZ=here.get(f"dZ{n}"),
            dA_next=here.get(f"dA{behind}"), dZ_next=here.get(f"dZ{behind}"), dW_next=here.get(f"dW{behind}"),
            if_instead=if_instead, beside=self.beside.get(name), numbers=tuple(self.numbers),
            arrays={"X": self.X, "Y": self.Y} | self.reference | here, right=self.reference,
            activations=dict(zip(self.numbers, self.activations, strict=True)), cross_entropy=self.fused,
        )  # fmt: skip

    def _magnitude(self, name: str, r: Arrays) -> Array:
        """The sum of the magnitudes of the terms that the step adds, entry by entry: what rounding is relative to."""
        kind, k, n, below, behind = self.place(name)
        a_below = r[f"A{below}"] if k else np.abs(self.X)
        if behind != "end":
            dZ = r[f"W{behind}"].T @ r[f"dZ{behind}"]
        else:
            dZ = (r[f"A{n}"] + np.abs(self.Y)) / self.m if self.fused else r[f"dA{n}"]
        if kind == "dA" and behind == "end" and self.fused:  # 1 / (1 - A) loses the digits that 1 - A does
            return r[name] / np.maximum(r[f"A{n}"] * np.abs(1 - r[f"A{n}"]), np.finfo(float).eps)
        return {
            "Z": r[f"W{n}"] @ a_below + r[f"b{n}"],
            "A": r[f"A{n}"],
            "dA": dZ if behind != "end" else r[name],
            "dZ": dZ,
            "dW": dZ @ a_below.T,
            "db": dZ.sum(axis=1, keepdims=True),
        }[kind] + r.get(f"beside {name}", 0.0)

    # -- the whole ----------------------------------------------------------------------------------------------------

    def already_updated(self, given: Arrays) -> float | None:
        """The learning rate of an update that, undone, makes the given dW and db right; None if there is none."""
        if self.beside:  # the cost would have to see the earlier parameters too
            return None
        layers = list(zip(self.numbers, self.layers, strict=True))
        parameters = {f"{kind}{n}": getattr(layer, kind) for n, layer in layers for kind in ("W", "b")}
        steps: Arrays = {name: given.get(f"d{name}") for name in parameters}
        if any(np.shape(s) != parameters[name].shape or not np.all(np.isfinite(s)) for name, s in steps.items()):
            return None
        now = {name: p.data for name, p in parameters.items()}

        def gap(alpha: float) -> float:
            """How far, relatively, the gradients before an update with this learning rate are from the given ones."""
            for name, p in parameters.items():
                p.data = now[name] + alpha * steps[name]
            before = self._by_autodiff()
            return max(
                float(np.abs(before[f"d{name}"] - step).max() / np.abs(step).max(initial=1e-300))
                for name, step in steps.items()
            )

        try:
            grid = np.log(10.0) * np.linspace(-4, 1, 26)
            gaps = [gap(np.exp(x)) for x in grid]
            best = int(np.argmin(gaps))
            if gaps[best] > 0.5:  # next to the right one, a quarter of it away, they are much smaller
                return None
            low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
            for _ in range(60):  # golden sections: each leaves 0.62 of the interval, 60 of them 1e-12
                third = 0.381966 * (high - low)
                if gap(np.exp(low + third)) < gap(np.exp(high - third)):
                    high -= third
                else:
                    low += third
            alpha = float(np.exp(low))
            return alpha if gap(alpha) < 1e-6 and gap(alpha) < 1e-3 * gap(0.0) else None
        finally:
            for name, p in parameters.items():
                p.data = now[name]


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


def _layers(flat: list[Any]) -> tuple[list[nn.Linear], list[Any]]:
    """The Linear layers, and what stands behind each, as one function; None if nothing does."""
    linear: list[nn.Linear] = []
    behind: list[list[Any]] = []
    for layer in flat:
        if isinstance(layer, nn.Linear):
            linear.append(layer)
            behind.append([])
        elif not linear or (isinstance(layer, nn.Module) and layer.parameters()):
            raise TypeError(f"diagnose: expected Linear layers, each with its activation, but {layer!r} is in the way.")
        elif not isinstance(layer, nn.Dropout):  # which does nothing here
            behind[-1].append(layer)
    if not linear:
        raise TypeError("diagnose: the model has no Linear layer.")
    return linear, [_composed(functions) for functions in behind]


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
        Y = np.arange(rows)[:, None] == Y
    return Y.astype(float)


def _cross_entropy(A: Any, Y: Array) -> Any:
    """The cross-entropy of probabilities of several classes."""
    losses.mean_squared_error(A, Y)  # refuses labels of another shape
    return -ops.sum(Y * ops.log(ops.clip(A, np.finfo(float).tiny))) / Y.shape[1]
