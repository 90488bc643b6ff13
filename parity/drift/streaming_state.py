"""What the options that bound the incremental flow's state cost: the error of each chunk, and the state's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.decoding.incremental import IncrementalFlow
from mlx_cosyvoice.flow.masked_diff import CausalMaskedDiff
from mlx_cosyvoice.prompt import Prompt

STATE_DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


@dataclass(frozen=True)
class Option:
    """How the state is bounded: the dtype of keys and values, and how many chunks back attention sees (None: all)."""

    state_dtype: str = "float32"
    left_context_chunks: int | None = None

    def __str__(self) -> str:
        context = "all chunks" if self.left_context_chunks is None else f"{self.left_context_chunks} chunks back"
        return f"{self.state_dtype}, {context}"


def parse_option(text: str) -> Option:
    """`DTYPE`, `DTYPE:CHUNKS` or `CHUNKS`, for instance "float16", "float16:8" or "8".

    Raises:
        ValueError: it is none of these.
    """
    dtype, parted, chunks = text.partition(":")
    if dtype.isdecimal() and not parted:
        dtype, parted, chunks = "float32", ":", dtype
    if dtype not in STATE_DTYPES or (parted and not chunks.isdecimal()):
        names = ", ".join(STATE_DTYPES)
        raise ValueError(f"option {text!r} is not DTYPE, CHUNKS or DTYPE:CHUNKS, DTYPE being one of {names}")
    return Option(dtype, int(chunks) if chunks else None)


@dataclass(frozen=True)
class OptionReport:
    """One option beside the exact computation.

    Attributes:
        option: what was tried.
        max_abs: the largest error of the mel, a number a chunk.
        rms: its root mean square, a number a chunk.
        state_bytes: size of the state after each chunk but the last, and before the first.
    """

    option: Option
    max_abs: tuple[float, ...]
    rms: tuple[float, ...]
    state_bytes: tuple[int, ...]


@dataclass(frozen=True)
class OptionsReport:
    """All options. `whole_max_abs` is how far the exact incremental mel is from one run over everything, a chunk a
    number; `mel_std` is what errors are to be held against."""

    mel_std: float
    whole_max_abs: tuple[float, ...]
    exact: OptionReport
    options: tuple[OptionReport, ...]


def measure(
    flow: CausalMaskedDiff,
    prompt: Prompt,
    token: Sequence[int],
    options: Sequence[Option],
    *,
    n_timesteps: int = 10,
    progress: Callable[[str], Any] = lambda text: None,
) -> OptionsReport:
    """Speak the same tokens with every option, and compare with the exact incremental computation.

    Args:
        flow: the stage.
        prompt: the voice.
        token: to speak.
        options: to try.
        n_timesteps: Euler steps.
        progress: called with what is being done.

    Raises:
        ValueError: no token.
    """
    progress("one run over everything")
    arguments = (mx.array([token], mx.int32), *prompt.arrays)
    whole = np.array(flow(*arguments, streaming=True, finalize=True, n_timesteps=n_timesteps))
    progress("incremental, exact")
    exact, sizes = _spoken(IncrementalFlow(flow, n_timesteps=n_timesteps), prompt, token)
    borders = np.cumsum([len(chunk) for chunk in exact])[:-1]
    reports = []
    for option in options:
        progress(f"incremental, {option}")
        bounded = IncrementalFlow(
            flow,
            n_timesteps=n_timesteps,
            state_dtype=STATE_DTYPES[option.state_dtype],
            left_context_chunks=option.left_context_chunks,
        )
        mels, held = _spoken(bounded, prompt, token)
        reports.append(_compared(option, mels, exact, held))
    return OptionsReport(
        mel_std=float(whole.std()),
        whole_max_abs=_compared(Option(), exact, np.split(whole[0], borders), sizes).max_abs,
        exact=_compared(Option(), exact, exact, sizes),
        options=tuple(reports),
    )


def _spoken(flow: IncrementalFlow, prompt: Prompt, token: Sequence[int]) -> tuple[list[np.ndarray], list[int]]:
    """The mel [frames, 80] of every chunk that has new frames, and the state's size before each."""
    state = flow.start(prompt)
    mels, sizes, place = [], [state.nbytes], 0
    due = -prompt.prompt_token.shape[1] % flow.chunk or flow.chunk
    due += flow.lookahead
    while place + due < len(token):
        mel, state = flow.step(state, token[place : place + due])
        mels.append(np.array(mel)[0])
        sizes.append(state.nbytes)
        place, due = place + due, flow.chunk
    mel, _ = flow.step(state, token[place:], final="causal")
    return [*mels, np.array(mel)[0]], sizes


def _compared(
    option: Option, mels: Sequence[np.ndarray], exact: Sequence[np.ndarray], sizes: Sequence[int]
) -> OptionReport:
    errors = [ours - theirs for ours, theirs in zip(mels, exact, strict=True)]
    return OptionReport(
        option,
        tuple(float(np.abs(error).max()) for error in errors),
        tuple(float(np.sqrt(np.mean(np.square(error)))) for error in errors),
        tuple(sizes),
    )
