"""What turns speech tokens into audio: the interface of all decoders, and their inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import mlx.core as mx

from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.turns import turn

#: Draws for one run of the vocoder: samples -> (rand_ini [1, 9] in [0, 1), sine_noise [1, samples, 9]); the noise is
#: standard normal, or uniform in [0, 1) for a causal vocoder. It is called once a run; by a causal vocoder with a
#: second argument, which sample of the utterance the run begins with. A state that shall be continued twice with the
#: same result needs one that gives the same draws again.
SourceNoise = Callable[..., tuple[mx.array, mx.array]]

#: What a stream remembers between steps: a frozen object of the decoder's own, with evaluated arrays.
State = Any


class Decoder(Protocol):
    """Speech tokens to samples, piece by piece. It keeps nothing itself: one decoder serves any number of streams.

    `start` gives the state of a new utterance. As long as tokens come, `due` of them at a time are passed to `step`;
    what is left when they end, be it nothing, goes to one last `step` with `final=True`.
    """

    def start(self, prompt: Prompt, noise: SourceNoise) -> State:
        """The state of an utterance of which nothing has been said."""

    def due(self, state: State) -> int | None:
        """How many new tokens the next step needs, unless it is the final one; None: everything is said at the end."""

    def step(self, state: State, token: Sequence[int], *, final: bool) -> tuple[mx.array, State]:
        """Say what the new tokens make possible to say or, with `final=True`, all the rest.

        Args:
            state: of the stream. It stays as it was and can be continued again.
            token: the new tokens only: exactly `due(state)`; in the final step any number, also none.
            final: no more tokens will come.

        Returns:
            float32 samples [n] in [-1, 1], evaluated, and the state to go on with. n may be 0; in the final step it is
            so only where the utterance has no tokens at all.

        Raises:
            ValueError: a token outside the vocabulary, another number of tokens than is due, an utterance that has
                ended, or one that is too long for the flow's noise (300 s with the prompt).
        """


class Vocoder(Protocol):
    """Mel to samples, piece by piece. It keeps nothing itself either."""

    def start(self) -> State:
        """The state before the first frame."""

    def step(self, state: State, mel: mx.array, noise: SourceNoise, *, final: bool) -> tuple[mx.array, State]:
        """The next frames [1, T, 80] -> samples [n] that can be said, and the new state; both evaluated."""


def check_tokens(token: Sequence[int], vocab_size: int) -> tuple[int, ...]:
    """The tokens as a tuple of int.

    Raises:
        ValueError: one lies outside the vocabulary; its place in `token` is named.
    """
    checked = tuple(map(int, token))
    for place, value in enumerate(checked):
        if not 0 <= value < vocab_size:
            raise ValueError(f"token {place} of this step is {value}: speech tokens lie in 0..{vocab_size - 1}")
    return checked


def check_step(token: Sequence[int], vocab_size: int, *, due: int, final: bool, ended: bool) -> tuple[int, ...]:
    """The new tokens of a step that needs `due` of them, or any number if it is final.

    Raises:
        ValueError: a token outside the vocabulary, another number of tokens, or an utterance that has ended.
    """
    check_open(ended)
    new = check_tokens(token, vocab_size)
    if not final and len(new) != due:
        raise ValueError(f"a step that is not final needs {due} new tokens, not {len(new)}")
    return new


def check_open(ended: bool) -> None:
    """Refuse a step of an utterance that has `ended`.

    Raises:
        ValueError: it has.
    """
    if ended:
        raise ValueError("the utterance has ended with its final step: start another one")


def decode(decoder: Decoder, prompt: Prompt, noise: SourceNoise, token: Iterable[int]) -> Iterator[mx.array]:
    """Say one utterance while its tokens come; each piece is computed in a turn of its own, on any thread.

    Args:
        decoder: says when how much is said.
        prompt: the voice.
        noise: draws for the vocoder.
        token: read no further than the next piece needs.

    Yields:
        float32 samples [n], n > 0.
    """
    with turn():
        state = decoder.start(prompt, noise)
    tokens, ended = iter(token), False
    while not ended:
        due = decoder.due(state)
        new = list(islice(tokens, due))
        ended = due is None or len(new) < due
        with turn():
            wav, state = decoder.step(state, new, final=ended)
        if wav.size:
            yield wav
