"""Holds an MLX port against the PyTorch model that it was made from, and names the place where they part."""

from mlx_parity.compare import Verdict
from mlx_parity.findings import Culprit, RunReport
from mlx_parity.port import Pipeline, Port, check
from mlx_parity.stage import Given, Outputs

__version__ = "0.1.0"

__all__ = ["Culprit", "Given", "Outputs", "Pipeline", "Port", "RunReport", "Verdict", "check"]
