"""What the language model gets of a text that arrives, and what may be one."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlx_cosyvoice import CosyVoice2, Voice
from mlx_cosyvoice.llm import Qwen2LM
from mlx_cosyvoice.llm.bistream import Bistream, new_text_before_speech

TEXT = "Yes, of course."
LONG = "We have a nice time. It is the 3rd of May, and 12 of us are here. Nobody wants to go home. " * 2


def with_prompt(seconds: float, ids: int) -> Voice:
    """A voice of that many seconds of speech and ids of transcript."""
    tokens = round(25 * seconds)
    return Voice(
        np.arange(tokens, dtype=np.int32)[None] % 6561,
        np.zeros((1, 2 * tokens, 80), np.float32),
        np.ones((1, 192), np.float32),
        prompt_text=tuple(range(100, 100 + ids)),
    )


def tokens(tts: CosyVoice2, text: Any, voice: Voice, **options: Any) -> list[int]:
    return list(tts.speech_tokens(text, voice, **{"max_token_text_ratio": 2, **options}))


@pytest.mark.parametrize(("seconds", "ids"), [(5, 15), (10, 30), (15, 37), (1, 40), (30, 70)])
@pytest.mark.parametrize("normalize", [True, "off"])
def test_a_short_text_that_arrives_is_spoken_as_the_whole(
    tts: CosyVoice2, seconds: float, ids: int, normalize: bool
) -> None:
    """Nothing of the prompt's speech is dropped, and nothing of its transcript comes after it."""
    voice = with_prompt(seconds, ids)
    whole = tokens(tts, TEXT, voice, normalize=normalize)
    assert whole
    assert tokens(tts, iter(["Yes, of ", "course."]), voice, normalize=normalize) == whole
    assert tokens(tts, iter(TEXT), voice, normalize=normalize) == whole


def test_a_text_that_ends_where_speech_could_begin_is_spoken_as_the_whole(tts: CosyVoice2) -> None:
    """Its last word is known to be whole only when the text has ended."""
    assert tts.text_tokenizer is not None
    voice = with_prompt(6, 50 - len(tts.text_tokenizer.encode(TEXT)))
    assert tokens(tts, iter(TEXT), voice, normalize="off") == tokens(tts, TEXT, voice, normalize="off")


def first_input(tts: CosyVoice2, text: Any, voice: Voice, **options: Any) -> tuple[np.ndarray, int]:
    """The language model's input when the first token was asked for [positions, H], and how many positions it had run
    before."""
    assert tts.llm is not None
    step, seen = tts.llm.step, []

    def stepped(x: mx.array, cache: Any) -> mx.array:
        seen.append((np.array(x[0]), cache.offset))
        return step(x, cache)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tts.llm, "step", stepped)
        next(iter(tts.speech_tokens(text, voice, **options)))
    return seen[0]


def among(rows: mx.array, inputs: np.ndarray) -> list[int]:
    """Where in `inputs` [positions, H] each of `rows` [N, H] stands, in their order, as far as they are there."""
    places: list[int] = []
    for row in np.array(rows):
        start = places[-1] + 1 if places else 0
        found = np.flatnonzero((inputs[start:] == row).all(axis=1))
        if len(found):
            places.append(start + int(found[0]))
    return places


@settings(max_examples=40, deadline=None)
@given(speech=st.integers(1, 200), ids=st.integers(1, 80), words=st.integers(1, 60), normalize=st.booleans())
@example(speech=125, ids=15, words=30, normalize=False)
@example(speech=150, ids=49, words=10, normalize=False)
@example(speech=150, ids=50, words=60, normalize=False)
def test_the_whole_prompt_comes_before_the_first_token(
    tts: CosyVoice2, speech: int, ids: int, words: int, normalize: bool
) -> None:
    assert tts.llm is not None
    inputs, before = first_input(tts, iter("word " * words), with_prompt(speech / 25, ids), normalize=normalize)
    assert len(among(tts.llm.embed_speech(list(range(speech)))[0], inputs)) == speech
    if before:  # the plain order: the prompt's text was run once for all
        assert before == 1 + ids
    else:
        assert len(among(tts.llm.embed_text(list(range(100, 100 + ids)))[0], inputs)) == ids


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(0, 60), st.sampled_from([(5, 15), (3, 4)]))
def test_when_speech_begins_in_the_interleaved_order(text: int, speech: int, mix_ratio: tuple[int, int]) -> None:
    class Model:
        def __init__(self) -> None:
            self.config = type("Config", (), {"mix_ratio": mix_ratio})()
            self.sos, self.fill_token = mx.zeros((1, 1, 1)), 1

        def embed_text(self, ids: list[int]) -> mx.array:
            return mx.zeros((1, len(ids), 1))

        embed_speech = speech_embedding = embed_text
        tokens = Qwen2LM.tokens

        def checked_text(self, ids: list[int], _: str) -> list[int]:
            return ids

        def make_cache(self) -> None: ...

        def step(self, *_: object) -> list[None]:
            return [None]

    interleaving = Bistream(Model(), [0] * text, [0] * speech, lambda *_: 1)  # type: ignore[arg-type]
    count = 0
    while not interleaving.begun:
        count += 1
        list(interleaving.push(0))
    assert count == max(1, new_text_before_speech(mix_ratio, text, speech))


def test_text_that_arrives_is_normalized(tts: CosyVoice2) -> None:
    assert tts.text_tokenizer is not None
    encoded: list[str] = []
    encode = tts.text_tokenizer.encode

    def noted(text: str) -> list[int]:
        encoded.append(text)
        return encode(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tts.text_tokenizer, "encode", noted)
        spoken_tokens = list(
            tts.speech_tokens(iter(LONG), with_prompt(3, 8), max_token_text_ratio=1, min_token_text_ratio=1)
        )
    assert spoken_tokens
    spoken = " ".join(encoded)
    assert "the third of May, and twelve of us" in spoken
    assert not any(sign.isdigit() for sign in spoken)
    assert spoken.count("third") >= 2


def test_text_that_arrives_says_nothing_or_something(tts: CosyVoice2) -> None:
    for normalize in (True, False):
        for pieces in ([], ["..."], [None, " "], ["\U0001f600"]):
            assert tokens(tts, pieces, with_prompt(3, 8), normalize=normalize) == []
        assert tokens(tts, ["...", None, " Yes."], with_prompt(3, 8), normalize=normalize)


@pytest.mark.parametrize(("text", "message"), [
    (b"ab", r"text is bytes: decode it, as by text\.decode\('utf-8'\)"), (bytearray(b"a"), "decode it"),
    (memoryview(b"a"), "decode it"), (None, "text is None: give a str"), (3, "text is int: give a str"),
    (Path("a.txt"), r"text is a path: .*read_text"), (io.BytesIO(b"ab"), "a file opened in binary mode: open it"),
    ({"a": 1}, "text is a dict"), ({"a"}, "text is a set"), ([b"ab"], r"text\[0\] is bytes: decode it"),
    (["a", 3], r"text\[1\] is int"), (len, r"builtin_function_or_method \(call it"), (object(), "text is object"),
])  # fmt: skip
def test_what_is_no_text_is_refused_at_the_call(tts: CosyVoice2, text: Any, message: str) -> None:
    for say in (tts.stream, tts.synthesize, tts.speech_tokens):
        with pytest.raises(TypeError, match=message):
            say(text, with_prompt(3, 8))


def test_a_coroutine_is_no_text(tts: CosyVoice2) -> None:
    async def text() -> str:
        return TEXT

    coroutine = text()
    with pytest.raises(TypeError, match="text is a coroutine: await it"):
        tts.stream(coroutine, with_prompt(3, 8))  # type: ignore[arg-type]
    coroutine.close()


def test_a_file_opened_in_binary_mode(tts: CosyVoice2, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    with (tmp_path / "a.txt").open("rb") as file, pytest.raises(TypeError, match="open it as text"):
        tts.stream(file, with_prompt(3, 8))  # type: ignore[arg-type]


def characters() -> Iterator[str]:
    yield from TEXT


@pytest.mark.parametrize("text", [
    lambda: [TEXT], lambda: ("Yes, ", "of course."), characters, lambda: io.StringIO("Yes, of\ncourse."),
    lambda: map(str, ["Yes, ", "of course."]), lambda: OrderedDict.fromkeys(["Yes, ", "of course."]).keys().__iter__(),
    lambda: np.array(["Yes, ", "of course."]),
])  # fmt: skip
def test_what_gives_text(tts: CosyVoice2, text: Callable[[], Any]) -> None:
    voice = with_prompt(3, 8)
    expected = tokens(tts, TEXT, voice)
    got = tokens(tts, text(), voice)
    assert got == expected or isinstance(text(), io.StringIO)
    assert got


def test_bytes_among_the_pieces(tts: CosyVoice2) -> None:
    with pytest.raises(TypeError, match="text must give str, not bytes"):
        list(tts.stream(iter(["Hello ", b"there"]), with_prompt(3, 8)))  # type: ignore[arg-type]


def test_what_the_generator_raises_comes_out_as_it_is(tts: CosyVoice2) -> None:
    class OfMineError(Exception): ...

    def pieces() -> Iterator[str]:
        yield LONG
        raise OfMineError("it went away")

    async def asynchronous() -> AsyncIterator[str]:
        for piece in pieces():
            yield piece

    for text in (pieces(), asynchronous()):
        with pytest.raises(OfMineError, match="it went away") as caught:
            tokens(tts, text, with_prompt(3, 8))
        assert caught.value.__cause__ is None


async def slowly(closed: list[str] | None = None) -> AsyncIterator[str | None]:
    try:
        for word in TEXT.split(" "):
            await asyncio.sleep(0.001)
            yield word + " "
        yield None
    finally:
        if closed is not None:
            await asyncio.sleep(0)
            closed.append("closed")


def test_an_asynchronous_generator_is_text_too(tts: CosyVoice2) -> None:
    voice, closed = with_prompt(3, 8), []  # type: tuple[Voice, list[str]]
    assert tokens(tts, slowly(closed), voice) == tokens(tts, TEXT, voice)
    assert closed == ["closed"]
    chunks = list(tts.stream(slowly(), voice, max_token_text_ratio=2, n_timesteps=1))
    assert sum(map(len, chunks)) == 960 * len(tokens(tts, TEXT, voice))


def test_an_asynchronous_generator_that_is_left_is_closed(tts: CosyVoice2) -> None:
    closed = threading.Event()

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                yield LONG
        finally:
            closed.set()

    left = tts.speech_tokens(endless(), with_prompt(3, 8))
    next(left)
    del left
    gc.collect()
    assert closed.wait(60)  # the language model's thread ends after its present token


def test_in_a_coroutine_its_event_loop_gives_the_text(tts: CosyVoice2) -> None:
    voice = with_prompt(3, 8)
    expected = np.concatenate(list(tts.stream(TEXT, voice, max_token_text_ratio=2, n_timesteps=1)))

    async def speak() -> list[np.ndarray]:
        queue: asyncio.Queue[str | None] = asyncio.Queue()  # belongs to this loop, as connections do

        async def pieces() -> AsyncIterator[str]:
            while (piece := await queue.get()) is not None:
                yield piece

        async def write() -> None:
            for word in ("Yes, ", "of ", "course.", None):
                await asyncio.sleep(0.001)
                await queue.put(word)

        writing = asyncio.create_task(write())
        stream = tts.stream(pieces(), voice, max_token_text_ratio=2, n_timesteps=1)
        chunks = [chunk async for chunk in stream]
        await writing
        return chunks

    assert np.array_equal(np.concatenate(asyncio.run(asyncio.wait_for(speak(), 60))), expected)


def test_a_loop_is_not_made_to_wait_for_itself(tts: CosyVoice2) -> None:
    async def speak() -> None:
        with tts.stream(slowly(), with_prompt(3, 8)) as stream, pytest.raises(RuntimeError, match="async for chunk"):
            next(stream)
        with pytest.raises(RuntimeError, match="async for chunk"):
            tts.synthesize(slowly(), with_prompt(3, 8))
        with pytest.raises(RuntimeError, match="async for chunk"):
            list(tts.speech_tokens(slowly(), with_prompt(3, 8)))

    asyncio.run(asyncio.wait_for(speak(), 60))


def test_a_stream_may_be_taken_asynchronously(tts: CosyVoice2) -> None:
    """Whatever its text; the loop goes on meanwhile."""

    async def speak() -> tuple[int, int]:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        turning = asyncio.create_task(turn())
        size = 0
        async for chunk in tts.stream(TEXT, with_prompt(3, 8), max_token_text_ratio=2, n_timesteps=1):
            size += len(chunk)
        turning.cancel()
        return size, turns

    size, turns = asyncio.run(speak())
    assert size
    assert turns >= 2


def test_lost_characters_give_one_warning_and_the_rest_is_spoken(tts: CosyVoice2) -> None:
    voice = with_prompt(3, 8)
    pieces = ["Yes, \ud83d", "of\udc00 cou", "rse\ufffd."]
    with pytest.warns(UserWarning, match="left out") as caught:
        got = tokens(tts, iter(pieces), voice)
    assert len(caught) == 1
    assert got == tokens(tts, TEXT, voice)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for normalize in (True, "off"):
            got = tokens(tts, iter(["Yes \ud83d", "\ude00."]), voice, normalize=normalize)
            assert got == tokens(tts, "Yes \U0001f600.", voice, normalize=normalize)


def test_the_thread_ends_where_the_text_is_asynchronous(tts: CosyVoice2) -> None:
    before = threading.active_count()
    for _ in tts.stream(slowly(), with_prompt(3, 8), max_token_text_ratio=2, n_timesteps=1):
        pass
    end = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before
