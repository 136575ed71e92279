"""diagnose takes the course's dictionaries, lists and tuples as they are, and lists what is no gradient."""

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.check.backprops import Case, cache, gradients
from tinygrad_dls.check import diagnose


def network(**options):
    """Three layers, their data, and every array in the course's convention."""
    case = Case((4, 5, 3, 1), ("relu", "relu"), m=12, seed=3, **options)
    model, X, Y, masks, kw = case.build()
    return model, X, Y, case.backprop(model, X, Y, masks), kw


def parameters(model):
    """As the course has them: W1, b1, W2, ..."""
    return {
        f"{kind}{n}": getattr(layer, kind).data
        for n, layer in enumerate(model.layers[::2], start=1)
        for kind in ("W", "b")
    }


def caches(s, p, X):
    """Of L_model_forward: ((A_prev, W, b), Z) for each layer."""
    below = [X, s["A1"], s["A2"]]
    return [((below[n - 1], p[f"W{n}"], p[f"b{n}"]), s[f"Z{n}"]) for n in (1, 2, 3)]


def all_right(result):
    return {f.verdict for f in result.findings} == {"right"}


def test_grads_with_da0_and_dal_are_gradients():
    model, X, Y, s, _ = network()
    grads = gradients(s) | {"dAL": s["dA3"]}
    del grads["dA3"]
    result = diagnose(model, X, Y, grads)
    assert all_right(result)
    assert (result.findings[0].name, result.findings[-1].name) == ("dA3", "dA0")
    assert diagnose(model, X, Y, {"dA0": -s["dA0"], "dW1": s["dW1"]}).first_wrong.name == "dA0"


@pytest.mark.parametrize("form", ["list", "tuple", "dict", "flat", "flat with A_prev"])
def test_caches_of_every_form_are_taken(form):
    model, X, Y, s, _ = network()
    p = parameters(model)
    flat = tuple(x for n in (1, 2, 3) for x in (s[f"Z{n}"], s[f"A{n}"], p[f"W{n}"], p[f"b{n}"]))
    forms = {
        "list": caches(s, p, X), "tuple": tuple(caches(s, p, X)), "dict": cache(s), "flat": flat,
        "flat with A_prev": [{"Z": s[f"Z{n}"], "A": s[f"A{n}"]} for n in (1, 2, 3)],
    }  # fmt: skip
    result = diagnose(model, X, Y, gradients(s), cache=forms[form])
    assert all_right(result)
    assert {"Z1", "A1", "Z2", "A2", "Z3"} <= {f.name for f in result.findings}
    assert result.odd == {}
    wrong = cache(s) | {"A1": np.tanh(s["Z1"])}
    given = wrong if form == "dict" else caches(wrong, p, X)
    assert diagnose(model, X, Y, gradients(s), cache=given).first_wrong.name == "A1"


def test_a_tuple_with_masks_gives_the_masks():
    case = Case((4, 5, 1), ("relu",), m=12, seed=3, keep_prob=0.8)
    model, X, Y, masks, _ = case.build()
    s, p = case.backprop(model, X, Y, masks), parameters(model)
    given = (s["Z1"], masks["1"], s["A1"], p["W1"], p["b1"], s["Z2"], s["A2"], p["W2"], p["b2"])
    assert all_right(diagnose(model, X, Y, gradients(s), cache=given, keep_prob=0.8))


def test_week_two_is_taken_with_a_column_and_numbers():
    case = Case((6, 1), (), m=12)
    model, X, Y, _, _ = case.build()
    s = case.backprop(model, X, Y, {})
    grads = {"dw": s["dW"].T, "db": s["db"].item()}
    result = diagnose(model, X, Y, grads, cache={"w": model.layers[0].W.data.T, "b": model.layers[0].b.data.item()})
    assert all_right(result)
    assert result.hint == ""
    assert [f.name for f in diagnose(model, X, Y, {"dW1": s["dW"], "db1": s["db"]}).findings] == ["dW", "db"]


def test_odd_keys_are_listed_and_stop_nothing():
    model, X, Y, s, _ = network()
    odd = {"cost": 0.7, "dW9": s["dW1"], 3: X, "dA_prev": None, "caches": ("a", "b"), "dW2": "text", "dZ2": None}
    grads = {k: x for k, x in gradients(s).items() if k not in ("dW2", "dZ2")} | odd
    result = diagnose(model, X, Y, grads)
    assert all_right(result)
    assert set(result.odd) == {"cost", "dW9", "3", "dA_prev", "caches", "dW2", "dZ2"}
    text = str(result)
    assert "  cost     not a gradient of this model\n" in text
    assert "  dW2      no array of numbers\n" in text
    assert "  dZ2      None\n" in text
    assert result.odd["caches"].endswith("which is none of the course's caches for 3 layers")
    assert text.endswith("These are right; dW2 was not given.")


def test_other_parameters_than_the_models_are_told():
    model, X, Y, s, _ = network()
    p = parameters(model) | {"W2": parameters(model)["W2"] + 1}
    result = diagnose(model, X, Y, gradients(s), cache=caches(s, p, X))
    assert "Your W2 is not the model's: model.load_state_dict(parameters) takes them over." in result.hint
    grads = gradients(s) | parameters(model)
    result = diagnose(model, X, Y, grads)
    assert all_right(result)
    assert set(result.odd.values()) == {"not a gradient of this model"}
    assert result.hint == ""


def test_an_older_notebooks_da_of_one_layer_up_is_known_by_its_shapes():
    model, X, Y, s, _ = network()
    grads = {k: x for k, x in gradients(s).items() if k[:2] in ("dW", "db")}
    older = {"dA3": s["dA2"], "dA2": s["dA1"], "dA1": s["dA0"]}
    result = diagnose(model, X, Y, grads | older)
    assert all_right(result)
    assert [f.name for f in result.findings if f.name[:2] == "dA"] == ["dA2", "dA1", "dA0"]


def test_a_layer_that_was_not_given_is_said_to_be_so():
    model, X, Y, s, _ = network()
    result = diagnose(model, X, Y, {"dW3": s["dW3"], "db3": s["db3"], "dW2": s["dW2"]})
    assert result.missing == ("db2", "dW1", "db1")
    assert str(result).endswith("  not given: db2, dW1, db1\nThese are right; db2, dW1 and db1 were not given.")
    assert "not given" not in str(diagnose(model, X, Y, gradients(s)))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"cache": 3}, TypeError, 'cache: expected a dict such as {"A1": ...}, a list or a tuple, got 3'),
        ({"masks": 3}, TypeError, 'masks: expected a dict such as {"D1": D1}, got 3'),
        ({"masks": {"A1": np.ones((5, 12))}}, ValueError, "masks: expected D1, D2, ..., got A1"),
        ({"masks": {"D3": np.ones((1, 12))}}, ValueError, "D3 is none of this model's masks: D1, D2"),
        ({"masks": {"D1": np.ones((5, 3))}}, ValueError, r"D1 has shape \(5, 3\), expected \(5, 12\), as A1"),
        ({"masks": {"D1": np.full((5, 12), 1.25)}}, ValueError, "D1 holds other numbers than 0 and 1"),
        ({"keep_prob": 0}, ValueError, "keep_prob must be above 0 and at most 1, got 0"),
        ({"lambd": -1}, ValueError, "lambd must be a finite number >= 0, got -1"),
        ({"lambd": "a"}, ValueError, "lambd must be a finite number >= 0, got 'a'"),
    ],
)
def test_what_does_not_fit_is_refused(options, error, text):
    model, X, Y, s, _ = network()
    with pytest.raises(error, match=text):
        diagnose(model, X, Y, gradients(s), **options)


def test_a_model_that_drops_out_is_diagnosed_with_the_masks_that_were_used():
    case = Case((4, 5, 1), ("relu",), m=12, seed=3, keep_prob=0.8)
    model, X, Y, masks, kw = case.build()
    s = case.backprop(model, X, Y, masks)
    first, relu, last = model.layers
    dropping = tg.nn.Sequential(first, relu, tg.nn.Dropout(0.8, rng=0), last)
    with pytest.raises(ValueError, match=r'or give the masks that you used: masks=\{"D1": D1\}, keep_prob=0.8'):
        diagnose(dropping, X, Y, gradients(s))
    assert all_right(diagnose(dropping, X, Y, gradients(s), cache=cache(s), **kw))
    as_function = tg.nn.Sequential(first, relu, lambda A: A * masks["1"] / 0.8, last)
    assert all_right(diagnose(as_function, X, Y, gradients(s), cache=cache(s)))


@pytest.mark.parametrize(
    "junk",
    ["abc", ["a", "b"], {"a": [1.0]}, np.array(["x"]), object(), np.sum],
    ids=["str", "list", "dict", "array", "object", "function"],
)
def test_what_is_no_array_is_listed_and_stops_nothing(junk):
    model = tg.nn.LogisticRegression(2)
    X, Y = np.ones((2, 3)), np.array([[0, 1, 1]])
    gradients = {"dW": np.zeros((1, 2))}
    report = str(tg.check.diagnose(model, X, Y, gradients, cache={"Z": junk}))
    assert "Z   no array of numbers" in report
    with pytest.raises(TypeError, match=r"^dW has dtype|^dW is not a rect"):
        tg.check.diagnose(model, X, Y, {"dW": junk})
