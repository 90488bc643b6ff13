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

import hypothesis  # noqa: E402

import mlx_cosyvoice  # noqa: E402

# How long an example takes says more about what else the machine does than about the code.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def pytest_report_header() -> str:
    return f"blas: {mlx_cosyvoice._blas.BLAS}, {os.environ['OMP_NUM_THREADS']} thread(s)"
