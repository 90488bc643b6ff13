"""A model that is loaded in one thread works in every other, at once and mixed."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from converters.convert import convert
from mlx_cosyvoice import CosyVoice2, Voice, turns
from mlx_cosyvoice.llm import RASSampler
from tests.support.process import ROOT
from tests.support.threads import arrays_within, at_once, in_thread, not_evaluated
from tests.support.voices import make_voice

SAMPLE = ROOT / "parity" / "data" / "sample.wav"
TEXT = "We have a nice time."
QUICK: dict[str, Any] = {"n_timesteps": 1, "min_token_text_ratio": 6, "max_token_text_ratio": 8}


@pytest.fixture(scope="module")
def folders(tiny_checkpoint: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model folders whose weights are read, cast and unpacked."""
    out = tmp_path_factory.mktemp("models")
    half = convert(tiny_checkpoint, out / "float16", dtype="float16").out
    packed = convert(tiny_checkpoint, out / "packed", quantize=4).out
    return {"float32": tiny_model, "float16": half, "4 bits": packed}


@pytest.fixture(scope="module")
def voice() -> Voice:
    return make_voice()


@pytest.fixture(params=["lent", pytest.param("own", marks=pytest.mark.slow)])
def streams(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the CPU, and as on other devices, where every thread uses streams of its own."""
    if request.param == "own":
        monkeypatch.setattr(turns, "in_cpu_form", lambda: False)


def same(first: np.ndarray, second: np.ndarray) -> bool:
    return len(first) > 0 and np.array_equal(first, second)


def alone(folder: Path, use: Callable[[CosyVoice2], np.ndarray]) -> np.ndarray:
    """What a model gives that nothing else has been asked of."""
    return use(CosyVoice2.load(folder))


def in_turn(make: Callable[[], Iterator[Any]]) -> list[Any]:
    """The items of an iterator, each asked for by another thread."""
    items, iterator = [], in_thread(make)
    while (item := in_thread(lambda: next(iterator, None))) is not None:
        items.append(item)
    return items


@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize("precision", ["float32", pytest.param("4 bits", marks=pytest.mark.slow)])
def test_loaded_in_one_thread_and_used_in_another(folders: dict[str, Path], precision: str, voice: Voice) -> None:
    loaded = in_thread(lambda: CosyVoice2.load(folders[precision]))
    assert same(
        in_thread(lambda: loaded.synthesize(TEXT, voice, **QUICK)),
        alone(folders[precision], lambda tts: tts.synthesize(TEXT, voice, **QUICK)),
    )
    other = CosyVoice2.load(folders[precision])
    assert in_thread(lambda: other.clone(SAMPLE)).fingerprint == loaded.clone(SAMPLE).fingerprint
    assert len(in_thread(lambda: other.synthesize(TEXT, voice, **QUICK)))


@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize("decoding", [pytest.param("offline", marks=pytest.mark.slow), "official", "incremental"])
def test_chunks_are_asked_for_by_changing_threads(tiny_model: Path, voice: Voice, decoding: str) -> None:
    text = " ".join([TEXT] * 2)
    options: dict[str, Any] = {"decoding": decoding, "seed": 3, **QUICK}
    expected = list(CosyVoice2.load(tiny_model).stream(text, voice, **options))
    tts = in_thread(lambda: CosyVoice2.load(tiny_model))
    chunks = in_turn(lambda: tts.stream(text, voice, **options))
    assert len(chunks) == len(expected)
    assert all(map(same, chunks, expected))


@pytest.mark.usefixtures("streams")
def test_tokens_and_converted_voices_too(tts: CosyVoice2, voice: Voice) -> None:
    make = lambda: tts.speech_tokens(TEXT, voice, max_token_text_ratio=4)  # noqa: E731
    assert in_turn(make) == list(make())
    speak = lambda: tts.convert_voice(SAMPLE, voice, n_timesteps=1, decoding="official")  # noqa: E731
    assert all(map(same, in_turn(speak), speak()))


@pytest.mark.usefixtures("streams")
def test_a_sampler_of_ones_own_goes_on_from_thread_to_thread(tts: CosyVoice2, voice: Voice) -> None:
    def twice() -> list[list[int]]:
        key = mx.random.split(mx.random.key(5))[0]
        sampler = RASSampler.from_key(tts.config.llm.sampling, key)
        return [list(tts.speech_tokens(TEXT, voice, sampler=sampler, max_token_text_ratio=4)) for _ in range(2)]

    first, second = twice()
    assert first != second
    assert in_thread(twice) == [first, second]


@pytest.mark.usefixtures("streams")
def test_asyncio(tiny_model: Path, voice: Voice, tts: CosyVoice2) -> None:
    async def serve() -> list[np.ndarray]:
        loaded = await asyncio.to_thread(CosyVoice2.load, tiny_model)
        stream = await asyncio.to_thread(lambda: loaded.stream(TEXT, voice, **QUICK))
        chunks = []
        while (chunk := await asyncio.to_thread(next, stream, None)) is not None:
            chunks.append(chunk)
        return chunks

    assert all(map(same, asyncio.run(serve()), tts.stream(TEXT, voice, **QUICK)))


@pytest.mark.parametrize(
    "precision",
    ["float32", pytest.param("float16", marks=pytest.mark.slow), pytest.param("4 bits", marks=pytest.mark.slow)],
)
def test_nothing_in_a_model_belongs_to_a_thread(
    folders: dict[str, Path], precision: str, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "in_cpu_form", lambda: False)
    tts = in_thread(lambda: CosyVoice2.load(folders[precision]))
    assert not_evaluated(tts) == []
    for decoding in ("offline", "official", "incremental"):
        stream = in_thread(lambda decoding=decoding: tts.stream(TEXT * 2, voice, decoding=decoding, **QUICK))  # type: ignore[misc]
        while in_thread(lambda stream=stream: next(stream, None)) is not None:  # type: ignore[misc]
            assert not_evaluated((tts, stream)) == []
    in_thread(lambda: tts.clone(SAMPLE))
    assert not_evaluated(tts) == []
    assert len(list(arrays_within(tts))) > 500


def test_loading_leaves_no_draws_behind(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLX's layers are made with random numbers; their state must not wait for a stream that others use."""
    monkeypatch.setattr(turns, "in_cpu_form", lambda: False)

    def state() -> mx.array:
        CosyVoice2.load(tiny_model)
        return mx.random.state[0]  # type: ignore[index]

    assert not_evaluated([in_thread(state)]) == []


def uses(voice: Voice) -> dict[str, Callable[[CosyVoice2], np.ndarray]]:
    def of(tts: CosyVoice2, decoding: str, seed: int) -> np.ndarray:
        text = TEXT if seed % 2 else "The road was empty. " * 5
        return np.concatenate(list(tts.stream(text, voice, decoding=decoding, seed=seed, **QUICK)))

    return {
        **{f"stream {how} {seed}": lambda tts, how=how, seed=seed: of(tts, how, seed)  # type: ignore[misc]
           for how in ("official", "incremental") for seed in (1, 2)},
        "synthesize": lambda tts: tts.synthesize(TEXT, voice, **QUICK),
        "instruct": lambda tts: tts.synthesize(TEXT, voice, instruction="Slowly.", **QUICK),
        "clone": lambda tts: tts.clone(SAMPLE).prompt_feat.reshape(-1),
        "convert": lambda tts: np.concatenate(list(tts.convert_voice(SAMPLE, voice, n_timesteps=1))),
        "tokens": lambda tts: np.array(list(tts.speech_tokens(TEXT, voice, max_token_text_ratio=4))),
    }  # fmt: skip


def many_at_once(folder: Path, voice: Voice, threads: int, requests: int) -> None:
    """Requests in random order of many threads: bit by bit what each gives alone. Some load the model anew."""
    wanted = uses(voice)
    shared = in_thread(lambda: CosyVoice2.load(folder))

    def ask(number: int) -> list[tuple[str, np.ndarray]]:
        order, got = random.Random(number), []
        for _ in range(requests):
            name = order.choice(list(wanted))
            tts = CosyVoice2.load(folder) if order.random() < 0.1 else shared
            got.append((name, wanted[name](tts)))
        return got

    asked = at_once(*(lambda number=number: ask(number) for number in range(threads)))  # type: ignore[misc]
    got = [each for one in asked for each in one]
    assert len(got) == threads * requests
    expected = {name: alone(folder, wanted[name]) for name in {name for name, _ in got}}
    assert [name for name, result in got if not same(result, expected[name])] == []


@pytest.mark.usefixtures("streams")
def test_two_at_once_that_were_never_used(tiny_model: Path, voice: Voice) -> None:
    for name, use in uses(voice).items():
        if name in ("stream official 1", "stream incremental 1"):
            tts = CosyVoice2.load(tiny_model)
            first, second = at_once(lambda use=use, tts=tts: use(tts), lambda use=use, tts=tts: use(tts))  # type: ignore[misc]
            assert same(first, second), name
            assert same(first, alone(tiny_model, use)), name


@pytest.mark.slow
def test_many_at_once(folders: dict[str, Path], voice: Voice) -> None:
    many_at_once(folders["float32"], voice, threads=3, requests=2)


@pytest.mark.soak
@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize("precision", ["float32", "float16", "4 bits"])
def test_many_more_at_once(folders: dict[str, Path], precision: str, voice: Voice) -> None:
    many_at_once(folders[precision], voice, threads=16, requests=10)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts the process's threads as Linux tells them")
def test_no_thread_stays_behind(tts: CosyVoice2, voice: Voice) -> None:
    """MLX's CPU backend never ends the thread of a stream."""

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    in_thread(lambda: tts.synthesize(TEXT, voice, **QUICK))
    before, python_threads = threads(), threading.active_count()
    for _ in range(4):
        in_thread(lambda: tts.synthesize(TEXT, voice, **QUICK))
        in_thread(lambda: tts.clone(SAMPLE))
    assert threads() <= before + 2
    assert threading.active_count() <= python_threads
