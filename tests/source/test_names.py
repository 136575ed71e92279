"""Names: whatever a user calls his arrays, the code of them compiles, runs, and gives what autodiff gives."""

import re
import sys
import unicodedata
from collections import Counter
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinygrad_dls as tg
from tests.derivations.test_derive import executed
from tests.support.sources import EPS, arguments_of, function, results_of
from tinygrad_dls.derivations import latex
from tinygrad_dls.graph.names import FUNCTIONS, KIN, RESERVED, Names, identifier, shortened
from tinygrad_dls.graph.reading import read
from tinygrad_dls.ir.functions import PATTERNS

X = np.random.default_rng(0).standard_normal((2, 9))
Y = (np.random.default_rng(1).random((1, 9)) < 0.5) * 1.0

TEXTS = st.text(max_size=8) | st.sampled_from([
    "W", "W1", "b", "m", "M", "X", "Y", "Z", "A", "a", "J", "L", "U1", "P1", "C1", "dW", "dZ", "dA", "dU1", "VdW",
    "SdW", "tdW", "new_W", "state1_W", "W_", "W_2", "W 2", "enc.W", "enc_W", "x²", "x2", "½", "1/m", "µ", "μ", "λ", "Λ",
    "\N{LATIN SMALL LETTER LONG S}", "s", "ﬁ", "fi", "日本", "é", "e\u0301", "🙂", "_", "__", "__debug__",
    "__builtins__",
    "np", "float", "bool", "lambda", "None", "match", "type", "sigmoid", "softmax", "step", "memory", "part", "sums",
    "learning_rate", "gradients", "before", "parameters", "state1", "t", "t1", "c", "view", "view1", "ones",
    "zeros", "add", "multiply", "exp", "tanh", "el", "ivmod", "W" * 20_000, "W" * 20_000 + "1", "%", "#", "\\", "{",
    "\n", "\x00", '"', "'", "a\nimport os",
])  # fmt: skip


class Model(tg.nn.Module):
    """The sum of the parts of several parameters of one shape, each in a way of its own."""

    def __init__(self, names):
        rng = np.random.default_rng(2)
        self.parts = [tg.nn.Parameter(rng.standard_normal((1, 2))) for _ in names]
        for p, name in zip(self.parts, names, strict=True):
            p.name = name  # now: a model calls them parts.0, parts.1, ...

    def __call__(self, X):
        Z = self.parts[0] @ X
        for i, w in enumerate(self.parts[1:], 2):
            Z = Z * 0.7 + np.tanh(w @ X) * i
        return Z


def gradients(model):
    J = tg.binary_cross_entropy_with_logits(model(X), Y)
    for p in model.parameters():
        p.grad = None
    J.backward()
    return J, [p.grad for p in model.parameters()]


NAMES = st.lists(TEXTS, min_size=1, max_size=5)
CLOSE = {"rtol": 500 * EPS, "atol": 500 * EPS}  # sums of 9 examples of a few ops each: tens of roundings


@given(NAMES)
@example(["enc.W", "enc_W"])
@example(["µ", "μ"])
@example(["m", "learning_rate", "X", "J"])
@example(["W", "dW", "VdW", "new_W", "state1_W"])
@example(["A", "a", "L", "l"])
def test_the_code_of_any_names_gives_the_gradients_of_autodiff(names):
    model = Model(names)
    J, expected = gradients(model)
    arrays = [X, Y, *(p.data for p in model.parameters())]
    assert [p.name for p in model.parameters()] == names
    for source in (tg.numpy_source(model, X, Y, loss=tg.binary_cross_entropy_with_logits), tg.numpy_source(J)):
        positional, keywords = arguments_of(source)
        assert len(set(positional)) == len(arrays)
        assert keywords == ["m"]
        cost, *found = function(source)(*arrays, m=9)
        np.testing.assert_allclose(cost, J.item(), **CLOSE)
        assert len(set(results_of(source))) == len(expected) + 1 == len(found) + 1
        for x, dx in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, dx, **CLOSE)


@settings(max_examples=settings.default.max_examples // 4)  # a derivation takes tenths of a second
@given(NAMES)
@example(["enc.W", "enc_W"])
@example(["m"])
@example(["A", "a", "L", "l"])
def test_the_formulas_of_any_names_give_the_gradients_of_autodiff(names):
    model = Model(names)
    J, expected = gradients(model)
    derivation = tg.derive(J)
    found = executed(derivation, J)
    for p, dx in zip(model.parameters(), expected, strict=True):
        (node,) = [node for node in read(J) if node.x is p]
        np.testing.assert_allclose(found[f"d{node.identifier}"], dx, **CLOSE)
    for text in (derivation.latex, derivation.text, derivation.html):
        assert "\\lamda" not in text


@given(NAMES, st.sampled_from(["SGD", "momentum", "Adam"]))
@example(["µ", "μ"], "SGD")
@example(["W", "state1_W", "new_W", "parameters", "gradients"], "Adam")
def test_a_compiled_step_of_any_names_trains_as_the_eager_one_does(names, kind):
    kinds = {
        "SGD": lambda p: tg.optim.SGD(p, lr=0.5),
        "momentum": lambda p: tg.optim.SGD(p, lr=0.5, momentum=0.9),
        "Adam": lambda p: tg.optim.Adam(p, lr=0.5),
    }
    costs = []
    for compiled in (False, True):
        model = Model(names)
        optimizer = kinds[kind](model.parameters())
        loss = tg.binary_cross_entropy_with_logits
        run = tg.compile(model, loss, optimizer) if compiled else partial(tg.optim.eager_step, model, loss, optimizer)
        costs.append([run(X, Y) for _ in range(3)])
    np.testing.assert_allclose(*costs, rtol=1e-9)  # Adam divides small numbers by their size


@given(NAMES)
@example(["W", "dW", "VdW", "SdW", "tdW"])
@example(["learning_rate", "m", "VdW", "step", "np"])
def test_the_code_of_a_step_of_training_updates_any_names_as_the_optimizer_does(names):
    model, loss = Model(names), tg.binary_cross_entropy_with_logits
    optimizer = tg.optim.Adam(model.parameters(), lr=0.5)
    source = tg.numpy_source(model, X, Y, loss=loss, optimizer=optimizer)
    before = [p.data.copy() for p in model.parameters()]
    states = [x for p in before for x in (np.zeros_like(p), np.zeros_like(p), np.zeros((), int))]
    found = function(source)(X, Y, *before, *states, m=9, learning_rate=0.5)
    tg.optim.eager_step(model, loss, optimizer, X, Y)
    assert len(set(results_of(source))) == len(found) == 1 + 4 * len(names)
    for x, p in zip(found[1:], model.parameters(), strict=False):
        np.testing.assert_allclose(x, p.data, rtol=1e-9)  # Adam divides small numbers by their size


@given(
    st.lists(st.sampled_from(["m", "memory", "part", "np", "add", "t", "t1", "function", "x", "float"]), unique=True)
)
@example(["m", "memory", "function"])
def test_a_compiled_function_may_call_its_arguments_anything(names):
    space = {"numpy": np}
    terms = " + ".join(f"numpy.tanh({name}) * {i}" for i, name in enumerate(["first", *names], 2))
    exec(f"def f({', '.join(['first', *names])}):\n    return {terms}", space)
    arrays = [np.full((2, 3), 0.1 * i) for i in range(len(names) + 1)]
    np.testing.assert_allclose(tg.compile(space["f"])(*arrays), space["f"](*arrays), rtol=1e-15)


# -- the allocator ----------------------------------------------------------------------------------------------------


@given(st.lists(st.text() | TEXTS, max_size=30))
def test_names_are_identifiers_of_their_own_with_all_that_is_derived_from_them(wanted):
    names = Names({"m"}, kin=KIN)
    found = [names.free(name) for name in wanted]
    family = [kin.format(name) for name in found for kin in KIN]
    assert len({unicodedata.normalize("NFKC", name) for name in family}) == len(family)
    for name in family:
        assert unicodedata.normalize("NFKC", name) == name
        assert name.isidentifier()
        assert name not in {"m", *RESERVED}
        assert len(name) < 80
        exec(f"{name} = 1", {})  # which __debug__ does not allow, say


def test_every_character_becomes_part_of_an_identifier():
    for c in map(chr, range(sys.maxunicode + 1)):
        for text in (c, f"a{c}", f"a{c}b"):
            name = identifier(text)
            assert name.isidentifier(), repr(c)
            assert unicodedata.normalize("NFKC", name) == name, repr(c)


def test_a_name_that_may_stay_stays():
    names = Names(kin=KIN)
    for name in ("W1", "b1", "Z1", "A1", "J", "λ", "日本", "enc_W"):
        assert names.free(name) == name


def test_a_name_that_is_taken_gets_the_next_number():
    names = Names()
    assert [names.free("W") for _ in range(3)] == ["W", "W_2", "W_3"]
    assert [names.numbered("t") for _ in range(3)] == ["t1", "t2", "t3"]
    assert names.free("t2") == "t2_2"


def test_many_names_take_no_longer_each_than_few():
    """The number that was given last is remembered, and not counted up to again."""
    asked = Counter()

    class Counting(Names):
        def is_free(self, name):
            asked[self] += 1
            return super().is_free(name)

    names = Counting()
    for _ in range(2000):
        names.free("W")
        names.numbered("t")
    assert asked[names] < 3 * 4000


def test_a_long_name_keeps_its_beginning_and_its_end_where_it_is_shown():
    assert shortened("a" * 60) == "a" * 60
    assert shortened("a" * 20_000 + "the end of it") == "a" * 49 + "…" + "end of it"[-10:].rjust(10, " ")


# -- code that says what it calls otherwise ---------------------------------------------------------------------------


def test_the_code_says_which_argument_is_which():
    model = Model(["enc.W", "enc_W", "m"])
    source = tg.numpy_source(model, X, Y, loss=tg.binary_cross_entropy_with_logits)
    assert "    # In code, enc_W_2 is 'enc.W' and m_2 is 'm'.\n" in source
    assert "In code" not in tg.numpy_source(Model(["W", "b"]), X, Y, loss=tg.binary_cross_entropy_with_logits)


def test_a_derivation_says_so_too_and_writes_what_the_user_wrote():
    model = Model(["enc.W", "enc_W"])
    derivation = tg.derive(model, X, Y, loss=tg.binary_cross_entropy_with_logits)
    assert "In code, enc_W_2 is 'enc.W'." in derivation.text
    assert r"\mathrm{enc.W} \, X" in derivation.latex
    assert r"\mathrm{enc\_W} \, X" in derivation.latex
    assert derivation.formulas.keys() >= {"denc_W", "denc_W_2"}


def test_where_an_array_is_called_m_the_number_of_examples_is_not():
    """y = m x + c, as at school."""

    class Line(tg.nn.Module):
        def __init__(self):
            self.m, self.c = tg.nn.Parameter(np.array([[2.0]])), tg.nn.Parameter(np.array([[0.5]]))

        def __call__(self, x):
            return self.m @ x + self.c

    model, x = Line(), X[:1]
    derivation = tg.derive(model, x, Y, loss=tg.mean_squared_error, values=True)
    found = {"np": np, "X": x, "Y": Y, "m": model.m.data, "c": model.c.data}
    for name, formula in derivation.formulas.items():
        found[name] = eval(formula, found)
    tg.mean_squared_error(model(x), Y).backward()
    np.testing.assert_allclose(found["dm"], model.m.grad, rtol=1e-14)
    assert derivation.formulas["J"] == "np.sum((A - Y) ** 2) / X.shape[1]"
    assert "m_X is the number of examples, as an array is called m." in derivation.text
    assert r"\frac{1}{m_{X}}" in derivation.latex
    assert "(1, m_X)" in derivation.text


def test_letters_for_single_entries_are_told_apart():
    """A and a, which both would be a."""
    A = tg.Tensor(np.ones((1, 9)), requires_grad=True, name="A")
    a = tg.Tensor(np.full((1, 9), 3.0), requires_grad=True, name="a")
    text = tg.derive(np.sum(np.square(A) * a)).text
    assert "a_2" in text
    assert "a**3" not in text


def test_wrt_means_the_array_that_the_user_calls_so():
    model = Model(["enc_W", "enc.W"])
    loss = tg.binary_cross_entropy_with_logits
    for name, other in (("enc.W", "denc_W"), ("enc_W", "denc_W_2")):
        assert other not in tg.derive(model, X, Y, loss=loss, wrt=name).formulas


def test_arguments_may_be_called_like_parameters():
    W = tg.Tensor(np.array([[1.0, 2.0]]), requires_grad=True, name="W")
    source = tg.numpy_source(lambda W_, Y: np.sum((W @ W_ - Y) ** 2), X, Y)
    assert arguments_of(source)[0] == ["W_", "Y", "W"]

    def cost(W, Y):
        return np.sum((weights @ W - Y) ** 2)

    weights = W
    source = tg.numpy_source(cost, X, Y)
    assert arguments_of(source)[0] == ["W", "Y", "W_2"]
    np.testing.assert_allclose(function(source)(X, Y, W.data)[0], cost(X, Y).item(), rtol=1e-14)


# -- formulas in LaTeX ------------------------------------------------------------------------------------------------

GREEK = [
    c for c in map(chr, range(0x370, 0x400)) if re.match(r"GREEK (SMALL|CAPITAL) LETTER \w+$", unicodedata.name(c, ""))
]
MACROS = {  # that LaTeX has without packages
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "pi", "varpi", "rho", "varrho", "sigma", "varsigma", "tau", "upsilon", "phi", "varphi",
    "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega",
    "mathrm", "backslash", "wedge", "sim", "ldots", "partial",
}  # fmt: skip


@pytest.mark.parametrize("c", [*GREEK, "\N{MICRO SIGN}", *map(chr, (0x3D1, 0x3D5, 0x3D6, 0x3F0, 0x3F1, 0x3F5))])
def test_a_greek_letter_has_a_name_that_latex_knows(c):
    text = latex.name(c)
    assert set(re.findall(r"\\([A-Za-z]+)", text)) <= MACROS
    assert text.isascii()


def test_the_greek_letters_of_the_course_have_theirs():
    expected = {
        "SMALL LETTER LAMDA": r"\lambda ", "CAPITAL LETTER LAMDA": r"\Lambda ", "SMALL LETTER ALPHA": r"\alpha ",
        "SMALL LETTER OMICRON": "o", "CAPITAL LETTER ALPHA": "A", "SMALL LETTER FINAL SIGMA": r"\varsigma ",
        "PHI SYMBOL": r"\varphi ", "CAPITAL LETTER SIGMA": r"\Sigma ",
    }  # fmt: skip
    assert {letter: latex.name(unicodedata.lookup(f"GREEK {letter}")) for letter in expected} == expected
    assert latex.name("λ1") == r"\lambda _{1}"
    assert latex.name("σ²") == r"\sigma ^{2}"


@given(st.text())
@example("a_b%c#d&e$f{g}h\\i^j~k")
def test_any_name_is_a_formula_that_latex_can_read(name):
    text = latex.name(name)
    assert text.isascii()
    assert set(re.findall(r"\\([A-Za-z]+)", text)) <= MACROS
    assert not re.search(r"(?<!\\)[%#&$~]", text)
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0


@given(st.lists(TEXTS, unique=True, max_size=6))
def test_no_two_arrays_are_written_alike(names):
    allocated = Names(kin=KIN)
    arrays = {allocated.free(name): name for name in names}
    notation = latex.Notation(arrays, "X")
    written = [notation(x) for name in arrays for x in (name, f"d{name}")]
    letters = [notation.small(name) for name in arrays]
    assert len(set(written)) == len(written)
    assert len({x for x, _ in letters}) == len({x for _, x in letters}) == len(letters)


def test_what_any_optimizer_remembers_is_told_from_parameters_that_are_called_so():
    class Remembering(tg.optim.Optimizer):
        """Gradient descent that keeps five arrays for nothing."""

        def _start(self, p):
            return tuple(np.zeros_like(p.data) for _ in range(5))

        def _update(self, p, rate):
            return p._value - rate * p._grad, tuple(
                s + p._grad * i for i, s in enumerate(self._state.get(p) or self._start(p))
            )

    names = ["W", "VdW", "UdW", "RdW", "QdW"]
    costs = []
    for compiled in (False, True):
        model, loss = Model(names), tg.binary_cross_entropy_with_logits
        optimizer = Remembering(model.parameters(), lr=0.5)
        run = tg.compile(model, loss, optimizer) if compiled else partial(tg.optim.eager_step, model, loss, optimizer)
        costs.append([run(X, Y) for _ in range(3)])
    np.testing.assert_allclose(*costs, rtol=1e-12)


def test_the_names_that_programs_call_are_taken():
    assert {"np", *(f.__name__ for f in PATTERNS)} == FUNCTIONS
