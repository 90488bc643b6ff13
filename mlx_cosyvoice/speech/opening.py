"""What the language model reads before transcript and text: a system prompt, an instruction, and what ends them.

A family without a system prompt has an opening only where there is an instruction. In one with it, upstream wants it
typed by the caller, in another place in each mode. What differs from upstream there, on purpose:

- Nobody needs to type it. What holds it already, in whichever place, is not given it twice.
- It stands in the prompt's text in every mode. The language model reads the same ids as where upstream has it in the
  text (cross_lingual); but every segment of a long text has it, where upstream neither cuts nor normalizes; the limits
  of length count what is spoken; and a text that is still being written can be spoken in that mode too.
- The transcript behind it is normalized.
- An instruction is followed for a stored speaker too, where upstream takes what was stored with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

#: The models were trained with it.
END_OF_PROMPT = "<|endofprompt|>"


def opening(instruction: str, system_prompt: str) -> str:
    """The opening of an instruction, which may hold the system prompt; "" where there is neither."""
    if not system_prompt:
        return instruction and instruction + END_OF_PROMPT
    said = instruction.strip().removeprefix(system_prompt).strip()
    return " ".join(filter(None, (system_prompt, said))) + END_OF_PROMPT


def cut(text: str, system_prompt: str) -> tuple[str, str]:
    """What is an instruction at the beginning of `text`, and the rest; without a system prompt all is the rest."""
    before, end, after = text.partition(END_OF_PROMPT)
    return (before, after) if system_prompt and end else ("", text)


def taken_from(
    text: T, mode: str | None, instruction: str | None, system_prompt: str
) -> tuple[T | str, str | None, str | None]:
    """A whole text without its opening, and the mode and the instruction, which may have stood there; pieces stay.

    Raises:
        ValueError: there are two instructions.
    """
    if not isinstance(text, str):
        return text, mode, instruction
    before, rest = cut(text, system_prompt)
    said = before.strip().removeprefix(system_prompt).strip()
    if not said:
        return rest, mode, instruction
    if instruction is not None:
        raise ValueError(f"the text begins with the instruction {said!r}, and there is {instruction!r}: give one")
    return rest, "instruct2" if mode == "cross_lingual" else mode, said


def without_opening(pieces: Iterable[str], system_prompt: str) -> Iterator[str]:
    """The pieces of a text that is still being written, without an opening that holds the system prompt alone."""
    expected, start = opening("", system_prompt), ""
    remaining = iter(pieces)
    for piece in remaining:
        start += piece
        begun = start.lstrip()
        if len(begun) >= len(expected) or not expected.startswith(begun):
            break
    said = start.lstrip().removeprefix(expected)
    if start:
        yield said if len(said) < len(start.lstrip()) else start
    yield from remaining
