"""no_grad, and what decorates: where no graph is built, and for how long."""

import threading

import pytest

import tinygrad_dls as tg
from tests.engine.leaves import leaf


def test_no_grad_as_context_manager_and_decorator():
    w = leaf(2.0)

    @tg.no_grad()
    def forward():
        return w * w

    for _ in range(2):
        assert not forward().requires_grad
    with tg.no_grad():
        with tg.no_grad():
            pass
        assert not (w * w).requires_grad
    assert (w * w).requires_grad


def test_no_grad_is_restored_after_an_exception():
    with pytest.raises(ValueError, match="planted"), tg.no_grad():
        raise ValueError("planted")
    assert (leaf(1.0) * 2).requires_grad


def test_threads_do_not_see_each_others_no_grad():
    w = leaf(2.0)
    inside, seen = threading.Barrier(2), {}

    def quiet():
        with tg.no_grad():
            inside.wait()
            seen["quiet"] = (w * w).requires_grad
            inside.wait()

    def recording():
        inside.wait()
        seen["recording"] = (w * w).requires_grad
        inside.wait()

    threads = [threading.Thread(target=f) for f in (quiet, recording)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert seen == {"quiet": False, "recording": True}
