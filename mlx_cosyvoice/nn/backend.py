"""Which of two forms the networks are computed in. No other file asks for the device.

On a GPU all work is left to MLX: its own operations, compiled where that saves memory traffic, in the dtype in which a
model folder is stored, tokens drawn as a part of the graph, and streams that end with their threads: the device's form.
MLX's CPU backend is slow at much of this, so the CPU has a form of its own: `nn.cpu` in place of some operations,
float32 for every network, and streams that are lent.

`MLX_COSYVOICE_FORM=device` in the environment chooses the device's form for a whole process, `device_form` for a part
of a thread. It runs on any device: what it computes on a CPU (slowly, not compiled) is what a GPU is asked for.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx

#: Environment variable, read once: `device`, or empty for the form that is the fastest.
VARIABLE = "MLX_COSYVOICE_FORM"


def _wish() -> bool:
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "device"):
        warnings.warn(f"{VARIABLE}={value} has no meaning: set it to device, or not at all", RuntimeWarning, 2)
    return value == "device"


#: Whether the whole process computes in the device's form.
DEVICE_FORM = _wish()


class _Thread(threading.local):
    in_device_form = False


_thread = _Thread()


@contextmanager
def device_form() -> Iterator[None]:
    """Within, this thread computes in the device's form, which `mx.vjp` and the like see through."""
    before, _thread.in_device_form = _thread.in_device_form, True
    try:
        yield
    finally:
        _thread.in_device_form = before


def in_cpu_form() -> bool:
    """Whether this thread computes in the CPU's form."""
    return not (compiles() or DEVICE_FORM or _thread.in_device_form)


def compiles() -> bool:
    """Whether MLX compiles functions by itself. On a CPU it would start a C++ compiler, which may not be there."""
    return mx.default_device().type != mx.cpu


def devices() -> list[mx.Device]:
    """The CPU, where files are read, and the device that computes, if that is another."""
    return [mx.Device(mx.cpu), mx.default_device()] if compiles() else [mx.Device(mx.cpu)]


def facts() -> dict[str, str]:
    """The device that computes, and the form: its "type", "name" and "form"."""
    device = mx.default_device()
    name = str(mx.device_info(device).get("device_name", ""))
    return {"type": device.type.name, "name": name, "form": "cpu" if in_cpu_form() else "device"}
