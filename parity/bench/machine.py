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


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe() -> dict[str, Any]:
    """Processor, cores, memory and operating system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_bytes": memory,
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def load_average() -> float:
    """Processes that wanted to run during the last minute, on average."""
    return os.getloadavg()[0]


def _status(field: str) -> int | None:
    """Bytes of a field of /proc/self/status, where there is one."""
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None


def memory() -> dict[str, int]:
    """Resident memory of this process, now and at most: interpreter, libraries, weights, mapped files, all.

    Linux's `ru_maxrss` would count what the parent had when it started this process; VmHWM does not.
    """
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    peak = _status("VmHWM") or most
    return {"peak_bytes": peak, "resident_bytes": _status("VmRSS") or peak}
