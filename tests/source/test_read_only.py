"""Parameters that are read without a gradient, in code, graph, derivation and compiled steps."""

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.sources import LOGITS, X, Y, arguments_of, function, results_of


def under_no_grad(f):
    with tg.no_grad():
        return f()


READ = {  # how a penalty may read W besides
    "W.detach() * W": lambda W: np.sum(W.detach() * W),
    "W * W.detach()": lambda W: np.sum(W * W.detach()),
    "W.data * W": lambda W: np.sum(W.data * W),
    "of no_grad": lambda W: np.sum(under_no_grad(lambda: W * W) * W),
    "a Tensor of its array": lambda W: np.sum(tg.Tensor(W.data, name="W") * W),
    "detached twice": lambda W: np.sum(W.detach().detach() * W * W.detach()),
    "detached and transposed": lambda W: np.sum(W.detach().T @ W),
    "detached alone": lambda W: np.sum(W.detach()),
    "data alone": lambda W: np.sum(W.data**2),
}


class WithPenalty(tg.nn.Module):
    """Z = V X + a penalty of W, which stands before V or behind."""

    def __init__(self, read, first):
        self.V, self.W = tg.nn.Parameter(np.ones((1, 2))), tg.nn.Parameter(np.full((2, 2), 0.5))
        self.read, self.first = read, first

    def __call__(self, X):
        return self.read(self.W) * 0.1 + self.V @ X if self.first else self.V @ X + self.read(self.W) * 0.1


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", READ)
def test_a_parameter_that_is_detached_somewhere_keeps_its_gradient_and_no_other_gets_it(name, first):
    model = WithPenalty(READ[name], first)
    J = LOGITS(model(X), Y)
    J.backward()
    right = {f"d{p}": tensor.grad for p, tensor in model.named_parameters() if tensor.grad is not None}
    source = tg.numpy_source(model, X, Y, loss=LOGITS)
    assert results_of(source) == ["J", *(name for name in results_of(source) if name in right)]
    positional, _ = arguments_of(source)
    arrays = {"X": X, "Y": Y, **model.state_dict()}
    found = dict(zip(results_of(source), function(source)(*(arrays[a] for a in positional), m=400), strict=True))
    assert found.keys() == {"J", *right}
    for gradient, x in right.items():
        np.testing.assert_allclose(found[gradient], x, rtol=1e-12, atol=1e-15)
    assert set(results_of(tg.numpy_source(J))) == {"J", *right}
    arrays["m"] = 400
    formulas = {"np": np, "sigmoid": lambda Z: 1 / (1 + np.exp(-Z)), **arrays}
    for formula, code in tg.derive(model, X, Y, loss=LOGITS).formulas.items():
        formulas[formula] = eval(code, formulas)
    for gradient, x in right.items():
        np.testing.assert_allclose(formulas[gradient], x, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", READ)
def test_a_compiled_step_with_a_detached_parameter_trains_as_the_eager_one(name, first, gradients):
    costs = []
    for compiled in (False, True):
        model = WithPenalty(READ[name], first)
        optimizer = tg.optim.Adam(model.parameters(), lr=0.1)
        step = tg.compile(model, LOGITS, optimizer, gradients=gradients)
        costs.append([step(X, Y) if compiled else tg.optim.eager_step(model, LOGITS, optimizer, X, Y) for _ in "abc"])
    np.testing.assert_allclose(*costs, rtol=1e-12)


def test_a_parameter_that_is_only_read_gives_no_gradient_of_another_node():
    """One that is called like an inner value without a name."""

    class Model(tg.nn.Module):
        def __init__(self):
            self.W, self.U1 = tg.nn.Parameter(np.ones((1, 2))), tg.nn.Parameter(np.ones((1, 1)))

        def __call__(self, X):
            return np.tanh(np.sin(self.W @ X) + 1.0 * self.U1.data)

    source = tg.numpy_source(Model(), X, Y, loss=tg.mean_squared_error)
    assert results_of(source) == ["J", "dW"]
    assert arguments_of(source)[0] == ["X", "Y", "W", "U1"]
