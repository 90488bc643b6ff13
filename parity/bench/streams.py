"""Jobs of the MLX side that run pieces of speech one after the other: hops of a decoder, and whole utterances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.decoding import IncrementalDecoder, SourceNoise
from mlx_cosyvoice.decoding.incremental.prefill import PrefilledVoices
from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.speech.decoders import Decoders
from mlx_cosyvoice.voices import Voice
from parity.bench.jobs import Job, Outcome, clock, endless

#: Tokens of the utterance that warms up: three hops.
WARM_UP = 75

#: Makes the draws of an utterance for the vocoder, the same ones at every call.
Noise = Callable[[], SourceNoise]


def flow_prompt(inputs: Mapping[str, np.ndarray]) -> Any:
    """The voice of the inputs."""
    return Prompt(*(mx.array(inputs[name]) for name in ("prompt_token", "prompt_feat", "embedding")))


def decoder_of(flow: Any, hift: Any, decoding: str, **options: Any) -> Any:
    """A decoder for `hops_job`, to which every voice is new."""
    if decoding == "incremental":
        return IncrementalDecoder(flow, hift, voice_budget=0, **options)
    return Decoders(flow, hift).get(decoding, speed=1, **options)


def hops_job(flow: Any, hift: Any, noise: Noise, inputs: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Job:
    """Say one utterance hop by hop; a lap is a hop. The first lap includes `start`: what a new voice costs."""
    decoder, prompt = decoder_of(flow, hift, **settings), flow_prompt(inputs)
    tokens = inputs["speech_token"][0].tolist()

    def say(tokens: list[int]) -> list[dict[str, float]]:
        laps: list[dict[str, float]] = []
        place, final, elapsed = 0, False, clock()
        state = decoder.start(prompt, noise())
        while not final:
            due = decoder.due(state)
            new = tokens[place:] if due is None else tokens[place : place + due]
            final = due is None or len(new) < due
            wav, state = decoder.step(state, new, final=final)
            mx.eval(wav)
            laps.append({**elapsed(), "tokens": len(new), "samples": wav.size})
            place, elapsed = place + len(new), clock()
        return laps

    say(tokens[:WARM_UP])
    # the last utterance's state can take gigabytes: there must never be two
    return Job(lambda _: say(tokens), mx.clear_cache, lambda laps: Outcome(laps=laps))


def voice_prefill_job(
    flow: Any, hift: Any, noise: Noise, inputs: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> Job:
    """The flow's share of the first hop: of a new voice (before the timed part), and of the same voice again."""
    decoder = IncrementalDecoder(flow, hift, **settings)
    prompt = flow_prompt(inputs)
    due = decoder.due(decoder.start(prompt, noise()))
    tokens = inputs["speech_token"][0, :due].tolist()

    def first_hop(voices: Any) -> dict[str, float]:
        elapsed = clock()
        mx.eval(decoder.flow.step(voices.state(prompt), tokens)[0])
        return elapsed()

    def setup() -> tuple[Any, dict[str, float]]:
        voices = PrefilledVoices(decoder.flow)
        return voices, first_hop(voices)

    def run(prepared: tuple[Any, dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
        voices, new = prepared
        return new, first_hop(voices)

    def outcome(result: tuple[dict[str, float], dict[str, float]]) -> Outcome:
        parts = zip(("new_voice", "prefilled_voice"), result, strict=True)
        return Outcome(numbers={f"{name}_{unit}": value for name, part in parts for unit, value in part.items()})

    return Job(run, setup, outcome)


def pipeline_job(model: Any, inputs: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Job:
    """A sentence through `CosyVoice2.stream`; the tokens it makes are counted, so that its length is known."""
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
            decoding=settings["decoding"],
            normalize=False,
            min_token_text_ratio=ratio,
            max_token_text_ratio=ratio,
            n_timesteps=settings["n_timesteps"],
        )
        with endless(model.llm):
            return stream, list(stream)

    def outcome(result: tuple[Any, list[np.ndarray]]) -> Outcome:
        metrics = result[0].metrics
        names = ("first_chunk_seconds", "audio_seconds", "chunks", "speech_tokens")
        return Outcome(numbers={name: float(getattr(metrics, name)) for name in names})

    return Job(run, outcome=outcome)
