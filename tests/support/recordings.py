"""Inputs of parity runs that are short, so that tests are."""

from __future__ import annotations

from typing import Any

from parity.inputs import load_inputs


def short_inputs(seconds: float = 1.2) -> dict[str, Any]:
    """The project's sample, cut."""
    inputs = load_inputs()
    return {
        **inputs,
        "wave16": inputs["wave16"][: int(16000 * seconds)],
        "wave24": inputs["wave24"][: int(24000 * seconds)],
    }
