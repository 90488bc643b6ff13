"""What upstream puts around text, speech tokens and vocoder: `cosyvoice.cli.frontend` and `cosyvoice.cli.model`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Of the text tokenizer.
Encode = Callable[[str], Sequence[int]]

END_OF_PROMPT = "<|endofprompt|>"
SYSTEM_PROMPT = "You are a helpful assistant."

#: What CosyVoice3's YAML draws before the vocoder's noise, by seed 0, in single numbers: the flow's noise, its
#: embedding and its layer for the speaker, and the f0 predictor.
DRAWN_BEFORE = 80 * 15000 + 6561 * 80 + (192 + 1) * 80 + 3312641
SINES = 9


@dataclass(frozen=True)
class Read:
    """What the language model reads.

    Attributes:
        text: ids, those of the prompt's text first.
        speech: whether it goes on from the prompt's speech.
        opening: how many of `text` are run at once where text arrives in pieces.
    """

    text: list[int]
    speech: bool
    opening: int = 0


def cosyvoice2(mode: str, text: str, transcript: str, instruction: str, encode: Encode) -> Read:
    """Of CosyVoice2, in the mode "zero_shot", "cross_lingual" or "instruct2"."""
    before = {"zero_shot": transcript, "cross_lingual": "", "instruct2": instruction + END_OF_PROMPT}[mode]
    return Read([*encode(before), *encode(text)], mode == "zero_shot")


def cosyvoice3(mode: str, text: str, transcript: str, instruction: str, encode: Encode) -> Read:
    """Of CosyVoice3, with the system prompt where its examples have the caller type it."""
    opening = {"instruct2": f"{SYSTEM_PROMPT} {instruction}{END_OF_PROMPT}"}.get(mode, SYSTEM_PROMPT + END_OF_PROMPT)
    before = opening + transcript if mode == "zero_shot" else opening
    ids, (end,) = [*encode(before), *encode(text)], encode(END_OF_PROMPT)
    return Read(ids, mode == "zero_shot", ids.index(end) + 1)


def causal_noise(samples: int) -> tuple[Tensor, Tensor]:
    """`rand_ini` [1, 9] and the first rows of `sine_waves`, [1, samples, 9], of CosyVoice3's vocoder, drawn anew."""
    generator = torch.Generator().manual_seed(0)
    torch.rand(DRAWN_BEFORE, generator=generator)
    rand_ini = torch.rand(1, SINES, generator=generator)
    rand_ini[:, 0] = 0
    return rand_ini, torch.rand(1, samples, SINES, generator=generator)
