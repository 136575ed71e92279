"""Losses with a weight for each example: the weighted mean, its gradient, and what weights may be."""

import re
from unittest import mock

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.support.numerical import assert_gradients, assert_second_derivatives
from tests.support.sources import network
from tests.symbolic.proving import variable
from tinygrad_dls.nn import labels as label_checks
from tinygrad_dls.nn import weighted
from tinygrad_dls.symbolic import same, symbols

RNG = np.random.default_rng(8)
LOGITS = tg.binary_cross_entropy_with_logits
LABELS = RNG.integers(0, 2, (2, 5)).astype(float)
W = RNG.uniform(0, 3, (1, 5))
CASES = {
    "binary_cross_entropy": (tg.binary_cross_entropy, RNG.uniform(0.05, 0.95, (2, 5)), LABELS),
    "binary_cross_entropy_with_logits": (LOGITS, RNG.normal(size=(2, 5)), LABELS),
    "softmax_cross_entropy": (tg.softmax_cross_entropy, RNG.normal(size=(3, 5)), RNG.dirichlet(np.ones(3), 5).T),
    "softmax_cross_entropy of classes": (
        tg.softmax_cross_entropy,
        RNG.normal(size=(3, 5)),
        np.array([[0, 2, 1, 1, 0]]),
    ),
    "mean_squared_error": (tg.mean_squared_error, RNG.normal(size=(2, 5)), RNG.normal(size=(2, 5))),
}
EACH = pytest.mark.parametrize(("loss", "A", "Y"), CASES.values(), ids=CASES)


def column(x, i):
    return x[:, i : i + 1]


# -- the cost and its gradient ----------------------------------------------------------------------------------------


@EACH
def test_the_cost_is_the_weighted_mean_of_the_losses(loss, A, Y):
    losses = [loss(column(A, i), column(Y, i)) for i in range(5)]
    expected = np.average(losses, weights=W[0])
    assert loss(A, Y, sample_weight=W) == pytest.approx(expected, rel=1e-14)  # sums in another order


@EACH
def test_gradients_and_second_derivatives(loss, A, Y):
    assert_gradients(lambda a, w: loss(a, Y, sample_weight=w), A, W)
    assert_second_derivatives(lambda a: loss(a, Y, sample_weight=W), A)


@pytest.mark.parametrize("name", ["binary_cross_entropy", "binary_cross_entropy_with_logits", "mean_squared_error"])
def test_gradient_with_respect_to_the_labels(name):
    rule = getattr(weighted, f"weighted_{name}")
    assert_gradients(lambda a, y: rule(a, y, W), CASES["binary_cross_entropy"][1], LABELS * 0.8 + 0.1)


def test_softmax_gradient_with_respect_to_the_labels():
    """Along directions that keep the columns' sums, where the rule's -log A is the slope."""
    _, Z, Y = CASES["softmax_cross_entropy"]
    step = np.array([[1e-3], [-1e-3], [0]])
    y = tg.Tensor(Y, requires_grad=True)
    weighted.weighted_softmax_cross_entropy(Z, y, W).backward()
    rise = tg.softmax_cross_entropy(Z, Y + step, sample_weight=W) - tg.softmax_cross_entropy(Z, Y, sample_weight=W)
    assert np.sum(y.grad * step) == pytest.approx(rise, rel=1e-10)  # linear in Y: only rounding remains


@EACH
def test_weights_that_are_all_alike_count_for_nothing(loss, A, Y):
    got, plain = (tg.Tensor(A, requires_grad=True) for _ in range(2))
    J = loss(got, Y, sample_weight=np.full((1, 5), 3))
    J.backward()
    K = loss(plain, Y)
    K.backward()
    assert J.item() == pytest.approx(K.item(), rel=1e-14)
    np.testing.assert_allclose(got.grad, plain.grad, rtol=1e-14)


@EACH
def test_an_example_of_weight_2_counts_as_two_and_one_of_weight_0_as_none(loss, A, Y):
    chosen = [0, 0, 1, 3, 4, 4, 4]
    w = np.bincount(chosen, minlength=5)[None]
    repeated = loss(A[:, chosen], Y[:, chosen])
    assert loss(A, Y, sample_weight=w) == pytest.approx(repeated, rel=1e-14)


@EACH
def test_what_is_not_weighted_does_not_pass_the_weighted_ops(loss, A, Y):
    with mock.patch.object(weighted, "_weighted_mean", side_effect=AssertionError):
        loss(tg.Tensor(A, requires_grad=True), Y).backward()


def test_a_single_number_may_have_a_weight():
    A = tg.Tensor(0.3, requires_grad=True)
    tg.binary_cross_entropy(A, 1.0, sample_weight=2.0).backward()
    assert A.grad == pytest.approx(-1 / 0.3)


# -- proved -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_the_gradient_is_w_times_a_minus_y_over_the_sum_of_w(rows, m):
    z, y, w = symbols("z", (rows, m)), symbols("y", (rows, m)), symbols("w", (1, m), positive=True)
    Z = variable(z)
    J = LOGITS(Z, y, sample_weight=w)
    J.backward()
    a = 1 / (1 + np.exp(-z))
    assert same(Z.grad, w * (a - y) / w.sum())
    assert same(J, -np.sum(w * (y * np.log(a) + (1 - y) * np.log(1 - a))) / w.sum())
    composed = variable(z)
    tg.binary_cross_entropy(tg.sigmoid(composed), y, sample_weight=w).backward()
    assert same(composed.grad, Z.grad)
    other = variable(z)
    tg.mean_squared_error(other, y, sample_weight=w).backward()
    assert same(other.grad, 2 * w * (z - y) / w.sum())


def test_the_gradient_of_softmax_is_w_times_a_minus_y_over_the_sum_of_w():
    z, w = symbols("z", (3, 2)), symbols("w", (1, 2), positive=True)
    for classes in ([0, 1], [2, 2]):
        Z, Y = variable(z), np.eye(3)[:, classes]
        tg.softmax_cross_entropy(Z, np.array([classes]), sample_weight=w).backward()
        a = np.exp(z) / np.exp(z).sum(axis=0, keepdims=True)
        assert same(Z.grad, w * (a - Y) / w.sum())


def test_the_gradient_stands_so_as_it_is_computed():
    z, y, a, w = (symbols(name, (1, 1)) for name in "zyaw")
    Z = variable(z)
    _, (dz, *_) = weighted.weighted_binary_cross_entropy_with_logits.rule(Z.data, y, w)
    assert str(dz(np.ones(())).substitute({tg.sigmoid(z): a}).item()) == "a - y"  # w / sum(w) is 1 for one example


# -- far out ----------------------------------------------------------------------------------------------------------


def test_an_infinite_loss_of_weight_0_does_not_count():
    Z = tg.Tensor([[np.inf, -np.inf, 2.0]], requires_grad=True)
    with np.errstate(invalid="ignore"):  # inf - inf, which is seen to
        J = LOGITS(Z, [[0, 1, 1]], sample_weight=[[0, 0, 2]])
    J.backward()
    assert J.item() == pytest.approx(np.log1p(np.exp(-2)))
    np.testing.assert_allclose(Z.grad, [[0, 0, -1 / (1 + np.exp(2))]])
    Z = tg.Tensor([[-np.inf, 0.0], [0.0, 0.0]], requires_grad=True)
    with np.errstate(invalid="ignore"):
        J = tg.softmax_cross_entropy(Z, [[0, 1]], sample_weight=[[0, 1]])
    J.backward()
    assert J.item() == pytest.approx(np.log(2))
    np.testing.assert_allclose(Z.grad, [[0, 0.5], [0, -0.5]])
    far = np.array([[1e200, 1.0]])
    with np.errstate(over="ignore", invalid="ignore"):
        assert tg.mean_squared_error(far, [[0, 0]], sample_weight=[[0, 1]]) == 1
        assert tg.mean_squared_error(far, [[0, 0]], sample_weight=[[1, 1]]) == np.inf


def test_logits_at_infinity_cost_what_they_cost_without_weights():
    Z, Y = np.array([[np.inf, -np.inf, 1000.0]]), [[1, 0, 1]]
    with np.errstate(invalid="ignore"):
        assert LOGITS(Z, Y, sample_weight=[[1, 2, 3]]) == LOGITS(Z, Y) == 0
        assert LOGITS(Z, [[0, 0, 1]], sample_weight=[[1, 2, 3]]) == np.inf


@EACH
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_cost_has_the_dtype_of_the_output_whatever_the_weights(loss, A, Y, dtype):
    a = tg.Tensor(A.astype(dtype), requires_grad=True)
    y = Y.astype(dtype) if Y.dtype.kind == "f" else Y
    J = loss(a, y, sample_weight=W)
    J.backward()
    assert J.dtype == a.grad.dtype == dtype
    assert J.item() == pytest.approx(loss(A, Y, sample_weight=W), rel=10 * float(np.finfo(dtype).eps))


def test_weights_of_half_precision_are_summed_in_single():
    m = 70_000
    cost = LOGITS(np.zeros((1, m), np.float16), np.ones((1, m)), sample_weight=np.ones((1, m), np.float16))
    assert cost == pytest.approx(np.log(2), rel=1e-3)


# -- what weights may be ----------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize(
    ("w", "text"),
    [
        (np.ones(5), "sample_weight is (5,); expected (1, 5), a weight for each example. Write "
         "sample_weight.reshape(1, -1): examples are columns."),
        (np.ones((5, 1)), "Write sample_weight.reshape(1, -1)"),
        (np.ones((2, 5)), "All the entries of a column have one weight."),
        (np.ones((1, 4)), "sample_weight is (1, 4); expected (1, 5), a weight for each example. Are the weights of the "
         "same examples?"),
        (2.0, "sample_weight is (); expected (1, 5)"),
        ([[1, 1, -1, 1, -2]], "sample_weight holds 2 weights below 0 among its 5, down to -2."),
        ([[1, 1, np.nan, 1, np.inf]], "sample_weight holds 2 NaN or infinities among its 5 weights."),
        (np.zeros((1, 5)), "sample_weight is zero for all examples: there is nothing to take the mean over."),
        (np.full((1, 5), 1e-320), "sample_weight sums to 5e-320, and float64 does not divide by so little. Divide "
         "it by its mean; if examples in other batches weigh far more, write 0 for these."),
        (np.full((1, 5), 1e308), "sample_weight sums to infinity in float64. Divide it by its mean."),
    ],
)  # fmt: skip
def test_other_weights_are_refused(loss, A, Y, w, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        loss(tg.Tensor(A, requires_grad=True), Y, sample_weight=w)


def test_weights_that_another_precision_does_not_hold_are_refused():
    Z = np.zeros((1, 2), np.float32)
    with pytest.raises(ValueError, match="sample_weight holds 1 NaN or infinities"):
        LOGITS(Z, [[0, 1]], sample_weight=[[1e300, 1]])
    with pytest.raises(ValueError, match="sample_weight is zero for all examples"):
        LOGITS(Z, [[0, 1]], sample_weight=[[1e-300, 0]])


@EACH
def test_weights_that_vanish_beside_others_count_for_nothing_and_the_smallest_that_are_normal_are_a_mean(loss, A, Y):
    least = np.finfo(float).smallest_normal
    for w, others in (([[1, 1, 5e-324, 2, 5e-324]], [[1, 1, 0, 2, 0]]), (np.full((1, 5), least), np.ones((1, 5)))):
        a, b = tg.Tensor(A, requires_grad=True), tg.Tensor(A, requires_grad=True)
        J, expected = loss(a, Y, sample_weight=w), loss(b, Y, sample_weight=others)
        J.backward()
        expected.backward()
        assert J.item() == pytest.approx(expected.item(), rel=1e-13)  # losses above 0.01 keep as many digits
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-13, atol=1e-14)  # beside entries of order 1


def test_values_are_checked_once_per_array_and_a_batch_passes_with_it():
    w, Y, Z = np.ones((1, 8)), np.zeros((1, 8)), np.zeros((1, 8))
    LOGITS(Z, Y, sample_weight=w)
    with mock.patch.object(label_checks, "_problem", side_effect=lambda x, check: check(x)) as checked:
        LOGITS(Z, Y, sample_weight=w)
        LOGITS(Z[:, :4], Y[:, :4], sample_weight=w[:, :4])
    assert {call.args[1] for call in checked.call_args_list} == {label_checks.check_any_weight}


def test_a_batch_whose_weights_are_all_zero_is_refused_though_the_whole_passed():
    w, Y, Z = np.array([[0, 0, 1.0, 1]]), np.zeros((1, 4)), np.zeros((1, 4))
    LOGITS(Z, Y, sample_weight=w)
    with pytest.raises(ValueError, match="sample_weight is zero for all examples"):
        LOGITS(Z[:, :2], Y[:, :2], sample_weight=w[:, :2])


# -- derived, written, drawn, compiled ---------------------------------------------------------------------------------


X, Y1 = RNG.standard_normal((2, 30)), RNG.integers(0, 2, (1, 30))
W30 = RNG.uniform(0, 2, (1, 30))
MODELS = {
    "binary_cross_entropy": (tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0), tg.nn.Sigmoid()), tg.binary_cross_entropy, Y1),
    "binary_cross_entropy_with_logits": (tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0)), LOGITS, Y1),
    "softmax_cross_entropy": (tg.nn.Sequential(tg.nn.Linear(2, 3, rng=0)), tg.softmax_cross_entropy,
                              RNG.integers(0, 3, (1, 30))),
    "mean_squared_error": (tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0)), tg.mean_squared_error, Y1),
}  # fmt: skip
GRADIENTS = {
    "binary_cross_entropy": ["dA = w * ((1 - Y) / (1 - A) - Y / A) / w.sum()",
                             "dZ = dA * (∂A/∂Z) = dA * A * (1 - A) = (A - Y) * w / w.sum()"],
    "binary_cross_entropy_with_logits": ["dZ = w * (A - Y) / w.sum()"],
    "softmax_cross_entropy": ["dZ = w * (A - Y) / w.sum()"],
    "mean_squared_error": ["dZ = 2 * w * (Z - Y) / w.sum()"],
}  # fmt: skip
ONE = {
    "binary_cross_entropy": "dL/dz = dL/da * da/dz = ((1 - y)/(1 - a) - y/a) * a*(1 - a) = a - y",
    "binary_cross_entropy_with_logits": "dL/dz = dL/da * da/dz = ((1 - y)/(1 - a) - y/a) * a*(1 - a) = a - y",
    "softmax_cross_entropy": "dL/dz[j] = sum_k dL/da[k] * da[k]/dz[j] = -y[j] + a[j] * sum_k y[k] = a[j] - y[j]",
    "mean_squared_error": "dL/dz = 2*z - 2*y",
}


def cost_of(name):
    model, loss, Y = MODELS[name]
    return model, (lambda X, Y, w: loss(model(X), Y, sample_weight=w)), Y


def lines(derivation, title):
    part = next(part for part in derivation.parts if part.title == title)
    return [" = ".join([line.left.code, *(x.code for x in line.rights)]) for line in part.lines]


@pytest.mark.parametrize("name", MODELS)
def test_derivations_have_the_weights_in_the_cost_and_the_plain_loss_for_one_example(name):
    _, cost, Y = cost_of(name)
    derivation = tg.derive(cost, X, Y, W30, values=True)
    assert lines(derivation, "Backward pass")[: len(GRADIENTS[name])] == GRADIENTS[name]
    assert lines(derivation, "One example")[-1] == ONE[name]
    number = 2 if name == "mean_squared_error" else 1
    assert rf"\frac{{{number}}}{{\sum_{{i=1}}^{{m}} w^{{(i)}}}} w \odot" in derivation.latex
    if name != "softmax_cross_entropy":
        assert "The loss of one example, before its weight w." in derivation.text


def test_a_loss_beside_a_penalty_is_a_weighted_mean():
    model = MODELS["binary_cross_entropy_with_logits"][0]
    derivation = tg.derive(
        lambda X, Y, w: LOGITS(model(X), Y, sample_weight=w) + tg.l2(model, 0.1, m=X.shape[1]), X, Y1, W30
    )
    assert "The weighted mean of the losses." in derivation.text


@pytest.mark.parametrize("name", MODELS)
def test_the_code_that_is_written_computes_the_same(name):
    model, cost, Y = cost_of(name)
    J = cost(X, Y, W30)
    for p in model.parameters():
        p.grad = None
    J.backward()
    names = {}
    exec(str(tg.numpy_source(cost, X, Y, W30)), names)
    got, dW, db = names["step"](X, Y, W30, *(p.data for p in model.parameters()))
    assert got == pytest.approx(J.item(), rel=1e-13)
    np.testing.assert_allclose(dW, model.parameters()[0].grad, rtol=1e-12)
    np.testing.assert_allclose(db, model.parameters()[1].grad, rtol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_a_picture_shows_the_weights(name):
    _, cost, Y = cost_of(name)
    source = tg.draw(cost, X, Y, W30).source
    assert '"node-w" -> "node-J"' in source
    assert f"by weighted_{name}" in source


@pytest.mark.parametrize("name", MODELS)
def test_a_compiled_function_is_the_eager_one_and_refuses_the_same_weights(name):
    _, cost, Y = cost_of(name)
    compiled = tg.compile(lambda X, Y, w: cost(X, Y, w).data)
    assert compiled(X, Y, W30) == pytest.approx(cost(X, Y, W30).item(), rel=1e-13)
    with pytest.raises(ValueError, match="sample_weight holds 30 weights below 0"):
        compiled(X, Y, -W30)
    with pytest.raises(ValueError, match="sample_weight is zero for all examples"):
        compiled(X, Y, 0 * W30)
    with pytest.raises(ValueError, match=r"sample_weight sums to .*e-320, and float64 does not divide by so little"):
        compiled(X, Y, np.full_like(W30, 5e-322))


def test_a_network_with_weights_agrees_with_itself_written_out():
    model = network()
    J = LOGITS(model(X), Y1, sample_weight=W30)
    J.backward()
    got = [p.grad.copy() for p in model.parameters()]
    for p in model.parameters():
        p.grad = None
    A = tg.sigmoid(model(X))
    (-np.sum(W30 * (Y1 * np.log(A) + (1 - Y1) * np.log(1 - A))) / np.sum(W30)).backward()
    for dW, p in zip(got, model.parameters(), strict=True):
        np.testing.assert_allclose(dW, p.grad, rtol=1e-11, atol=1e-17)


# -- smoothed labels --------------------------------------------------------------------------------------------------


def test_smoothed_labels_share_out_a_part_of_each():
    np.testing.assert_allclose(tg.smooth_labels([[0, 1]], 0.2), [[0.1, 0.9]])
    one_hot = np.eye(4)[:, [2, 0]]
    smooth = tg.smooth_labels(one_hot, 0.2)
    np.testing.assert_allclose(smooth, 0.8 * one_hot + 0.05)
    np.testing.assert_allclose(smooth.sum(axis=0), 1)
    np.testing.assert_array_equal(tg.smooth_labels([[2, 0]], 0.2, n_classes=4), smooth)
    several = np.array([[1, 0], [1, 1.0]])
    np.testing.assert_allclose(tg.smooth_labels(several, 0.2, several_labels=True), [[0.9, 0.1], [0.9, 0.9]])
    np.testing.assert_array_equal(tg.smooth_labels(one_hot, 0), one_hot)
    assert tg.smooth_labels(one_hot.astype(np.float32), 0.1).dtype == np.float32


@pytest.mark.parametrize(
    ("Y", "eps", "options", "text"),
    [
        (np.array([[0, 127]], np.int8), 0.1, {}, "smooth_labels: Y holds classes up to 127. Say of how many: "
         "n_classes=128."),
        ([[0, 2, 1]], 0.1, {}, "smooth_labels: Y holds classes up to 2. Say of how many: n_classes=3."),
        ([[1, 1], [1, 0]], 0.1, {}, "Of several labels for each example, say so: several_labels=True."),
        ([[0, 3]], 0.1, {"n_classes": 3}, "smooth_labels: Y holds classes from 0 to 3; there are 3 classes"),
        ([[0.5, 1]], 0.1, {"n_classes": 3}, "n_classes= is for class indices, integers (1, m)"),
        ([[0, 1]], 0.1, {"n_classes": 1}, "n_classes must be 2 or more"),
        ([[0.5, 1.5]], 0.1, {}, "smooth_labels: Y holds labels from 0.5 to 1.5"),
        ([0, 1], 0.1, {}, "smooth_labels: Y is (2,); expected a column for each example. Write Y.reshape(1, -1)."),
        ([[0, 1]], 1, {}, "smooth_labels: eps must be in [0, 1), got 1"),
        ([[0, 1]], -0.1, {}, "smooth_labels: eps must be in [0, 1), got -0.1"),
        ([[0, 1]], np.nan, {}, "smooth_labels: eps"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_smoothed_are_refused(Y, eps, options, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        tg.smooth_labels(np.array(Y), eps, **options)
