"""`flow.decoder.estimator` one chunk at a time, at one Euler step."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mlx_cosyvoice.flow.attention import merge_heads, split_heads
from mlx_cosyvoice.flow.estimator import CausalBlock1D, CausalConditionalDecoder, CausalResnetBlock1D
from mlx_cosyvoice.flow.incremental.keys import Buffer, KeysValues
from mlx_cosyvoice.flow.incremental.memory import Memory, Past

#: The conditioned and the unconditioned entry of the classifier-free guidance.
BATCH = 2


class IncrementalEstimator:
    """The velocity at the frames of one chunk. `times` are those of the Euler steps."""

    def __init__(self, estimator: CausalConditionalDecoder, times: list[float]) -> None:
        self.estimator, self.chunk = estimator, estimator.static_chunk_size
        self.levels: list[Any] = [*estimator.down_blocks, *estimator.mid_blocks, *estimator.up_blocks]
        #: What each time adds within the levels: [steps, 1, 1, width] a level.
        self.shifts = [level[0].mlp(self._embedded(times))[:, None, None] for level in self.levels]
        mx.eval(self.shifts)

    def _embedded(self, times: list[float]) -> mx.array:
        sinusoids = self.estimator.time_embeddings(mx.array(times, mx.float32))
        return self.estimator.time_mlp(sinusoids.astype(self.estimator.dtype))

    def start(self, frames: int, dtype: mx.Dtype | None) -> Past:
        """Nothing seen yet; there is room for the keys and values of `frames`, in `dtype` (None: the weights')."""
        memory = _Tails(self.estimator.dtype)
        keys = []
        for index, level in enumerate(self.levels):
            memory.add(level[0].block1.block[0], level[0].block2.block[0])
            for block in level[1]:
                attention = block.attn1
                head_dim = attention.to_q.weight.shape[0] // attention.heads
                shape = (2, BATCH, attention.heads, 0, head_dim)
                keys.append(KeysValues(Buffer(shape, frames, dtype or self.estimator.dtype)))
            if index in (0, len(self.levels) - 1):
                memory.add(level[2])
        memory.add(self.estimator.final_block.block[0])
        return Past(tuple(memory.tails), tuple(keys))

    def step(self, past: Past, x: mx.array, index: int, left_chunks: int | None) -> tuple[mx.array, Past]:
        """One chunk.

        Args:
            past: of all chunks before, at the same Euler step.
            x: [2, T, in_channels] noisy mel, features, speaker and condition; T <= chunk, less only at the end.
            index: the Euler step.
            left_chunks: how many chunks before this one attention may see; None for all.

        Returns:
            The velocity [2, T, 80], and the state after the chunk.
        """
        memory = Memory(past, left_context=None if left_chunks is None else left_chunks * self.chunk)
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


class _Tails:
    """Zeros before the first frame, for one convolution after the other."""

    def __init__(self, dtype: mx.Dtype) -> None:
        self.dtype = dtype
        self.tails: list[mx.array] = []

    def add(self, *layers: Any) -> None:
        for layer in layers:
            _, kernel, channels = layer.weight.shape
            self.tails.append(mx.zeros((BATCH, kernel - 1, channels), self.dtype))


def _block(module: CausalBlock1D, x: mx.array, memory: Memory) -> mx.array:
    convolution, *rest = module.block.layers()
    x = memory.convolve(convolution, x)  # type: ignore[arg-type]
    for layer in rest:
        x = layer(x)
    return x


def _resnet(module: CausalResnetBlock1D, x: mx.array, shift: mx.array, memory: Memory) -> mx.array:
    h = _block(module.block1, x, memory) + shift
    return _block(module.block2, h, memory) + module.res_conv(x)


def _attend(layer: Any, x: mx.array, memory: Memory) -> mx.array:
    q, k, v = (split_heads(project(x), layer.heads) for project in (layer.to_q, layer.to_k, layer.to_v))
    k, v = memory.attended(k, v)
    x = merge_heads(mx.fast.scaled_dot_product_attention(q, k, v, scale=layer.scale))
    for module in layer.to_out:
        x = module(x)
    return x
