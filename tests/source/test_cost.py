"""What it costs to make code, derivations, pictures and compiled steps of shared factors."""

import sys

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.sources import LOGITS, X, Y
from tinygrad_dls.ir.printing import expression


def calls_of(f):
    """How many Python functions a call runs."""
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        f()
    finally:
        sys.setprofile(None)
    return count


def repeated(step):
    def cost(n):
        a = tg.Tensor(np.full((1, 3), 0.5), requires_grad=True, name="x")
        b = a + 0.5
        for _ in range(n):
            a, b = step(a, b)
        return np.sum(b)

    return cost


GRAPHS = {
    "a chain": repeated(lambda _, b: (b, np.tanh(b))),
    "products of shared factors": repeated(lambda a, b: (b, a * b)),
    "squares": repeated(lambda _, b: (b, b * b)),
    "negative squares": repeated(lambda _, b: (b, -(b * b))),
    "quotients": repeated(lambda a, b: (b, a / (2 + b))),
    "sums": repeated(lambda a, b: (b, a + b)),
    "a sigmoid and its products": repeated(lambda a, b: (tg.sigmoid(b), a * b)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_code_of_four_times_the_ops_takes_about_four_times_the_work(name):
    small, large = (calls_of(lambda n=n: tg.numpy_source(GRAPHS[name](n))) for n in (40, 160))
    assert large < 6 * small  # quadratic: 16 times; exponential: never


@pytest.mark.parametrize("name", ["products of shared factors", "squares", "quotients", "sums", "a chain"])
def test_a_derivation_and_a_picture_of_shared_factors_end(name):
    # the first 40 ops may still be shortened by algebra; behind them each costs the same
    small, large = (calls_of(lambda n=n: tg.derive(GRAPHS[name](n))) for n in (30, 60))
    assert large < 4 * small
    small, large = (calls_of(lambda n=n: tg.draw(GRAPHS[name](n))) for n in (40, 160))
    assert large < 6 * small


def test_a_compiled_step_of_shared_factors_is_made_in_linear_time():
    class Model(tg.nn.Module):
        def __init__(self, n):
            self.W, self.n = tg.nn.Parameter(np.full((1, 2), 0.1)), n

        def __call__(self, X):
            a = np.tanh(self.W @ X)
            b = a + 0.5
            for _ in range(self.n):
                a, b = b, a * b
            return b

    def make(n):
        model = Model(n)
        tg.compile(model, LOGITS, tg.optim.SGD(model.parameters(), lr=0.1))(X, Y)

    make(3)
    small, large = (calls_of(lambda n=n: make(n)) for n in (15, 60))
    assert large < 6 * small


@pytest.mark.parametrize(
    "step", [lambda z, w: z @ w, np.maximum, lambda z, w: np.where(z > 0, z, w) * w, lambda z, w: z / (1 + w * w)]
)
def test_a_weight_that_is_used_again_and_again_takes_time_in_proportion(step, monkeypatch):
    """As in a recurrent network: its gradient is a sum of as many terms, which gets lines of a few terms each."""
    characters = []
    for n in (60, 240):
        written = []
        monkeypatch.setattr(
            "tinygrad_dls.source.expression",
            lambda *args, written=written, **options: written.append(expression(*args, **options)) or written[-1],
        )
        w = tg.Tensor(np.full((2, 2), 0.1), requires_grad=True, name="W")
        z = w
        for _ in range(n):
            z = step(z, w)
        tg.numpy_source(np.sum(z))
        characters.append(sum(map(len, written)))
    assert characters[1] < 6 * characters[0]  # 4, and longer names, such as U100 for U10; the square would be 16


def test_the_courses_squeeze_of_a_cost_leaves_no_trace_in_the_code():
    X, Y = np.array([[0.5, -1.0, 2.0]]), np.array([[1, 0, 1]])
    w = tg.Tensor([[0.3]], requires_grad=True, name="w")

    def code(squeezed):
        A = tg.sigmoid(w @ X)
        J = -np.sum(np.multiply(Y, np.log(A)) + np.multiply(1 - Y, np.log(1 - A))) / 3
        return tg.numpy_source(np.squeeze(J) if squeezed else J)

    assert code(squeezed=True) == code(squeezed=False)
    assert "np.full" not in code(squeezed=True)
