"""Runs Python code in a fresh interpreter, for what depends on the order of imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_python(*arguments: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` in the checkout, with no BLAS chosen unless `environment` does."""
    inherited = {key: value for key, value in os.environ.items() if key != "MLX_COSYVOICE_BLAS"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
