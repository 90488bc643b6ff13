"""The official streaming: every hop runs the flow on all that was said so far, and speaks what is new of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from mlx_cosyvoice.decoding.cross_fade import official_vocoder
from mlx_cosyvoice.decoding.decoder import SourceNoise, check_step
from mlx_cosyvoice.decoding.hops import Hops
from mlx_cosyvoice.flow.cfm import check_timesteps
from mlx_cosyvoice.flow.masked_diff import CausalMaskedDiff
from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.vocoder import CausalHiFTGenerator, HiFTGenerator


@dataclass(frozen=True)
class OfficialState:
    """A stream between two hops.

    Attributes:
        prompt: the voice.
        noise: draws for the vocoder.
        token: all tokens that have come.
        spoken: how many of them have been spoken; the vocoder holds back the end of their audio.
        hops: how many hops there were.
        vocoder: what it goes on with.
        ended: the last piece has been spoken.
    """

    prompt: Prompt
    noise: SourceNoise
    token: tuple[int, ...] = ()
    spoken: int = 0
    hops: int = 0
    vocoder: Any = None
    ended: bool = False


class OfficialDecoder:
    """`cosyvoice.cli.model.CosyVoice2Model.tts`, and that of `CosyVoice3Model`, with `stream=True`.

    Hops attend in chunks and hold the lookahead back. The last piece runs with full attention over everything, so its
    mel would say a little else about the past too; as upstream, only what is new of it is spoken. The work of a hop
    grows with the length of the utterance.

    Args:
        flow: speech tokens to mel.
        hift: mel to samples.
        n_timesteps: Euler steps of the flow.
    """

    def __init__(
        self, flow: CausalMaskedDiff, hift: HiFTGenerator | CausalHiFTGenerator, *, n_timesteps: int = 10
    ) -> None:
        self.flow, self.n_timesteps = flow, check_timesteps(n_timesteps)
        self.vocoder = official_vocoder(hift)
        self.hops = Hops(lookahead=flow.pre_lookahead_len)

    def start(self, prompt: Prompt, noise: SourceNoise) -> OfficialState:
        """The state of an utterance of which nothing has been said."""
        return OfficialState(prompt, noise, vocoder=self.vocoder.start())

    def due(self, state: OfficialState) -> int:
        """The new tokens of the next hop; those of the first one include the lookahead, which stays ahead."""
        hop = self.hops.hop(state.hops, state.prompt.tokens)
        return state.spoken + hop + self.hops.lookahead - len(state.token)

    def step(self, state: OfficialState, token: Sequence[int], *, final: bool) -> tuple[mx.array, OfficialState]:
        """One hop, or the rest: samples [n] and the new state; errors as of `Decoder`."""
        heard = state.token + check_step(
            token, self.flow.vocab_size, due=self.due(state), final=final, ended=state.ended
        )
        if not heard:
            return mx.zeros((0,)), OfficialState(state.prompt, state.noise, ended=True)
        mel = self._new_frames(state, heard, final)
        wav, vocoder = self.vocoder.step(state.vocoder, mel, state.noise, final=final)
        spoken = len(heard) if final else len(heard) - self.hops.lookahead
        return wav, OfficialState(state.prompt, state.noise, heard, spoken, state.hops + 1, vocoder, ended=final)

    def _new_frames(self, state: OfficialState, heard: tuple[int, ...], final: bool) -> mx.array:
        """The mel [1, T, 80] of what has not been spoken yet."""
        mel = self.flow(
            mx.array([heard], dtype=mx.int32),
            *state.prompt.arrays,
            streaming=not final,
            finalize=final,
            n_timesteps=self.n_timesteps,
        )
        return mel[:, state.spoken * self.flow.token_mel_ratio :]
