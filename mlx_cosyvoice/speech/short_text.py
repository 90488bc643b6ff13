"""A text that is far shorter than the prompt's transcript, which the language model continues badly."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from mlx_cosyvoice.prompt import Prompt

#: Upstream warns of a text that has less than half of the transcript's characters; here tokens are counted.
SHORTEST = 0.5


def checked_length(segments: Iterable[str], prompt: Prompt, encode: Callable[[str], list[int]]) -> Iterator[str]:
    """`segments` unchanged, once the first of them has been looked at. (Only the last of several may be short.)

    Args:
        segments: of the text.
        prompt: only where the language model continues its recording does the transcript matter.
        encode: text to token ids.

    Warns:
        UserWarning: the first segment is shorter than half of the transcript.
    """
    rest = iter(segments)
    first = next(rest, None)
    if first is None:
        return rest
    transcript = len(prompt.transcript) if prompt.llm_prompt_token else 0
    count = len(encode(first)) if transcript else 0
    if count < SHORTEST * transcript:
        warnings.warn(
            f"the text {_shortened(first)!r} has {count} tokens and the voice's transcript {transcript}: of a text "
            "that is far shorter than the transcript the speech may be bad; say more at once, or take a shorter "
            "recording",
            stacklevel=4,
        )
    return chain([first], rest)


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
