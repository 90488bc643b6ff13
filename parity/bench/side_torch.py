"""The PyTorch sides of the benchmark: the reference, whose worker never imports MLX, and the conversion."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mlx_parity.sides.pytorch import TorchSide
from parity.bench.calls import Inputs, call_job
from parity.bench.flops import counted
from parity.bench.jobs import Job, rate
from parity.stages.llm import drop_text_head


class Side:
    """Loads components of an official checkpoint into the reference and makes cases ready."""

    name = "pytorch"

    def __init__(self, folder: Path, config: Mapping[str, Any], threads: int) -> None:
        self.folder, self.config = folder, config
        self.components: dict[str, Any] = {}
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)

    def facts(self) -> dict[str, Any]:
        """Which library, which BLAS, how many threads."""
        shown = torch.__config__.show()
        found = re.search(r"BLAS_INFO=(\w+)", shown)
        kernel = re.search(r"- (Intel\(R\) oneAPI Math Kernel Library Version [\w.-]+|OpenBLAS[^\n]*)", shown)
        name = kernel.group(1) if kernel else found.group(1) if found else "unknown"
        return {"version": torch.__version__, "blas": name, "device": "cpu", "threads": torch.get_num_threads()}

    def limits(self, size: int, floats: int) -> dict[str, float]:
        """As the MLX side's."""
        square = torch.randn(size, size)
        columns = 4096
        wide, vector = torch.randn(columns, floats // columns), torch.randn(1, columns)
        return {
            "matmul_flops": rate(lambda: square @ square, 2 * size**3),
            "read_bytes": rate(lambda: vector @ wide, 4 * wide.numel()),
        }

    def load(self, names: str) -> None:
        """Load "flow" and so on, or "all"; "" loads nothing."""
        from converters.families import official_of
        from reference.families import FAMILIES

        networks = FAMILIES[official_of(self.folder).family.model_type].networks
        listed = tuple(networks) if names == "all" else tuple(filter(None, names.split("+")))
        self.components = {
            name: networks[name].load(self.folder / networks[name].file, self.config[name]) for name in listed
        }

    def job(self, name: str, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
        """The job of a case."""
        if name == "load":
            return Job(lambda _: self.load("all"), self.components.clear)
        (module,) = self.components.values()
        if not settings.get("text_head", True):
            drop_text_head(module)
        return call_job(name, TorchSide(module), inputs, settings)

    def flops(self, job: Job) -> int:
        """Operations that a job needs: matrix products, convolutions and attention, but no text logits."""
        if "llm" in self.components:
            drop_text_head(self.components["llm"])
        prepared = job.setup()
        return counted(lambda: job.run(prepared))


class Converter:
    """Converts the official checkpoint `folder`."""

    def __init__(self, folder: Path, config: Mapping[str, Any], threads: int) -> None:
        self.folder = folder

    def load(self, names: str) -> None:
        """Nothing to load."""

    def job(self, name: str, inputs: Inputs, settings: Mapping[str, Any]) -> Job:
        from converters.convert import convert

        return Job(lambda _: convert(self.folder, Path(settings["out"]), force=True))
