"""`flow.encoder` one chunk at a time."""

from __future__ import annotations

import math

import mlx.core as mx

from mlx_cosyvoice.flow.attention import RelPositionMultiHeadedAttention
from mlx_cosyvoice.flow.embedding import LinearNoSubsampling
from mlx_cosyvoice.flow.encoder import ConformerEncoderLayer, UpsampleConformerEncoder
from mlx_cosyvoice.flow.incremental.attention import attention, folded_heads, unfolded_heads
from mlx_cosyvoice.flow.incremental.keys import KeysValues
from mlx_cosyvoice.flow.incremental.memory import Memory, Past
from mlx_cosyvoice.mixed import outer_dtype
from mlx_cosyvoice.nn.functional import leaky_relu


def rel_shift(scores: mx.array, keys: int) -> mx.array:
    """Scores by relative position to scores by key.

    [N, Q, P], positions from keys - 1 down -> [N, Q, keys] with out[i, j] = in[i, Q-1-i+j]: the last Q of all keys are
    the queries' own.
    """
    batch, queries, positions = scores.shape
    # One more column makes every row start one place later once the rows are cut anew.
    rolled = mx.pad(scores, [(0, 0), (0, 0), (1, 0)]).reshape(batch, positions + 1, queries)
    return rolled[:, 1:].reshape(batch, queries, positions)[..., :keys]


class Positions:
    """The projected relative positions of some layers; they depend on nothing but the weights, so they are kept.

    Those from `longest` down to -(chunk - 1), in this order; `longest` grows when more keys are seen.
    """

    def __init__(self, embed: LinearNoSubsampling, layers: list[ConformerEncoderLayer], chunk: int) -> None:
        self.embed, self.layers, self.chunk = embed, layers, chunk
        self.longest = -1
        self.tables: list[mx.array] = []

    def reach(self, keys: int) -> None:
        """Make sure that there are positions for this many keys."""
        if keys <= self.longest:
            return
        self.longest = max(2 * keys, 8 * self.chunk)
        dtype = outer_dtype(self.layers[0].norm_mha)
        _, both_ways = self.embed.pos_enc(mx.zeros((1, self.longest + 1, 1), dtype))
        needed = both_ways[:, : self.longest + self.chunk]
        attentions = [layer.self_attn for layer in self.layers]
        self.tables = [folded_heads(layer.linear_pos(needed), layer.heads) for layer in attentions]
        mx.eval(self.tables)

    def __getitem__(self, index: tuple[int, int, int]) -> mx.array:
        """(layer, keys, queries) -> [heads, keys + queries - 1, D], positions keys - 1 down to -(queries - 1)."""
        layer, keys, queries = index
        return self.tables[layer][:, self.longest - keys + 1 : self.longest + queries]


class IncrementalEncoder:
    """Features of whole chunks, or of what is left at the end, from their tokens and the next 3.

    Args:
        encoder: the network.
        dtype: in which keys and values are kept; None as they are computed.
        left_chunks: how many chunks before its own a token may attend to; None for all.
    """

    def __init__(self, encoder: UpsampleConformerEncoder, dtype: mx.Dtype | None, left_chunks: int | None) -> None:
        self.encoder, self.state_dtype, self.left_chunks = encoder, dtype, left_chunks
        self.chunk, self.stride = encoder.static_chunk_size, encoder.upsampling
        self.positions = Positions(encoder.embed, encoder.encoders, self.chunk)
        self.up_positions = Positions(encoder.up_embed, encoder.up_encoders, self.chunk * self.stride)

    def start(self) -> Past:
        """Nothing seen yet: zeros before the first token, and no keys."""
        dtype, width = outer_dtype(self.encoder.after_norm), self.encoder.after_norm.weight.shape[0]
        tails = [mx.zeros((1, reach, width), dtype) for reach in (2, 2 * self.stride)]
        blocks = len(self.encoder.encoders) + len(self.encoder.up_encoders)
        return Past(tuple(tails), (KeysValues(),) * blocks)

    def step(self, past: Past, x: mx.array, lookahead: mx.array, *, room: int) -> tuple[mx.array, Past]:
        """One chunk.

        Args:
            past: of all chunks before.
            x: [1, T, input_size] embedded tokens, T <= chunk; fewer only at the end.
            lookahead: [1, at most 3, input_size] the tokens that follow; fewer than 3 only at the end.
            room: for how many such chunks new memory is made, where it is needed.

        Returns:
            [1, stride * T, output_size], and the state after it.
        """
        encoder = self.encoder
        context = None if self.left_chunks is None else self.left_chunks * self.chunk
        memory = Memory(past, dtype=self.state_dtype, left_context=context, room=room)
        x, _ = encoder.embed(x)
        if lookahead.shape[1]:
            lookahead, _ = encoder.embed(lookahead)
        pre = encoder.pre_lookahead_layer
        missing = pre.lookahead - lookahead.shape[1]
        seen = mx.pad(mx.concatenate([x, lookahead], axis=1), [(0, 0), (0, missing), (0, 0)])
        x = memory.convolve(pre.conv2, leaky_relu(pre.conv1(seen), 0.01)) + x
        x = self._blocks(x, encoder.encoders, self.positions, memory)

        if context is not None:
            memory.left_context = context * self.stride
        x = memory.convolve(encoder.up_layer.conv, mx.repeat(x, self.stride, axis=1))
        x, _ = encoder.up_embed(x)
        x = self._blocks(x, encoder.up_encoders, self.up_positions, memory)
        return encoder.after_norm(x), memory.past()

    def _blocks(
        self, x: mx.array, layers: list[ConformerEncoderLayer], positions: Positions, memory: Memory
    ) -> mx.array:
        for index, layer in enumerate(layers):
            x = x + self._attend(layer.norm_mha(x), layer.self_attn, index, positions, memory)
            x = x + layer.feed_forward(layer.norm_ff(x))
        return x

    @staticmethod
    def _attend(
        x: mx.array, layer: RelPositionMultiHeadedAttention, index: int, positions: Positions, memory: Memory
    ) -> mx.array:
        q, k, v = (
            folded_heads(project(x), layer.heads) for project in (layer.linear_q, layer.linear_k, layer.linear_v)
        )
        seen = memory.attended(k, v)
        keys, queries = seen.places, q.shape[1]
        positions.reach(keys)
        scale = 1 / math.sqrt(layer.head_dim)
        place = positions[index, keys, queries]
        bias = rel_shift((q + layer.pos_bias_v[:, None]) * scale @ place.swapaxes(1, 2), keys)
        attended = attention(q + layer.pos_bias_u[:, None], seen.read(), scale=scale, bias=bias)
        return layer.linear_out(unfolded_heads(attended, layer.heads)).astype(x.dtype)
