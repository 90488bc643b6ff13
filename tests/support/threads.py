"""Work on other threads, and every MLX array that can be reached from an object."""

from __future__ import annotations

import gc
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import mlx.core as mx

T = TypeVar("T")

_SKIPPED = (type, types.ModuleType, types.FrameType, types.BuiltinFunctionType, threading.Thread)


def begun(function: Callable[[], T]) -> Future[T]:
    """`function`, at work on a thread of its own."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _awaited(future: Future[T], seconds: float) -> T:
    """The result, for which this process may work so long; on a busy machine that takes any time."""
    begin = last = time.process_time()
    while not future.done():
        wait([future], timeout=60)
        now = time.process_time()
        if not future.done() and (now - begin > seconds or now - last < 0.1):
            raise TimeoutError(
                f"no result after {now - begin:.0f} s of work, {now - last:.1f} s of it in the last minute"
            )
        last = now
    return future.result()


def in_thread(function: Callable[[], T]) -> T:
    """What `function` gives on a thread of its own."""
    return _awaited(begun(function), 120)


def at_once(*functions: Callable[[], T]) -> list[T]:
    """What the functions give, each on a thread of its own, begun at the same moment."""
    barrier = threading.Barrier(len(functions))

    def after_all(function: Callable[[], T]) -> T:
        barrier.wait()
        return function()

    futures = [begun(lambda function=function: after_all(function)) for function in functions]  # type: ignore[misc]
    return [_awaited(future, 1200) for future in futures]


def arrays_within(root: Any) -> Iterator[tuple[str, mx.array]]:
    """Every array that can be reached from `root`, with the way there."""
    seen = {id(root)}
    waiting = [(type(root).__name__, root)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, mx.array):
            yield path, value
            continue
        for name, child in _children(value):
            if id(child) not in seen and not isinstance(child, _SKIPPED):
                seen.add(id(child))
                waiting.append((f"{path}.{name}"[-200:], child))


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((str(key), child) for key, child in value.items())
    if isinstance(value, types.FunctionType):  # not its globals
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            yield name, cell
        return
    for name, child in getattr(value, "__dict__", {}).items():
        yield name, child
    for child in gc.get_referents(value):
        yield type(child).__name__, child


def not_evaluated(root: Any) -> list[str]:
    """The ways to the arrays that belong to the thread that made them. For use where streams are not lent."""

    def look() -> list[str]:
        failed = []
        for path, array in arrays_within(root):
            try:
                mx.eval(array)
            except RuntimeError as error:
                failed.append(f"{path}: {error}")
        return failed

    return in_thread(look)
