"""Faults that are planted into copies of public ports, with what each of them is to be named at."""

from __future__ import annotations

from .fault import EditError, Fault, edited, in_place_of
from .gemma3_text import GEMMA3_TEXT
from .llama import LLAMA
from .mixtral import MIXTRAL
from .phi import PHI
from .trial import Trial, accepted, counted
from .whisper import WHISPER

#: Architecture -> the port of it.
PORTS = {"llama": LLAMA, "gemma3_text": GEMMA3_TEXT, "phi": PHI, "mixtral": MIXTRAL, "whisper": WHISPER}

__all__ = ["PORTS", "EditError", "Fault", "Trial", "accepted", "counted", "edited", "in_place_of"]
