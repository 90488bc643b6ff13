"""`flow`: speech tokens, prompt and speaker to mel, as far as the stages of all families do the same."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_cosyvoice.config import StageConfig
from mlx_cosyvoice.flow.cfm import CausalConditionalCFM
from mlx_cosyvoice.nn import Module
from mlx_cosyvoice.nn.cache import Cache


def normalized(x: mx.array) -> mx.array:
    """Rows of unit length, [B, C] float32 in and out (torch.nn.functional.normalize)."""
    return x / mx.maximum(mx.linalg.norm(x, axis=1, keepdims=True), 1e-12)


class CausalMaskedDiff(Module):
    """The flow stage. A family adds what stands between the embedded tokens and `mu`, and the decoder.

    Its official state dict is `flow.pt` and the fixed noise `decoder.rand_noise`.
    """

    decoder: CausalConditionalCFM

    def __init__(self, config: StageConfig) -> None:
        super().__init__()
        self.vocab_size = config.vocab_size
        self.token_mel_ratio, self.pre_lookahead_len = config.token_mel_ratio, config.pre_lookahead_len
        self.input_embedding = nn.Embedding(config.vocab_size, config.input_size)
        self.spk_embed_affine_layer = nn.Linear(config.spk_embed_dim, config.output_size)

    @property
    def chunk_size(self) -> int:
        """Tokens of a chunk, within which attention sees the future while streaming."""
        raise NotImplementedError

    @property
    def dtype(self) -> mx.Dtype:
        """Of the activations."""
        raise NotImplementedError

    def mu(self, x: mx.array, context: mx.array | None, *, streaming: bool, cache: Cache | None = None) -> mx.array:
        """What the decoder makes a mel of.

        Args:
            x: [1, T, input_size] embedded tokens, of an utterance or of one chunk of it.
            context: [1, L, input_size], those that follow, as many as the lookahead has; fewer, or None, at the end.
            streaming: attend in chunks instead of to everything.
            cache: the chunks before; only while streaming.

        Returns:
            [1, token_mel_ratio * T, 80].
        """
        raise NotImplementedError

    def encode(
        self,
        token: mx.array,
        prompt_token: mx.array,
        prompt_feat: mx.array,
        embedding: mx.array,
        *,
        streaming: bool,
        finalize: bool,
    ) -> tuple[mx.array, mx.array, mx.array]:
        """What the decoder is conditioned on, for a whole utterance.

        Args:
            token: [1, N] integer speech tokens; with `finalize=False` the last 3 are lookahead only. Negative ones
                are taken for 0, as the official code does.
            prompt_token: [1, P] integer; P may be 0.
            prompt_feat: [1, 2P, 80] the prompt's mel.
            embedding: [1, 192] the speaker's.
            streaming: attend in chunks instead of to everything.
            finalize: `token` holds the end of the utterance.

        Returns:
            mu [1, T, 80], spks [1, 80], cond [1, T, 80] in the weights' dtype, T counting prompt and new frames.

        Raises:
            ValueError: shapes that do not fit each other, a token outside the vocabulary, or no token to speak.
        """
        self.check(token, prompt_token, prompt_feat, finalize)
        tokens = mx.concatenate([prompt_token.astype(mx.int32), token.astype(mx.int32)], axis=1)
        highest = int(np.max(np.array(tokens)))
        if highest >= self.vocab_size:
            raise ValueError(f"speech token {highest} is outside the vocabulary of {self.vocab_size}")
        spks = self.speaker(embedding)
        mu = self.features(tokens, 0 if finalize else self.pre_lookahead_len, streaming=streaming)
        return mu, spks, self.condition(prompt_feat, mu.shape[1])

    def speaker(self, embedding: mx.array) -> mx.array:
        """embedding [1, 192] -> spks [1, 80]."""
        return self.spk_embed_affine_layer(normalized(embedding.astype(mx.float32)).astype(self.dtype))

    def features(self, tokens: mx.array, lookahead: int, *, streaming: bool, cache: Cache | None = None) -> mx.array:
        """mu of an utterance, or of one chunk of it.

        Args:
            tokens: [1, N] int32, the prompt's first. Negative ones are taken for 0, as the official code does.
            lookahead: how many at the end are there for the others to see only.
            streaming: attend in chunks instead of to everything.
            cache: the chunks before; only while streaming.

        Returns:
            [1, 2 (N - lookahead), 80].
        """
        x = self.input_embedding(mx.maximum(tokens, 0))
        end = x.shape[1] - lookahead
        return self.mu(x[:, :end], x[:, end:] if lookahead else None, streaming=streaming, cache=cache)

    def condition(self, prompt_feat: mx.array, frames: int) -> mx.array:
        """cond [1, frames, 80]: as much of the prompt's mel as lies within these frames, and zeros after it."""
        cond = prompt_feat[:, :frames].astype(self.dtype)
        return mx.pad(cond, [(0, 0), (0, frames - cond.shape[1]), (0, 0)])

    def __call__(
        self,
        token: mx.array,
        prompt_token: mx.array,
        prompt_feat: mx.array,
        embedding: mx.array,
        *,
        streaming: bool,
        finalize: bool,
        n_timesteps: int = 10,
        noise: mx.array | None = None,
    ) -> mx.array:
        """The mel of the new tokens; arguments as for `encode` and for the decoder's call.

        Returns:
            [1, 2 (N - lookahead), 80] float32, lookahead being 0 with `finalize=True` and 3 otherwise.

        Raises:
            ValueError: as `encode` and the decoder; prompt and speech may be 300 s long together, unless a longer
                `noise` is given.
        """
        self.check(token, prompt_token, prompt_feat, finalize)
        tokens = prompt_token.shape[1] + token.shape[1] - (0 if finalize else self.pre_lookahead_len)
        start = self.decoder.starting_noise(tokens * self.token_mel_ratio, noise)
        mu, spks, cond = self.encode(
            token, prompt_token, prompt_feat, embedding, streaming=streaming, finalize=finalize
        )
        mel = self.decoder(mu, spks, cond, n_timesteps=n_timesteps, noise=start, streaming=streaming)
        return mel[:, prompt_feat.shape[1] :]

    def check(self, token: mx.array, prompt_token: mx.array, prompt_feat: mx.array, finalize: bool) -> None:
        """Refuse arguments of a call whose shapes do not fit each other.

        Raises:
            ValueError: they do not; the argument is named.
        """
        for name, array in (("token", token), ("prompt_token", prompt_token)):
            if array.ndim != 2 or array.shape[0] != 1:
                raise ValueError(f"{name} must be [1, length], not {list(array.shape)}")
        frames = prompt_token.shape[1] * self.token_mel_ratio
        if prompt_feat.ndim != 3 or prompt_feat.shape[:2] != (1, frames):
            raise ValueError(
                f"prompt_feat must be [1, {frames}, 80] for {prompt_token.shape[1]} prompt tokens "
                f"({self.token_mel_ratio} frames each), not {list(prompt_feat.shape)}"
            )
        held_back = 0 if finalize else self.pre_lookahead_len
        if token.shape[1] <= held_back:
            raise ValueError(
                f"token holds {token.shape[1]} tokens, of which {held_back} are lookahead: nothing is left to speak"
            )
