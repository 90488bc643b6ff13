"""The flow chunk by chunk: a hop costs its own frames, not the whole prefix again.

In streaming mode the attention masks are block-causal and the convolutions causal, so what a chunk yields never changes
once its lookahead is known. What later chunks need of earlier ones is the state of the networks' caches: attention keys
and values, and the last frames before each convolution, for the encoder and for every Euler step of the estimator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.flow.cfm import check_timesteps
from mlx_cosyvoice.flow.masked_diff import CausalMaskedDiff
from mlx_cosyvoice.nn.cache import Cache, CacheOptions, CacheState, Held
from mlx_cosyvoice.prompt import Prompt

Final = Literal["causal", "full"]
#: Chunks that memory for keys and values is made for at a time.
ROOM = 4
STATE_DTYPES = (mx.float32, mx.float16, mx.bfloat16)


@dataclass(frozen=True, eq=False)
class FlowState(Held):
    """Everything about an utterance so far. It is never changed by a step, so it can be continued more than once.

    Attributes:
        prompt: the voice.
        spks: [1, 80] the speaker, projected.
        tokens: the prompt's, then all speech tokens that have come.
        computed: how many of them have been computed.
        cache: of the networks; None before the first chunk.
        finished: the last chunk has been computed.
    """

    prompt: Prompt
    spks: mx.array
    tokens: tuple[int, ...]
    computed: int = 0
    cache: CacheState | None = None
    finished: bool = False

    def arrays(self) -> Iterator[mx.array]:
        """The memory that the state holds; states of one utterance share most of it."""
        yield self.spks
        if self.cache is not None:
            yield from self.cache.arrays()

    def ended(self) -> FlowState:
        """The state after the last token, of which no memory is needed any more."""
        return dataclasses.replace(self, computed=len(self.tokens), cache=None, finished=True)


class IncrementalFlow:
    """Computes what `flow(..., streaming=True)` yields, each chunk of 25 tokens once.

    That is bought with memory: CosyVoice2 keeps 230 MB for every second of prompt and speech, and CosyVoice3 180 MB, in
    float32 and at 10 Euler steps. Attention to all that came before also makes the hops of a long utterance slower:
    after 40 s a hop of CosyVoice2 takes about twice as long as the second. Both options bound the memory, and the left
    context the time, too.

    Args:
        flow: the stage. Its weights must not be changed afterwards.
        n_timesteps: Euler steps.
        state_dtype: of the kept keys and values: float32, float16 or bfloat16; None for that of the weights.
        left_context_chunks: how many chunks before its own a frame or token may attend to (the official
            `num_decoding_left_chunks`), which bounds the cost of a hop, and the state to that many and 8 more chunks;
            None for all, which is exact.
        noise: [1, >= frames, 80] to start from; None for the official one.

    Raises:
        ValueError: another dtype, a negative context, n_timesteps less than 1, or a network whose encoder and estimator
            do not attend in the same chunks.
    """

    def __init__(
        self,
        flow: CausalMaskedDiff,
        *,
        n_timesteps: int = 10,
        state_dtype: mx.Dtype | None = None,
        left_context_chunks: int | None = None,
        noise: mx.array | None = None,
    ) -> None:
        if state_dtype is not None and state_dtype not in STATE_DTYPES:
            raise ValueError(f"state_dtype must be float32, float16, bfloat16 or None, not {state_dtype}")
        if left_context_chunks is not None and left_context_chunks < 0:
            raise ValueError(f"left_context_chunks must be 0 or more, or None for all, not {left_context_chunks}")
        self.flow, self.n_timesteps, self.noise = flow, check_timesteps(n_timesteps), noise
        self.state_dtype, self.left_context_chunks = state_dtype, left_context_chunks
        #: Tokens of a chunk, and how many after it must be known.
        self.chunk, self.lookahead = flow.chunk_size, flow.pre_lookahead_len
        self.ratio = flow.token_mel_ratio
        frames = flow.decoder.estimator.static_chunk_size
        if frames != self.chunk * self.ratio:
            raise ValueError(
                f"the flow's chunks of {self.chunk} tokens and its estimator's of {frames} frames "
                f"differ (a token has {self.ratio} frames): such a network cannot be computed chunk by chunk"
            )

    def start(self, prompt: Prompt) -> FlowState:
        """The state before the first token, with every chunk computed that depends on the prompt only.

        Two utterances of one voice can start from the same state.

        Raises:
            ValueError: a prompt of the wrong shapes.
        """
        ids = self._checked(np.array(prompt.prompt_token)[0].tolist())
        state = FlowState(prompt, self.flow.speaker(prompt.embedding), ids)
        mx.eval(state.spks)
        # the state may be kept for the voice, and what follows goes elsewhere
        return self._advanced(state, self._ready(len(ids)), spare=False)[1]

    def step(self, state: FlowState, token: Sequence[int], *, final: Final | None = None) -> tuple[mx.array, FlowState]:
        """The mel that `token` make possible.

        Args:
            state: of the utterance so far; it stays as it is.
            token: the next speech tokens, any number of them. Negative ones are taken for 0, as in the official code.
            final: None while more tokens follow: every chunk is computed whose tokens and 3 more are known. "causal"
                ends the utterance in the same way, with chunked attention; "full" ends it as the official code does,
                by one run with full attention over everything, of which the frames not yet spoken are returned.

        Returns:
            The new frames [1, frames, 80] float32 (there may be none), and the state after them.

        Raises:
            ValueError: a token outside the vocabulary, an unknown `final`, an utterance that has ended already or ends
                without a token, or more frames than there is noise for (300 s with the official one).
        """
        if final not in (None, "causal", "full"):
            raise ValueError(f'final must be None, "causal" or "full", not {final!r}')
        if state.finished:
            raise ValueError("this utterance has ended: start a new one with start()")
        state = dataclasses.replace(state, tokens=state.tokens + self._checked(token))
        if final is None:
            return self._advanced(state, self._ready(len(state.tokens)), spare=True)
        if len(state.tokens) == state.prompt.tokens:
            raise ValueError("the utterance ends without a token: nothing is left to speak")
        if final == "causal":
            mel, _ = self._advanced(state, len(state.tokens), spare=False)
        else:
            mel = self._whole(state)
        return mel, state.ended()

    def _checked(self, token: Sequence[int]) -> tuple[int, ...]:
        highest = max(token, default=0)
        if highest >= self.flow.vocab_size:
            raise ValueError(f"speech token {highest} is outside the vocabulary of {self.flow.vocab_size}")
        return tuple(max(int(each), 0) for each in token)

    def _ready(self, known: int) -> int:
        """How many of `known` tokens lie in chunks whose lookahead is known."""
        return max(known - self.lookahead, 0) // self.chunk * self.chunk

    def _advanced(self, state: FlowState, end: int, *, spare: bool) -> tuple[mx.array, FlowState]:
        """The frames of the tokens up to `end`, without the prompt's.

        `spare`: where memory is made for keys and values, some is made for chunks beyond `end`, too.
        """
        mels = [mx.zeros((1, 0, self.flow.decoder.rand_noise.shape[2]))]
        while state.computed < end:
            left = -(-(end - state.computed) // self.chunk)
            mel, state = self._chunk(state, min(state.computed + self.chunk, end), ROOM if spare else min(left, ROOM))
            mels.append(mel)
        return mx.concatenate(mels, axis=1), state

    def _chunk(self, state: FlowState, end: int, room: int) -> tuple[mx.array, FlowState]:
        """The frames of the tokens up to `end`, which closes the chunk or the utterance, without the prompt's.

        Where memory for keys and values is needed, it is made for `room` chunks.
        """
        start, flow = state.computed, self.flow
        cache = Cache(state.cache, CacheOptions(self.state_dtype, self.left_context_chunks, room))
        encoder, decoder = cache.part("encoder", 0), cache.part("decoder", 0)
        tokens = state.tokens[start : end + self.lookahead]
        lookahead = len(tokens) - (end - start)
        mu = flow.features(mx.array([tokens], mx.int32), lookahead, streaming=True, cache=encoder)
        mx.eval(mu, list(encoder.state.arrays()))
        first, last = start * self.ratio, end * self.ratio
        cond = flow.condition(state.prompt.prompt_feat[:, first:], last - first)
        noise = flow.decoder.starting_noise(last, self.noise)[:, first:]
        steps = self.n_timesteps
        mel = flow.decoder(mu, state.spks, cond, n_timesteps=steps, noise=noise, streaming=True, cache=decoder)
        mel = mel[:, max(state.prompt.tokens * self.ratio - first, 0) :]
        return mel, dataclasses.replace(state, computed=end, cache=cache.state)

    def _whole(self, state: FlowState) -> mx.array:
        mel = self.flow(
            mx.array([state.tokens[state.prompt.tokens :]], mx.int32),
            *state.prompt.arrays,
            streaming=False,
            finalize=True,
            n_timesteps=self.n_timesteps,
            noise=self.noise,
        )
        return mel[:, max(state.computed - state.prompt.tokens, 0) * self.ratio :]
