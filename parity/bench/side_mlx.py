"""The MLX side of the benchmark. A worker that runs it never imports PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mlx_cosyvoice._blas import BLAS  # before mlx.core: it chooses the BLAS
from parity.bench.jobs import Job, Outcome, rate

import mlx.core as mx  # isort: skip

Inputs = Mapping[str, np.ndarray]


def _ints(array: np.ndarray) -> list[int]:
    return [int(value) for value in array.reshape(-1)]


class Side:
    """Loads components of a model folder and makes cases ready."""

    name = "mlx"

    def __init__(self, folder: Path, config: Mapping[str, Any], threads: int) -> None:
        self.folder, self.threads = folder, threads
        self.components: dict[str, Any] = {}

    def facts(self) -> dict[str, Any]:
        """Which library, which BLAS, how many threads (its own environment variables were set by the driver)."""
        return {
            "version": metadata.version("mlx"),
            "blas": str(BLAS),
            "device": str(mx.default_device()),
            "threads": self.threads,
        }

    def limits(self, size: int, floats: int) -> dict[str, float]:
        """Float32 matmul rate in FLOP/s of size^3, and bytes/s at which a vector times a matrix of `floats` reads."""
        square = mx.random.normal((size, size))
        columns = 4096
        wide, vector = mx.random.normal((columns, floats // columns)), mx.random.normal((1, columns))
        mx.eval(square, wide, vector)
        return {
            "matmul_flops": rate(lambda: mx.eval(square @ square), 2 * size**3),
            "read_bytes": rate(lambda: mx.eval(vector @ wide), 4 * wide.size),
        }

    def load(self, names: str) -> None:
        """Load "flow", "flow+hift" and so on, or "all" as `CosyVoice2`, weights and all; "" loads nothing."""
        if names == "all":
            self.components = {"all": self._whole()}
        elif names:
            self.components = {name: self._component(name) for name in names.split("+")}

    def _component(self, name: str) -> Any:
        from mlx_cosyvoice.loading import computing_dtype
        from mlx_cosyvoice.weights import load_component, read_config

        config, meta = read_config(self.folder)
        network = meta["family"][name].build(config)
        module = load_component(network, self.folder, name, dtype=computing_dtype())
        mx.eval(module.parameters())
        return module

    def _whole(self) -> Any:
        from mlx_cosyvoice import load

        model = load(self.folder)
        parts = [getattr(model, name) for name in model.family.names]
        mx.eval([part.parameters() for part in parts if part is not None])
        return model

    def job(self, name: str, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
        """The job of a case.

        Raises:
            NotImplementedError: the installed package cannot do it; says what is missing.
        """
        return getattr(self, f"_{name}")(inputs, settings)

    def _flow(self, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
        flow = self.components["flow"]
        given = [mx.array(inputs[name]) for name in ("token", "prompt_token", "prompt_feat", "embedding")]
        return _plain(lambda _: flow(*given, streaming=False, finalize=True, **settings), (0, 2, 1))

    def _vocoder(self, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
        hift = self.components["hift"]
        mel, rand_ini, noise = (mx.array(inputs[name]) for name in ("mel", "rand_ini", "sine_noise"))
        return _plain(lambda _: hift(mel, rand_ini=rand_ini, sine_noise=noise)[0])

    def _speech_tokenizer(self, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
        tokenizer, log_mel = self.components["speech_tokenizer"], mx.array(inputs["log_mel"].transpose(0, 2, 1))
        return _plain(lambda _: tokenizer(log_mel))

    def _speaker_encoder(self, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
        encoder, fbank = self.components["campplus"], mx.array(inputs["fbank"])
        return _plain(lambda _: encoder(fbank))

    def _llm_prefill(self, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
        llm = self.components["llm"]
        prompt = [_ints(inputs[name]) for name in ("text", "prompt_text", "prompt_token")]
        return _plain(lambda _: llm.step(llm.prompt(*prompt), llm.make_cache()))

    def _llm_decode(self, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
        from mlx_cosyvoice.llm import RASSampler

        llm, steps = self.components["llm"], settings["steps"]
        prompt = [_ints(inputs[name]) for name in ("text", "prompt_text", "prompt_token")]

        def setup() -> Iterator[int]:
            sampler = RASSampler(llm.config.sampling, inputs["uniforms"].tolist())
            stream = llm.generate(*prompt, sampler)
            next(stream)  # runs the prompt
            return stream

        return Job(lambda stream: take(stream, steps), setup, lambda tokens: Outcome(np.array(tokens)))

    def _hops(self, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
        from parity.bench.streams import hops_job

        return hops_job(self.components["flow"], self.components["hift"], inputs, settings)

    def _voice_prefill(self, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
        from parity.bench.streams import voice_prefill_job

        return voice_prefill_job(self.components["flow"], self.components["hift"], inputs, settings)

    def _pipeline(self, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
        from parity.bench.streams import pipeline_job

        return pipeline_job(self.components["all"], inputs, settings)

    def _load(self, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
        def run(_: None) -> None:
            self.components = {"all": self._whole()}

        def setup() -> None:
            self.components = {}
            mx.clear_cache()

        return Job(run, setup)


def take(stream: Iterator[int], steps: int) -> list[int]:
    """The next tokens.

    Raises:
        ValueError: speech ended before.
    """
    tokens = list(islice(stream, steps))
    if len(tokens) < steps:
        raise ValueError(f"llm_decode: the model ended its speech after {len(tokens)} of {steps} tokens")
    return tokens


def _plain(run: Callable[[Any], mx.array], axes: tuple[int, ...] | None = None) -> Job:
    """A job that computes one array; `axes` bring it to the official layout."""

    def evaluated(given: Any) -> mx.array:
        output = run(given)
        mx.eval(output)
        return output

    def outcome(output: mx.array) -> Outcome:
        array = np.array(output)
        return Outcome(array.transpose(axes) if axes else array)

    return Job(evaluated, outcome=outcome)
