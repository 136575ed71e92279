"""diagnose with an L2 penalty, and with dropout's masks: the right is right, and each known mistake is named."""

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.check.backprops import Case, cache, gradients
from tests.check.gradients_by_hand import OF_REGULARISED
from tinygrad_dls.check import causes, diagnose

M, LAMBD, KEEP = 12, 0.7, 0.8
ELSEWHERE = {"labels of shape (m, 1)"}


def penalised(**options):
    """Three layers with an L2 penalty, and every array of its backprop."""
    case = Case((4, 4, 3, 1), ("relu", "relu"), m=M, seed=3, lambd=LAMBD, **options)
    model, X, Y, _, _ = case.build()
    for p in model.parameters():
        p.data = p.data + 0.1
    return model, X, Y, case.backprop(model, X, Y, {})


def as_a_loss(model):
    """The same cost, with the penalty written by hand."""
    return lambda Z, Y: (
        tg.binary_cross_entropy_with_logits(Z, Y)
        + LAMBD / (2 * M) * sum(np.sum(layer.W**2) for layer in model.layers[::2])
    )


def only_parameters(s):
    return {k: x for k, x in gradients(s).items() if k[:2] in ("dW", "db")}


WAYS = {"lambd=": lambda model: {"lambd": LAMBD}, "loss=": lambda model: {"loss": as_a_loss(model)}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", [gradients, only_parameters])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_right_gradients_of_a_penalised_cost_are_right(way, given, dtype):
    model, X, Y, s = penalised(dtype=dtype)
    s |= {f"dW{n}": s[f"dW{n}"] for n in "123"}
    result = diagnose(model, X, Y, given(s), cache=cache(s), **WAYS[way](model))
    assert {f.verdict for f in result.findings} == {"right"}
    assert diagnose(model, X, Y, given(s)).first_wrong.causes == ("an L2 term",)


L2_MISTAKES = {  # what is planted in dW2 (db2, db3), from what comes through dZ, W, and lambda / m
    "missing": ("dW2", lambda d, W, c: d, "a term of the cost is missing", ""),
    "without 1/m": ("dW2", lambda d, W, c: d + c * M * W, "another factor of the L2 term", "without its 1/m"),
    "doubled": ("dW2", lambda d, W, c: d + 2 * c * W, "another factor of the L2 term", "twice it"),
    "halved": ("dW2", lambda d, W, c: d + c / 2 * W, "another factor of the L2 term", "half of it"),
    "with a minus": ("dW2", lambda d, W, c: d - c * W, "another factor of the L2 term", "with a minus"),
    "1.5 times": ("dW2", lambda d, W, c: d + 1.5 * c * W, "another factor of the L2 term", "1.5 times it"),
    "sum": ("dW2", lambda d, W, c: d + c * np.sum(W), "another array in the L2 term", "sum(W) for W"),
    "square": ("dW2", lambda d, W, c: d + c * W**2, "another array in the L2 term", "W^2 for W"),
    "sign": ("dW2", lambda d, W, c: d + c * np.sign(W), "another array in the L2 term", "sign(W) for W"),
    "on b": ("db2", lambda d, b, c: d + c * b, "an L2 term on b", ""),
    "on a single b": ("db3", lambda d, b, c: d + c * b, "an L2 term on b", ""),
    "without 1/m on b": ("db2", lambda d, b, c: d + c * M * b, "an L2 term on b", ""),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", [gradients, only_parameters])
@pytest.mark.parametrize("mistake", L2_MISTAKES)
def test_a_mistake_in_the_l2_term_is_named_and_no_other(mistake, given, way):
    model, X, Y, s = penalised()
    name, wrong, cause, note = L2_MISTAKES[mistake]
    p = getattr(model.layers[2 * int(name[-1]) - 2], name[1]).data
    through = s[name] - (LAMBD / M * p if name[1] == "W" else 0)
    s[name] = wrong(through, p, LAMBD / M)
    result = diagnose(model, X, Y, given(s), **WAYS[way](model))
    assert [(f.name, f.causes) for f in result.findings if f.verdict == "wrong"] == [(name, (cause,))]
    assert f"({note})" in result.first_wrong.text or not note
    assert {f.verdict for f in result.findings} == {"right", "wrong"}


def test_the_term_of_another_layer_is_named_where_it_fits():
    case = Case((4, 4, 4, 1), ("tanh", "tanh"), m=M, seed=3, lambd=LAMBD)
    model, X, Y, _, kw = case.build()
    s = case.backprop(model, X, Y, {})
    W1, W2 = (model.layers[k].W.data for k in (0, 2))
    s["dW2"] = s["dW2"] + LAMBD / M * (W1 - W2)
    finding = diagnose(model, X, Y, gradients(s), **kw).first_wrong
    assert finding.causes == ("another array in the L2 term",)
    assert "(W1 for W2)" in finding.text


def test_a_penalty_that_is_given_twice_is_refused():
    model, X, Y, s = penalised()
    with pytest.raises(ValueError, match=r"the loss has terms in W already\. Give lambd= or such a loss, not both"):
        diagnose(model, X, Y, gradients(s), loss=as_a_loss(model), lambd=LAMBD)


# -- dropout ----------------------------------------------------------------------------------------------------------


def dropped(m=40):
    case = Case((4, 6, 6, 1), ("relu", "relu"), m=m, seed=3, keep_prob=KEEP)
    model, X, Y, masks, kw = case.build()
    return case, model, X, Y, masks, kw


def carried_on(case, model, X, s, step, wrong, gate="Z"):
    """The arrays behind a wrong step, computed from it."""
    s, W, m = dict(s), [None, *(layer.W.data for layer in model.layers[::2])], X.shape[1]
    s[step] = wrong
    for n in range(int(step[-1]), 0, -1):
        if n < int(step[-1]):
            s[f"dA{n}"] = W[n + 1].T @ s[f"dZ{n + 1}"] * scale_of(s, n)
        s[f"dZ{n}"] = s[f"dA{n}"] * (s[f"{gate}{n}"] > 0)
        s[f"dW{n}"] = s[f"dZ{n}"] @ (s[f"A{n - 1}"] if n > 1 else X).T / m
        s[f"db{n}"] = s[f"dZ{n}"].sum(axis=1, keepdims=True) / m
    return {k: x for k, x in s.items() if k != "dA0"}


def scale_of(s, n):
    return s["masks"][str(n)] / KEEP


BACKWARD = {  # the wrong dA1, from the one before the mask, D1, D2, and k
    "the mask is not applied backward": lambda raw, D, E, k: raw,
    "the mask is not applied backward ": lambda raw, D, E, k: raw / k,
    "it is not divided by keep_prob": lambda raw, D, E, k: raw * D,
    "it is not divided by keep_prob ": lambda raw, D, E, k: raw * D * k,
    "the mask of another layer": lambda raw, D, E, k: raw * E / k,
    "the mask is turned round": lambda raw, D, E, k: raw * (1 - D) / k,
    "the mask is turned round ": lambda raw, D, E, k: raw * D[::-1] / k,
    "a mask drawn anew": lambda raw, D, E, k: raw * (np.random.RandomState(9).rand(*D.shape) < k) / k,
}


@pytest.mark.parametrize("gate", ["Z", "A"])
@pytest.mark.parametrize("title", BACKWARD)
def test_a_mistake_with_the_mask_of_the_backward_pass_is_named_and_the_rest_follows(title, gate):
    case, model, X, Y, masks, kw = dropped()
    s = case.backprop(model, X, Y, masks)
    raw = model.layers[2].W.data.T @ s["dZ2"]
    given = carried_on(
        case, model, X, s | {"masks": masks}, "dA1", BACKWARD[title](raw, masks["1"], masks["2"], KEEP), gate
    )
    del given["masks"]
    for with_cache in (cache(s), None):
        result = diagnose(model, X, Y, gradients(given), cache=with_cache, **kw)
        assert [(f.name, f.causes) for f in result.findings if f.verdict == "wrong"] == [("dA1", (title.strip(),))]
    if title != "a mask drawn anew" and np.any(given["dW1"]):  # of these, dW1 does not tell
        result = diagnose(model, X, Y, only_parameters(given), **kw)
        wrong = [f for f in result.findings if f.verdict == "wrong"]
        assert [(f.name, f.where, title.strip() in f.causes) for f in wrong] in ([("dW1", "dA1", True)], [])
        # behind the gate of a masked A, what was not masked does not show, but for what it is divided by
        assert wrong or (gate == "A" and title == "the mask is not applied backward ")


FORWARD = {
    "the mask is not applied forward": lambda free, D, E, k: free,
    "the mask is not applied forward ": lambda free, D, E, k: free / k,
    "A is not divided by keep_prob": lambda free, D, E, k: free * D,
    "A is not divided by keep_prob ": lambda free, D, E, k: free * D * k,
    "the mask of another layer": lambda free, D, E, k: free * E / k,
    "a mask drawn anew": lambda free, D, E, k: free * (np.random.RandomState(9).rand(*D.shape) < k) / k,
}


@pytest.mark.parametrize("title", FORWARD)
def test_a_mistake_with_the_mask_of_the_forward_pass_is_named(title):
    case, model, X, Y, masks, kw = dropped()
    s = case.backprop(model, X, Y, masks)
    A1 = FORWARD[title](np.maximum(s["Z1"], 0), masks["1"], masks["2"], KEEP)
    W2, b2 = model.layers[2].W.data, model.layers[2].b.data
    result = diagnose(model, X, Y, {}, cache={"Z1": s["Z1"], "A1": A1, "Z2": W2 @ A1 + b2}, **kw)
    assert [(f.name, f.verdict) for f in result.findings] == [("Z1", "right"), ("A1", "wrong"), ("Z2", "follows")]
    assert result.first_wrong.causes == (title.strip(),)


def test_an_a_or_da_before_its_mask_is_right_if_what_comes_behind_it_is():
    case, model, X, Y, masks, kw = dropped()
    s = case.backprop(model, X, Y, masks)
    raw = model.layers[2].W.data.T @ s["dZ2"]
    for given in (gradients(s) | {"dA1": raw}, {"dA1": raw}):
        result = diagnose(model, X, Y, given, cache=cache(s) | {"A1": np.maximum(s["Z1"], 0)}, **kw)
        assert {f.verdict for f in result.findings} == {"right"}
        assert "dA1  right, before its mask" in str(result)


def test_without_masks_the_arrays_of_dropout_have_no_cause():
    case, model, X, Y, masks, _ = dropped()
    s = case.backprop(model, X, Y, masks)
    result = diagnose(model, X, Y, only_parameters(s))
    assert {(f.verdict, f.causes) for f in result.findings} == {("wrong", ())}
    assert "as if these gradients were computed with other parameters or data" in result.hint


MASKED_TWICE = "A is masked and divided twice"


def test_an_a_that_was_masked_before_is_not_masked_again():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(3, 50)), rng.integers(0, 2, (1, 50))
    model = tg.nn.TwoLayerNetwork(3, 4, rng=0)
    W1, b1, W2, b2 = (p.data for p in model.parameters())
    D1 = (rng.random((4, 50)) < 0.8).astype(int)
    A1 = np.tanh(W1 @ X + b1) * D1 / 0.8
    dZ2 = 1 / (1 + np.exp(-(W2 @ A1 + b2))) - Y
    given = {"dW2": dZ2 @ (A1 * D1 / 0.8).T / 50}
    finding = diagnose(model, X, Y, given, masks={"D1": D1}, keep_prob=0.8).first_wrong
    assert finding.causes == (MASKED_TWICE,)


def test_every_cause_of_regularisation_is_planted_here():
    planted = {t.strip() for t in [*BACKWARD, *FORWARD, MASKED_TWICE]} | {
        cause for _, _, cause, _ in L2_MISTAKES.values()
    }
    own = {t for t, known in causes.items() if known.mistake.__module__ == "tinygrad_dls.check.regularised"}
    assert own <= planted | {"an L2 term"}  # which is what a right gradient has, if the cost has no penalty
    assert own | ELSEWHERE >= OF_REGULARISED
