"""Keys and values of the positions that the language model has already seen."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx

from mlx_cosyvoice.nn.cache import Held


class LayerCache:
    """Keys and values of one attention layer, [1, kv heads, positions, head_dim].

    Room is made in whole blocks of `step`: for `capacity` positions at once, and for more of them block by block.
    """

    step = 256

    def __init__(self, capacity: int = 0) -> None:
        self.offset = 0
        self.capacity = capacity
        self._keys: mx.array | None = None
        self._values: mx.array | None = None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append new positions; returns all of them."""
        end = self.offset + keys.shape[2]
        self._keys = self._with_room(self._keys, keys, end)
        self._values = self._with_room(self._values, values, end)
        self._keys[:, :, self.offset : end] = keys
        self._values[:, :, self.offset : end] = values
        self.offset = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def _with_room(self, buffer: mx.array | None, like: mx.array, end: int) -> mx.array:
        batch, heads, _, size = like.shape
        if buffer is None:
            buffer = mx.zeros((batch, heads, 0, size), dtype=like.dtype)
        missing = max(end, self.capacity) - buffer.shape[2]
        if missing <= 0:
            return buffer
        blocks = -(-missing // self.step)
        room = mx.zeros((batch, heads, blocks * self.step, size), dtype=like.dtype)
        return mx.concatenate([buffer, room], axis=2)

    def trim(self, count: int) -> None:
        """Forget the last `count` positions."""
        self.offset -= count

    def arrays(self) -> Iterator[mx.array]:
        """What holds the memory; room for later positions included."""
        yield from (array for array in (self._keys, self._values) if array is not None)

    def copy(self, capacity: int = 0) -> LayerCache:
        twin = LayerCache(capacity)
        twin.offset = self.offset
        if self._keys is not None and self._values is not None:
            # slicing makes new arrays: item assignment to one copy does not reach the other
            twin._keys, twin._values = self._keys[...], self._values[...]
        return twin


class KVCache(Held):
    """What the language model keeps between steps; one `LayerCache` a layer.

    A prefix can be run once, then copied and continued as often as needed (`copy`), or a continuation dropped (`trim`).

    Args:
        layers: of the model.
        capacity: how many positions there will be, as far as it is known: room for them is made at once, so that
            nothing is copied and no shape changes while tokens are generated. At most `LIMIT` of them, since mostly
            far fewer tokens are spoken than are allowed. A position of the full model takes 24 kB in float32
            (2 x 24 layers x 2 heads x 64 numbers), half of that in 16 bits: `LIMIT` of them 50 MB.
    """

    LIMIT = 2048

    def __init__(self, layers: int, capacity: int = 0) -> None:
        self.layers = [LayerCache(min(capacity, self.LIMIT)) for _ in range(layers)]

    @property
    def offset(self) -> int:
        """How many positions are held; also the position of the next one."""
        return self.layers[0].offset

    def trim(self, count: int) -> None:
        """Forget the last `count` positions.

        Raises:
            ValueError: `count` is negative or larger than what is held.
        """
        if not 0 <= count <= self.offset:
            raise ValueError(f"count is {count}, but the cache holds {self.offset} positions")
        for layer in self.layers:
            layer.trim(count)

    def arrays(self) -> Iterator[mx.array]:
        """Keys and values of all layers."""
        for layer in self.layers:
            yield from layer.arrays()

    def copy(self, capacity: int = 0) -> KVCache:
        """An independent cache of the same positions; memory is shared until one of the two grows."""
        twin = KVCache(0)
        twin.layers = [layer.copy(min(capacity, self.LIMIT)) for layer in self.layers]
        return twin
