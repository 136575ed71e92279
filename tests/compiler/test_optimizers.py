"""Optimizers of users' own, with any state: compiled as eagerly, or refused with what to write instead."""

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.compiler.steps import LOGITS, X, Y, assert_same_training, eager, network
from tests.compiler.users_optimizers import (
    Adadelta,
    Adagrad,
    AMSGrad,
    Averaged,
    Integers,
    Matrix,
    Norm,
    OneParameterMore,
    Own,
    RMSprop,
    Rows,
    SignSGD,
    Single,
    Solves,
    ThreeArrays,
    TwoCounts,
    like,
)
from tinygrad_dls.engine.errors import RecordingError

OPTIMIZERS = [
    SignSGD, Adagrad, RMSprop, Adadelta, ThreeArrays, AMSGrad, Averaged, TwoCounts, Rows, Norm, OneParameterMore,
    Single, Matrix, Integers, Solves,
]  # fmt: skip


@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_with_any_state_train_as_eagerly(optimizer, tile):
    assert_same_training(network, LOGITS, lambda m: optimizer(m.parameters()), [(X, Y)] * 12, tile=tile)


@pytest.mark.parametrize("optimizer", [RMSprop, AMSGrad, Rows, Matrix])
def test_what_is_kept_of_the_state_keeps_its_values(optimizer):
    model = network()
    own = optimizer(model.parameters())
    step = tg.compile(model, LOGITS, own)
    held = []
    for _ in range(5):
        step(X, Y)
        held += [(x, x.copy()) for state in own._state.values() for x in state]
    for x, before in held:
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("optimizer", [RMSprop, AMSGrad, Rows, TwoCounts])
def test_a_state_that_was_loaded_goes_on_as_eagerly(optimizer):
    results = []
    for compiled in (False, True):
        model = network()
        own = optimizer(model.parameters())
        step = tg.compile(model, LOGITS, own) if compiled else eager(model, LOGITS, own)
        for _ in range(3):
            step(X, Y)
        state, values = own.state_dict(), model.state_dict()
        for _ in range(2):
            step(X, Y)
        own.load_state_dict(state)
        model.load_state_dict(values)
        results.append([step(X, Y) for _ in range(3)])
    np.testing.assert_allclose(*results, rtol=1e-12)


class Grows(Own):
    def _start(self, p):
        return (np.zeros(()),)

    def _update(self, p, rate):
        (v,) = self.state_of(p)
        v = 0.9 * v + p._grad
        return p._value - rate * v, (v,)


class Appends(Own):
    def _start(self, p):
        return ()

    def _update(self, p, rate):
        return p._value - rate * p._grad, (p._grad,)


class Frozen(Own):
    def _start(self, p):
        return (like(p),)

    def _update(self, p, rate):
        return p._value - rate * p._grad, (np.ones(p.shape),)


class Wide(Own):
    def _start(self, p):
        return ()

    def _update(self, p, rate):
        return np.ones((2, 1, 1)) * p._value, ()


class Many(Own):
    def _start(self, p):
        return tuple(like(p) for _ in range(40))

    def _update(self, p, rate):
        return p._value - rate * p._grad, self.state_of(p)


class Decides(Own):
    def _start(self, p):
        return ()

    def _update(self, p, rate):
        return (p._value - rate * p._grad if np.sum(p._grad) > 0 else p._value), ()


REFUSED = {
    Grows: r"a part of the state of Grows is shape \(\) and dtype float64 before a step and shape \(4, 3\) .* Let ",
    Appends: r"the state of Appends has 0 parts before a step and 1 after it; .* Let _start return all of them\.",
    Frozen: "the recording would freeze a part of the state of Frozen",
    Wide: r"Wide gives shape \(2, 4, 3\) and dtype float64 for W1 of shape \(4, 3\) .* Write \.astype\(p\.dtype\) ",
    Many: "has 40 parts for each parameter; .* Put several arrays into one with np.stack",
    Decides: "would freeze a Python decision",
}


@pytest.mark.parametrize("optimizer", REFUSED)
def test_an_update_that_no_program_can_repeat_is_refused_or_runs_eagerly(optimizer):
    model = network()
    with pytest.raises(RecordingError, match=f"(?s){REFUSED[optimizer]}"):
        tg.compile(model, LOGITS, optimizer(model.parameters()))(X, Y)
    step = tg.compile(model, LOGITS, optimizer(model.parameters()), fallback=True)
    step(X, Y)
    assert step.explain().startswith("Runs eagerly: ")


def test_a_schedule_is_asked_once_a_step_with_and_without_fallback():
    for options in ({}, {"fallback": True}):
        asked = []

        def rate(step, asked=asked):
            asked.append(step)
            return 0.1

        model = network()
        step = tg.compile(model, LOGITS, tg.optim.SGD(model.parameters(), lr=rate), **options)
        asked.clear()
        for _ in range(3):
            step(X, Y)
        assert asked == [0, 1, 2]
