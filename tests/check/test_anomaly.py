"""detect_anomaly names the op, the layer, the input and the line; without it, nothing looks."""

import inspect
import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls.check import anomaly


def leaf(data, name=None):
    return tg.Tensor(data, requires_grad=True, name=name)


def line_of(text):
    """The number of the line of this file that holds the text, and not this call."""
    with open(__file__) as file:
        (number,) = (i for i, line in enumerate(file, 1) if line.strip() == text)
    return number


def caught(f):
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError) as error:
        f()
    return str(error.value)


def test_forward_names_the_op_the_input_and_the_line():
    x = leaf([[1.0, 0.0], [4.0, -1.0]], "x")

    def f():
        y = x * 2
        return np.log(y)  # the line

    text = caught(f)
    assert text.splitlines()[0] == "log made an infinity (2 of 4 entries, first at [0, 1])."
    assert f"{__file__}:{line_of('return np.log(y)  # the line')}: return np.log(y)  # the line" in text
    assert "argument 1 (2, 2): finite, from -2 to 8, and 0 there" in text


def test_backward_names_the_forward_line_of_the_op_that_is_to_blame():
    x = leaf([4.0, 0.0], "x")

    def f():
        root = np.sqrt(x)  # finite forward, infinite slope
        J = np.sum(root * 3)
        J.backward()

    text = caught(f)
    assert text.splitlines()[0] == "the backward pass of sqrt made an infinity (1 of 2 entries, first at [1]) in dx."
    assert re.search(r"its forward pass: .*test_anomaly.py:\d+: root = np.sqrt\(x\)", text)
    assert "x (2,): finite, from 0 to 4, and 0 there" in text
    assert "the gradient that came in: finite" in text
    assert x.grad is None


def test_a_single_number_is_a_nan_without_an_index():
    x = leaf(0.0, "x")
    assert caught(lambda: x / 0.0).startswith("divide made a NaN.")


def test_data_that_holds_a_nan_already_are_named():
    model = tg.nn.TwoLayerNetwork(2, 3, rng=0)
    X = np.array([[1.0, np.nan], [0.0, 1.0]])
    text = caught(lambda: model(X))
    assert text.splitlines()[0].startswith(
        "affine gave a NaN (3 of 6 entries, first at [0, 1]), which was in argument 2"
    )
    assert "in layer1 (Linear 2 -> 3)" in text
    assert "argument 2 (2, 2): holds a NaN (1 of 4 entries, first at [0, 1])" in text


@pytest.mark.parametrize(
    ("activation", "layer"),
    [(np.log, r"in log, whose output is A1"), (tg.nn.Sequential(np.log), r"in log"), (None, None)],
)
def test_the_layer_of_an_activation_is_named(activation, layer):
    class Log(tg.nn.Module):
        def __call__(self, z):
            return np.log(z)

    model = tg.nn.TwoLayerNetwork(2, 3, activation=activation or Log(), rng=0)
    text = caught(lambda: model(-np.ones((2, 4))))
    assert "log made a NaN" in text
    assert re.search(layer or "in Log", text)


def test_the_layer_and_its_course_names_in_the_backward_pass():
    model = tg.nn.Sequential(tg.nn.Linear(1, 1, init=tg.init.zeros), np.sqrt, tg.nn.Linear(1, 1, init=[[1.0]]))
    text = caught(lambda: tg.mean_squared_error(model(np.ones((1, 2))), np.ones((1, 2))).backward())
    assert (
        text.splitlines()[0] == "the backward pass of sqrt made an infinity (2 of 2 entries, first at [0, 0]) in dZ1."
    )
    assert "in sqrt, whose output is A1" in text
    assert "the gradient that came in, dA1: finite" in text
    assert all(p.grad is None for p in model.parameters())


def chain():
    """A model whose activations are both called A1."""
    layers = tg.nn.Linear(1, 1, init=[[1.0]]), tg.nn.ReLU(), np.sqrt, tg.nn.Linear(1, 1, init=[[1.0]])
    return tg.nn.Sequential(*layers)


@pytest.mark.parametrize("bad", ["slope", "sum"])
def test_an_input_and_an_output_of_the_same_name_are_told_apart(bad):
    def f():
        A = chain().layers[1](leaf([[0.0, 1.0]]))
        A.name = "A1"
        A = np.sqrt(A)
        A.name = "A1"
        (A if bad == "slope" else A + A).backward([[1e308, 1e308]])

    text = caught(f)
    if bad == "sum":
        assert text.startswith(
            "the gradient of the output of sqrt became an infinity (2 of 2 entries, first at [0, 0])"
        )
        assert "  it was computed here: " in text
        return
    assert text.splitlines()[0].endswith(
        "an infinity (1 of 2 entries, first at [0, 0]) in the gradient of the input of sqrt."
    )
    assert "  the input of sqrt (1, 2): finite, from 0 to 1" in text
    assert "the gradient that came in: finite" in text
    assert "A1" not in text


def test_the_layers_of_one_number_are_told_apart():
    text = caught(lambda: tg.mean_squared_error(chain()(np.array([[0.0, 1.0]])), np.ones((1, 2))).backward())
    assert "in the gradient of the input of sqrt." in text
    assert "  in sqrt\n" in text
    assert "A1" not in text
    first, relu, _, last = chain().layers
    text = caught(lambda: tg.nn.Sequential(first, relu, lambda x: x / 0 + 1, last)(np.ones((1, 1))))
    assert "argument 1 of divide (1, 1): finite" in text
    assert "A1" not in text


def test_within_fit_the_line_is_the_call_of_fit():
    model = tg.nn.LogisticRegression(1)
    model.layers[0].W.data = np.array([[np.inf]])

    def f():
        optimizer = tg.optim.SGD(model.parameters(), lr=1)
        tg.fit(model, np.ones((1, 2)), [[0, 1]], loss=tg.mean_squared_error, optimizer=optimizer, epochs=1)

    text = caught(f)
    assert "affine gave an infinity (2 of 2 entries, first at [0, 0]), which was in W before." in text
    assert re.search(r"test_anomaly.py:\d+: tg.fit\(model", text)


def test_a_transform_is_watched_too():
    assert "the backward pass of sqrt" in caught(lambda: tg.grad(np.sqrt)(0.0))


def test_within_gradcheck_the_line_is_the_call_of_gradcheck():
    text = caught(lambda: tg.check.gradcheck(np.sqrt, np.zeros(1)))
    assert re.search(r"its forward pass: .*test_anomaly.py:\d+: text = caught\(lambda: tg.check.gradcheck", text)


LARGE = np.float32(3e38)  # float32 ends at 3.4e38


def test_a_sum_over_broadcast_uses_that_overflows_is_seen():
    b = leaf(np.zeros((1, 1), np.float32), "b")
    text = caught(lambda: (b + np.zeros((1, 10), np.float32)).backward(np.full((1, 10), LARGE)))
    assert text.splitlines()[0] == "the backward pass of add made an infinity (1 of 1 entries, first at [0, 0]) in db."
    assert "the gradient that came in: finite" in text
    assert b.grad is None


def test_a_sum_over_several_uses_that_overflows_is_seen():
    w, c = leaf(np.full(2, 1e-3, np.float32)), np.array([1, LARGE], np.float32)

    def f():
        h = w * np.float32(1)
        h.name = "h"
        np.sum(h * c + h * c).backward()

    text = caught(f)
    first, second = text.splitlines()
    assert first.startswith("dh became an infinity (1 of 2 entries, first at [1]) as the sum of the gradients from 2 ")
    assert first.endswith("uses, each of them finite.")
    assert re.search(r"h was computed here: .*test_anomaly.py:\d+: h = w \* np.float32\(1\)", second)
    assert w.grad is None


def test_a_sum_in_a_leaf_that_overflows_is_seen():
    c = np.array([1, LARGE], np.float32)

    def of_uses():
        w = leaf(np.full(2, 1e-3, np.float32), "w")
        np.sum(w * c + w * c).backward()

    def of_calls():
        w = leaf(np.full(2, 1e-3, np.float32), "w")
        for _ in range(2):
            np.sum(w * c).backward()

    def of_a_conversion():
        w = leaf(np.full(2, 1e-3, np.float32), "w")
        np.sum(w * np.array([1, 1e40])).backward()

    for f in of_uses, of_calls, of_a_conversion:
        assert caught(f).startswith("w.grad became an infinity (1 of 2 entries, first at [1]) as a sum, of several")


OUTSIDE = "the forward pass, or an earlier backward, did not run in this block of detect_anomaly()"


def test_a_gradient_of_a_forward_pass_outside_the_block_is_not_taken_for_a_sum():
    x = leaf([0.0, 1.0], "x")
    root = np.sum(np.sqrt(x))
    text = caught(root.backward)
    assert text == f"x.grad became an infinity (1 of 2 entries, first at [0]); {OUTSIDE}: run it inside to see the op."


def test_a_gradient_of_which_a_part_comes_from_outside_the_block_is_not_taken_for_a_sum():
    x = leaf([0.0, 1.0], "x")
    root = np.sqrt(x)
    assert OUTSIDE in caught(lambda: np.sum(root + x * 2 + x * 3).backward())


def test_an_infinite_gradient_from_before_the_block_is_not_taken_for_a_sum():
    x = leaf([0.0, 1.0], "x")
    x.grad = np.array([np.inf, 0])
    assert OUTSIDE in caught(lambda: np.sum(x * 2).backward())


def test_a_graph_of_the_block_is_looked_at_wherever_backward_runs():
    x = leaf([0.0, 1.0], "x")
    with tg.detect_anomaly():
        J = np.sum(np.sqrt(x))
    with np.errstate(divide="ignore"), pytest.raises(tg.AnomalyError, match="backward pass of sqrt made an infinity"):
        J.backward()


def test_numpy_does_not_warn_in_the_block_and_warns_behind_it():
    with tg.detect_anomaly():
        tg.Tensor([0.0]) / 0  # not recorded; warnings are errors here
    with pytest.warns(RuntimeWarning, match="invalid value"):
        tg.Tensor([0.0]) / 0


def test_an_infinite_seed_is_not_taken_for_a_sum():
    w = leaf([1.0], "w")
    text = caught(lambda: (w * 2).backward([np.inf]))
    assert text.splitlines()[0].startswith("the backward pass of multiply made an infinity")
    assert "the gradient that came in: it holds an infinity" in text


def test_what_is_not_recorded_is_not_looked_at():
    w = leaf([1.0])
    with tg.detect_anomaly():
        assert np.isinf(np.log(tg.Tensor([0.0])).data).all()
        with tg.no_grad():
            assert np.isinf(np.log(w * 0).data).all()
    with tg.no_grad(), tg.detect_anomaly(), pytest.warns(RuntimeWarning, match="divide by zero"):
        assert not np.log(w * 0).requires_grad


def test_finite_numbers_pass_and_give_the_same_gradients():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 5)), np.array([[0, 1, 1, 0, 1]])
    model = tg.nn.TwoLayerNetwork(2, 3, rng=0)
    plain = tg.grad(lambda model: tg.binary_cross_entropy_with_logits(model(X), Y))(model)
    with tg.detect_anomaly():
        tg.binary_cross_entropy_with_logits(model(X), Y).backward()
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.grad, plain[name])


def test_after_the_block_and_after_an_exception_nothing_looks(monkeypatch):
    w = leaf([0.0])
    with pytest.raises(tg.AnomalyError), tg.detect_anomaly():
        np.log(w)
    monkeypatch.setattr(anomaly, "_first", lambda x: pytest.fail("looked"))
    with np.errstate(divide="ignore"):
        np.sum(np.log(w)).backward()
    assert np.isinf(w.grad).all()


def test_the_engine_knows_only_that_there_may_be_an_observer():
    for module in (tg.engine.tensor, tg.engine.autodiff, tg.engine.recording):
        assert "anomaly" not in inspect.getsource(module).replace("detect_anomaly", "")
