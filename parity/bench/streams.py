"""Jobs of the MLX side that run pieces of speech one after the other: hops of a schedule, and whole utterances."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import numpy as np

from parity.bench.jobs import Job, Outcome

#: Schedule -> its decoder in `mlx_cosyvoice.streaming`.
SCHEDULES = {"offline": "OfflineDecoder", "official": "OfficialDecoder", "incremental": "IncrementalDecoder"}


def make_decoder(schedule: str, flow: Any, hift: Any) -> Any:
    """The decoder of a schedule.

    Raises:
        NotImplementedError: the package does not have it.
    """
    from mlx_cosyvoice import streaming

    if not hasattr(streaming, SCHEDULES[schedule]):
        raise NotImplementedError(f"mlx_cosyvoice.streaming has no {SCHEDULES[schedule]}")
    return getattr(streaming, SCHEDULES[schedule])(flow, hift)


def source_noise(sines: int) -> Any:
    """Draws for the vocoder that are the same in every run."""

    def draw(samples: int) -> tuple[mx.array, mx.array]:
        phase, noise = mx.random.split(mx.random.key(0))
        return mx.random.uniform(shape=(1, sines), key=phase), mx.random.normal((1, samples, sines), key=noise)

    return draw


def hops_job(flow: Any, hift: Any, inputs: Mapping[str, np.ndarray], schedule: str) -> Job:
    """Say one utterance hop by hop; a lap is a hop. Laps start with `start`: what a voice costs before it speaks."""
    decoder = make_decoder(schedule, flow, hift)
    from mlx_cosyvoice.streaming import FlowPrompt

    prompt = FlowPrompt(*(mx.array(inputs[name]) for name in ("prompt_token", "prompt_feat", "embedding")))
    tokens = inputs["token"][0].tolist()
    noise = source_noise(hift.config.nb_harmonics + 1)

    def run(_: None) -> tuple[list[dict[str, float]], list[mx.array]]:
        laps, pieces, place, final = [], [], 0, False
        started = time.perf_counter()
        state = decoder.start(prompt, noise)
        start_seconds = time.perf_counter() - started
        while not final:
            due = decoder.due(state)
            new = tokens[place:] if due is None else tokens[place : place + due]
            final = due is None or len(new) < due
            started = time.perf_counter()
            wav, state = decoder.step(state, new, final=final)
            mx.eval(wav)
            laps.append({"seconds": time.perf_counter() - started, "tokens": len(new), "samples": wav.size})
            place += len(new)
            pieces.append(wav)
        laps[0]["seconds"] += start_seconds
        laps[0]["start_seconds"] = start_seconds
        return laps, pieces

    return Job(run, outcome=lambda result: Outcome(laps=result[0]))


def pipeline_job(model: Any, inputs: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Job:
    """A sentence through `CosyVoice2.stream`; the tokens it makes are counted, so that its length is known."""
    from mlx_cosyvoice import Voice
    from mlx_cosyvoice.model import SCHEDULES as OFFERED

    if settings["schedule"] not in OFFERED:
        raise NotImplementedError(f"CosyVoice2.stream of mlx_cosyvoice has no schedule {settings['schedule']!r}")

    voice = Voice(
        prompt_token=inputs["prompt_token"].astype(np.int32),
        prompt_feat=inputs["prompt_feat"],
        embedding=inputs["embedding"],
        transcript=" ".join(["one", "two", "three"] * 4),
    )
    text = " ".join(["one", "two", "three", "four", "five"] * 5)
    ratio = settings["tokens"] / len(model.text_tokenizer.encode(text))

    def run(_: None) -> tuple[Any, list[np.ndarray]]:
        stream = model.stream(
            text,
            voice,
            schedule=settings["schedule"],
            normalize=False,
            min_token_text_ratio=ratio,
            max_token_text_ratio=ratio,
        )
        return stream, list(stream)

    def outcome(result: tuple[Any, list[np.ndarray]]) -> Outcome:
        metrics = result[0].metrics
        names = ("first_chunk_seconds", "audio_seconds", "chunks", "speech_tokens")
        return Outcome(numbers={name: float(getattr(metrics, name)) for name in names})

    return Job(run, outcome=outcome)
