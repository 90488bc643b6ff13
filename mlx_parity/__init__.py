"""Holds an MLX port against the PyTorch model that it was made from, and names the place where they part."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlx_parity.compare import Verdict
    from mlx_parity.findings import Culprit, RunReport
    from mlx_parity.port import Pipeline, Port, check
    from mlx_parity.stage import Given, Outputs

__version__ = "0.1.0"

__all__ = ["Culprit", "Given", "Outputs", "Pipeline", "Port", "RunReport", "Verdict", "check"]

#: Name -> the module that has it, imported when it is asked for: parts of the package need one framework alone.
_WHERE = {
    "Verdict": "compare",
    **dict.fromkeys(("Culprit", "RunReport"), "findings"),
    **dict.fromkeys(("Pipeline", "Port", "check"), "port"),
    **dict.fromkeys(("Given", "Outputs"), "stage"),
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'mlx_parity' has no attribute {name!r}")
    return getattr(import_module(f"mlx_parity.{_WHERE[name]}"), name)
