"""Mistakes around CosyVoice3's networks: in the system prompt, unspoken silence, and the vocoder's fixed noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.speech import fixed_noise, modes, utterances
from parity.faults.base import Catalogue, wrapped

CATALOGUE = Catalogue("speech")
READ, SILENCE, NOISE = (CATALOGUE.at(f"speech.{part}") for part in ("model_input", "silence", "source_noise"))


@READ.wrapping(modes, "opening")
def system_prompt_missing(original: Any, said: str, system_prompt: str) -> str:
    """Nothing but an instruction stands before the transcript, as in CosyVoice2."""
    return original(said, "")


@READ.wrapping(modes, "opening")
def system_prompt_twice(original: Any, said: str, system_prompt: str) -> str:
    """The system prompt is put before one that is there already."""
    return f"{system_prompt} {original(said, system_prompt)}"


@READ.wrapping(modes, "opening")
def system_prompt_without_instruction(original: Any, said: str, system_prompt: str) -> str:
    """The instruction is lost beside the system prompt."""
    return original("", system_prompt)


@READ.wrapping(modes, "opening")
def instruction_without_space(original: Any, said: str, system_prompt: str) -> str:
    """No space stands between the system prompt and an instruction."""
    return original(said, system_prompt).replace(f"{system_prompt} ", system_prompt)


@READ.wrapping(modes, "opening")
def end_of_prompt_missing(original: Any, said: str, system_prompt: str) -> str:
    """The system prompt is not ended by a token."""
    return original(said, system_prompt).removesuffix(modes.END_OF_PROMPT)


@READ.wrapping(modes, "_prompt_text")
def system_prompt_behind(original: Any, *args: Any) -> tuple[str, str]:
    """The system prompt stands behind the transcript, before the text."""
    opened, words = original(*args)
    return "", words + opened


def _reading(name: str, mistake: str, change: Any) -> None:
    """A fault in which `change(prompt, voice)` is what utterances are given in place of a prompt."""

    def model_input(original: Any, voice: Any, *args: Any, **options: Any) -> Any:
        return change(original(voice, *args, **options), voice)

    READ.add(name, mistake, lambda pair: wrapped(modes, "model_input", model_input))


_reading(
    "speech-without-its-text",
    "The language model goes on from the prompt's speech in every mode.",
    lambda prompt, voice: replace(prompt, llm_prompt_token=tuple(voice.prompt_token[0].tolist())),
)
_reading("opening-in-blocks", "The opening is not run at once.", lambda prompt, voice: replace(prompt, opening=0))


def _cut(name: str, mistake: str, cut: Any) -> None:
    """A fault in which silence is cut short by `cut(tokens, silence)`."""
    SILENCE.add(name, mistake, lambda pair: wrapped(utterances, "cut_short", lambda original, *args: cut(*args)))


def _counted(tokens: Iterable[int], silent: Any, most: int, *, reset: bool = True) -> Iterator[int]:
    run = 0
    for token in tokens:
        run = run + 1 if token in silent else 0 if reset else run
        if token not in silent or run <= most:
            yield token


_cut("silence-kept", "Silence is spoken as long as it is, as in CosyVoice2.", lambda tokens, silence: iter(tokens))
_cut("silence-of-four", "Four tokens of silence are spoken.", lambda t, silence: _counted(t, silence.tokens, 4))
_cut("silence-of-six", "Six tokens of silence are spoken.", lambda t, silence: _counted(t, silence.tokens, 6))
_cut(
    "silence-counted-on",
    "The count of silence goes on after words.",
    lambda tokens, silence: _counted(tokens, silence.tokens, silence.most, reset=False),
)
_cut(
    "silence-without-breath",
    "The tokens of breath are not among those of silence.",
    lambda tokens, silence: _counted(tokens, silence.tokens - {2241, 2242, 2322, 2323}, silence.most),
)


def _alike(tokens: Iterable[int], silence: Any) -> Iterator[int]:
    before, run = None, 0
    for token in tokens:
        run = run + 1 if token in silence.tokens and token == before else 1
        before = token
        if run <= silence.most:
            yield token


_cut("silence-of-one-kind", "Only the same token over and over counts as silence.", _alike)


@NOISE.wrapping(fixed_noise, "_rows")
def noise_of_32_bits(original: Any, generator: np.random.MT19937, count: int) -> np.ndarray:
    """All 32 bits of an output make a number, as in PyTorch's double precision, not the low 24."""
    raw = generator.random_raw(count * fixed_noise.HARMONICS).reshape(count, fixed_noise.HARMONICS)
    return raw.astype(np.float32) * np.float32(2**-32)


@NOISE.wrapping(fixed_noise, "_state")
def noise_of_another_seed(original: Any, place: int) -> Any:
    """The noise is drawn by the seed at once, not after all that upstream draws before."""
    return np.random.RandomState(max(place, 0)).get_state(legacy=False)


@NOISE.wrapping(fixed_noise, "sine_waves")
def noise_from_the_start(original: Any, start: int, count: int) -> mx.array:
    """The noise of a piece is that of the beginning."""
    return original(0, count)


@NOISE.wrapping(fixed_noise, "sine_waves")
def noise_normal(original: Any, start: int, count: int) -> mx.array:
    """The noise is standard normal, where it is uniform in 0..1."""
    return mx.random.normal((1, count, fixed_noise.HARMONICS), key=mx.random.key(start))


@NOISE.wrapping(fixed_noise, "sine_waves")
def noise_by_harmonic(original: Any, start: int, count: int) -> mx.array:
    """Numbers are laid out harmonic by harmonic, not sample by sample."""
    return original(start, count).reshape(1, fixed_noise.HARMONICS, count).swapaxes(1, 2)


@NOISE.wrapping(fixed_noise, "rand_ini")
def phase_of_the_fundamental(original: Any) -> mx.array:
    """The fundamental begins at a random phase too."""
    return original() + mx.where(mx.arange(fixed_noise.HARMONICS) == 0, 0.5, 0.0)
