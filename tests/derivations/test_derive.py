"""The derivation: right in every line, and never wrong where algebra gives up."""

import re
import subprocess
import sys
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import sympy
from hypothesis import settings

import tinygrad_dls as tg
from tests.support.derivations import RNG, X, Y, derivations, executed, labels_of
from tests.support.programs import random_program
from tests.support.sources import EPS, MODELS, cost_of, gradients_of, matrix_of_data, rounded_anew
from tinygrad_dls.derivations import entries, taken_apart
from tinygrad_dls.engine.errors import RecordingError
from tinygrad_dls.extras import install
from tinygrad_dls.nn import losses

PROGRAMS = range(settings.default.max_examples)  # 100 ordinarily, 3,000 in the deep profile


def lines(derivation, title):
    """What a part says, as code: ``left = right = right``."""
    part = next(part for part in derivation.parts if part.title == title)
    return [" = ".join([line.left.code, *(x.code for x in line.rights)]) for line in part.lines]


def said(line):
    return "".join(x if isinstance(x, str) else x.code for x in line.because)


# -- line by line -----------------------------------------------------------------------------------------------------


CHAIN = [
    "a = 1/(1 + exp(-z))",
    "L = -y*log(a) - (1 - y)*log(1 - a)",
    "dL/da = (1 - y)/(1 - a) - y/a",
    "da/dz = a*(1 - a)",
    "dL/dz = dL/da * da/dz = ((1 - y)/(1 - a) - y/a) * a*(1 - a) = a - y",
]  # of the notes, which ends in a - y


def test_logistic_regression_of_composed_layers_line_by_line():
    model = tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0), tg.nn.Sigmoid())
    derivation = tg.derive(model, X, Y, loss=tg.binary_cross_entropy)
    assert lines(derivation, "Forward pass") == [
        "Z = W @ X + b",
        "A = sigmoid(Z)",
        "J = np.sum(-(Y * np.log(A) + (1 - Y) * np.log(1 - A))) / m",
    ]
    assert lines(derivation, "One example") == CHAIN
    assert lines(derivation, "Backward pass") == [
        "dA = ((1 - Y) / (1 - A) - Y / A) / m",
        "dZ = dA * (∂A/∂Z) = dA * A * (1 - A) = (A - Y) / m",
        "dW = dZ @ X.T",
        "db = dZ.sum(axis=1, keepdims=True)",
    ]


def test_few_examples_make_no_difference_to_the_formulas():
    model = tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0), tg.nn.Sigmoid())
    for m in (2, 3, 4):
        derivation = tg.derive(model, X[:, :m], Y[:, :m], loss=tg.binary_cross_entropy)
        assert derivation.text == tg.derive(model, X, Y, loss=tg.binary_cross_entropy).text, m


def test_the_cost_of_logits_is_taken_apart():
    derivation = tg.derive(tg.nn.LogisticRegression(2), X, Y, loss=tg.binary_cross_entropy_with_logits)
    assert lines(derivation, "One example") == CHAIN
    assert lines(derivation, "Backward pass") == [
        "dZ = (A - Y) / m",
        "dW = dZ @ X.T",
        "db = dZ.sum(axis=1, keepdims=True)",
    ]
    part = derivation.parts[1]
    why = "from z, as log(exp(z) + 1) - y*z, in a form that does not overflow; the two are equal."
    assert why in said(part.lines[1])


LOCAL = {
    "tanh": "da1/dz1 = 1 - a1**2",
    "sigmoid": "da1/dz1 = a1*(1 - a1)",
    "relu": "da1/dz1 = (1 if z1 > 0 else 0)",
}
PRODUCT = {"tanh": "(1 - A1**2)", "sigmoid": "A1 * (1 - A1)", "relu": "(Z1 > 0)"}


@pytest.mark.parametrize("name", LOCAL)
def test_the_network_line_by_line(name):
    model, loss = MODELS[name]
    derivation = tg.derive(model, X, Y, loss=loss)
    law = "dA1 * (∂A1/∂Z1)"
    assert lines(derivation, "Backward pass") == [
        "dZ2 = (A2 - Y) / m",
        "dW2 = dZ2 @ A1.T",
        "db2 = dZ2.sum(axis=1, keepdims=True)",
        "dA1 = W2.T @ dZ2",
        f"dZ1 = {law} = dA1 * {PRODUCT[name]}",
        "dW1 = dZ1 @ X.T",
        "db1 = dZ1.sum(axis=1, keepdims=True)",
    ]
    why = {line.left.code: said(line) for line in derivation.parts[-1].lines}
    assert LOCAL[name] in why["dZ1"]
    assert "dW1[j, k] = sum_i dZ1[j, i] * X[k, i]" in why["dW1"]
    assert "dA1[j, i] = sum_k W2[k, j] * dZ2[k, i]" in why["dA1"]
    shapes = {line.left.code: line.shape for line in derivation.parts[-1].lines}
    assert shapes == {
        "dZ2": ("1", "m"), "dW2": ("1", "4"), "db2": ("1", "1"),
        "dA1": ("4", "m"), "dZ1": ("4", "m"), "dW1": ("4", "2"), "db1": ("4", "1"),
    }  # fmt: skip


def test_un_broadcasting_is_explained_where_it_happens():
    model, loss = MODELS["tanh"]
    why = {line.left.code: said(line) for line in tg.derive(model, X, Y, loss=loss).parts[-1].lines}
    expected = "Broadcasting: b1 is (4, 1), Z1 is (4, m), which uses each number for all m examples."
    assert why["db1"].startswith(expected)
    assert not any("Broadcasting" in text for name, text in why.items() if not name.startswith("db"))


def test_the_softmax_is_taken_apart_by_indices():
    model, loss = MODELS["three classes"]
    derivation = tg.derive(loss(model(X), labels_of("three classes")))
    assert lines(derivation, "One example")[-1] == (
        "dL/dz[j] = sum_k dL/da[k] * da[k]/dz[j] = -y[j] + a[j] * sum_k y[k] = a[j] - y[j]"
    )
    assert derivation.formulas["dZ2"] == "(A2 - Y) / m"
    derivation = tg.derive(model, X, labels_of("three classes"), loss=loss)
    assert derivation.formulas["dZ2"] == "(A2 - Y) / m"
    assert "Y stands for the one-hot columns of the class indices, (3, m)." in derivation.text


def test_class_indices_that_the_cost_needs_too_stand_beside_their_one_hot_columns():
    model, loss = MODELS["three classes"]
    Y = labels_of("three classes")
    derivation = tg.derive(model, X, Y, loss=lambda Z, Y: loss(Z, Y) + np.mean(Y * Z[1:2]), values=True)
    assert "(A2 - Y_one_hot) / m" in derivation.formulas["dZ2"]
    assert "Y_one_hot stands for the one-hot columns of the class indices, (3, m)." in derivation.text


def test_a_comparison_among_the_labels_is_one_in_the_derivation():
    model = tg.nn.LogisticRegression(2)
    loss = lambda Z, Y: tg.binary_cross_entropy_with_logits(Z, Y == 2)  # noqa: E731
    derivation = tg.derive(model, X, labels_of("three classes"), loss=loss)
    assert derivation.formulas["dZ"] == "(A - (Y == 2)) / m"
    assert "The derivative of the cost, in which True counts as 1." in derivation.text


def textbook_cost(X, Y):
    """As the course's exercises write it, with weights that are a column."""
    A = tg.sigmoid(w.T @ X + b)
    return -np.mean(Y * np.log(A) + (1 - Y) * np.log(1 - A))


w = tg.Tensor([[0.1], [-0.2]], requires_grad=True, name="w")
b = tg.Tensor([[0.3]], requires_grad=True, name="b")


def test_a_cost_of_plain_numpy_is_simplified_as_well():
    derivation = tg.derive(textbook_cost, X, Y)
    assert lines(derivation, "One example")[1] == "L = -y*log(a) - (1 - y)*log(1 - a)"
    assert lines(derivation, "One example")[-1].endswith(" = a - y")
    assert derivation.formulas["dZ"] == "(A - Y) / m"
    assert "A is used 2 times, and the contributions add up." in derivation.text


def test_what_an_op_says_of_its_gradient_keeps_its_formulas():
    W = tg.Tensor(np.arange(1.0, 7.0).reshape(2, 3), requires_grad=True, name="W")
    A = np.mean(W, axis=1)
    A.name = "A"
    derivation = tg.derive(np.sum(np.exp(A)))
    assert "Every one gets 1/n of the gradient." in derivation.text
    assert "Every one gets `1/n` of the gradient." in derivation.markdown


@pytest.mark.parametrize(
    ("says", "shown"),
    [
        ("the ReLU of X lets A through.", "The ReLU of X lets A through."),
        ("a slope of one everywhere.", "A slope of one everywhere."),
        ("do as the sum does.", "Do as the sum does."),
        ("dw is twice the gradient.", "dw is twice the gradient."),
        ("dW is twice the gradient.", "dW is twice the gradient."),
        ("db is twice the gradient.", "db is twice the gradient."),
        ("w is used in two places.", "w is used in two places."),
        ("b1 is used in two places.", "b1 is used in two places."),
        ("weights is an argument, used twice.", "weights is an argument, used twice."),
        ("a is used in two places.", "a is used in two places."),
        ("a - y is what is left.", "a - y is what is left."),
        ("np.sum has this gradient too.", "np.sum has this gradient too."),
        ("``2 * dz``, for the sum takes each twice.", "2 * dz, for the sum takes each twice."),
        ("``dz: dw``.", "The chain rule."),
        ("``2 * dz * np.ones(3)``.", "The chain rule."),
    ],
)
def test_an_explanation_begins_with_a_capital_but_a_name_or_code_stays_as_it_is(says, shown):
    def running_sum(weights):
        return np.cumsum(weights, axis=1), (lambda dz: np.cumsum(dz[:, ::-1], axis=1)[:, ::-1],)

    running_sum.__doc__ = f"Sums: {says}"
    W = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="W")
    Z = tg.op()(running_sum)(W)
    Z.name = "Z"
    (*_, last) = tg.derive(np.sum(np.exp(Z)), wrt="W").parts[-1].lines
    assert said(last).replace("``", "") == shown


def test_one_minus_the_labels_is_known_in_a_cost_that_was_computed_already():
    derivation = tg.derive(textbook_cost(X, Y))
    assert lines(derivation, "One example")[-1].endswith(" = a - y")
    assert derivation.formulas["dZ"] == "(A - Y) / m"


def test_what_algebra_does_not_know_of_stays():
    """The graph of a Tensor has 0.9 - Y as an array without a name: that it is 0.9 - Y is not in it."""
    A = tg.sigmoid(w.T @ X + b)
    derivation = tg.derive(-np.mean(Y * np.log(A) + (0.9 - Y) * np.log(1 - A)))
    assert lines(derivation, "One example")[-1].endswith(" = a*c1 + a*y - y")
    assert derivation.formulas["dZ"] == "(A * C1 + A * Y - Y) / m"


def test_numbers_that_may_be_the_number_of_examples_are_pointed_out():
    few = X[:, :5]
    text = tg.derive(np.sum(tg.sigmoid(w.T @ few + b)) / 5).text
    assert "may stand for" in text
    assert "there were 5 examples. To have m in its place, pass the function that computes J." in text
    assert "may stand for" not in tg.derive(textbook_cost, X, Y).text


# -- formulas as mathematics is written -------------------------------------------------------------------------------


W1 = tg.Tensor(RNG.standard_normal((4, 2)), requires_grad=True, name="W1")
DROPPED = (RNG.random((4, 400)) < 0.8).astype(float)
FORMULAS = {  # a product of entries within one of matrices, sums over what are no examples, one number over and over
    "dropout": (lambda: np.sum(W1.T @ (np.tanh(W1 @ X) * DROPPED / 0.8)),
                r"W^{[1]T} \, \left(\frac{1}{0.8} A^{[1]} \odot D^{[1]}\right)"),
    "L2": (lambda: 0.07 * np.sum(W1**2), r"J = 0.07 \sum_{j, k} (W^{[1]}_{jk})^{2}"),
    "means of rows": (lambda: np.sum(W1.mean(axis=1) ** 2), r"\frac{1}{2} \sum_{k} W^{[1]}_{jk}"),
    "ones": (lambda: np.sum(W1 @ X), r"dW^{[1]} = \mathbf{1}_{4 \times m} \, X^{T}"),
    "norm": (lambda: np.sqrt(np.sum(W1**2)), r"\frac{dJ}{dw^{[1]}} = \frac{w^{[1]}}{J}"),
    "minus": (lambda: np.sum(W1 - (W1 - W1 * W1)), r"W^{[1]} - (W^{[1]} - (W^{[1]})^{2})"),
    "power of a fraction": (lambda: np.sum((W1 / (W1**2 + 1)) ** 2),
                            r"\left(\frac{W^{[1]}}{(W^{[1]})^{2} + 1}\right)_{jk}^{2}"),
    "logarithms": (lambda: np.sum(np.log1p(np.exp(-np.abs(W1)))), r"\log(1 + e^{-\left|W^{[1]}\right|})"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_have_the_parentheses_and_indices_that_they_need(name):
    cost, expected = FORMULAS[name]
    assert expected in tg.derive(cost()).markdown


def test_several_rows_have_the_loss_of_an_entry():
    model, two = tg.nn.Sequential(tg.nn.Linear(2, 2, rng=0), tg.nn.Sigmoid()), np.concatenate([Y, 1 - Y])
    derivation = tg.derive(model, X, two, loss=tg.binary_cross_entropy)
    assert "The loss of one entry; that of an example is the sum over its 2 rows." in derivation.text
    assert "The loss of one example." not in derivation.text


# -- the numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_final_formulas_give_the_gradients_of_the_models(name):
    model, loss = MODELS[name]
    J = loss(model(X), labels_of(name))
    for p in model.parameters():
        p.grad = None  # other tests differentiate the same models
    derivation = tg.derive(J)
    found, expected = executed(derivation, J), gradients_of(J)
    assert {"J", *(f"d{p.name}" for p in model.parameters())} <= expected.keys() & found.keys()
    for key, x in expected.items():
        # sums over 400 examples, in another order than autodiff's: their rounding is relative to the summed terms
        np.testing.assert_allclose(found[key], x, rtol=1e-12, atol=1e-15)


def outcome(seed):
    """Whether the derivation of a random program was refused, or held against autodiff."""
    program, rng = random_program(seed), np.random.default_rng(seed)
    data = matrix_of_data(program)
    J = cost_of(program, data)
    try:
        derivation = tg.derive(J)
    except RecordingError:
        return "refused"
    found, expected = executed(derivation, J), gradients_of(J)
    noisy = [gradients_of(cost_of(program, data, rounded_anew(rng))) for _ in range(3)]
    for name, x in expected.items():
        assert np.shape(found[name]) == np.shape(x), name
        # As in the test of the code: at most what autodiff differs from itself if every step is rounded anew. Ten
        # times, because algebra changes the order of more steps, which may cancel differently.
        spread = max(np.abs(other[name] - x).max() for other in noisy)
        assert np.abs(found[name] - x).max() <= 10 * (spread + EPS * np.abs(x).max()), name
    assert all(part.lines for part in derivation.parts)
    return "equal"


def test_the_final_formulas_of_random_programs_give_the_gradients_of_autodiff():
    outcomes = []
    for seed in PROGRAMS:
        try:
            outcomes.append(outcome(seed))
        except Exception as error:  # raised again, with the program that it came of
            error.add_note(f"random_program({seed}):{random_program(seed)}")
            raise
    assert outcomes.count("equal") >= 0.98 * len(PROGRAMS)


def test_each_line_carries_its_number():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 4)), np.array([[1, 0, 0, 1]])
    model = tg.nn.Sequential(tg.nn.Linear(2, 1, rng=0), tg.nn.Sigmoid())
    derivation = tg.derive(model, x, y, loss=tg.binary_cross_entropy, values=True)
    numbers = {line.left.code: line.value for part in derivation.parts for line in part.lines}
    W, b = (p.data for p in model.parameters())
    a = tg.sigmoid(W @ x + b)
    np.testing.assert_allclose(numbers["A"], a, rtol=1e-14)  # one sigmoid, written in two ways
    np.testing.assert_allclose(numbers["dW"], (a - y) @ x.T / 4, rtol=1e-13)  # a sum of four
    first = a[0, 0]
    by_hand = {"a": first, "L": -np.log(first), "dL/da": -1 / first, "da/dz": first * (1 - first), "dL/dz": first - 1}
    for name, value in by_hand.items():
        assert numbers[name] == pytest.approx(value, rel=1e-13), name  # a few operations
    assert f"z = {(W @ x + b)[0, 0]:.4g}" in derivation.text
    assert "y = 1" in derivation.text
    assert all(
        line.value is None for part in tg.derive(model, x, y, loss=tg.mean_squared_error).parts for line in part.lines
    )


# -- never wrongly ----------------------------------------------------------------------------------------------------


a, y = entries.symbol("a"), entries.symbol("y")


def test_a_simplification_is_taken_only_with_a_proof():
    product = ((1 - y) / (1 - a) - y / a) * a * (1 - a)
    assert entries.shorter(product) == a - y
    for wrong in (y - a, a + y, sympy.S.Zero):
        with mock.patch.object(entries, "canonical", lambda _, wrong=wrong: wrong):
            assert entries.shorter(product) == product


def test_what_cannot_be_simplified_stays():
    x = sympy.Max(0, a) * (1 + a) / (1 + a)
    assert entries.shorter(x) == x
    assert entries.shorter(sympy.log(1 + a)) == sympy.log(1 + a)


@pytest.mark.parametrize("name", ["logistic regression", "three classes"])
def test_a_wrong_rule_gets_no_steps_that_lead_elsewhere(name):
    """The steps within a cost of logits are the rules of other ops: they have to lead to that of the cost."""
    model, loss = MODELS[name]
    J = loss(model(X), labels_of(name))

    within = "softmax" if name == "three classes" else "sigmoid"
    right = getattr(tg, within)

    @tg.op()
    def wrong(z, *axis):
        a = right(z)
        return a, (lambda da: -da * a * (1 - a), *[None for _ in axis])

    taken_apart.obstacle.cache_clear()
    with (
        mock.patch.object(losses, within, wrong),
        pytest.raises(ValueError, match=f"{J.op.__name__} is not its composed form.*they differ in the gradient dZ"),
    ):
        tg.derive(J)
    taken_apart.obstacle.cache_clear()


@pytest.mark.parametrize("wrong", ["-({})", "({}) * (1 + 1e-9)"])
def test_a_wrong_formula_is_caught_by_its_numbers(wrong):
    """The property test above can fail."""
    derivation = tg.derive(cost_of(random_program(0), None))
    formulas = {**derivation.formulas, "dx1": wrong.format(derivation.formulas["dx1"])}
    with (
        mock.patch.object(tg, "derive", return_value=replace(derivation, formulas=formulas)),
        mock.patch(f"{__name__}.matrix_of_data", return_value=None),
        pytest.raises(AssertionError, match="dx1"),
    ):
        outcome(0)


# -- with respect to what ---------------------------------------------------------------------------------------------


def test_wrt_takes_names_tensors_and_lists_of_them():
    model, loss = MODELS["tanh"]
    J = loss(model(X), Y)
    W1, _, W2, b2 = model.parameters()
    assert [x for x in tg.derive(J, wrt="W2").formulas if x.startswith("d")] == ["dZ2", "dW2"]
    assert [x for x in tg.derive(J, wrt=[b2, "W2"]).formulas if x.startswith("d")] == ["dZ2", "dW2", "db2"]
    assert [x for x in tg.derive(J, wrt=W1).formulas if x.startswith("d")] == ["dZ2", "dA1", "dZ1", "dW1"]
    assert [x for x in tg.derive(J, wrt="Z1").formulas if x.startswith("d")] == ["dZ2", "dA1", "dZ1"]
    assert tg.derive(J, wrt=W2).text == tg.derive(J, wrt="W2").text


@pytest.mark.parametrize(
    ("wrt", "text"),
    [
        ("W3", "wrt: the cost J has no gradient with respect to 'W3'; it has those for .*W2.*"),
        ("X", "wrt: the cost J has no gradient with respect to 'X'; it has those for "),
        (7, "wrt: the cost J has no gradient with respect to 7; it has those for "),
        (tg.Tensor([1.0], name="other"), "wrt: the cost J has no gradient with respect to other; "),
        ([], "wrt is empty: name what to derive with respect to, such as wrt='W2'"),
    ],
)
def test_wrt_refuses_what_has_no_gradient(wrt, text):
    model, loss = MODELS["tanh"]
    with pytest.raises(ValueError, match=text):
        tg.derive(loss(model(X), Y), wrt=wrt)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: tg.derive(tg.nn.LogisticRegression(2)),
            TypeError,
            "derive: LogisticRegression came without inputs and loss=",
        ),
        (lambda: tg.derive(3.0), TypeError, r"derive: expected a cost, derive\(J\); or a function, .*; got 3.0"),
        (lambda: tg.derive(tg.Tensor(1.0)), ValueError, "has no graph"),
        (lambda: tg.derive(tg.nn.LogisticRegression(2)(X)), ValueError, "the cost must be a single number"),
        (lambda: tg.derive(lambda x: 1.0, X), TypeError, "the function must return the cost"),
        (lambda: tg.derive(MODELS["tanh"][0], X, Y, loss=MODELS["tanh"][1], values=2), TypeError, "values must be"),
    ],
)
def test_bad_input_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


# -- how it looks -----------------------------------------------------------------------------------------------------


def test_the_page_shows_all_formulas_without_a_network():
    for name, derivation in derivations():
        page = derivation.html
        assert page.count("<math") >= sum(len(part.lines) for part in derivation.parts), name
        visible = re.sub(r"<[^>]*>", "", page.partition("</style>")[2])
        assert not re.search(r"\\[A-Za-z]+|\$|\^|``", visible), name  # no LaTeX is left over
        assert not re.search(r"(?:src|href)=|@import|url\(", page), name


def test_a_notebook_shows_all_formulas_without_a_network():
    for name, derivation in derivations():
        shown = derivation._repr_html_()
        assert shown.count("<math") >= sum(len(part.lines) for part in derivation.parts), name
        assert all(f"<h4>{part.title}</h4>" in shown for part in derivation.parts), name
        assert not re.search(r"(?:src|href)=|@import|url\(|<script", shown), name
        for rule in re.findall(r"^(.*?) \{", shown.partition("</style>")[0], re.MULTILINE):
            assert rule.startswith(".tg-derivation "), rule  # the rest of the notebook keeps its looks


def test_without_latex2mathml_a_notebook_has_the_markdown(monkeypatch):
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", None)
    model, loss = MODELS["tanh"]
    derivation = tg.derive(model, X, Y, loss=loss)
    assert derivation._repr_html_() is None
    assert "$$" in derivation._repr_markdown_()


def test_text_and_markdown_say_the_same():
    for name, derivation in derivations():
        assert "``" not in derivation.text, name
        assert derivation.markdown.count("$$") == 2 * sum(len(part.lines) for part in derivation.parts), name
        assert derivation._repr_markdown_() == derivation.markdown
        assert derivation._repr_latex_().count(r" \\") >= sum(len(part.lines) for part in derivation.parts), name
        assert str(derivation) == derivation.text == repr(derivation)
        for title in (part.title for part in derivation.parts):
            assert title in derivation.text
            assert f"## {title}" in derivation.markdown


def test_names_are_written_as_the_course_does():
    model, loss = MODELS["tanh"]
    markdown = tg.derive(model, X, Y, loss=loss).markdown
    for formula in (
        r"Z^{[1]} = W^{[1]} \, X + b^{[1]} \qquad (4, m)",
        r"A^{[1]} = \tanh(Z^{[1]})",
        r"dZ^{[2]} = \frac{1}{m} (A^{[2]} - Y)",
        r"dW^{[2]} = dZ^{[2]} \, A^{[1]T}",
        r"db^{[2]} = \sum_{i=1}^{m} dZ^{[2](i)}",
        r"dA^{[1]} = W^{[2]T} \, dZ^{[2]}",
        r"\frac{dL}{dz^{[2]}} = \frac{dL}{da^{[2]}} \, \frac{da^{[2]}}{dz^{[2]}}",
    ):
        assert formula in markdown


def test_the_text_is_the_same_in_every_process():
    code = (
        "import numpy as np, tinygrad_dls as tg\n"
        "X, Y = tg.datasets.planar_flower()\n"
        "model = tg.nn.TwoLayerNetwork(2, 4, rng=1, init=tg.init.xavier)\n"
        "print(tg.derive(model, X, Y, loss=tg.binary_cross_entropy_with_logits).markdown, end='')"
    )
    model, loss = MODELS["tanh"]
    expected = tg.derive(model, X, Y, loss=loss).markdown
    for seed in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert run.stdout == expected


@pytest.mark.parametrize(
    ("missing", "use", "text"),
    [
        ("sympy", "tg.derive", "derivations need SymPy: "),
        ("latex2mathml", "derivation().html", "formulas in HTML need latex2mathml: "),
    ],
)
def test_a_missing_package_is_named(missing, use, text):
    code = (
        f"import sys\nsys.modules[{missing!r}] = None\n"
        "import numpy as np, tinygrad_dls as tg\n"
        "def derivation():\n    w = tg.Tensor([1.0], requires_grad=True)\n    return tg.derive(np.sum(w * w))\n"
        f"try:\n    {use}\nexcept ImportError as error:\n    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == f"{text}{install('derive')}\n"


# -- numbers that are none --------------------------------------------------------------------------------------------


NOT_REAL = {
    "log(0)": (lambda w: np.sum(np.log(w)), 0.0, "-∞"),
    "1 / 0": (lambda w: np.sum(1 / w), 0.0, "∞"),
    "-1 / 0": (lambda w: np.sum(-1 / w), 0.0, "-∞"),
    "sqrt(-3)": (lambda w: np.sum(np.sqrt(w - 3)), 0.0, "NaN"),
    "log(-1)": (lambda w: np.sum(np.log(w)), -1.0, "NaN"),
    "0 / 0": (lambda w: np.sum(w / (w * 2)), 0.0, "NaN"),
    "an infinity": (lambda w: np.sum(np.exp(w)), np.inf, "∞"),
    "a NaN": (lambda w: np.sum(w * w), np.nan, "NaN"),
    "an overflow": (lambda w: np.sum(np.exp(w)), 1000.0, "∞"),
    "a power": (lambda w: np.sum(w**0.5), -2.0, "NaN"),
}


@pytest.mark.parametrize("shape", [(1, 1), (2, 9)])
@pytest.mark.parametrize("name", NOT_REAL)
def test_values_that_are_infinite_or_not_real_are_shown_as_such(name, shape):
    f, number, text = NOT_REAL[name]
    w = tg.Tensor(np.full(shape, number), requires_grad=True, name="W")
    with np.errstate(all="ignore"):
        derivation = tg.derive(f(w), values=True)
    assert re.search(rf"[ =\[]{text}\b" if text == "NaN" else rf"[ =\[]{text}", derivation.text)
    assert {"-∞": r"-\infty", "∞": r"\infty", "NaN": r"\mathrm{NaN}"}[text] in derivation.latex
    for other in (derivation.text, derivation.html):
        assert not re.search(r"\b(nan|inf|zoo)\b|[0-9]j\b", other)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_values_of_arrays_without_entries_are_those_of_arrays_alone(shape):
    w = tg.Tensor(np.zeros(shape), requires_grad=True, name="W")
    derivation = tg.derive(np.sum(np.tanh(w) * 2), values=True)
    assert derivation.formulas["dW"] == "2 * (1 - np.tanh(W) ** 2)"
    assert re.search(r"J = np.sum\(np.tanh\(W\) \* 2\)\s+= 0\b", derivation.text)


def test_the_gradient_of_indexing_is_a_formula_of_numpys_alone():
    w = tg.Tensor(RNG.standard_normal((3, 4)), requires_grad=True, name="W")
    J = np.sum(np.tanh(w[[0, 2, 0], 1:3]))
    derivation = tg.derive(J)
    assert "np.bincount(" in derivation.formulas["dW"]
    np.testing.assert_allclose(executed(derivation, J)["dW"], gradients_of(J)["dW"], rtol=1e-14)
