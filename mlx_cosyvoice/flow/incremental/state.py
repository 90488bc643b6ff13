"""What the incremental flow carries from hop to hop."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx

from mlx_cosyvoice.flow.incremental.memory import Past


class Prompt(Protocol):
    """A voice as the flow sees it."""

    @property
    def prompt_token(self) -> mx.array:
        """[1, N] integer; N may be 0."""

    @property
    def prompt_feat(self) -> mx.array:
        """[1, 2N, 80] mel."""

    @property
    def embedding(self) -> mx.array:
        """[1, 192] of the speaker."""


@dataclass(frozen=True, eq=False)
class FlowState:
    """Everything about an utterance so far. It is never changed by a step, so it can be continued more than once.

    Attributes:
        prompt: the voice.
        spks: [1, 80] the speaker, projected.
        tokens: the prompt's, then all speech tokens given so far.
        computed: how many of them have been computed.
        encoder: state of the encoder.
        solver: state of the estimator at every Euler step.
        finished: the last chunk has been computed.
    """

    prompt: Prompt
    spks: mx.array
    tokens: tuple[int, ...]
    computed: int
    encoder: Past
    solver: tuple[Past, ...]
    finished: bool = False

    @property
    def prompt_tokens(self) -> int:
        return self.prompt.prompt_token.shape[1]

    def arrays(self) -> Iterator[mx.array]:
        """The memory that the state holds; states of one utterance share most of it."""
        yield self.spks
        for past in (self.encoder, *self.solver):
            yield from past.arrays()

    def ended(self) -> FlowState:
        """The state after the last token, of which no memory is needed any more."""
        nothing = Past((), ())
        return dataclasses.replace(
            self, computed=len(self.tokens), encoder=nothing, solver=(nothing,) * len(self.solver), finished=True
        )

    @property
    def nbytes(self) -> int:
        """Size of that memory."""
        return sum(array.nbytes for array in self.arrays())
