"""`CosyVoice2.stream` and what it is made of: chunks, seeds, long texts, texts that arrive, counts and times."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from mlx_cosyvoice import CosyVoice2, Voice
from mlx_cosyvoice.decoding import IncrementalDecoder
from mlx_cosyvoice.model import DECODINGS
from mlx_cosyvoice.text import TextTokenizer
from tests.support import llm as support_llm
from tests.support.golden import golden
from tests.support.voices import make_voice

TRANSCRIPT = "The quick brown fox jumps over the lazy dog, enjoying warm sunshine."
TEXT = "We have a nice time."
SLOW_TEXT = " ".join([TEXT] * 4)
#: Euler steps: enough to tell two mels apart.
STEPS = 2


@pytest.fixture(scope="module")
def voice() -> Voice:
    """Of a second, which every utterance runs again."""
    return make_voice(tokens=25, transcript=TRANSCRIPT)


def threads() -> int:
    return sum(thread.name.startswith("mlx-cosyvoice") for thread in threading.enumerate())


def wait_for_threads(count: int) -> bool:
    end = time.monotonic() + 120
    while threads() > count and time.monotonic() < end:
        time.sleep(0.01)
    return threads() <= count


@pytest.mark.parametrize("decoding", DECODINGS)
def test_a_seed_gives_the_same_audio_twice(tts: CosyVoice2, voice: Voice, decoding: str) -> None:
    first, again, other = (
        np.concatenate(
            list(tts.stream(TEXT, voice, decoding=decoding, seed=seed, max_token_text_ratio=5, n_timesteps=STEPS))
        )
        for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_all_decoders_speak_the_same_tokens(tts: CosyVoice2, voice: Voice) -> None:
    tokens = list(tts.speech_tokens(TEXT, voice, max_token_text_ratio=8))
    lengths = set()
    for decoding in DECODINGS:
        stream = tts.stream(TEXT, voice, decoding=decoding, max_token_text_ratio=8, n_timesteps=STEPS)
        lengths.add(sum(map(len, stream)))
        assert stream.metrics.speech_tokens == len(tokens)
    assert lengths == {960 * len(tokens)}


def test_streaming_gives_the_official_chunks(tts: CosyVoice2, voice: Voice) -> None:
    stream = tts.stream(TEXT, voice, min_token_text_ratio=15, seed=1, n_timesteps=STEPS)
    tokens = [len(chunk) / 960 for chunk in stream]
    pad = -voice.prompt_token.shape[1] % 25
    assert stream.metrics.speech_tokens > 25 + pad + 50 + 100 + 3
    # four tokens' worth, 8 frames, are held back to be faded into the next chunk
    assert tokens[:3] == [25 + pad - 4, 50, 100]
    assert sum(tokens) == stream.metrics.speech_tokens


def test_audio_comes_before_the_language_model_has_ended(
    tts: CosyVoice2, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tts.llm is not None
    generate, reached, go_on = tts.llm.generate, threading.Event(), threading.Event()

    def held_back(*args: object, **options: object) -> Iterator[int]:
        for index, token in enumerate(generate(*args, **options)):  # type: ignore[arg-type]
            if index == 80:
                reached.set()
                assert go_on.wait(300)
            yield token

    monkeypatch.setattr(tts.llm, "generate", held_back)
    with tts.stream(TEXT, voice, max_token_text_ratio=20, min_token_text_ratio=10, n_timesteps=STEPS) as stream:
        assert len(next(stream)) > 0
        assert reached.wait(300)
        go_on.set()
        rest = list(stream)
    assert rest


def test_a_text_that_arrives_is_spoken_before_it_ends(tts: CosyVoice2, voice: Voice) -> None:
    heard = threading.Event()

    def slowly() -> Iterator[str]:
        for character in SLOW_TEXT:
            time.sleep(0.05)
            yield character
        assert heard.wait(300), "no audio came while the text was still open"
        yield " The end."

    with tts.stream(slowly(), voice, n_timesteps=STEPS, max_token_text_ratio=4) as stream:
        assert len(next(stream)) > 0
        heard.set()
        assert list(stream)


@pytest.mark.parametrize("speech", [0, 4, 17])
def test_bistream_tokens_are_the_golden_ones(speech: int, tts: CosyVoice2, tiny_model: Path) -> None:
    """Through the public interface, with a tokenizer that spells the golden ids.

    Upstream speaks with 0 and 4 before the prompt's text was run, and the rest of it too; here the text is
    spoken in the plain order then.
    """
    words = {f"w{index}": index for index in range(1000)}
    spelled = Tokenizer(WordLevel(words, unk_token="w0"))
    spelled.pre_tokenizer = Whitespace()
    golden_tts = CosyVoice2.load(tiny_model)
    golden_tts.text_tokenizer = TextTokenizer(spelled)
    prompt = support_llm.prompt_speech()[:speech]
    voice = Voice(
        np.array([prompt or [0]], np.int32),
        np.zeros((1, 2 * len(prompt or [0]), 80), np.float32),
        np.ones((1, 192), np.float32),
        prompt_text=tuple(support_llm.prompt_text("tiny")),
    )
    ids = support_llm.text("tiny")
    pieces = ("".join(f"w{index} " for index in ids[start : start + 2]) for start in range(0, len(ids), 2))
    options = {"sampler": support_llm.pick, "normalize": False}
    if not speech:  # an instruction is a prompt text without prompt speech
        golden_tts.text_tokenizer.encode = lambda text: (  # type: ignore[method-assign]
            support_llm.prompt_text("tiny") if "<|endofprompt|>" in text else spelled.encode(text).ids
        )
        options["instruction"] = "spell the ids"
    tokens = list(golden_tts.speech_tokens(pieces, voice, **options))  # type: ignore[arg-type]
    if speech == 17:
        assert tokens == golden("llm.bistream")[f"bistream/prompt_speech={speech}"].tolist()
    else:
        whole = " ".join(f"w{index}" for index in ids)
        assert tokens == list(golden_tts.speech_tokens(whole, voice, **options))  # type: ignore[arg-type]


def test_misplaced_special_tokens_are_drawn_again(tts: CosyVoice2) -> None:
    """Upstream fails on them: the id without a use, and "more text" after the text has ended."""
    voice = make_voice(tokens=110, transcript=TRANSCRIPT)  # so long that text and speech are interleaved
    assert tts.llm is not None
    eos, unused, fill = tts.llm.eos_token, tts.llm.eos_token + 1, tts.llm.fill_token

    def draw(log_probs: mx.array, decoded: list[int], ignore_eos: bool) -> int:
        wanted = [unused, fill if not ignore_eos else unused, eos if len(decoded) > 40 and not ignore_eos else 7]
        return next(token for token in wanted if np.isfinite(np.array(log_probs)[token]))

    tokens = list(tts.speech_tokens(iter([SLOW_TEXT]), voice, sampler=draw, normalize=False))
    assert len(tokens) >= 30
    assert set(tokens) == {7}


def test_a_bistream_that_does_not_end_is_cut(tts: CosyVoice2) -> None:
    voice = make_voice(tokens=110, transcript=TRANSCRIPT)
    assert tts.text_tokenizer is not None
    for text, normalize in ((TEXT, True), (TEXT, False), (SLOW_TEXT, False)):  # plain, plain, interleaved
        ids = len(tts.text_tokenizer.encode(text))
        options = {"sampler": lambda *_: 7, "max_token_text_ratio": 6, "normalize": normalize}
        assert len(list(tts.speech_tokens(iter([text]), voice, **options))) == 6 * ids  # type: ignore[arg-type]


def test_a_long_text_is_spoken_in_segments(tts: CosyVoice2, voice: Voice) -> None:
    assert tts.llm is not None
    text = "The morning was bright and the road was empty, so we walked on. " * 10
    stream = tts.stream(
        text, voice, decoding="offline", max_token_text_ratio=2, min_token_text_ratio=0, n_timesteps=STEPS
    )
    chunks = list(stream)
    assert stream.metrics.segments >= 3
    assert stream.metrics.chunks == len(chunks) <= stream.metrics.segments


def test_the_prompt_is_run_once_for_all_segments_and_utterances(tiny_model: Path, voice: Voice) -> None:
    tts = CosyVoice2.load(tiny_model)
    assert tts.text_tokenizer is not None
    positions = 1 + len(tts.text_tokenizer.encode(TRANSCRIPT))
    text = "The morning was bright and the road was empty, so we walked on. " * 5
    first = tts.stream(text, voice, max_token_text_ratio=2, decoding="offline", n_timesteps=STEPS)
    list(first)
    assert first.metrics.segments >= 2
    assert first.metrics.prompt_positions == positions
    assert first.metrics.prompt_positions_reused == positions * (first.metrics.segments - 1)
    second = tts.stream("Once more.", voice, max_token_text_ratio=2, n_timesteps=STEPS)
    list(second)
    assert second.metrics.prompt_positions == 0
    assert second.metrics.prompt_positions_reused == positions


def test_the_cached_prompt_changes_no_token(tiny_model: Path, voice: Voice) -> None:
    tts = CosyVoice2.load(tiny_model)
    first, second = (list(tts.speech_tokens(TEXT, voice, max_token_text_ratio=4)) for _ in range(2))
    assert len(first) > 10
    assert first == second


def test_times_agree_with_what_the_caller_measures(
    tts: CosyVoice2, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tts.llm is not None
    generate = tts.llm.generate

    def late(*args: object, **options: object) -> Iterator[int]:
        time.sleep(0.3)
        yield from generate(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tts.llm, "generate", late)
    began = time.perf_counter()
    stream = tts.stream(TEXT, voice, max_token_text_ratio=10, n_timesteps=STEPS)
    samples = len(next(stream))
    first = time.perf_counter() - began
    samples += sum(map(len, stream))
    total = time.perf_counter() - began
    metrics = stream.metrics
    assert metrics.first_chunk_seconds is not None
    assert 0.3 <= metrics.first_chunk_seconds <= first
    assert metrics.first_chunk_seconds <= metrics.seconds <= total
    assert metrics.audio_seconds == samples / 24000
    assert metrics.real_time_factor == metrics.seconds / metrics.audio_seconds


def test_an_early_end_ends_the_thread(tts: CosyVoice2, voice: Voice) -> None:
    gc.collect()
    before = threads()
    for chunk in tts.stream(TEXT * 50, voice, max_token_text_ratio=2, decoding="offline", n_timesteps=STEPS):
        assert len(chunk)
        break
    gc.collect()
    assert wait_for_threads(before)
    stream = tts.stream(TEXT * 50, voice, max_token_text_ratio=2, decoding="offline", n_timesteps=STEPS)
    next(stream)
    stream.close()
    assert wait_for_threads(before)


def test_two_streams_at_once_do_not_disturb_each_other(tts: CosyVoice2, voice: Voice) -> None:
    alone = [
        list(tts.stream(text, voice, max_token_text_ratio=5, n_timesteps=STEPS))
        for text in ("One thing.", "Another one.")
    ]
    streams = [
        tts.stream(text, voice, max_token_text_ratio=5, n_timesteps=STEPS) for text in ("One thing.", "Another one.")
    ]
    together: list[list[np.ndarray]] = [[], []]
    while any(streams):
        for index, stream in enumerate(streams):
            chunk = next(stream, None) if stream else None
            if chunk is None:
                streams[index] = None  # type: ignore[call-overload]
            else:
                together[index].append(chunk)
    for expected, got in zip(alone, together, strict=True):
        assert np.array_equal(np.concatenate(expected), np.concatenate(got))


def test_speed_changes_the_duration(tts: CosyVoice2, voice: Voice) -> None:
    plain, fast = (
        tts.synthesize("Hello.", voice, speed=speed, max_token_text_ratio=10, n_timesteps=STEPS) for speed in (1, 1.25)
    )
    assert len(fast) == int(len(plain) / 480 / 1.25) * 480


def test_a_decoder_of_ones_own(tts: CosyVoice2, voice: Voice) -> None:
    assert tts.flow is not None
    assert tts.hift is not None
    decoder = IncrementalDecoder(tts.flow, tts.hift, n_timesteps=STEPS, hop=50)
    stream = tts.stream(TEXT, voice, decoding=decoder, min_token_text_ratio=15)
    sizes = [len(chunk) for chunk in stream]
    assert sizes[1] == 50 * 960
    assert sum(sizes) == 960 * stream.metrics.speech_tokens


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoding": "offical"}, "must be one of offline, official, incremental"),
        ({"decoding": "official", "speed": 1.5}, "only decoding='offline'"),
        ({"decoding": "offline", "speed": 0}, "speed"),
        ({"n_timesteps": 0}, "n_timesteps"),
        ({"seed": -1}, "seed is -1"),
        ({"min_token_text_ratio": 5, "max_token_text_ratio": 2}, "0 <= min <= max"),
        ({"mode": "sing"}, "must be one of zero_shot"),
    ],
)
def test_arguments_are_checked_at_once(tts: CosyVoice2, voice: Voice, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tts.stream("Hello.", voice, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["...", "?!,;", "。。。"])
@pytest.mark.parametrize("decoding", ["offline", "official"])
def test_a_text_of_nothing_but_punctuation(tts: CosyVoice2, voice: Voice, text: str, decoding: str) -> None:
    with pytest.raises(ValueError, match="nothing to say"):
        list(tts.stream(text, voice, decoding=decoding, n_timesteps=STEPS))


def test_a_text_that_never_arrives(tts: CosyVoice2, voice: Voice) -> None:
    with pytest.raises(ValueError, match="nothing to say"):
        list(tts.stream(iter([" ", "\n"]), voice, n_timesteps=STEPS))


def test_an_error_of_the_text_generator_reaches_the_caller(tts: CosyVoice2, voice: Voice) -> None:
    def failing() -> Iterator[str]:
        yield "Hello "
        raise OSError("the language model went away")

    with pytest.raises(OSError, match="went away"):
        list(tts.stream(failing(), voice, n_timesteps=STEPS))


def test_an_unknown_voice_names_what_there_is(
    tts: CosyVoice2, voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlx_cosyvoice.voices import UnknownVoiceError, VoiceLibrary

    monkeypatch.setenv("MLX_COSYVOICE_VOICES", str(tmp_path))
    VoiceLibrary().add("anna", voice)
    with pytest.raises(UnknownVoiceError, match="anna"):
        tts.stream("Hello.", "ana", n_timesteps=STEPS)
    assert len(tts.synthesize("Hello.", "anna", max_token_text_ratio=3, n_timesteps=STEPS))
