"""Training by `fit` may be compiled."""

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.compiler.steps import LOGITS, Branching, X, Y, assert_alike, network, sgd
from tinygrad_dls.engine.errors import RecordingError


@pytest.mark.parametrize("batch_size", [None, 16])
def test_fit_compiled_is_fit(batch_size):
    found = []
    for compiled in (False, True):
        model = network()
        seen = []
        history = tg.fit(
            model, X, Y, loss=LOGITS, optimizer=sgd(model), epochs=5, batch_size=batch_size,
            rng=None if batch_size is None else 0, validation=(X, Y), compile=compiled,
            callbacks=[lambda now, seen=seen: seen.append((now.cost, now.model.parameters()[0].grad.copy()))],
        )  # fmt: skip
        found.append((history, seen, model.state_dict()))
    (a, seen, state), (b, again, other) = found
    np.testing.assert_allclose(b.costs, a.costs, rtol=1e-12)
    np.testing.assert_allclose(b.validation_costs, a.validation_costs, rtol=1e-12)
    for (J, dW), (cost, dV) in zip(seen, again, strict=True):
        assert cost == pytest.approx(J, rel=1e-12)
        assert_alike(dW, dV)
    assert all(np.allclose(state[name], other[name], rtol=1e-12) for name in state)


def test_fit_refuses_to_compile_what_cannot_be_recorded():
    model = Branching()
    with pytest.raises(RecordingError, match="a Python decision"):
        tg.fit(model, X, Y, loss=LOGITS, optimizer=sgd(model), epochs=1, compile=True)
    with pytest.raises(TypeError, match="fit: compile must be True or False"):
        tg.fit(model, X, Y, loss=LOGITS, optimizer=sgd(model), epochs=1, compile="yes")
