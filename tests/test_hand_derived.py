"""The heart: autodiff equals the gradients that the notes derive by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_dls as tg
from examples.hand_derived import ACTIVATIONS as ACTIVATION_DERIVATIVES
from examples.hand_derived import largest_difference, logistic_regression, two_layer_network
from tinygrad_dls import nn

# Relative to the magnitudes of the terms that an entry is the sum of: an a - y or a db that nearly cancels cannot keep
# digits that its terms do not have. Both sides round some ten times on the way, each time by 1.1e-16.
TOLERANCE = 1e-14
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}


def data(seed, n_x, m):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_x, m)), rng.integers(0, 2, size=(1, m))


def two_layers(seed, n_x, n_h, activation, composed):
    """The model of layer objects, its loss, and a copy of its parameters."""
    rng = np.random.default_rng(seed)
    layers = [
        nn.Linear(n_x, n_h, rng=rng),
        ACTIVATIONS[activation](),
        nn.Linear(n_h, 1, rng=rng),
    ]
    model = nn.Sequential(*layers, nn.Sigmoid()) if composed else nn.Sequential(*layers)
    for name, p in model.named_parameters():
        if name.startswith("b"):
            p.data = rng.normal(size=p.shape)
    return model, tg.binary_cross_entropy if composed else tg.binary_cross_entropy_with_logits, model.state_dict()


def forward(model, X):
    """The output of each layer, by the course's names."""
    outputs, a = {}, X
    for layer, name in zip(model.layers, ["Z1", "A1", "Z2", "A2"], strict=False):
        a = outputs[name] = layer(a)
    return outputs, a


def assert_equal(got, by_hand, magnitudes):
    assert got.keys() == by_hand.keys() == magnitudes.keys()
    for name, expected in by_hand.items():
        assert got[name].shape == expected.shape
        assert (np.abs(got[name] - expected) <= TOLERANCE * magnitudes[name]).all(), name


def lost_in_the_cost(Z):
    """An a near 1 has an error of 2e-16, and the notes' log(1 - a) one of 2e-16 / (1 - a), which is 2e-16 e^z."""
    return 3e-16 * np.exp(np.abs(Z)).max()


def row_sums(a):
    return a.sum(axis=1, keepdims=True)


shapes = {"n_x": st.integers(1, 5), "m": st.integers(1, 60), "seed": st.integers(0, 2**32 - 1)}


@given(**shapes, composed=st.booleans())
def test_gradient_of_logistic_regression_is_a_minus_y(n_x, m, seed, composed):
    X, Y = data(seed, n_x, m)
    linear = nn.Linear(n_x, 1, rng=seed)
    linear.b.data = np.random.default_rng(seed).normal(size=(1, 1))
    Z = linear(X)
    if composed:
        A = tg.sigmoid(Z)
        J = tg.binary_cross_entropy(A, Y)
    else:
        J = tg.binary_cross_entropy_with_logits(Z, Y)
    J.backward()

    cost, by_hand = logistic_regression(X, Y, linear.W.data, linear.b.data)
    assert J.item() == pytest.approx(cost, rel=1e-13, abs=lost_in_the_cost(Z.data))
    got = {"dZ": Z.grad, "dW": linear.W.grad, "db": linear.b.grad}
    dZ = (tg.sigmoid(Z.data) + Y) / m  # of the terms of a - y
    assert_equal(got, by_hand, {"dZ": dZ, "dW": dZ @ np.abs(X.T), "db": row_sums(dZ)})
    if composed:  # the first link of the chain: dL/da = -y/a + (1 - y)/(1 - a)
        a = A.data
        assert largest_difference(A.grad, (-Y / a + (1 - Y) / (1 - a)) / m) <= TOLERANCE


@given(**shapes, n_h=st.integers(1, 6), composed=st.booleans(), activation=st.sampled_from(sorted(ACTIVATIONS)))
def test_gradients_of_the_two_layer_network_are_those_of_the_notes(n_x, m, n_h, seed, composed, activation):
    X, Y = data(seed, n_x, m)
    model, loss, parameters = two_layers(seed, n_x, n_h, activation, composed)
    outputs, output = forward(model, X)
    J = loss(output, Y)
    J.backward()

    cost, by_hand = two_layer_network(X, Y, parameters, activation)
    assert J.item() == pytest.approx(cost, rel=1e-13, abs=lost_in_the_cost(outputs["Z2"].data))
    got = {f"d{name}": p.grad for name, p in model.named_parameters()}
    got |= {f"d{name}": t.grad for name, t in outputs.items() if name != "A2"}
    dZ2 = (tg.sigmoid(outputs["Z2"].data) + Y) / m  # of the terms of a - y
    dA1 = np.abs(parameters["W2"].T) @ dZ2
    dZ1 = dA1 * np.abs(ACTIVATION_DERIVATIVES[activation][1](outputs["Z1"].data, outputs["A1"].data))
    magnitudes = {"dZ2": dZ2, "dW2": dZ2 @ np.abs(outputs["A1"].data.T), "db2": row_sums(dZ2)}
    magnitudes |= {"dA1": dA1, "dZ1": dZ1, "dW1": dZ1 @ np.abs(X.T), "db1": row_sums(dZ1)}
    assert_equal(got, by_hand, magnitudes)


def test_both_losses_give_one_gradient():
    X, Y = data(0, 3, 40)
    gradients = []
    for composed in (True, False):
        model, loss, _ = two_layers(0, 3, 4, "tanh", composed)
        loss(model(X), Y).backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert largest_difference(a, b) <= TOLERANCE


def test_gradient_with_logits_is_literally_a_minus_y_over_m():
    _, Y = data(0, 3, 50)
    Z = tg.Tensor(np.random.default_rng(0).normal(size=(1, 50)) * 3, requires_grad=True)
    tg.binary_cross_entropy_with_logits(Z, Y).backward()
    # two roundings of a number below 1, divided by m
    np.testing.assert_allclose(Z.grad, (tg.sigmoid(Z.data) - Y) / 50, rtol=0, atol=2 * np.finfo(float).eps / 50)


def test_softmax_gradient_is_a_minus_y_over_m():
    rng = np.random.default_rng(0)
    Z = tg.Tensor(rng.normal(size=(3, 50)) * 3, requires_grad=True)
    Y = rng.integers(0, 3, size=(1, 50))
    one_hot = (np.arange(3)[:, None] == Y).astype(float)
    for labels in (Y, one_hot):
        Z.grad = None
        tg.softmax_cross_entropy(Z, labels).backward()
        assert largest_difference(Z.grad, (tg.softmax(Z.data) - one_hot) / 50) <= TOLERANCE


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("composed", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nothing_warns_widens_or_breaks_at_a_thousand(dtype, composed, activation):
    """Logits of -1000 and 1000, right and wrong: finite cost, no NaN gradient, dZ = (A - Y) / m."""
    layers = [
        nn.Linear(1, 1, init=[[1.0]], dtype=dtype),
        ACTIVATIONS[activation](),
        nn.Linear(1, 1, init=[[1.0]], dtype=dtype),
    ]
    Z = tg.Tensor(np.array([[1000, -1000, 1000, -1000]], dtype), requires_grad=True)
    Y = np.array([[1, 0, 0, 1]])
    J = tg.binary_cross_entropy(tg.sigmoid(Z), Y) if composed else tg.binary_cross_entropy_with_logits(Z, Y)
    J.backward()
    assert J.dtype == Z.grad.dtype == dtype
    if not composed:
        assert J.item() == 500
    # one rounding of 1 - eps: the sigmoid stays below 1
    np.testing.assert_allclose(Z.grad, np.array([[0, 0, 0.25, -0.25]]), atol=np.finfo(dtype).eps)

    model = nn.Sequential(*layers, *([nn.Sigmoid()] if composed else []))
    X = np.array([[1000, -1000, 1000, -1000]], dtype)
    loss = tg.binary_cross_entropy if composed else tg.binary_cross_entropy_with_logits
    J = loss(model(X), Y)
    J.backward()
    assert J.dtype == dtype
    assert np.isfinite(J.item())
    for p in model.parameters():
        assert p.grad.dtype == dtype
        assert np.isfinite(p.grad).all()
