"""What a notebook shows: well-formed HTML with the facts in it, escaped, of one style, that fetches nothing."""

import re
import subprocess
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest

import tinygrad_dls as tg
from tests.views.markup import EVIL, parsed, rows_of, tags_of, text_of
from tinygrad_dls.drawing.page import STYLE
from tinygrad_dls.views import html_of
from tinygrad_dls.views.style import PALETTE, VIEW

LOGITS = tg.binary_cross_entropy_with_logits
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 6)), np.array([[0, 1, 1, 0, 1, 0]])


def cubed(x):
    return x**3


@tg.op()
def wrong_square(x):
    return np.square(x), (lambda dz: dz * 3 * x,)


def model():
    return tg.nn.TwoLayerNetwork(2, 4, rng=0)


def cost():
    J = LOGITS(model()(X), Y)
    J.name = "J"
    return J


def history(epochs=30, **options):
    trained = model()
    return tg.fit(trained, X, Y, loss=LOGITS, optimizer=tg.optim.SGD(trained.parameters(), lr=0.5), epochs=epochs,
                  **options)  # fmt: skip


def failed():
    with pytest.raises(tg.check.GradientError) as error:
        tg.check.gradcheck(wrong_square, np.array([1.0, 2.0]))
    return error.value.result


def diagnosis(**more):
    logistic = tg.nn.LogisticRegression(2)
    dZ = logistic.predict_proba(X) - Y
    return tg.check.diagnose(logistic, X, Y, {"dZ": dZ, "dW": dZ @ X.T, **more})


def update_diagnosis():
    logistic = tg.nn.LogisticRegression(2)
    W, dW = np.array([[0.5, -1.0]]), np.array([[1.0, 2.0]])
    optimizer = tg.optim.SGD(logistic.parameters(), lr=0.25)
    return tg.check.diagnose_update(logistic, {"W": W}, {"dW": dW}, {"W": W + 0.25 * dW}, optimizer)


def step(runs=1):
    trained = model()
    compiled = tg.compile(trained, LOGITS, tg.optim.SGD(trained.parameters(), lr=0.5))
    for _ in range(runs):
        compiled(X, Y)
    return compiled


def function():
    compiled = tg.compile(cubed)
    compiled(X)
    return compiled


SHOWN = {
    "model": (model, ["TwoLayerNetwork", "Linear 2 -> 4", "W1 (4, 2), b1 (4, 1)", "Z1 (4, m)", "17 parameters"]),
    "summary": (lambda: model().summary(X), ["X (2, m) -> Z2 (1, m), m = 6", "192", "432 bytes of activations"]),
    "history": (history, ["History: 30 epochs", "cost J", "epoch", "... 22 more ...", "29"]),
    "validated": (lambda: history(5, validation=(X, Y)), ["validation cost", "validation accuracy", "training"]),
    "no history": (tg.History, ["History: no epochs"]),
    "parameter": (lambda: model().parameters()[0],
                  ["Parameter W1", "shape (4, 2)", "dtype float64", "gradient wanted, not computed yet"]),
    "cost": (cost, ["Tensor J", "made by binary_cross_entropy_with_logits of Z2, an array (1, 6)"]),
    "constant": (lambda: tg.Tensor([1, 2, 3]), ["[1, 2, 3]", "dtype int64", "gradient none: a constant"]),
    "check": (lambda: tg.check.gradcheck(cubed, np.array([0.5, -1.0])),
              ["Gradient check of cubed", "all 2 entries", "Every gradient is the slope."]),
    "kink": (lambda: tg.check.gradcheck(np.abs, np.array([0.0, -1.0])), ["1 kink, first at [0]", "could not be told"]),
    "failed check": (failed, ["Gradient check of wrong_square", "WRONG", "Wrong: x."]),
    "diagnosis": (diagnosis, ["LogisticRegression, 6 examples", "dW WRONG: 1/m is missing", "Not given: db",
                              "The first wrong one is dW.", "|yours| = "]),
    "update": (update_diagnosis, ["W WRONG: sign", "The first wrong one is W.", "b."]),
    "step": (step, ["CompiledStep(TwoLayerNetwork, binary_cross_entropy_with_logits, SGD)", "NumPy calls a step.",
                    "The program that runs", "def step("]),
    "new step": (lambda: step(0), ["Nothing is recorded yet: call step(X, Y) first."]),
    "function": (function, ["CompiledFunction(cubed)", "NumPy calls."]),
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_a_view_is_well_formed_and_has_the_facts(name):
    make, facts = SHOWN[name]
    text = text_of(make()._repr_html_())
    assert [fact for fact in facts if fact not in text] == []


@pytest.mark.parametrize("name", SHOWN)
def test_a_view_fetches_nothing_and_runs_nothing(name):
    html = SHOWN[name][0]()._repr_html_()
    assert not re.search(r"https?:|\ssrc=|\shref=|@import|url\(|\son\w+=", html)
    assert not tags_of(html) & {"script", "link", "iframe", "object", "img", "form"}


@pytest.mark.parametrize("name", SHOWN)
def test_the_plain_text_stays_beside_the_view(name):
    x = SHOWN[name][0]()
    before = repr(x)
    assert "<" not in before.replace("<lambda>", "")
    x._repr_html_()
    assert repr(x) == before


# -- names from users -------------------------------------------------------------------------------------------------


def called(name, f):
    f.__name__ = f.__qualname__ = name
    return f


def evil_model():
    class Mine(tg.nn.Module):
        def __init__(self):
            self.parts = {EVIL: tg.nn.Linear(2, 1, rng=0)}

        def __call__(self, x):
            return self.parts[EVIL](x)

    Mine.__name__ = Mine.__qualname__ = EVIL
    return Mine()


def evil_metric():
    metric = called(EVIL, lambda predictions, Y: 0.5)
    trained = model()
    return tg.fit(trained, X, Y, loss=LOGITS, optimizer=tg.optim.SGD(trained.parameters(), lr=0.5), epochs=2,
                  validation=(X, Y), metrics=[metric])  # fmt: skip


def evil_step():
    trained = evil_model()
    compiled = tg.compile(trained, called(EVIL, lambda Z, Y: LOGITS(Z, Y)),
                          tg.optim.SGD(trained.parameters(), lr=0.5))  # fmt: skip
    compiled(X, Y)
    return compiled


EVILS = {
    "Tensor": lambda: tg.Tensor(X, name=EVIL),
    "input": lambda: tg.Tensor(X, requires_grad=True, name=EVIL) * 2.0,
    "op": lambda: tg.op()(called(EVIL, lambda x: (x, (lambda dz: dz,))))(tg.Tensor(X, requires_grad=True)),
    "model": evil_model,
    "summary": lambda: evil_model().summary(X),
    "function": lambda: tg.nn.Sequential(called(EVIL, lambda x: x)),
    "history": evil_metric,
    "check": lambda: tg.check.gradcheck(called(EVIL, cubed.__class__(cubed.__code__, {})), np.ones(2)),
    "argument": lambda: tg.check.gradcheck(lambda p: p[EVIL] ** 3, {EVIL: np.ones(2)}),
    "diagnosis": lambda: diagnosis(**{EVIL: np.ones((1, 2))}),
    "step": evil_step,
}


@pytest.mark.parametrize("name", EVILS)
def test_names_from_users_are_text_and_not_html(name):
    html = EVILS[name]()._repr_html_()
    assert EVIL in " ".join(parsed(html).itertext())
    assert not tags_of(html) & {"img", "script"}
    assert len(list(parsed(html).iter("style"))) == 1


def test_a_name_that_no_page_can_hold_is_shown_with_marks_in_its_place():
    html = tg.Tensor(1.0, name="a\x00b\ud800c")._repr_html_()
    assert html.encode("utf-8")
    assert "a\ufffdb?c" in text_of(html)


# -- Tensors ----------------------------------------------------------------------------------------------------------


def test_a_tensor_shows_its_gradient_once_it_has_one():
    w = tg.Tensor([[1.0, 2.0]], requires_grad=True, name="w")
    np.sum(w * w).backward()
    assert text_of(w._repr_html_()).endswith("gradient computed, (1, 2) [[1., 2.]] gradient [[2., 4.]]")


def test_a_large_tensor_is_abridged():
    html = tg.Tensor(np.zeros((1000, 1000)))._repr_html_()
    assert text_of(html).count("0.") == 36  # three at each end of both axes
    assert len(html) < len(VIEW) + 1000


def test_a_view_hands_out_no_array_and_computes_none():
    w = tg.Tensor(np.ones(3), requires_grad=True)
    w = w * 2
    assert w._escaped is None
    w._repr_html_()
    assert w._escaped is None
    lazy = tg.Tensor(da.map_blocks(lambda x: 1 / 0, da.ones(3), meta=np.ones(0)))
    assert "holds dask Array" in text_of(lazy._repr_html_())
    assert "dask.array" in text_of(lazy._repr_html_())


def test_a_tensor_in_a_tensor_says_so():
    assert "holds Tensor" in text_of(tg.Tensor(tg.Tensor([1.0]))._repr_html_())


# -- histories --------------------------------------------------------------------------------------------------------


def history_of(costs, validation=()):
    found = tg.History()
    found.costs, found.validation_costs = list(costs), list(validation)
    return found


def curve_of(found, number=0):
    """The points of a curve, in pieces between the gaps."""
    paths = list(parsed(found._repr_html_()).iter("path"))
    pieces = paths[number].get("d").split("M")[1:]
    return [[tuple(map(float, point.split())) for point in piece.split("L")] for piece in pieces]


def test_the_curve_falls_with_the_cost():
    (points,) = curve_of(history_of([4.0, 2.0, 1.0]))
    ys = [y for _, y in points]
    assert ys == sorted(ys)  # y grows downwards
    assert points[0][0] < points[-1][0]
    assert len(ys) == 4  # each epoch, and the first as a point of its own


def test_the_curve_has_a_gap_where_a_cost_is_not_finite():
    pieces = curve_of(history_of([3.0, 2.0, np.nan, np.inf, 1.0, 0.5]))
    assert [len(points) for points in pieces] == [3, 3]
    assert "<path" not in history_of([np.nan, np.nan])._repr_html_()


def test_a_long_history_is_short_and_keeps_its_spike():
    costs = np.linspace(1, 0, 100_001)
    costs[54_321] = 50.0
    found = history_of(costs)
    html = found._repr_html_()
    assert len(html) < len(VIEW) + 8_000
    (points,) = curve_of(found)
    assert min(y for _, y in points) == 20.0  # the upper line
    assert rows_of(html)[-1] == ["100,000", "0.00000"]


def test_costs_of_any_size_have_a_curve():
    (points,) = curve_of(history_of([-1.7e308, 1.7e308]))
    assert np.isfinite(points).all()
    (points,) = curve_of(history_of([0.5, 0.5, 0.5]))
    assert len({y for _, y in points}) == 1


def test_validation_has_a_curve_of_its_own_and_a_name():
    found = history_of([3.0, 2.0], [2.5, 2.25])
    assert len(curve_of(found, 1)) == 1
    assert "validation" in text_of(found._repr_html_())
    assert "validation" not in text_of(history_of([3.0, 2.0])._repr_html_())


def test_interrupted_training_says_so():
    found = history_of([3.0, 2.0], [2.5])
    found.interrupted = True
    assert "interrupted" in text_of(found._repr_html_())
    assert rows_of(found._repr_html_())[-1] == ["1", "2.00000", "nan"]


# -- checks and compiled steps ----------------------------------------------------------------------------------------


def test_what_is_wrong_stands_out():
    (row,) = (row for row in parsed(failed()._repr_html_()).iter("tr") if row.get("class") == "tg-marked")
    assert "WRONG" in "".join(row.itertext())
    marked = [x for x in parsed(diagnosis()._repr_html_()).iter("div") if x.get("class") == "tg-finding tg-marked"]
    assert ["".join(x.itertext())[:2] for x in marked] == ["dW"]
    assert "tg-finding tg-marked" not in text_of(diagnosis()._repr_html_())


def test_an_explanation_is_one_line_for_the_page_to_break():
    lines = [x.text for x in parsed(diagnosis()._repr_html_()).iter("div") if x.get("class") == "tg-note"]
    assert "J is a mean over the m examples: divide by m once, in the first dZ, or else in dW and db." in lines
    assert any(line.startswith("farthest apart at") for line in lines)


def test_a_step_that_runs_eagerly_says_why():
    def decides(x):
        return x if x[0, 0] > 0 else -x

    compiled = tg.compile(decides, fallback=True)
    compiled(X)
    html = compiled._repr_html_()
    assert "Runs eagerly: " in text_of(html)
    assert "details" not in tags_of(html)


# -- the style --------------------------------------------------------------------------------------------------------


def rules(css):
    """The selector of each rule, those in media queries too."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    css = re.sub(r"@media[^{]*\{((?:[^{}]*\{[^{}]*\})*)\s*\}", r"\1", css)
    return [selector.strip() for selector in re.findall(r"([^{}]+)\{[^{}]*\}", css)]


def test_the_style_reaches_nothing_outside_the_view():
    found = rules(VIEW)
    assert len(found) > 30
    for selector in found:
        while "(" in selector:  # of :is(...), which has commas of its own
            selector = re.sub(r"\([^()]*\)", "", selector)
        assert all(".tg-box" in part for part in selector.split(",")), selector


def test_colors_stand_in_one_place():
    package = Path(tg.__file__).parent
    styles = {path.name: path.read_text(encoding="utf-8") for path in package.rglob("*.css")}
    assert [name for name, text in styles.items() if "light-dark(#" in text] == ["palette.css"]
    assert STYLE.startswith(PALETTE)
    used = set(re.findall(r"var\((--tg-\w+)\)", "".join(styles.values())))
    assert used - {"--tg-turn"} == set(re.findall(r"(--tg-\w+):", PALETTE))


def test_html_is_made_when_a_notebook_asks_and_not_before():
    code = (
        "import sys, tinygrad_dls as tg; t = tg.Tensor([1.0]); loaded = 'tinygrad_dls.views' in sys.modules;"
        "t._repr_html_(); print(loaded, 'tinygrad_dls.views.tensors' in sys.modules,"
        "'tinygrad_dls.compiler' in sys.modules, 'html' in tg.engine.viewed.__dict__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True", "False", "False"]


def test_what_has_no_view_is_refused_by_name():
    with pytest.raises(TypeError, match="there is no view of int"):
        html_of(1)
