"""What is accepted as a text: a str, or an iterable of its pieces, also an asynchronous one."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Set
from typing import TypeAlias

#: A text, or its pieces in their order. None among the pieces counts as no text.
Text: TypeAlias = str | Iterable[str | None] | AsyncIterable[str | None]


def text_source(text: object) -> str | Iterable[object]:
    """`text` if it is a str, else what gives its pieces.

    Raises:
        TypeError: it is neither; what to do is said.
    """
    if isinstance(text, str):
        return text
    if isinstance(text, AsyncIterable):
        return AsyncPieces(text)
    problem = _problem(text)
    if problem is not None:
        raise TypeError(f"text is {problem}")
    assert isinstance(text, Iterable)
    if isinstance(text, list | tuple):
        for index, piece in enumerate(text):
            if piece is not None and not isinstance(piece, str):
                raise TypeError(f"text[{index}] is {_problem(piece) or type(piece).__name__}; the pieces must be str")
    return text


class AsyncPieces(Iterable[object]):
    """The pieces of an asynchronous iterable, for a thread that may wait.

    Made in a coroutine, it lets that coroutine's event loop run the iterable, which may hold connections that belong
    to the loop; made elsewhere, it runs a loop of its own.

    Attributes:
        loop: that must be free to run while the pieces are waited for; None where it has its own.
    """

    def __init__(self, source: AsyncIterable[object]) -> None:
        self._source = source
        self.loop = running_loop()

    def __iter__(self) -> Iterator[object]:
        return self._on_own_loop() if self.loop is None else self._on(self.loop)

    def _on_own_loop(self) -> Iterator[object]:
        iterator, loop = aiter(self._source), asyncio.new_event_loop()
        try:
            while (piece := loop.run_until_complete(_next(iterator))) is not _END:
                yield piece
        finally:
            loop.run_until_complete(_close(iterator))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _on(self, loop: asyncio.AbstractEventLoop) -> Iterator[object]:
        refuse_to_block(loop)
        iterator = aiter(self._source)
        try:
            while (piece := asyncio.run_coroutine_threadsafe(_next(iterator), loop).result()) is not _END:
                yield piece
        finally:
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(_close(iterator), loop)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def refuse_to_block(loop: asyncio.AbstractEventLoop | None) -> None:
    """Raise where waiting would stop the very loop that has to give the text.

    Raises:
        RuntimeError: `loop` runs in this thread.
    """
    if loop is not None and running_loop() is loop:
        raise RuntimeError(
            "the text comes from this event loop, which cannot run while it waits for audio: take the chunks by "
            "`async for chunk in stream`"
        )


_END = object()


async def _next(iterator: object) -> object:
    return await anext(iterator, _END)  # type: ignore[call-overload]


async def _close(iterator: object) -> None:
    if hasattr(iterator, "aclose"):
        await iterator.aclose()


def _problem(text: object) -> str | None:
    """What is wrong with `text` as a source of pieces, and what to do."""
    kind = type(text).__name__
    if isinstance(text, bytes | bytearray | memoryview):
        return f"{kind}: decode it, as by text.decode('utf-8')"
    if isinstance(text, os.PathLike):
        return "a path: give what the file holds, as by Path(text).read_text(encoding='utf-8')"
    if isinstance(text, io.RawIOBase | io.BufferedIOBase):
        return "a file opened in binary mode: open it as text, as by open(path, encoding='utf-8')"
    if inspect.isawaitable(text):
        return f"a {kind}: await it, and give its result"
    if isinstance(text, Mapping | Set):
        return f"a {kind}: give a str or its pieces in their order"
    if not isinstance(text, Iterable):
        called = " (call it, and give its result)" if callable(text) else ""
        return f"{'None' if text is None else kind}{called}: give a str, or an iterable of its pieces"
    return None
