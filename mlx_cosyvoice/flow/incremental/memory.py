"""What a network remembers between two pieces of a sequence, and how its layers read and renew it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx

from mlx_cosyvoice.flow.incremental.keys import KeysValues
from mlx_cosyvoice.nn import Conv1d
from mlx_cosyvoice.nn.conv_kernels import conv1d


@dataclass(frozen=True, eq=False)
class Past:
    """State of one network, in the order in which the network comes to its layers.

    Attributes:
        tails: the last inputs [B, kernel - 1, C] of every convolution.
        keys: the keys and values of every attention.
    """

    tails: tuple[mx.array, ...]
    keys: tuple[KeysValues, ...]

    def arrays(self) -> Iterator[mx.array]:
        """The memory that it holds."""
        yield from self.tails
        for keys in self.keys:
            yield from (block.room.array for block in keys.blocks)


class Memory:
    """One walk through a network: hands every layer its past and collects what the next walk needs.

    Layers must come in the same order on every walk.

    Args:
        past: what the walk before has left.
        dtype: in which keys and values are kept; None as they are computed.
        left_context: how many places before this piece attention sees; None for all.
        room: for how many pieces like this one there is to be room, where memory is needed.
    """

    def __init__(self, past: Past, *, dtype: mx.Dtype | None, left_context: int | None, room: int) -> None:
        self.dtype, self.left_context, self.room = dtype, left_context, room
        self._old_tails, self._old_keys = iter(past.tails), iter(past.keys)
        self._tails: list[mx.array] = []
        self._keys: list[KeysValues] = []

    def convolve(self, layer: Conv1d, x: mx.array) -> mx.array:
        """A causal convolution over the piece x [B, T, C]; the layer's own padding is not used."""
        dtype = x.dtype
        x = mx.concatenate([next(self._old_tails).astype(dtype), x], axis=1)
        reach = layer.weight.shape[1] - 1
        # a copy, as a view would keep all of x alive
        self._tails.append(mx.contiguous(x[:, x.shape[1] - reach :]))
        y = conv1d(x, layer.weight)
        return (y + layer.bias if "bias" in layer else y).astype(dtype)

    def attended(self, keys: mx.array, values: mx.array) -> KeysValues:
        """Keys and values [N, T, D] of this piece -> those that it attends to: the past's, then its own."""
        keys, values = (new.astype(self.dtype or new.dtype) for new in (keys, values))
        room = self.room * keys.shape[1]
        renewed = next(self._old_keys).appended(keys, values, keep=self.left_context, room=room)
        self._keys.append(renewed)
        return renewed

    def past(self) -> Past:
        """For the next walk."""
        return Past(tuple(self._tails), tuple(self._keys))
