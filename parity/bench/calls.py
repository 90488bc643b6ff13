"""The jobs of both sides: the calls of the parity stages, on the benchmark's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from mlx_parity.sides import Side
from mlx_parity.stage import Given
from parity.bench.jobs import Job, Outcome, endless
from parity.stages import Settings, flow, llm, vocoder
from parity.stages.speaker_encoder import SpeakerEncoder
from parity.stages.speech_tokenizer import SpeechTokenizer

Inputs = Mapping[str, np.ndarray]

#: Job -> what it computes, from inputs under the names that the stages have for them.
CALLS: dict[str, Callable[[Side, Inputs, Settings], np.ndarray]] = {
    "speech_tokenizer": lambda side, inputs, settings: (
        SpeechTokenizer().call(side, Given(inputs, settings)).tokens["prompt_token"]
    ),
    "speaker_encoder": lambda side, inputs, settings: (
        SpeakerEncoder().call(side, Given(inputs, settings)).tensors["embedding"]
    ),
    "llm_prefill": lambda side, inputs, settings: side.numpy(llm.step(side, llm.prompt(side, inputs))[0]),
    "flow": lambda side, inputs, settings: flow.whole(side, Given(inputs, settings)),
    "vocoder": lambda side, inputs, settings: vocoder.whole(side, inputs),
    "f0_predictor": lambda side, inputs, settings: vocoder.f0(side, inputs)["f0"],
}


def call_job(name: str, side: Side, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
    """The job of that name, one of `CALLS` or `llm_decode`."""
    if name == "llm_decode":
        return _decode_job(side, inputs, settings["steps"])
    how = Settings(n_timesteps=settings.get("n_timesteps", Settings.n_timesteps))
    return Job(lambda _: CALLS[name](side, inputs, how), outcome=Outcome)


def _decode_job(side: Side, inputs: Inputs, steps: int) -> Job:
    """Speech tokens one by one; the prompt is run before the timed part."""

    def setup() -> Iterator[int]:
        stream = llm.generate(side, inputs, llm.sampler(side, inputs["uniforms"].tolist()))
        with endless(side.module):
            next(stream)  # runs the prompt
        return stream

    def run(stream: Iterator[int]) -> list[int]:
        with endless(side.module):
            return list(islice(stream, steps))

    return Job(run, setup, lambda tokens: Outcome(np.array(tokens)))
