"""diagnose on backprops as learners write them: what it says of each is true, and it has something to say of most."""

from dataclasses import replace

import numpy as np
import pytest

from tests.check.learners import (
    DEEP,
    HIDDEN_SIGMOID,
    LOGISTIC,
    LOOP,
    MISTAKES,
    PLANAR,
    REGRESSION,
    SOFTMAX,
    asked,
    parameters,
    run,
    says_true,
)
from tinygrad_dls.check import causes, diagnose
from tinygrad_dls.check.chain import Chain
from tinygrad_dls.graph.subject import subject

# Nothing is named for these, as other mistakes give the same numbers there, or as rounding is all that is left.
SILENT = {
    "db3 over the classes": "the dZ of a softmax add up to 0 over the classes, so that rounding was given",
}


@pytest.mark.parametrize("everything", [False, True], ids=["dW and db", "everything"])
@pytest.mark.parametrize("trained", [False, True], ids=["first", "trained"])
@pytest.mark.parametrize("title", MISTAKES)
def test_what_is_said_of_a_learners_mistake_is_true_and_something_is_said(title, trained, everything):
    result = says_true(title, trained, everything)
    source, _, _, true = MISTAKES[title]
    nothing_shows_yet = source in (LOGISTIC, LOOP) and not trained  # at weights of zero, A is 0.5 for every example
    if result is not None and true and not nothing_shows_yet and title not in SILENT:
        assert result.first_wrong.causes, result


@pytest.mark.parametrize("source", [LOGISTIC, LOOP, PLANAR, DEEP, SOFTMAX])
@pytest.mark.parametrize("trained", [False, True])
def test_the_programs_themselves_are_right(source, trained):
    model, X, Y, labels, loss = asked(source, trained)
    cache, on_the_way, gradients = run(source)(X, Y, parameters(model))
    result = diagnose(model, X, labels, {**on_the_way, **gradients}, cache=cache, loss=loss)
    assert {f.verdict for f in result.findings} == {"right"}


# -- every form of every cause, against all the others ----------------------------------------------------------------

# Causes that come to the same numbers in one of their forms: they are said together.
ALIKE = {
    ("db", "axis=0 for axis=1", "the sum over the examples is missing"),  # of one unit
    ("dA", "W is missing", "an array of another layer"),  # dA2 is dZ2 in a regression
    ("dZ", "a slip in A - Y", "a slip in the derivative of the loss"),  # Y/A + (1 - Y)/(1 - A) makes |A - Y|
}  # fmt: skip


def steps(source):
    """Each step of a right backprop, as a cause sees it."""
    model, X, _, labels, loss = asked(source, True)
    chain = Chain(subject("diagnose", model, (X, labels), loss))
    for name in chain.names[:-1]:  # not dA0
        got = np.zeros_like(chain.reference[name])
        step = chain.step(name, chain.reference, chain.reference[name], got, lambda *_: None)
        yield replace(step, given=chain.reference)


def forms(step):
    """What each cause without a free number gives at a step, unless it is zeros or right, for which none is named."""
    for title, known in causes.items():
        if step.kind in known.kinds and not known.free:
            for variant in known.variants(step):
                if np.any(variant.array) and not close(variant.array, step.expected):
                    yield title, variant.array


def close(a, b):
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=0)


@pytest.mark.parametrize("source", [LOGISTIC, PLANAR, HIDDEN_SIGMOID, REGRESSION, DEEP, SOFTMAX])
def test_no_form_of_a_cause_gives_what_another_cause_gives(source):
    """The table of every form of every cause against all the other causes, at each step of a backprop."""
    alike = set()
    for step in steps(source):
        found = list(forms(step))
        for k, (title, a) in enumerate(found):
            rank = causes[title].far_fetched
            others = {other for other, b in found[:k] if causes[other].far_fetched == rank and close(a, b)}
            alike |= {(step.kind, *sorted((title, other))) for other in others - {title}}
    assert alike <= ALIKE, alike - ALIKE
