"""The MLX side of the benchmark. A worker that runs it never imports PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from mlx_cosyvoice._blas import BLAS  # before mlx.core: it chooses the BLAS
from mlx_cosyvoice.nn import backend
from parity.bench.calls import Inputs, call_job
from parity.bench.jobs import Job, rate
from parity.bench.streams import hops_job, pipeline_job, voice_prefill_job
from parity.sides.mlx import MLXSide

import mlx.core as mx  # isort: skip

#: Jobs that run the hops of a decoder; they get flow and vocoder, and the noise of the family's.
HOPS: dict[str, Callable[..., Job]] = {"hops": hops_job, "voice_prefill": voice_prefill_job}


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
            "device": "{type} ({form} form)".format(**backend.facts()),
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
        """The job of a case."""
        loaded = list(self.components.values())
        if name == "load":
            return self._load()
        if name in HOPS:
            return HOPS[name](*loaded, self._noise(), inputs, settings)
        if name == "pipeline":
            return pipeline_job(loaded[0], inputs, settings)
        return call_job(name, MLXSide(*loaded), inputs, settings)

    def _noise(self) -> Callable[[], Any]:
        from mlx_cosyvoice.families.declaration import imported
        from mlx_cosyvoice.weights import read_config

        config, meta = read_config(self.folder)
        draw, sines = imported(meta["family"].source_noise), config.hift.nb_harmonics + 1
        return lambda: draw(mx.random.key(0), sines)

    def _load(self) -> Job:
        def run(_: None) -> None:
            self.components = {"all": self._whole()}

        def setup() -> None:
            self.components = {}
            mx.clear_cache()

        return Job(run, setup)
