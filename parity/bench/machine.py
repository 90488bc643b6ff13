"""What the benchmark ran on, and how busy that was."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _said(file: str, field: str) -> str:
    """What a file of /proc says of a field; "" where there is none."""
    path = Path("/proc", file)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    said = (line.partition(":")[2].strip() for line in lines if line.startswith(field))
    return next(said, "")


def describe() -> dict[str, Any]:
    """Processor, cores, memory and operating system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _said("cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "memory_bytes": memory,
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def load_average() -> float:
    """Processes that wanted to run during the last minute, on average."""
    return os.getloadavg()[0]


def memory() -> dict[str, int]:
    """Resident memory of this process, now and at most: interpreter, libraries, weights, mapped files, all.

    Linux's `ru_maxrss` would count what the parent had when it started this process; VmHWM does not.
    """
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    said = {field: _said("self/status", f"{field}:").removesuffix(" kB") for field in ("VmHWM", "VmRSS")}
    peak = 1024 * int(said["VmHWM"]) if said["VmHWM"] else most
    return {"peak_bytes": peak, "resident_bytes": 1024 * int(said["VmRSS"]) if said["VmRSS"] else peak}
