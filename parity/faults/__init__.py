"""A catalogue of porting mistakes, each of which can be switched on in a live MLX model."""

from __future__ import annotations

from collections.abc import Sequence

from parity.faults import (
    features,
    flow_decoder,
    flow_encoder,
    generation,
    incremental,
    llm,
    offline,
    speaker_encoder,
    speech_tokenizer,
    stored,
    streaming,
    text,
    vocoder,
)
from parity.faults.base import Fault

_FILES = (
    *(text, features, speech_tokenizer, speaker_encoder, llm, generation, flow_encoder, flow_decoder),
    vocoder,
)
_REST = (vocoder.LOUD, offline.CATALOGUE, streaming.CATALOGUE, incremental.PIECES, incremental.LOOP)
_CATALOGUES = (*(file.CATALOGUE for file in _FILES), *_REST, *stored.CATALOGUES)

#: All faults, in data-flow order of their stages.
FAULTS: tuple[Fault, ...] = tuple(fault for catalogue in _CATALOGUES for fault in catalogue.faults)

__all__ = ["FAULTS", "Fault", "choose"]


def choose(names: Sequence[str] | None) -> list[Fault]:
    """The faults of these names in the catalogue's order; None for all.

    Raises:
        ValueError: a name that is not in the catalogue.
    """
    if names is None:
        return list(FAULTS)
    unknown = sorted(set(names) - {fault.name for fault in FAULTS})
    if unknown:
        known = ", ".join(fault.name for fault in FAULTS)
        raise ValueError(f"no such fault: {', '.join(unknown)}; there are: {known}")
    return [fault for fault in FAULTS if fault.name in names]
