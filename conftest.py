"""Gives every test the fast BLAS (see `mlx_cosyvoice._blas`), and says at the top of a run which one it is."""

import os
import signal

# Most tests run tiny models, which more threads only slow down: up to ten times where several jobs share the cores.
# The libraries read these when they are loaded.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# A run in the background of a script ignores Ctrl-C, and so would the commands that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import mlx_cosyvoice  # noqa: E402


def pytest_report_header() -> str:
    return f"blas: {mlx_cosyvoice._blas.BLAS}, {os.environ['OMP_NUM_THREADS']} thread(s)"
