"""Streaming whose cost does not grow: flow and vocoder compute every frame once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx

from mlx_cosyvoice.decoding.causal_vocoder import CausalVocoder
from mlx_cosyvoice.decoding.decoder import SourceNoise, check_step
from mlx_cosyvoice.decoding.incremental.flow import Final, FlowState, IncrementalFlow
from mlx_cosyvoice.decoding.incremental.prefill import DEFAULT_BUDGET, PrefilledVoices
from mlx_cosyvoice.decoding.incremental.vocoder import IncrementalVocoder
from mlx_cosyvoice.flow.masked_diff import CausalMaskedDiff
from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.turns import turn
from mlx_cosyvoice.vocoder import CausalHiFTGenerator, HiFTGenerator

#: Chunks of a second that a frame attends to before its own: what is not longer, prompt and speech, is exact.
LEFT_CONTEXT_CHUNKS = 16


@dataclass(frozen=True)
class IncrementalState:
    """A stream between two hops.

    Attributes:
        noise: draws for the vocoder.
        flow: state of the flow.
        vocoder: its state; it waits for the frames that the last ones' samples depend on.
    """

    noise: SourceNoise
    flow: FlowState
    vocoder: Any

    @property
    def ended(self) -> bool:
        """The last piece has been spoken."""
        return self.flow.finished

    @property
    def nbytes(self) -> int:
        """Size of what is kept; nearly all of it is the flow's."""
        return self.flow.nbytes + self.vocoder.nbytes


class IncrementalDecoder:
    """The official streaming's mel, each frame computed once, and its audio without seams.

    Hops do not grow, as there is no need to. The vocoder gives out what no later frame can change any more: it is 21
    frames (0.42 s) behind, which the official one (0.16 s) makes up for by fading from one guess to the next. A causal
    vocoder is 8 frames behind, as officially.

    Args:
        flow: speech tokens to mel.
        hift: mel to samples.
        n_timesteps: Euler steps of the flow.
        hop: tokens of every hop but the first, a multiple of the flow's chunk of 25.
        first: the first hop takes at least so many tokens, and as many more as it takes to end on the border of a
            chunk, which the prompt's tokens are counted into.
        final: how the last piece is computed. "causal" goes on as before; "full" is the official way, one run with full
            attention over everything.
        state_dtype: of the flow's keys and values: float16 or bfloat16 halve the state; None for the weights' dtype.
        left_context_chunks: how many chunks before its own a frame may attend to, which bounds the cost of a hop, and
            the state to that many and 8 more chunks. What is not longer than that, prompt and speech together, is
            exact; None for all, which always is, at a cost and a state that grow.
        voice_budget: bytes for the states of voices, so that their next utterance starts sooner.

    Raises:
        ValueError: a value out of range.
    """

    def __init__(
        self,
        flow: CausalMaskedDiff,
        hift: HiFTGenerator | CausalHiFTGenerator,
        *,
        n_timesteps: int = 10,
        hop: int = 25,
        first: int = 20,
        final: Final = "causal",
        state_dtype: mx.Dtype | None = None,
        left_context_chunks: int | None = LEFT_CONTEXT_CHUNKS,
        voice_budget: int = DEFAULT_BUDGET,
    ) -> None:
        self.flow = IncrementalFlow(
            flow, n_timesteps=n_timesteps, state_dtype=state_dtype, left_context_chunks=left_context_chunks
        )
        self.vocoder: CausalVocoder | IncrementalVocoder
        self.vocoder = CausalVocoder(hift) if isinstance(hift, CausalHiFTGenerator) else IncrementalVocoder(hift)
        chunk, ratio = self.flow.chunk, self.flow.ratio
        if hop < 1 or hop % chunk:
            raise ValueError(f"hop must be a multiple of {chunk} tokens, not {hop}")
        shortest = self.vocoder.delay // ratio + 1
        if first < shortest:
            raise ValueError(f"first must be at least {shortest} tokens for any sound to come out, not {first}")
        if final not in ("causal", "full"):
            raise ValueError(f'final must be "causal" or "full", not {final!r}')
        self.hop, self.first, self.final = hop, first, final
        self.voices = PrefilledVoices(self.flow, voice_budget)

    def start(self, prompt: Prompt, noise: SourceNoise) -> IncrementalState:
        """The state of an utterance of which nothing has been said.

        The chunks of the prompt are computed here, unless this voice has spoken before.
        """
        with turn():  # tables and memory for keys are shared by all utterances
            return IncrementalState(noise, self.voices.state(prompt), self.vocoder.start())

    def due(self, state: IncrementalState) -> int:
        """The new tokens of the next hop; those of the first one include the lookahead, which stays ahead."""
        prompt = state.flow.prompt.tokens
        if len(state.flow.tokens) > prompt:
            return self.hop
        return self.first + -(prompt + self.first) % self.flow.chunk + self.flow.lookahead

    def step(self, state: IncrementalState, token: Sequence[int], *, final: bool) -> tuple[mx.array, IncrementalState]:
        """One hop, or the rest: samples [n] and the new state; errors as of `Decoder`."""
        new = check_step(token, self.flow.flow.vocab_size, due=self.due(state), final=final, ended=state.ended)
        if final and not new and len(state.flow.tokens) == state.flow.prompt.tokens:
            return mx.zeros((0,)), replace(state, flow=state.flow.ended())
        with turn():
            mel, flow = self.flow.step(state.flow, new, final=self.final if final else None)
            wav, vocoder = self.vocoder.step(state.vocoder, mel, state.noise, final=final)
        return wav, IncrementalState(state.noise, flow, vocoder)
