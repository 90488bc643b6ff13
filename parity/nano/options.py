"""The choices that a user of the package can make, and from which speech each is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx

from mlx_cosyvoice.decoding import Decoder, IncrementalDecoder, OfflineDecoder

#: Held-out strings in a long utterance: 75 digits, more than 20 seconds.
STRINGS_A_TEXT = 15


@dataclass(frozen=True)
class Option:
    """One choice.

    Attributes:
        title: what is chosen.
        decoder: made of flow and vocoder, it says the tokens of true speech; None where the text is said zero-shot.
        measure: of `MEASURES`, where the text is said zero-shot.
        precision: one of `PRECISIONS`, of flow and vocoder.
    """

    title: str
    decoder: Callable[[Any, Any], Decoder] | None = None
    measure: str = ""
    precision: str = "float32"


@dataclass(frozen=True)
class Group:
    """Choices beside each other; the first is what the others are held against.

    Attributes:
        title: what is chosen among them.
        options: the choices.
        joined: held-out strings an utterance.
        most: so many strings are said at most.
    """

    title: str
    options: tuple[Option, ...]
    joined: int = 1
    most: int = 100

    def measure(self, option: Option) -> str:
        """The name of an option's results."""
        return option.measure or f"{self.title}: {option.title}"


def _incremental(title: str, **options: Any) -> Option:
    return Option(title, partial(IncrementalDecoder, **options))


def _back(chunks: int) -> Option:
    return _incremental(f"{chunks} s", left_context_chunks=chunks)


_HALVES = ("float16", "bfloat16", "8 bits, flow too", "4 bits, flow too")

#: By name.
GROUPS: Mapping[str, Group] = {
    "left-context": Group(
        "left context of incremental streaming",
        (_incremental("unlimited", left_context_chunks=None), *map(_back, (16, 8, 4, 2))),
        STRINGS_A_TEXT,
    ),
    "state": Group(
        "dtype of the incremental state",
        (
            _incremental("float32"),
            _incremental("float16", state_dtype=mx.float16),
            _incremental("bfloat16", state_dtype=mx.bfloat16),
        ),
        STRINGS_A_TEXT,
    ),
    "last-chunk": Group(
        "last chunk of incremental streaming",
        (_incremental("causal", final="causal"), _incremental("full", final="full")),
    ),
    "steps": Group(
        "Euler steps", tuple(Option(str(steps), partial(OfflineDecoder, n_timesteps=steps)) for steps in (10, 6, 4))
    ),
    "packed": Group(
        "precision, zero-shot",
        (
            Option("float32", measure="zero-shot"),
            Option("float16", measure="zero-shot-float16"),
            Option("bfloat16", measure="zero-shot-bfloat16"),
            Option("8 bits (language model)", measure="zero-shot-8bit"),
            Option("4 bits (language model)", measure="zero-shot-4bit"),
        ),
    ),
    "flow-precision": Group(
        "precision of the flow",
        (
            Option("float32", OfflineDecoder),
            *(Option(name.removesuffix(", flow too"), OfflineDecoder, precision=name) for name in _HALVES),
        ),
        most=20,
    ),
}
