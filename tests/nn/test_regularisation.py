"""The L2 penalty and dropout with given masks: the course's formulas, in every place where a cost is taken."""

import re

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls.nn.regularisation import is_weight

X, Y = tg.datasets.planar_flower(60)
M = X.shape[1]
LAMBD = 0.7
LOGITS = tg.binary_cross_entropy_with_logits


def network(dtype=float):
    model = tg.nn.TwoLayerNetwork(2, 4, rng=0, init=tg.init.xavier, dtype=dtype)
    for p in model.parameters():
        p.data = p.data + dtype(0.25)  # biases that are not 0
    return model


def penalised(model, lambd=LAMBD, **options):
    return lambda Z, Y: LOGITS(Z, Y) + tg.l2(model, lambd, Y.shape[1], **options)


def gradients(J, parameters):
    for p in parameters:
        p.grad = None
    J.backward()
    return [p.grad for p in parameters]


# -- L2 ---------------------------------------------------------------------------------------------------------------


def test_l2_is_lambda_over_2m_times_the_squares_of_the_weights():
    model = network()
    W1, _, W2, _ = (p.data for p in model.parameters())
    expected = LAMBD / (2 * M) * (np.sum(np.square(W1)) + np.sum(np.square(W2)))
    np.testing.assert_allclose(tg.l2(model, LAMBD, M).item(), expected, rtol=1e-15)


def test_l2_adds_lambda_over_m_times_w_to_dw_and_nothing_to_db():
    model = network()
    parameters = model.parameters()
    plain = gradients(LOGITS(model(X), Y), parameters)
    own = gradients(penalised(model)(model(X), Y), parameters)
    for p, dw, found in zip(parameters, plain, own, strict=True):
        expected = dw + LAMBD / M * p.data if p.name.startswith("W") else dw
        np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_l2_of_biases_too_if_they_are_asked_for():
    model = network()
    for p in model.parameters():
        p.grad = None
    tg.l2(model, LAMBD, M, biases=True).backward()
    for p in model.parameters():
        np.testing.assert_allclose(p.grad, LAMBD / M * p.data, rtol=1e-15)


def test_l2_takes_the_weights_themselves_with_and_without_a_graph():
    model = network()
    W1, _, W2, _ = model.parameters()
    assert tg.l2([W1, W2], LAMBD, M).item() == tg.l2(model, LAMBD, M).item()
    plain = tg.l2([W1.data, W2.data], LAMBD, M)
    assert not isinstance(plain, tg.Tensor)
    assert plain == tg.l2(model, LAMBD, M).item()


def test_l2_has_second_derivatives():
    model = network()
    H = tg.hessian(lambda model: tg.l2(model, LAMBD, M))(model)
    np.testing.assert_allclose(H["W2"]["W2"].reshape(4, 4), LAMBD / M * np.eye(4), rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_l2_keeps_the_dtype_of_the_weights(dtype):
    model = network(dtype)
    penalty = tg.l2(model, LAMBD, M)
    penalty.backward()
    assert penalty.dtype == dtype
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {np.dtype(dtype)}


def test_l2_in_half_precision_counts_more_examples_than_that_has_numbers():
    model = network(np.float16)
    assert tg.l2(model, 1e5, 100_000).item() == pytest.approx(tg.l2(network(), 1, 1).item(), rel=2**-9)


def test_weight_decay_takes_the_steps_of_the_penalty():
    model, twin = network(), network()
    tg.fit(model, X, Y, loss=penalised(model), optimizer=tg.optim.SGD(model.parameters(), 0.5), epochs=20)
    decay = tg.optim.SGD(twin.parameters(), 0.5, weight_decay=LAMBD / M)
    tg.fit(twin, X, Y, loss=LOGITS, optimizer=decay, epochs=20)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [None, 25])
def test_a_compiled_fit_with_l2_is_the_eager_one(batch_size):
    costs = []
    for compiled in (False, True):
        model = network()
        optimizer = tg.optim.Adam(model.parameters(), 0.05)
        batches = {"batch_size": batch_size, "rng": 0}
        history = tg.fit(
            model, X, Y, loss=penalised(model), optimizer=optimizer, epochs=12, compile=compiled, **batches
        )
        costs.append(history.costs)
    np.testing.assert_allclose(*costs, rtol=1e-11)


def test_the_code_of_a_step_has_lambda_over_m_beside_dw():
    model = network()
    source = tg.numpy_source(model, X, Y, loss=penalised(model))
    assert "(np.sum(W1**2) + np.sum(W2**2)) * 0.7 / (2 * m)" in source
    assert "+ W2 * 0.7 / m" in source
    assert "b1 * 0.7" not in source


def test_a_derivation_calls_lambda_by_its_symbol_and_keeps_the_chain_to_a_minus_y():
    model = network()
    for derivation in (
        tg.derive(model, X, Y, loss=penalised(model)),
        tg.derive(penalised(model)(model(X), Y)),
    ):
        formulas = derivation.formulas
        assert formulas["dW2"] == "dZ2 @ A1.T + lambd / m * W2"
        assert formulas["dZ2"] == "(A2 - Y) / m"
        assert "dL/dz2 = dL/da2 * da2/dz2" in derivation.text
        assert "= a2 - y" in derivation.text
        assert re.search(r"\\frac\{\\lambda ?\}\{m\}", derivation.latex)
        assert "0.7" not in derivation.text


def test_a_derivation_with_values_gives_lambda():
    model = network()
    text = tg.derive(model, X, Y, loss=penalised(model), values=True).text
    assert "lambd = 0.7" in text


def test_a_penalty_that_is_written_out_keeps_the_chain_too():
    model = network()
    W1, _, W2, _ = model.parameters()
    J = LOGITS(model(X), Y) + LAMBD / (2 * M) * (np.sum(W1**2) + np.sum(W2**2))
    assert "= a2 - y" in tg.derive(J).text


def test_a_picture_shows_the_penalty():
    model = network()
    assert "l2" in tg.draw(penalised(model)(model(X), Y)).source


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("W1", True), ("W", True), (None, True), ("kernel", True), ("inner.W1", True), ("beta_1", True), ("bb", True),
        ("b1", False), ("b", False), ("bias", False), ("inner.bias", False), ("2.inner.b1", False), ("gamma1", False),
        ("beta12", False), ("inner.beta", False),
    ],
)  # fmt: skip
def test_biases_gamma_and_beta_are_no_weights(name, expected):
    assert is_weight(name) == expected


NETWORK = network()
BIASES = tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0))


class Shifts(tg.nn.Module):
    def __init__(self):
        self.b = tg.nn.Parameter(np.ones((1, 1)))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: tg.l2(NETWORK, -1, M), "l2: lambd must be a finite number >= 0, got -1."),
        (lambda: tg.l2(NETWORK, np.inf, M), "l2: lambd must be a finite number >= 0, got inf."),
        (lambda: tg.l2(NETWORK, "0.7", M), "l2: lambd must be a number, got '0.7'."),
        (lambda: tg.l2(NETWORK, LAMBD, 0), "l2: m must be a positive integer, got 0."),
        (lambda: tg.l2(NETWORK, LAMBD, True), "l2: m must be a positive integer, got True."),
        (lambda: tg.l2(NETWORK, LAMBD, X), "l2: m must be a positive integer, got array"),
        (lambda: tg.l2(NETWORK, LAMBD, M, biases=1), "l2: biases must be True or False, got 1."),
        (lambda: tg.l2(NETWORK.parameters(), LAMBD, M),
         "l2: b1 is no weight, and the penalty of the course leaves it out. Pass the weights alone, or say"),
        (lambda: tg.l2([], LAMBD, M), "l2 got no weights. Is the iterator used up?"),
        (lambda: tg.l2(Shifts(), LAMBD, M), "l2: Shifts has no weights to penalise."),
        (lambda: tg.l2(NETWORK.parameters()[0], LAMBD, M), "l2 takes a model, or a list of weights such as [W1, W2],"),
        (lambda: tg.l2(np.ones(3), LAMBD, M), "l2 takes a model, or a list of weights such as [W1, W2], got array"),
        (lambda: tg.l2([np.ones(3, int)], LAMBD, M), "l2: a weight has dtype int64; expected floats."),
    ],
)  # fmt: skip
def test_errors_of_l2(call, text):
    with pytest.raises((TypeError, ValueError), match=re.escape(text)):
        call()


# -- dropout ----------------------------------------------------------------------------------------------------------


def course_masks(keep_prob, *shapes):
    np.random.seed(1)  # as the course draws them
    return [np.random.rand(*shape) < keep_prob for shape in shapes]


def by_hand(model, D1, keep_prob):
    """The course's forward_propagation_with_dropout and backward_propagation_with_dropout, for one hidden layer."""
    W1, b1, W2, b2 = (p.data for p in model.parameters())
    Z1 = W1 @ X + b1
    A1 = np.tanh(Z1) * D1 / keep_prob
    A2 = 1 / (1 + np.exp(-(W2 @ A1 + b2)))
    dZ2 = A2 - Y
    dA1 = W2.T @ dZ2 * D1 / keep_prob
    dZ1 = dA1 * (1 - np.tanh(Z1) ** 2)
    sums = dZ1 @ X.T, np.sum(dZ1, axis=1, keepdims=True), dZ2 @ A1.T, np.sum(dZ2, axis=1, keepdims=True)
    return [x / M for x in sums]


@pytest.mark.parametrize("mask", [np.asarray, lambda D: D.astype(int), lambda D: D.astype(float), lambda D: D.tolist()])
def test_dropout_with_the_courses_mask_has_the_courses_gradients(mask):
    model, keep_prob = network(), 0.6
    (D1,) = course_masks(keep_prob, (4, M))
    hidden, activation, output = model.layers
    A1 = tg.dropout(activation(hidden(X)), mask(D1), keep_prob)
    for found, expected in zip(
        gradients(LOGITS(output(A1), Y), model.parameters()), by_hand(model, D1, keep_prob), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_layer_draws_the_masks_of_the_courses_stream():
    keep_prob = 0.6
    (D,) = course_masks(keep_prob, (4, M))
    A = np.arange(1.0, 4 * M + 1).reshape(4, M)
    np.random.seed(1)
    for rng in (np.random.RandomState(1), np.random):
        np.testing.assert_array_equal(tg.nn.Dropout(keep_prob, rng=rng)(A), A * D / keep_prob)


def test_what_is_shut_down_gets_no_gradient_and_the_rest_is_scaled():
    A = tg.Tensor(np.ones((2, 2)), requires_grad=True, name="A1")
    np.sum(tg.dropout(A, [[1, 0], [0, 1]], 0.5)).backward()
    np.testing.assert_array_equal(A.grad, [[2, 0], [0, 2]])


def test_keep_prob_1_with_a_full_mask_changes_nothing():
    A = np.arange(4.0).reshape(2, 2)
    np.testing.assert_array_equal(tg.dropout(A, A >= 0, 1), A)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_dropout_keeps_the_dtype(dtype):
    A = tg.Tensor(np.ones((2, 2), dtype), requires_grad=True)
    Z = tg.dropout(A, np.array([[True, False], [False, True]]), 0.5)
    np.sum(Z).backward()
    assert Z.dtype == A.grad.dtype == dtype


def dropped_cost(model):
    hidden, activation, output = model.layers
    return lambda X, Y, D1: LOGITS(output(tg.dropout(activation(hidden(X)), D1, 0.6)), Y)


def test_masks_that_are_arguments_are_recorded_derived_and_compiled():
    model = network()
    (D1,) = course_masks(0.6, (4, M))
    cost = dropped_cost(model)
    assert "A1 * D1 / 0.6" in tg.numpy_source(cost, X, Y, D1)
    derivation = tg.derive(cost, X, Y, D1)
    assert derivation.formulas["dA1"] == "W2.T @ dZ2 * D1 / keep_prob"
    assert "D1" in tg.draw(cost(X, Y, D1)).source
    tensor = tg.Tensor(np.ones((4, M)), requires_grad=True, name="A1")
    compiled = tg.compile(lambda A, D: tg.dropout(A, D, 0.6))
    np.testing.assert_array_equal(compiled(tensor.data, D1), D1 / 0.6)
    np.testing.assert_array_equal(compiled(tensor.data, 1 - D1), (1 - D1) / 0.6)


def test_a_compiled_function_refuses_masks_that_are_none_as_eagerly():
    compiled = tg.compile(lambda A, D: tg.dropout(A, D, 0.6))
    compiled(np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(ValueError, match=re.escape("the mask holds 0.5; expected 0 and 1")):
        compiled(np.ones((2, 2)), np.full((2, 2), 0.5))


A1 = tg.Tensor(np.ones((2, 3)), requires_grad=True, name="A1")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: tg.dropout(A1, np.ones((3, 2)), 0.5),
         "dropout: A1 is (2, 3), the mask is (3, 2); expected one entry for each. Did you pass the mask transposed?"),
        (lambda: tg.dropout(A1, np.ones((2, 1)), 0.5),
         "dropout: A1 is (2, 3), the mask is (2, 1); expected one entry for each. Was the mask drawn for another"),
        (lambda: tg.dropout(A1, np.full((2, 3), 0.25), 0.5),
         "dropout: the mask holds 0.25; expected 0 and 1, or False and True. Of random numbers D, write D <"),
        (lambda: tg.dropout(A1, np.full((2, 3), 2), 0.5),
         "dropout: the mask holds 2; expected 0 and 1, or False and True. Is it divided by keep_prob already?"),
        (lambda: tg.dropout(A1, np.full((2, 3), np.nan), 0.5), "dropout: the mask holds nan; expected 0 and 1"),
        (lambda: tg.dropout(A1, np.ones((2, 3)), 0), "dropout: keep_prob must be in (0, 1], got 0."),
        (lambda: tg.dropout(A1, np.ones((2, 3)), 1.5), "dropout: keep_prob must be in (0, 1], got 1.5."),
        (lambda: tg.dropout(A1, np.ones((2, 3)), None), "dropout: keep_prob must be a number, got None."),
        (lambda: tg.dropout(A1, "mask", 0.5), "dropout: mask has dtype <U4, and is not numeric."),
        (lambda: tg.dropout({}, np.ones((2, 3)), 0.5), "dropout: A has dtype object, and is not numeric."),
    ],
)  # fmt: skip
def test_errors_of_dropout(call, text):
    with pytest.raises((TypeError, ValueError), match=re.escape(text)):
        call()
