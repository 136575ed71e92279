"""no_grad, and what decorates: where no graph is built, and for how long."""

import asyncio
import contextlib
import itertools
import threading

import numpy as np
import pytest

import tinygrad_dls as tg
from tests.engine.leaves import leaf, vector
from tinygrad_dls import nn


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


# -- no_grad ----------------------------------------------------------------------------------------------------------


def recorded():
    return vector(), (vector() * 2).requires_grad


def test_one_no_grad_may_be_used_again_nested_and_by_threads():
    off, seen = tg.no_grad(), []
    for _ in range(2):
        with off:
            with off:
                seen.append(recorded()[1])
            seen.append(recorded()[1])
    seen.append(recorded()[1])
    with off:
        thread = threading.Thread(target=lambda: seen.append(recorded()[1]))
        thread.start()
        thread.join()
    assert seen == [False] * 4 + [True, True]


def test_an_error_sets_it_back():
    with pytest.raises(ZeroDivisionError), tg.no_grad():
        1 / 0  # noqa: B018
    assert recorded()[1]


@tg.no_grad()
def generated():
    got = yield recorded()[1]
    try:
        yield got, recorded()[1]
    except KeyError:
        yield "thrown", recorded()[1]
    return recorded()[1]


def test_of_a_generator_it_is_off_while_the_generator_runs_only():
    steps = generated()
    assert next(steps) is False
    assert recorded()[1]
    assert steps.send("sent") == ("sent", False)
    assert steps.throw(KeyError()) == ("thrown", False)
    assert recorded()[1]
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value is False
    closed = generated()
    next(closed)
    closed.close()
    assert recorded()[1]


def test_of_a_coroutine_it_is_off_while_the_coroutine_runs_only():
    seen = []

    @tg.no_grad()
    async def off():
        seen.append(("off", recorded()[1]))
        await asyncio.sleep(0)
        seen.append(("off", recorded()[1]))
        return "done"

    async def on():
        seen.append(("on", recorded()[1]))
        await asyncio.sleep(0)
        seen.append(("on", recorded()[1]))

    async def both():
        return await asyncio.gather(off(), on(), off())

    assert asyncio.run(both()) == ["done", None, "done"]
    assert set(seen) == {("off", False), ("on", True)}


def test_what_it_cannot_decorate_is_refused():
    with pytest.raises(TypeError, match=r"Write @tg\.no_grad\(\), with parentheses"):
        tg.no_grad(recorded)

    for thing in (nn.Linear, 3):
        with pytest.raises(TypeError, match=r"no_grad cannot decorate .* Write `with tg\.no_grad\(\):` within"):
            tg.no_grad()(thing)


# -- switches that decorate -------------------------------------------------------------------------------------------


def test_a_generator_or_a_coroutine_that_a_function_returns_has_no_graph_either():
    @tg.no_grad()
    def lazily():
        return (recorded()[1] for _ in range(2))

    @tg.no_grad()
    def later():
        async def run():
            return recorded()[1]

        return run()

    async def awaited():
        return await later()

    mapped = tg.no_grad()(lambda: map(lambda _: recorded()[1], range(2)))  # noqa: C417
    filtered = tg.no_grad()(lambda: filter(lambda _: not recorded()[1], range(2)))
    zipped = tg.no_grad()(lambda: zip((recorded()[1] for _ in range(2)), range(2), strict=True))
    chained = tg.no_grad()(lambda: itertools.chain(recorded()[1] for _ in range(2)))
    asked = tg.no_grad()(lambda: iter(lambda: recorded()[1], None))
    assert (list(mapped()), list(filtered())) == ([False, False], [0, 1])
    assert (list(zipped()), list(chained()), next(asked())) == ([(False, 0), (False, 1)], [False, False], False)
    assert list(lazily()) == [False, False]
    assert asyncio.run(awaited()) is False


@pytest.mark.parametrize("above", [True, False])
def test_of_a_context_manager_it_is_off_in_its_own_code_and_not_in_the_block(above):
    def place(maker):
        return lambda steps: tg.no_grad()(maker(steps)) if above else maker(tg.no_grad()(steps))

    ended = []

    @place(contextlib.contextmanager)
    def block(x):
        yield x, recorded()[1]
        ended.append(recorded()[1])

    @place(contextlib.asynccontextmanager)
    async def later():
        yield recorded()[1]
        ended.append(recorded()[1])

    @block(2)
    def decorated():
        return recorded()[1]

    async def entered():
        async with later() as inside:
            return inside, recorded()[1]

    with block(1) as inside:
        assert (inside, recorded()[1]) == ((1, False), True)
    assert decorated() is True
    assert asyncio.run(entered()) == (False, True)
    assert (ended, block.__name__) == ([False] * 3, "block")


async def awaited():
    """A coroutine."""


def plain():
    """A function."""


def stepped():
    """A generator."""
    yield


@pytest.mark.parametrize("function", [awaited, plain, stepped])
def test_a_decorated_function_keeps_its_name_and_what_it_says_of_itself(function):
    decorated = tg.no_grad()(function)
    assert (decorated.__name__, decorated.__doc__) == (function.__name__, function.__doc__)
    assert decorated.__wrapped__ is function


def test_of_an_asynchronous_generator_it_is_off_while_that_runs_only():
    seen = []

    @tg.no_grad()
    async def steps():
        try:
            for _ in range(3):
                await asyncio.sleep(0)
                try:
                    seen.append((yield recorded()[1]))
                except KeyError:
                    seen.append(recorded()[1])
        finally:
            seen.append(recorded()[1])

    async def consume():
        assert [(inside, recorded()[1]) async for inside in steps()] == [(False, True)] * 3
        seen.clear()
        running = steps()
        await anext(running)
        assert await running.asend("sent") is False
        assert await running.athrow(KeyError("planted")) is False
        await running.aclose()
        return recorded()[1]

    assert asyncio.run(consume())
    assert seen == ["sent", False, False]


def test_blocks_in_generators_that_take_turns_end_in_any_order():
    def block():
        with tg.no_grad():
            yield
            yield recorded()[1]

    one, other = block(), block()
    next(one)
    next(other)
    one.close()
    assert next(other) is False
    other.close()
    assert recorded()[1]


def test_an_abandoned_generator_cleans_up_without_a_graph():
    seen = []

    @tg.no_grad()
    def steps():
        try:
            yield
        finally:
            seen.append(recorded()[1])

    abandoned = steps()
    next(abandoned)
    abandoned.close()
    assert seen == [False]


@pytest.mark.parametrize("switch", [tg.no_grad, tg.detect_anomaly])
def test_a_switch_says_how_it_is_used(switch):
    with pytest.raises(RuntimeError, match=rf"{switch.__name__}: no block is open here\. Was it entered in another"):
        switch().__exit__(None, None, None)
    with pytest.raises(TypeError, match=rf"takes no arguments\. Write @tg\.{switch.__name__}\(\), with parentheses"):
        switch(enabled=False)


@pytest.mark.parametrize("wrapper", [staticmethod, classmethod, property])
def test_decorators_of_classes_stand_above(wrapper):
    for switch in (tg.no_grad, tg.detect_anomaly):
        with pytest.raises(TypeError, match=rf"{switch.__name__} cannot decorate .*; @staticmethod and the like stand"):
            switch()(wrapper(recorded))


def test_detect_anomaly_looks_at_what_a_decorated_generator_computes_and_at_nothing_else():
    @tg.detect_anomaly()
    def steps():
        yield
        np.log(tg.Tensor(0.0, True))
        yield

    running = steps()
    next(running)
    with np.errstate(divide="ignore"):
        np.log(tg.Tensor(0.0, True))  # while it waits
    with pytest.raises(tg.AnomalyError, match="log"):
        next(running)


def test_one_detect_anomaly_may_be_used_again_and_nested():
    looking = tg.detect_anomaly()
    for _ in range(2):
        with pytest.raises(tg.AnomalyError), looking, looking:
            np.log(tg.Tensor(0.0, True))
    with np.errstate(divide="ignore"):
        np.log(tg.Tensor(0.0, True))
    with pytest.raises(TypeError, match=r"Write @tg\.detect_anomaly\(\), with parentheses"):
        tg.detect_anomaly(recorded)
