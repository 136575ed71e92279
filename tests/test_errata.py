"""Each slip of the study notes, shown to be wrong, and the correction shown to be right: see docs/errata.md.

Naive formulas overflow here on purpose, so some tests silence NumPy's warnings with `np.errstate`.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import tinygrad_dls as tg

ERRATA = Path(__file__).parents[1] / "docs" / "errata.md"


def central_differences(J, w, h=1e-5):
    """The gradient of J at w by moving one entry at a time."""
    dw = np.empty_like(w)
    for index in np.ndindex(w.shape):
        up, down = w.copy(), w.copy()
        up[index] += h
        down[index] -= h
        dw[index] = (J(up) - J(down)) / (2 * h)
    return dw


def cross_entropy(a, y):
    return float(-np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)) / y.shape[1])


@pytest.fixture
def sketch():
    """The data of the notes' NumPy sketch, with the labels in the shape of the notes, (m, 1)."""
    rng = np.random.default_rng(0)
    n_x, m = 3, 1000
    return rng.random((n_x, m)), rng.integers(2, size=(m, 1))


# -- derivatives ------------------------------------------------------------------------------------------------------


def test_da_dz_is_a_times_one_minus_a():
    z = np.linspace(-4, 4, 9)[None, :]
    y = (np.arange(9)[None, :] % 2).astype(float)
    Z = tg.Tensor(z, requires_grad=True)
    A = tg.sigmoid(Z)
    a = A.data
    np.sum(A).backward()
    np.testing.assert_allclose(Z.grad, a * (1 - a), rtol=1e-12)
    np.testing.assert_allclose(Z.grad, central_differences(lambda v: tg.sigmoid(v).sum(), z), atol=1e-9)
    assert np.all(Z.grad > 0)  # the sigmoid rises everywhere; with the minus sign it would fall

    dl_da = -y / a + (1 - y) / (1 - a)
    np.testing.assert_allclose(dl_da * -(a * (1 - a)), y - a, atol=1e-12)  # what the printed factors multiply to
    np.testing.assert_allclose(dl_da * (a * (1 - a)), a - y, atol=1e-12)  # what the notes say that they do


def test_negative_log_likelihood_needs_brackets():
    y = np.array([[0.0]])

    def literal(a):
        return -np.sum(y * np.log(a)) + np.sum((1 - y) * np.log(1 - a))

    def right(a):
        return -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a))

    sure_and_wrong, unsure = np.array([[0.99]]), np.array([[0.5]])
    assert literal(sure_and_wrong) < literal(unsure) < 0  # the label is 0, and a = 0.99 is the better one
    assert right(sure_and_wrong) > right(unsure) > 0

    for cost, sign in ((literal, -1), (right, 1)):
        A = tg.Tensor(unsure, requires_grad=True)
        cost(A).backward()
        assert np.sign(A.grad.item()) == sign  # descent raises a in the literal form, lowers it in the right one
    A = tg.Tensor(unsure, requires_grad=True)
    J = tg.binary_cross_entropy(A, y)
    J.backward()
    assert J.item() == pytest.approx(right(unsure))
    assert A.grad.item() == pytest.approx(2)  # (1 - y)/(1 - a)


# -- shapes of the network --------------------------------------------------------------------------------------------


def test_w_of_layer_k_has_a_column_for_each_unit_of_layer_k_minus_1():
    n = {0: 3, 1: 4, 2: 1}
    model = tg.nn.TwoLayerNetwork(n[0], n[1], n[2], rng=0)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    for k in (1, 2):
        assert shapes[f"W{k}"] == (n[k], n[k - 1])
    assert n[1 - 1] == n[0]  # at k = 1, n[1-k] is right by accident
    with pytest.raises(KeyError):
        n[1 - 2]  # at k = 2, it asks for layer -1


def test_w2_has_a_column_for_each_hidden_unit():
    A1 = np.ones((4, 10))
    with pytest.raises(ValueError, match="mismatch"):
        np.zeros((1, 1)) @ A1  # W2 of shape (n2, n2)
    with pytest.raises(ValueError, match=r"init gave W of shape \(1, 1\); expected \(n_out, n_in\) = \(1, 4\)"):
        tg.nn.Linear(4, 1, init=np.zeros((1, 1)))
    assert tg.nn.Linear(4, 1, init=np.zeros((1, 4)))(A1).shape == (1, 10)


def test_hidden_layer_is_g_of_w1_x_plus_b1():
    X = np.random.default_rng(0).standard_normal((3, 5))
    model = tg.nn.TwoLayerNetwork(3, 4, rng=1, init=tg.init.xavier)
    W1, b1, W2, b2 = (p.data for p in model.parameters())
    A1 = np.tanh(W1 @ X + b1)
    assert A1.shape == (4, 5)
    np.testing.assert_allclose(model(X).data, W2 @ A1 + b2, rtol=1e-12)


def test_b_is_a_column():
    model = tg.nn.TwoLayerNetwork(3, 4, rng=1)
    assert {name: p.shape for name, p in model.named_parameters() if name[0] == "b"} == {"b1": (4, 1), "b2": (1, 1)}

    WX, b = np.zeros((4, 4)), np.arange(4.0)  # four units, four examples
    np.testing.assert_array_equal((WX + b[:, None])[:, 0], b)  # (n, 1): a number for each unit
    np.testing.assert_array_equal((WX + b)[0], b)  # flat: silently a number for each example


# -- the NumPy sketch -------------------------------------------------------------------------------------------------


def test_sketch_as_printed_is_not_indented():
    with pytest.raises(IndentationError):
        compile("def sigmoid(x):\nreturn 1 / (1 + np.exp(-x))\n", "notes", "exec")


def test_labels_are_one_row(sketch):
    x, y = sketch
    a = tg.sigmoid(np.zeros((4, 3)) @ x)
    with pytest.raises(ValueError, match="could not be broadcast"):
        a - y
    with pytest.raises(ValueError, match=r"Y is \(1000, 1\), but A is \(4, 1000\)"):
        tg.binary_cross_entropy(a, y)
    a = a[:1]
    assert (a - y.T).shape == (1, 1000)
    assert tg.binary_cross_entropy(a, y.T) == pytest.approx(np.log(2))


def test_column_of_labels_silently_becomes_m_by_m(sketch):
    x, y = sketch
    Z = tg.nn.LogisticRegression(3)(x)
    assert (Z.data - y).shape == (1000, 1000)  # NumPy says nothing
    for loss in (tg.binary_cross_entropy_with_logits, tg.mean_squared_error):
        with pytest.raises(ValueError, match=r"Write Y\.T: Z - Y would silently|Write Y\.T: A - Y would silently"):
            loss(Z, y)
    with pytest.raises(ValueError, match=r"Write Y\.reshape\(1, -1\)"):
        tg.binary_cross_entropy_with_logits(Z, y.ravel())  # flat labels would become (m, m) against a column


def test_logistic_regression_has_one_row_of_weights(sketch):
    x, y = sketch
    W = tg.Tensor(np.zeros((4, 3)), requires_grad=True)
    tg.binary_cross_entropy_with_logits(W @ x, np.repeat(y.T, 4, axis=0)).backward()
    np.testing.assert_array_equal(W.grad, np.repeat(W.grad[:1], 4, axis=0))  # four times the same regression
    assert dict(tg.nn.LogisticRegression(3).named_parameters())["W"].shape == (1, 3)


def test_dw_is_a_matrix_product(sketch):
    x, y = sketch
    m = x.shape[1]
    for rows in (1, 4):
        dz = 0.5 - np.repeat(y.T, rows, axis=0)
        with pytest.raises(ValueError, match="could not be broadcast"):
            x * dz.T / m

    square, labels = x[:, :3], y[:3].T  # with m = n_x the entry-wise product runs, and is wrong
    dz = 0.5 - labels
    W = tg.Tensor(np.zeros((1, 3)), requires_grad=True)
    tg.binary_cross_entropy_with_logits(W @ square, labels).backward()
    assert (square * dz.T / 3).shape == (3, 3)
    np.testing.assert_allclose(W.grad, dz @ square.T / 3, rtol=1e-12)


def test_db_is_the_sum_of_each_row(sketch):
    x, y = sketch
    m = x.shape[1]
    for rows in (1, 4):
        labels = np.repeat(y.T, rows, axis=0)
        dz = 0.5 - labels
        b = tg.Tensor(np.zeros((rows, 1)), requires_grad=True)
        tg.binary_cross_entropy_with_logits(np.zeros((rows, 3)) @ x + b, labels).backward()
        np.testing.assert_allclose(b.grad, np.sum(dz, axis=1, keepdims=True) / m, rtol=1e-12)
        np.testing.assert_allclose(np.sum(dz) / m, rows * b.grad, rtol=1e-12)  # once, or four times too large


def test_loop_equals_vectorized(sketch):
    x, y = sketch
    x, y = x[:, :50], y[:50].T
    n_x, m = x.shape
    w, b = np.array([[0.3, -0.2, 0.1]]), np.array([[0.05]])

    dw, db = np.zeros((1, n_x)), np.zeros((1, 1))
    for i in range(m):  # the part that the notes leave empty
        z = b[0, 0]
        for j in range(n_x):
            z += w[0, j] * x[j, i]
        dz = 1 / (1 + np.exp(-z)) - y[0, i]
        for j in range(n_x):
            dw[0, j] += x[j, i] * dz / m
        db[0, 0] += dz / m

    dz = tg.sigmoid(w @ x + b) - y
    np.testing.assert_allclose(dw, dz @ x.T / m, rtol=1e-12)
    np.testing.assert_allclose(db, np.sum(dz, axis=1, keepdims=True) / m, rtol=1e-12)

    W, B = tg.Tensor(w, requires_grad=True), tg.Tensor(b, requires_grad=True)
    tg.binary_cross_entropy_with_logits(W @ x + B, y).backward()
    np.testing.assert_allclose(W.grad, dw, rtol=1e-12)
    np.testing.assert_allclose(B.grad, db, rtol=1e-12)


def test_descent_converges(sketch):
    x, y = sketch
    model = tg.nn.LogisticRegression(3)
    optimizer = tg.optim.SGD(model.parameters(), lr=3)
    for _ in range(1000):
        optimizer.zero_grad()
        tg.binary_cross_entropy_with_logits(model(x), y.T).backward()
        optimizer.step()
    assert max(np.abs(p.grad).max() for p in model.parameters()) < 1e-8


def test_repaired_sketch_agrees_with_central_differences_to_1e_10(sketch):
    x, y = sketch
    y = y.T
    m = x.shape[1]
    w, b = np.array([[0.3, -0.2, 0.1]]), np.array([[0.05]])
    a = tg.sigmoid(np.dot(w, x) + b)
    dz = a - y
    dw = np.dot(dz, x.T) / m
    db = np.sum(dz, axis=1, keepdims=True) / m
    numeric_dw = central_differences(lambda v: cross_entropy(tg.sigmoid(v @ x + b), y), w)
    numeric_db = central_differences(lambda v: cross_entropy(tg.sigmoid(w @ x + v), y), b)
    np.testing.assert_allclose(dw, numeric_dw, rtol=0, atol=1e-10)
    np.testing.assert_allclose(db, numeric_db, rtol=0, atol=1e-10)


# -- the two ways to write the sigmoid --------------------------------------------------------------------------------


def test_first_sigmoid_overflows_and_its_gradient_is_nan():
    with np.errstate(over="raise"), pytest.raises(FloatingPointError, match="overflow"):
        1 / (1 + np.exp(np.array([800.0])))
    Z = tg.Tensor([-800.0], requires_grad=True)
    with np.errstate(over="ignore", invalid="ignore"):
        A = 1 / (1 + np.exp(-Z))
        assert A.data == 0  # the value survives ...
        np.sum(A).backward()
    assert np.isnan(Z.grad)  # ... the gradient, infinity times zero, does not


def test_second_sigmoid_is_nan_from_710():
    with np.errstate(over="ignore", invalid="ignore"):
        at_709, at_710 = (np.exp(z) / (1 + np.exp(z)) for z in (np.array([709.0]), np.array([710.0])))
    assert at_709 == 1
    assert np.isnan(at_710)


def test_our_sigmoid_is_finite_everywhere():
    Z = tg.Tensor([-800.0, -710.0, 0.0, 710.0, 800.0], requires_grad=True)
    A = tg.sigmoid(Z)  # a warning would fail this test
    np.sum(A).backward()
    assert np.all((A.data > 0) & (A.data < 1))
    assert np.all(np.isfinite(Z.grad))


# -- the page ---------------------------------------------------------------------------------------------------------


def test_errata_page_names_exactly_the_tests_of_this_file():
    cited = set(re.findall(r"`(test_\w+)`", ERRATA.read_text(encoding="utf-8")))
    written = {name for name in globals() if name.startswith("test_")}
    assert cited == written - {"test_errata_page_names_exactly_the_tests_of_this_file"}
