"""`flow.decoder.estimator` one chunk at a time, at one Euler step."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mlx_cosyvoice.flow.attention import Attention
from mlx_cosyvoice.flow.estimator import CausalBlock1D, CausalConditionalDecoder, CausalResnetBlock1D
from mlx_cosyvoice.flow.incremental.attention import attention, folded_heads, unfolded_heads
from mlx_cosyvoice.flow.incremental.keys import KeysValues
from mlx_cosyvoice.flow.incremental.memory import Memory, Past

#: The conditioned and the unconditioned entry of the classifier-free guidance.
BATCH = 2


class IncrementalEstimator:
    """The velocity at the frames of one chunk.

    Args:
        estimator: the network.
        times: of the Euler steps.
        dtype: in which keys and values are kept; None as they are computed.
        left_chunks: how many chunks before its own a frame may attend to; None for all.
    """

    def __init__(
        self, estimator: CausalConditionalDecoder, times: list[float], dtype: mx.Dtype | None, left_chunks: int | None
    ) -> None:
        self.estimator, self.chunk = estimator, estimator.static_chunk_size
        self.state_dtype = dtype
        self.left_context = None if left_chunks is None else left_chunks * self.chunk
        self.levels: list[Any] = [*estimator.down_blocks, *estimator.mid_blocks, *estimator.up_blocks]
        #: What each time adds within the levels: [steps, 1, 1, width] a level.
        self.shifts = [level[0].mlp(self._embedded(times))[:, None, None] for level in self.levels]
        mx.eval(self.shifts)

    def _embedded(self, times: list[float]) -> mx.array:
        sinusoids = self.estimator.time_embeddings(mx.array(times, mx.float32))
        return self.estimator.time_mlp(sinusoids.astype(self.estimator.dtype))

    def start(self) -> Past:
        """Nothing seen yet: zeros before the first frame, and no keys."""
        layers: list[Any] = []
        for index, level in enumerate(self.levels):
            layers += [level[0].block1.block[0], level[0].block2.block[0]]
            if index in (0, len(self.levels) - 1):
                layers.append(level[2])
        layers.append(self.estimator.final_block.block[0])
        shapes = [(BATCH, layer.weight.shape[1] - 1, layer.weight.shape[2]) for layer in layers]
        blocks = sum(len(level[1]) for level in self.levels)
        return Past(tuple(mx.zeros(shape, self.estimator.dtype) for shape in shapes), (KeysValues(),) * blocks)

    def step(self, past: Past, x: mx.array, index: int, *, room: int) -> tuple[mx.array, Past]:
        """One chunk.

        Args:
            past: of all chunks before, at the same Euler step.
            x: [2, T, in_channels] noisy mel, features, speaker and condition; T <= chunk, less only at the end.
            index: the Euler step.
            room: for how many such chunks new memory is made, where it is needed.

        Returns:
            The velocity [2, T, 80], and the state after the chunk.
        """
        memory = Memory(past, dtype=self.state_dtype, left_context=self.left_context, room=room)
        last = len(self.levels) - 1
        skip = x
        for number, level in enumerate(self.levels):
            if number == last:
                x = mx.concatenate([x, skip], axis=-1)
            x = _resnet(level[0], x, self.shifts[number][index], memory)
            for block in level[1]:
                x = x + _attend(block.attn1, block.norm1(x), memory)
                x = x + block.ff(block.norm3(x))
            if number == 0:
                skip = x
            if number in (0, last):
                x = memory.convolve(level[2], x)
        x = self.estimator.final_proj(_block(self.estimator.final_block, x, memory))
        return x, memory.past()


def _block(module: CausalBlock1D, x: mx.array, memory: Memory) -> mx.array:
    convolution, *rest = module.block.layers()
    x = memory.convolve(convolution, x)  # type: ignore[arg-type]
    for layer in rest:
        x = layer(x)
    return x


def _resnet(module: CausalResnetBlock1D, x: mx.array, shift: mx.array, memory: Memory) -> mx.array:
    h = _block(module.block1, x, memory) + shift
    return (_block(module.block2, h, memory) + module.res_conv(x)).astype(x.dtype)


def _attend(layer: Attention, x: mx.array, memory: Memory) -> mx.array:
    dtype = x.dtype
    q, k, v = (folded_heads(project(x), layer.heads) for project in (layer.to_q, layer.to_k, layer.to_v))
    seen = memory.attended(k, v)
    x = unfolded_heads(attention(q, seen.read(), scale=layer.scale), layer.heads)
    for module in layer.to_out:
        x = module(x)
    return x.astype(dtype)  # a layer may be kept in float32 within a model of half precision
