"""Where a hand-written backprop goes wrong first, and why.

Autodiff says which of the given arrays are right. For a wrong one the step is taken again from the person's own earlier
arrays: if that gives it, the mistake was made before. If not, it was made here, and each known cause is tried (see
`tinygrad_dls.check.causes`): the one whose array equals the given one is reported, or several, or none.
"""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_dls import losses, nn, ops
from tinygrad_dls.arrays import as_array, shown
from tinygrad_dls.check.causes import DERIVATIVES, Step, causes
from tinygrad_dls.tensor import Tensor, values

__all__ = ["Diagnosis", "Finding", "diagnose"]

Array = Any
Arrays = dict[str, Array]
_Verdict = tuple[str, tuple[str, ...], str, Array | None]

# By the dtype of the given array, relative to the largest sum of magnitudes of terms in the step. Two ways to write a
# step differ by some roundings; a wrong one by far more.
TOLERANCES = {"float16": 1e-2, "float32": 1e-5}
TOLERANCE = 1e-9
WIDTH = 72  # of explanations in the report, which are indented


@dataclass(frozen=True)
class Finding:
    """What `diagnose` found about one array.

    Attributes
    ----------
    name : str
        Such as ``"dW1"``.
    verdict : str
        ``"right"``; ``"wrong"``; or ``"follows"``: right for the arrays that the person computed before, of which one
        is wrong.
    causes : tuple of str
        The known causes that give exactly this array: none if it is not wrong, or if no known one fits.
    where : str
        The step in which the cause lies: the array's own, or an earlier one that was not given.
    got_norm, expected_norm : float
        Euclidean norms of the given array and of autodiff's.
    worst : tuple of int or None
        The index where the two are farthest apart; None if their shapes differ.
    text : str
        What the report says.
    """

    name: str
    verdict: str
    causes: tuple[str, ...]
    where: str
    got_norm: float
    expected_norm: float
    worst: tuple[int, ...] | None
    text: str


@dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose`; ``print`` it.

    Attributes
    ----------
    title : str
        The model and the number of examples.
    findings : tuple of Finding
        In the order of the computation.
    """

    title: str
    findings: tuple[Finding, ...]

    @property
    def first_wrong(self) -> Finding | None:
        """The first wrong array in the order of the backward pass (after that of the forward pass)."""
        return next((finding for finding in self.findings if finding.verdict == "wrong"), None)

    def __str__(self) -> str:
        width = max(len(finding.name) for finding in self.findings)
        lines = [self.title]
        for finding in self.findings:
            first, *more = finding.text.splitlines()
            lines += [f"  {finding.name:{width}}  {first}", *(f"  {'':{width}}  {line}" for line in more)]
        wrong = self.first_wrong
        lines.append("All of these are right." if wrong is None else f"The first wrong one is {wrong.name}.")
        return "\n".join(lines)


def diagnose(
    model: nn.Sequential,
    X: Any,
    Y: Any,
    gradients: Mapping[str, Any],
    *,
    cache: Mapping[str, Any] | None = None,
    loss: Callable[[Any, Any], Any] | None = None,
) -> Diagnosis:
    """Find the first mistake in gradients that a person computed by hand, and its likely cause.

    Parameters
    ----------
    model : Sequential
        `Linear` layers and activations, such as `LogisticRegression` or `TwoLayerNetwork`, with the parameters at which
        the gradients were computed. It is not changed.
    X : array, shape (n_x, m)
    Y : array
        Labels, as the loss takes them.
    gradients : mapping of str to array
        Some or all of ``dA2, dZ2, dW2, db2, dA1, dZ1, dW1, db1, ...``; of a single layer, ``dA, dZ, dW, db``. The dA
        and dZ may be those of the cost, or, as in the course's programs, of the loss of each example, without the 1/m
        (``dZ2 = A2 - Y``); which of the two is found out, and said.
    cache : mapping of str to array, optional
        Some or all of ``Z1, A1, Z2, A2, ...`` from the person's own forward pass: they are checked first.
    loss : function, optional
        The cost of the model's output. By default the cross-entropy: of two classes for one output row, else of
        several. With a model that ends in a `Linear`, A of the last layer means its sigmoid or softmax.

    Returns
    -------
    Diagnosis

    Raises
    ------
    TypeError
        If the model is no Sequential of Linear layers and activations, or if an array is not numeric.
    ValueError
        If a name is unknown, nothing is given, or the model drops out at random.

    Examples
    --------
    >>> import numpy as np, tinygrad_dls as tg
    >>> X, Y = tg.datasets.planar_flower()
    >>> model = tg.nn.LogisticRegression(2)
    >>> A = model.predict_proba(X)
    >>> dZ = A - Y
    >>> print(tg.check.diagnose(model, X, Y, {"dZ": dZ, "dW": dZ @ X.T, "db": np.mean(dZ, axis=1, keepdims=True)}))
    LogisticRegression, 400 examples
      dZ  right, of each example's loss (without 1/m)
      dW  WRONG: 1/m is missing
          J is a mean over the m examples: divide by m once, in the first dZ, or
          else in dW and db.
          |yours| = 79.31, |autodiff| = 0.1983
          farthest apart at [0, 1]: 78.79088 for 0.1969772
      db  right
    The first wrong one is dW.
    """
    chain = _Chain(model, X, Y, loss)
    given = _named(chain, gradients, chain.gradients, "gradients")
    given |= _named(chain, {} if cache is None else cache, chain.forward, "cache")
    if not given:
        raise ValueError(f"diagnose: no arrays were given; expected some of {', '.join(chain.gradients)}.")
    given = {name: given[name] for name in chain.names if name in given}
    # float64 from here on; how much rounding is allowed depends on what it was
    tolerances = {name: TOLERANCES.get(str(x.dtype), TOLERANCE) for name, x in given.items()}
    exact = {name: x.astype(float) for name, x in given.items()}
    scales = chain.scales(exact, tolerances)
    theirs: Arrays = {}
    findings: list[Finding] = []
    doubtful: list[str] = []  # arrays that are wrong, or follow from wrong ones
    for name in exact:
        got, intermediate = exact[name], name[:2] in ("dA", "dZ")
        for factor in scales if intermediate else (1.0,):
            verdict, found, where, inferred = _judge(chain, name, got / factor, theirs, tolerances[name])
            if verdict != "wrong" or found:
                break
        else:
            factor = scales[0] if intermediate else 1.0
        theirs[name] = got / factor if got.shape == chain.reference[name].shape else chain.reference[name]
        sources = [other for other in doubtful if other in chain.before(name)] or doubtful
        findings.append(_finding(chain, name, got, factor, verdict, found, where, sources))
        if verdict != "right":
            doubtful.append(name)
        if inferred is not None:  # what the person has there, to judge by what he computed from it
            theirs[where] = inferred
            doubtful.append(where)
    wrong = [finding for finding in findings if finding.verdict == "wrong"]
    if wrong and not any(finding.causes for finding in wrong):
        alpha = chain.already_updated(exact)
        if alpha is not None:
            index = findings.index(wrong[0])
            text = textwrap.fill(
                "These are right for the parameters before an update with them, at a learning rate of about "
                f"{alpha:.3g}. Compute the gradients, diagnose them, then update.",
                WIDTH,
            )
            title = "an update applied before the gradient"
            findings[index] = replace(
                wrong[0], causes=(title,), text="\n".join([f"WRONG: {title}", text, *wrong[0].text.splitlines()[-2:]])
            )
    return Diagnosis(f"{type(model).__name__}, {chain.m} examples", tuple(findings))


def _named(chain: _Chain, arrays: Mapping[str, Any], known: list[str], role: str) -> Arrays:
    """The given arrays under the names that the model has for them."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f'diagnose: {role}: expected a dict such as {{"{known[-2]}": ...}}, got {shown(arrays)}.')
    given: Arrays = {}
    for name, x in arrays.items():
        course = str(name).replace("w", "W").replace("z", "Z").replace("a", "A")
        if course not in known and len(chain.layers) == 1:
            course = course.removesuffix("1")
        if course not in known:
            raise ValueError(f"diagnose: {name} is none of this model's {role}: {', '.join(known)}.")
        given[course] = as_array(values(x), str(name))
    return given


# -- one array --------------------------------------------------------------------------------------------------------


def _judge(chain: _Chain, name: str, got: Array, theirs: Arrays, tolerance: float) -> _Verdict:
    """The verdict on one array, the causes that fit, the step in which they lie, and that step's array if not given."""
    size = chain.magnitude(name)

    def equal(a: Array, b: Array) -> bool:
        return a.shape == b.shape and bool(np.all(np.abs(a - b) <= tolerance * max(size, np.abs(b).max(initial=0))))

    reference = chain.reference[name]
    if equal(got, reference) or (got.shape == () and reference.size == 1 and equal(got.reshape(1, 1), reference)):
        return "right", (), "", None
    if not np.all(np.isfinite(got)):
        return "wrong", (), name, None
    all_of_theirs = chain.run(theirs)
    if equal(got, all_of_theirs[name]):
        return "follows", (), "", None
    # the mistake may be here, or in a step between the last given array and this one
    for where in chain.upstream(name, theirs):
        fitting: dict[str, Array] = {}
        for title, known in causes.items():
            if chain.kind(where) not in known.kinds:
                continue
            step = chain.step(where, theirs, all_of_theirs, got if where == name else None)
            for candidate in _several(known.mistake(step)):
                result = chain.if_instead(name, theirs, where, candidate)
                if result is not None and equal(got, result) and not equal(result, all_of_theirs[name]):
                    fitting[title] = candidate
                    break
        if fitting:
            inferred = fitting[min(fitting)] if where != name and len(fitting) == 1 else None
            return "wrong", tuple(fitting), where, inferred
    return "wrong", (), name, None


def _several(candidates: Any) -> list[Array]:
    if candidates is None:
        return []
    return [np.asarray(c, dtype=float) for c in (candidates if isinstance(candidates, (list, tuple)) else [candidates])]


def _finding(
    chain: _Chain,
    name: str,
    got: Array,
    factor: float,
    verdict: str,
    found: tuple[str, ...],
    where: str,
    sources: list[str],
) -> Finding:
    expected = chain.reference[name] * factor
    of_each = ", of each example's loss (without 1/m)" * (factor != 1)
    worst, far = None, ""
    if got.shape == expected.shape and got.size:
        gap = np.abs(got - expected)
        worst = tuple(int(i) for i in np.unravel_index(np.argmax(np.where(np.isnan(gap), np.inf, gap)), gap.shape))
        far = f"\nfarthest apart at {list(worst)}: {got[worst]:.7g} for {expected[worst]:.7g}"
    norms = float(np.linalg.norm(got)), float(np.linalg.norm(expected))
    if verdict == "right":
        text = "right" + of_each + (", as a number for (1, 1)" if got.shape != expected.shape else "")
    elif verdict == "follows":
        text = f"follows: right for your {', '.join(sources)}{of_each}"
    else:
        place = f" in {where}, which was not given" if where != name else ""
        shapes = f"shape {got.shape}, expected {expected.shape}" if got.shape != expected.shape else ""
        if not found:
            what = "it holds NaN or infinities" if not np.all(np.isfinite(got)) else "no cause that is known here fits"
            text = f"WRONG: {what}" + f"; {shapes}" * bool(shapes)
        else:
            text = "WRONG: " + "; or ".join(found) + place + f" ({shapes})" * bool(shapes)
            text += "".join("\n" + textwrap.fill(causes[title].explanation, WIDTH) for title in found)
        text += f"\n|yours| = {norms[0]:.4g}, |autodiff| = {norms[1]:.4g}{far}"
    return Finding(name, verdict, found, where, *norms, worst, text)


# -- the model's own computation --------------------------------------------------------------------------------------


class _Chain:
    """The forward and backward pass of a model, step by step, with any step exchanged; and autodiff's own results."""

    def __init__(self, model: nn.Sequential, X: Any, Y: Any, loss: Callable[[Any, Any], Any] | None) -> None:
        if not isinstance(model, nn.Sequential):
            raise TypeError(f"diagnose: expected a Sequential of Linear layers and activations, got {shown(model)}.")
        if any(isinstance(part, nn.Dropout) and part.training and part.keep_prob < 1 for part in model.modules()):
            raise ValueError("diagnose: the model drops out at random. Call model.eval() before.")
        exchanged: dict[int, Any] = {id(p): nn.Parameter(values(p).astype(float)) for p in model.parameters()}
        flat = list(copy.deepcopy(model, exchanged)._flat())
        if loss is not None and not callable(loss):
            raise TypeError(f"diagnose: loss: expected a function, such as tg.mean_squared_error, got {shown(loss)}.")
        self.X = as_array(values(X), "X").astype(float)
        if not np.all(np.isfinite(self.X)):
            raise ValueError("diagnose: X holds NaN or infinities, so no gradient is defined.")
        self.layers, functions = _layers(flat)
        rows = self.layers[-1].n_out
        if loss in (None, losses.binary_cross_entropy_with_logits, losses.softmax_cross_entropy) and not functions[-1]:
            functions[-1] = ops.sigmoid if rows == 1 else ops.softmax
        self.functions = [function or _identity for function in functions]
        self.activations = [_activation(function) for function in self.functions]
        cross_entropy = loss is None or loss in (
            losses.binary_cross_entropy, losses.binary_cross_entropy_with_logits, losses.softmax_cross_entropy
        )  # fmt: skip
        self.Y = _labels(Y, rows, np.shape(self.X)[-1] if self.X.ndim else 1)
        self.cost = (_cross_entropy if rows > 1 else losses.binary_cross_entropy) if cross_entropy else loss
        if cross_entropy and self.activations[-1] not in ("sigmoid", "softmax"):
            raise ValueError(
                f"diagnose: the model ends in {self.activations[-1]}, which gives no probabilities for the "
                "cross-entropy. Say which cost it has with loss=..., such as loss=tg.mean_squared_error."
            )
        self.fused = cross_entropy

        numbers = [""] if len(self.layers) == 1 else [str(k + 1) for k in range(len(self.layers))]
        self.numbers = numbers
        self.forward = [f"{kind}{n}" for n in numbers for kind in "ZA"]
        self.gradients = [f"{kind}{n}" for n in reversed(numbers) for kind in ("dA", "dZ", "dW", "db")]
        self.names = self.forward + self.gradients
        self.reference = self._by_autodiff()
        self.m = self.X.shape[1]

    def _by_autodiff(self) -> Arrays:
        """The values and gradients of every step, from the engine."""
        a, tensors = self.X, {}
        for n, layer, function in zip(self.numbers, self.layers, self.functions, strict=True):
            tensors[f"Z{n}"] = layer(a)
            a = tensors[f"A{n}"] = function(tensors[f"Z{n}"])
            tensors[f"W{n}"], tensors[f"b{n}"] = layer.W, layer.b
            layer.W.grad = layer.b.grad = None
        cost: Any = self.cost
        cost(a, self.Y).backward()
        return {name: values(t) for name, t in tensors.items()} | {f"d{name}": t.grad for name, t in tensors.items()}

    def run(self, exchanged: Arrays) -> Arrays:
        """Every step from the ones before it, with some of them exchanged."""
        out: Arrays = {}
        a = self.X
        for n, layer, function in zip(self.numbers, self.layers, self.functions, strict=True):
            Z = out[f"Z{n}"] = exchanged.get(f"Z{n}", layer.W._value @ a + layer.b._value)
            a = out[f"A{n}"] = exchanged.get(f"A{n}", values(function(Z)))
        dA = self._slope_of_the_cost(a)
        for k in reversed(range(len(self.layers))):
            n, layer = self.numbers[k], self.layers[k]
            Z, A, A_prev = out[f"Z{n}"], out[f"A{n}"], out[f"A{self.numbers[k - 1]}"] if k else self.X
            dA = out[f"dA{n}"] = exchanged.get(f"dA{n}", dA)
            if self.fused and k == len(self.layers) - 1 and f"dA{n}" not in exchanged:
                dZ = (A - self.Y) / self.X.shape[1]  # without the cancellation of dA * A (1 - A)
            else:
                dZ = self._through(k, Z, A, dA)
            dZ = out[f"dZ{n}"] = exchanged.get(f"dZ{n}", dZ)
            out[f"dW{n}"] = exchanged.get(f"dW{n}", dZ @ A_prev.T)
            out[f"db{n}"] = exchanged.get(f"db{n}", dZ.sum(axis=1, keepdims=True))
            dA = layer.W._value.T @ dZ
        return out

    def _slope_of_the_cost(self, A: Array) -> Array:
        cost: Any = self.cost
        a = Tensor(np.clip(A, 0, 1) if self.fused else A, requires_grad=True)
        cost(a, self.Y).backward()
        return a.grad

    def _through(self, k: int, Z: Array, A: Array, dA: Array) -> Array:
        """The activation's step of the backward pass, in A where the course writes it so."""
        derivative = DERIVATIVES.get(self.activations[k])
        if derivative is not None:
            return dA * derivative(Z, A)
        z = Tensor(Z, requires_grad=True)
        self.functions[k](z * 1).backward(dA)
        return z.grad

    def already_updated(self, given: Arrays) -> float | None:
        """The learning rate of an update that, undone, makes the given dW and db right; None if there is none."""
        parameters = {f"{kind}{n}": getattr(layer, kind) for n, layer in self._numbered() for kind in ("W", "b")}
        steps: Arrays = {name: given.get(f"d{name}") for name in parameters}
        if any(np.shape(step) != parameters[name].shape for name, step in steps.items()):
            return None
        now = {name: p.data for name, p in parameters.items()}

        def gap(log_alpha: float) -> float:
            """How far, relatively, the gradients before an update with this learning rate are from the given ones."""
            for name, p in parameters.items():
                p.data = now[name] + np.exp(log_alpha) * steps[name]
            before = self._by_autodiff()
            return max(
                float(np.abs(before[f"d{name}"] - step).max() / np.abs(step).max(initial=1e-300))
                for name, step in steps.items()
            )

        try:
            grid = np.log(10.0) * np.linspace(-4, 1, 26)
            best = int(np.argmin([gap(x) for x in grid]))
            low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
            for _ in range(60):  # golden sections: each leaves 0.62 of the interval, 60 of them 1e-12
                third = 0.381966 * (high - low)
                if gap(low + third) < gap(high - third):
                    high -= third
                else:
                    low += third
            return float(np.exp(low)) if gap(low) < 1e-6 else None
        finally:
            for name, p in parameters.items():
                p.data = now[name]

    def _numbered(self) -> list[tuple[str, nn.Linear]]:
        return list(zip(self.numbers, self.layers, strict=True))

    def if_instead(self, name: str, theirs: Arrays, where: str, candidate: Array) -> Array | None:
        """The step `name`, if the step `where` had given a candidate; None if the shapes do not allow it."""
        if name == where:
            return candidate
        try:
            return self.run({k: x for k, x in theirs.items() if k != where} | {where: candidate})[name]
        except ValueError:
            return None

    # -- what stands where ---------------------------------------------------------------------------------------------

    def kind(self, name: str) -> str:
        """``dW`` of ``dW1``."""
        return name.rstrip("0123456789")

    def before(self, name: str) -> list[str]:
        """The steps that one is computed from directly."""
        kind, k = self.kind(name), self.numbers.index(name[len(self.kind(name)) :])
        n, last = self.numbers[k], k == len(self.numbers) - 1
        below = [f"A{self.numbers[k - 1]}"] if k else []
        return {
            "Z": below,
            "A": [f"Z{n}"],
            "dA": [f"A{n}"] if last else [f"dZ{self.numbers[k + 1]}"],
            "dZ": [f"dA{n}", f"Z{n}", f"A{n}"],
            "dW": [f"dZ{n}", *below],
            "db": [f"dZ{n}"],
        }[kind]

    def upstream(self, name: str, theirs: Arrays) -> list[str]:
        """The step itself, and those before it, as far back as they were not given; the nearest first."""
        steps, waiting = [name], self.before(name)
        while waiting:
            step = waiting.pop(0)
            if step not in theirs and step not in steps:
                steps.append(step)
                waiting += self.before(step)
        return steps

    def step(self, name: str, theirs: Arrays, out: Arrays, got: Array | None) -> Step:
        """What a cause gets to see of a step."""
        kind = self.kind(name)
        k = self.numbers.index(name[len(kind) :])
        n, last = self.numbers[k], k == len(self.numbers) - 1
        behind = None if last else self.numbers[k + 1]
        return Step(
            name, kind, last, self.m, out[name], got, self.activations[k], self.Y,
            W=self.layers[k].W._value, b=self.layers[k].b._value, Z=out[f"Z{n}"], A=out[f"A{n}"],
            A_prev=out[f"A{self.numbers[k - 1]}"] if k else self.X, dA=out[f"dA{n}"], dZ=out[f"dZ{n}"],
            Z_prev=out[f"Z{self.numbers[k - 1]}"] if k else None,
            W_next=None if behind is None else self.layers[k + 1].W._value,
            **{f"{d}_next": None if behind is None else out[f"{d}{behind}"] for d in ("dA", "dZ", "dW")},
            if_instead=lambda where, candidate: self.if_instead(name, theirs, where, candidate),
        )  # fmt: skip

    def magnitude(self, name: str) -> float:
        """The largest sum of the magnitudes of the terms in a step: what its rounding is relative to."""
        kind, r = self.kind(name), {key: np.abs(x) for key, x in self.reference.items()}
        k = self.numbers.index(name[len(kind) :])
        n, last = self.numbers[k], k == len(self.numbers) - 1
        below = r[f"A{self.numbers[k - 1]}"] if k else np.abs(self.X)
        dZ = (r[f"A{n}"] + np.abs(self.Y)) / self.m if last and self.fused else r[f"dA{n}"]
        if not last:
            behind = self.numbers[k + 1]
            dZ = r[f"W{behind}"].T @ r[f"dZ{behind}"]
        sizes = {
            "Z": r[f"W{n}"] @ below + r[f"b{n}"],
            "A": r[f"A{n}"],
            "dA": r[name] if last else dZ,
            "dZ": dZ,
            "dW": dZ @ below.T,
            "db": dZ.sum(axis=1),
        }
        return float(sizes[kind].max(initial=0))

    def scales(self, given: Arrays, tolerances: dict[str, float]) -> tuple[float, float]:
        """By what dA and dZ may be scaled: 1, or m where they lack the 1/m. First the one that a right one shows."""
        for name, got in given.items():
            expected = self.reference[name]
            if name[:2] not in ("dA", "dZ") or got.shape != expected.shape:
                continue
            for factor in (1, self.m):
                if np.all(np.abs(got / factor - expected) <= tolerances[name] * self.magnitude(name)):
                    return factor, self.m / factor
        return 1, self.m


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
