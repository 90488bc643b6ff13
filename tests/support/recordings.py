"""Inputs of parity runs that are short, so that tests are."""

from __future__ import annotations

from typing import Any

from parity.inputs import load_inputs, shortened


def short_inputs(seconds: float = 1.2) -> dict[str, Any]:
    """The project's sample, cut."""
    return shortened(load_inputs(), seconds)
