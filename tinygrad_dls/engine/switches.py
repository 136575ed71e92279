"""Switches: context managers that decorate too, whatever kind of function it is.

A generator or a coroutine runs in pieces, and between them its caller runs, who never asked for the switch. Decorated,
it has the switch on in its own pieces alone.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from tinygrad_dls.engine.errors import shown

__all__ = ["Switch", "left", "set_to"]

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def set_to(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Within the block, a variable of this thread or task has this value."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def left(name: str, blocks: ContextVar[tuple[Any, ...]]) -> Any:
    """Take the innermost of the blocks that are open in this thread or task, which ends."""
    *outer, block = blocks.get() or (None,)
    if block is None:
        raise RuntimeError(
            f"{name}: no block is open here. Was it entered in another thread or task, and left in this?"
        )
    blocks.set(tuple(outer))
    return block


# Context managers made of generators share the code of the function that makes them, whichever it is.
_MAKERS: tuple[Any, ...] = contextmanager, asynccontextmanager
_CONTEXTS: dict[Any, Any] = {maker(lambda: None).__code__: maker for maker in _MAKERS}
_LAZY = {"builtins", "itertools"}  # whose iterators run a caller's code when they are asked for what comes next


class Switch:
    """A context manager that takes nothing, may be entered any number of times, and decorates functions.

    Raises
    ------
    TypeError
        If it decorates without parentheses, or something that is no function.
    """

    __slots__ = ()

    def __init__(self, *function: Any, **options: Any) -> None:
        if function or options:
            name = type(self).__name__
            raise TypeError(f"{name} takes no arguments. Write @tg.{name}(), with parentheses, or `with tg.{name}():`.")

    def __enter__(self) -> None:
        raise NotImplementedError

    def __exit__(self, *error: Any) -> None:
        raise NotImplementedError

    def __call__(self, function: Callable[P, Any]) -> Callable[P, Any]:
        """The function, with the switch on while it runs."""
        if isinstance(function, (type, staticmethod, classmethod, property)) or not callable(function):
            name = type(self).__name__
            raise TypeError(
                f"{name} cannot decorate {shown(function)}: it takes functions, generators and coroutines. Write "
                f"`with tg.{name}():` within, around what it is for; @staticmethod and the like stand above it."
            )
        if (again := _CONTEXTS.get(getattr(function, "__code__", None))) is not None:
            steps: Any = function
            made: Callable[P, Any] = again(self(steps.__wrapped__))
            return made
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generate(*args: P.args, **kwargs: P.kwargs) -> Any:
                return (yield from self._in_pieces(function(*args, **kwargs)))

            return generate
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run(*args: P.args, **kwargs: P.kwargs) -> Any:
                return await types.coroutine(self._in_pieces)(function(*args, **kwargs))

            return run

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            with self:
                result = function(*args, **kwargs)
            if isinstance(result, Iterator) and type(result).__module__ in _LAZY:
                result = (item for item in result)
            if isinstance(result, types.GeneratorType):  # which has yet to run, and then it shall be on too
                return self._in_pieces(result)
            if isinstance(result, types.AsyncGeneratorType):
                return self._in_awaited_pieces(result)
            return types.coroutine(self._in_pieces)(result) if isinstance(result, types.CoroutineType) else result

        return call

    def _in_pieces(self, steps: Any) -> Generator[Any, Any, Any]:
        """Go through a generator or a coroutine, with the switch on while it runs, not while it waits."""
        resume: Callable[[], Any] = functools.partial(steps.send, None)
        while True:
            with self:
                try:
                    item = resume()
                except StopIteration as end:
                    return end.value
            try:
                sent = yield item
            except GeneratorExit:
                with self:
                    steps.close()
                raise
            except BaseException as error:
                resume = functools.partial(steps.throw, error)
            else:
                resume = functools.partial(steps.send, sent)

    async def _in_awaited_pieces(self, steps: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
        """The same for an asynchronous generator."""
        run = types.coroutine(self._in_pieces)
        resume: Callable[[], Any] = functools.partial(steps.asend, None)
        while True:
            try:
                item = await run(resume())
            except StopAsyncIteration:
                return
            try:
                sent = yield item
            except GeneratorExit:
                await run(steps.aclose())
                raise
            except BaseException as error:
                resume = functools.partial(steps.athrow, error)
            else:
                resume = functools.partial(steps.asend, sent)
