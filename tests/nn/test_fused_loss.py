"""Losses of one's own: what a fused loss says of itself, and who takes its word for it only after a proof."""

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls import nn
from tinygrad_dls.derivations import taken_apart
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.nn import labels as label_checks
from tinygrad_dls.nn import losses

RNG = np.random.default_rng(5)
X, Y = RNG.standard_normal((2, 30)), RNG.integers(0, 2, (1, 30)).astype(float)
CLASSES = np.eye(3)[:, RNG.integers(0, 3, 30)]


def textbook(Z, Y):
    A = tg.sigmoid(Z)
    return -np.mean(Y * np.log(A) + (1 - Y) * np.log(1 - A))


def zeros_and_ones(y):
    wrong = y[(y != 0) & (y != 1)]
    return f"Y holds {wrong[0]:g}; expected 0 and 1." if wrong.size else ""


def cross_entropy(z, y):
    """Cross-entropy of a sigmoid, at once."""
    m, a = z.shape[1], tg.sigmoid(z)
    J = np.sum(np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))) / m
    return J, (lambda dj: dj * (a - y) / m, lambda dj: -dj * z / m)


def smoothed(Z, Y):
    return -np.sum((0.9 * Y + 0.1 / 3) * np.log(tg.softmax(Z, axis=0))) / Z.shape[1]


def smoothed_cross_entropy(z, y):
    m, t, s = z.shape[1], 0.9 * y + 0.1 / 3, tg.log_softmax(z, axis=0)
    return -np.sum(t * s) / m, (lambda dj: dj * (tg.softmax(z, axis=0) - t) / m, lambda dj: -dj * 0.9 * s / m)


def squared_error_of_tanh(z, y):
    m, a = z.shape[1], np.tanh(z)
    return np.sum((a - y) ** 2) / m, (lambda dj: dj * 2 * (a - y) * (1 - a * a) / m, lambda dj: dj * 2 * (y - a) / m)


def softmax_loss(z, y):
    m, s = z.shape[1], tg.log_softmax(z, axis=0)
    return -np.sum(y * s) / m, (lambda dj: dj * (tg.softmax(z, axis=0) - y) / m, lambda dj: -dj * s / m)


def of_softmax(Z, Y):
    return -np.sum(Y * np.log(tg.softmax(Z, axis=0))) / Z.shape[1]


OWN = tg.fused_loss(textbook, labels=zeros_and_ones)(cross_entropy)


def model(rows=1):
    return nn.Sequential(nn.Linear(2, rows, rng=0))


def lines(derivation, title):
    part = next(part for part in derivation.parts if part.title == title)
    return [" = ".join([line.left.code, *(x.code for x in line.rights)]) for line in part.lines]


# -- derivations ------------------------------------------------------------------------------------------------------


def test_a_loss_of_ones_own_is_taken_apart_as_the_packages_is():
    own = tg.derive(model(), X, Y, loss=OWN)
    assert own.parts[1] == tg.derive(model(), X, Y, loss=tg.binary_cross_entropy_with_logits).parts[1]
    assert lines(own, "One example")[-1] == "dL/dz = dL/da * da/dz = ((1 - y)/(1 - a) - y/a) * a*(1 - a) = a - y"


def test_the_steps_of_a_fused_loss_carry_their_numbers():
    own = tg.derive(model(), X, Y, loss=OWN, values=True)
    values = {line.left.code: line.value for line in own.parts[2].lines}
    a = float(tg.sigmoid(model()(X)).data[0, 0])
    assert values["a"] == pytest.approx(a)
    assert values["dL/dz"] == pytest.approx(a - Y[0, 0])


def test_another_activation_is_named_and_no_form_is_called_another_where_there_is_none():
    loss = tg.fused_loss(lambda Z, Y: tg.mean_squared_error(np.tanh(Z), Y))(squared_error_of_tanh)
    derivation = tg.derive(model(), X, Y, loss=loss)
    assert "The cost holds the tanh within; taken apart" in derivation.text
    assert "does not overflow" not in derivation.text
    assert lines(derivation, "One example")[:2] == ["a = tanh(z)", "L = (a - y)**2"]


def test_a_softmax_of_ones_own_is_taken_apart_by_indices():
    loss = tg.fused_loss(of_softmax, labels=label_checks.check_columns)(softmax_loss)
    own = tg.derive(model(3), X, CLASSES, loss=loss)
    assert own.parts[1] == tg.derive(model(3), X, CLASSES, loss=tg.softmax_cross_entropy).parts[1]


def test_what_is_neither_is_taken_apart_with_whole_arrays():
    loss = tg.fused_loss(smoothed, labels=label_checks.check_columns)(smoothed_cross_entropy)
    found = lines(tg.derive(model(3), X, CLASSES, loss=loss), "The cost, taken apart")
    assert found[0] == "A = softmax(Z)"
    assert found[-1] == "dZ = A * (dA - np.sum(A * dA, axis=0, keepdims=True))"


def factor(by):
    def rule(z, y):
        J, (dz, dy) = cross_entropy(z, y)
        return by * J, (dz, dy)

    return rule


def slipped(z, y):
    J, (dz, dy) = cross_entropy(z, y)
    return J, (lambda dj: -dz(dj), dy)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (
            factor(2),
            r"^rule is not its composed form textbook: they differ in the cost: .* by its rule, .* by the form",
        ),
        (slipped, r"^slipped is not its composed form textbook: they differ in the gradient dZ"),
        (squared_error_of_tanh, r"^squared_error_of_tanh is not its composed form textbook: they differ in the cost"),
    ],
)
def test_a_wrong_composed_form_is_refused_by_name(rule, text):
    loss = tg.fused_loss(textbook)(rule)
    for run in (lambda: tg.derive(model(), X, Y, loss=loss), lambda: tg.derive(loss(model()(X), Y))):
        with pytest.raises(ValueError, match=text):
            run()


def test_a_mean_over_a_frozen_number_of_examples_is_refused():
    loss = tg.fused_loss(lambda Z, Y: textbook(Z, Y) * Z.shape[1] / 2)(cross_entropy)
    with pytest.raises(ValueError, match="not its composed form: they differ in the cost"):
        tg.derive(model(), X, Y, loss=loss)


def test_equal_for_labels_that_sum_to_one_alone_is_equal_only_if_the_loss_refuses_others():
    with pytest.raises(ValueError, match=r"softmax_loss is not .*say so: labels=tg\.nn\.labels\.check_columns"):
        tg.derive(model(3), X, CLASSES, loss=tg.fused_loss(of_softmax)(softmax_loss))


def test_what_algebra_cannot_decide_is_not_shown_and_it_says_so():
    def unknown(z, y):
        _, vjps = cross_entropy(z, y)
        return np.sum(np.logaddexp2(0, z / np.log(2)) * np.log(2) - y * z) / z.shape[1], vjps

    derivation = tg.derive(model(), X, Y, loss=tg.fused_loss(textbook)(unknown))
    (part,) = (part for part in derivation.parts if part.title == "One example")
    assert part.lines == ()
    assert "not taken apart: whether unknown is its composed form textbook, as it says, cannot be told" in " ".join(
        derivation.text.split()
    )
    assert "np.logaddexp2 has no formula" in derivation.text


def test_logits_that_are_used_elsewhere_too_get_no_chain_of_the_loss_alone():
    Z = tg.Tensor(np.ones((1, 2)), requires_grad=True, name="W") @ X
    for labels, title in ((Y, "One example"), (tg.sigmoid(Z), "Backward pass")):
        derivation = tg.derive(tg.binary_cross_entropy_with_logits(Z, labels))
        assert derivation.parts[1].title == title


@pytest.mark.parametrize("name", ["_binary_cross_entropy_with_logits", "_softmax_cross_entropy"])
@pytest.mark.parametrize("rows", [2, 3])
def test_the_packages_own_losses_are_what_they_say(name, rows):
    taken_apart.obstacle.cache_clear()
    assert taken_apart.obstacle(getattr(losses, name), rows) == ""


# -- pictures, code and training --------------------------------------------------------------------------------------


def test_its_arguments_have_the_courses_names():
    assert "Z = W @ X + b" in tg.numpy_source(model(), X, Y, loss=OWN)
    A = tg.fused_loss(lambda A, Y: tg.mean_squared_error(A, Y), takes="A")(
        lambda a, y: (np.sum((a - y) ** 2) / a.shape[1], (lambda dj: dj * 2 * (a - y) / a.shape[1], None))
    )
    t = tg.Tensor(X[:1], requires_grad=True) * 2
    assert "A" in tg.numpy_source(A(t, Y)).split("def step(")[1]


def test_it_trains_as_the_packages_own_eager_and_compiled():
    costs = []
    for loss in (OWN, tg.binary_cross_entropy_with_logits):
        for compiled in (False, True):
            m = nn.LogisticRegression(2)
            optimizer = tg.optim.SGD(m.parameters(), lr=0.1)
            costs.append(tg.fit(m, X, Y, loss=loss, optimizer=optimizer, epochs=5, compile=compiled).costs)
    for other in costs[1:]:
        np.testing.assert_allclose(other, costs[0], rtol=1e-12)  # sums of 30 numbers, in another order


# -- labels -----------------------------------------------------------------------------------------------------------


def message(f, *args):
    with pytest.raises((TypeError, ValueError)) as caught:
        f(*args)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("loss", [OWN, lambda z, y: OWN(z, 1 - y), lambda z, y: OWN(z, y[:1]) + OWN(z, y)])
def test_its_labels_are_checked_compiled_as_eagerly(loss):
    m = model()
    step = tg.compile(m, loss, tg.optim.SGD(m.parameters(), lr=0.1))
    step(X, Y)
    for wrong in (2 * Y, Y - 0.5, np.full_like(Y, np.nan), Y[0], Y[:, :-1]):
        assert message(step, X, wrong) == message(lambda x, y, m=m: loss(m(x), y), X, wrong)
    assert step(X, Y.copy()) == pytest.approx(loss(model()(X), Y).item(), rel=0.2)


@pytest.mark.parametrize(
    "loss", [OWN, tg.binary_cross_entropy_with_logits, lambda z, y: OWN(z, 1 - y), lambda z, y: OWN(z, y[:, :5] * 1)]
)
def test_its_labels_are_checked_in_a_compiled_function_as_eagerly(loss):
    compiled = tg.compile(lambda z, y: loss(z[:, : y.shape[1]][:, :5], y[:, :5]))
    Z = X[:1]
    for _ in range(9):  # past the calls that are compared with the function itself
        assert compiled(Z, Y) == pytest.approx(loss(Z[:, :5], Y[:, :5]), rel=1e-12)
    for wrong in (2 * Y + 1, Y - 0.5, np.full_like(Y, np.nan)):
        assert message(compiled, Z, wrong) == message(lambda z, y: loss(z[:, :5], y[:, :5]), Z, wrong)
    assert compiled(Z, Y.copy()) == compiled(Z, Y)


def test_a_check_without_limits_cannot_be_met_by_what_the_model_computes():
    m, loss = model(), tg.fused_loss(textbook, labels=lambda y: "" if y.max() <= 1 else "too large")(cross_entropy)
    step = tg.compile(m, lambda z, y: loss(z, tg.sigmoid(z).detach()), tg.optim.SGD(m.parameters(), lr=0.1))
    with pytest.raises(RecordingError, match="labels that are computed from more than Y"):
        step(X, Y)


def test_labels_are_checked_once_per_array_by_a_check_of_ones_own():
    seen = []
    loss = tg.fused_loss(textbook, labels=lambda y: seen.append(1) or "")(cross_entropy)
    for _ in range(3):
        loss(X[:1], Y)
    loss(X[:1], Y.copy())
    assert len(seen) == 2


def test_without_a_check_labels_are_finite():
    with pytest.raises(ValueError, match="Y holds 30 NaN or infinities"):
        tg.fused_loss(textbook)(cross_entropy)(X[:1], np.full((1, 30), np.inf))


def test_a_check_that_is_wrong_is_not_taken_for_one_that_passes():
    loss = tg.fused_loss(textbook, labels=lambda y: y + "text")(cross_entropy)
    with pytest.raises(TypeError, match="ufunc"):
        loss(X[:1], Y)


# -- what fused_loss takes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "error", "text"),
    [
        (lambda: tg.fused_loss(None), TypeError, "fused_loss: composed must be a function, got None"),
        (lambda: tg.fused_loss(textbook, labels="binary"), TypeError, "fused_loss: labels must be a function, got"),
        (lambda: tg.fused_loss(textbook, takes="X"), ValueError, "fused_loss: takes must be 'A' or 'Z', got"),
        (lambda: tg.fused_loss(textbook)(3), TypeError, "is no rule of two arrays. Write @fused_loss"),
        (lambda: tg.fused_loss(textbook)(lambda z: z), TypeError, "is no rule of two arrays"),
    ],
)
def test_what_fused_loss_refuses(use, error, text):
    with pytest.raises(error, match=text):
        use()


# -- a sigmoid applied twice ------------------------------------------------------------------------------------------


def squared_error(z, y):
    m = z.shape[1]
    return np.sum((z - y) ** 2) / m, (lambda dj: dj * 2 * (z - y) / m, lambda dj: dj * 2 * (y - z) / m)


def test_its_textbook_form_says_whether_a_loss_of_ones_own_applies_a_sigmoid():
    def halved(Z, Y):
        return 0.5 * tg.binary_cross_entropy_with_logits(Z, Y)

    def rule(z, y):
        J, (dz, dy) = losses._binary_cross_entropy_with_logits.rule(z, y)
        return 0.5 * J, (lambda dj: 0.5 * dz(dj), lambda dj: 0.5 * dy(dj))

    of_probabilities = tg.fused_loss(tg.mean_squared_error, labels=label_checks.check_columns)(squared_error)
    Z = tg.Tensor(X[:1], requires_grad=True)
    for loss in (OWN, tg.fused_loss(halved)(rule)):
        with pytest.raises(ValueError, match="Z comes from a sigmoid, and the loss is of logits"):
            loss(tg.sigmoid(Z), Y)
        assert np.isfinite(loss(Z, Y).item())
    with pytest.raises(ValueError, match="Z comes from a softmax, and the loss is of logits"):
        tg.fused_loss(of_softmax)(softmax_loss)(tg.softmax(tg.Tensor(CLASSES, requires_grad=True)), CLASSES)
    A = tg.softmax(tg.Tensor(CLASSES, requires_grad=True))
    assert of_probabilities(A, CLASSES).item() == tg.mean_squared_error(A, CLASSES).item()
    fails_for_one = tg.fused_loss(lambda Z, Y: np.sum((Z - Y) ** 2 * np.ones((3, 30)) / 0))(squared_error)
    assert fails_for_one(A, CLASSES).item() == tg.mean_squared_error(A, CLASSES).item()
