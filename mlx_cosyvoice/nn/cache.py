"""What a causal network remembers between two pieces of a sequence.

A network that can run in pieces accepts `cache=`. Without one, the sequence is whole: zeros stand before it, and there
are no keys but its own. With one, its layers ask the cache for what came before, and leave in it what comes after
needs. What is kept from one piece to the next is `cache.state`, which never changes: it can be continued twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import mlx.core as mx

from mlx_cosyvoice.nn.kv_state import KVState

#: (keys, values), [B, heads, places, D] each.
KeysValues = tuple[mx.array, mx.array]


class Held:
    """What holds arrays."""

    def arrays(self) -> Iterator[mx.array]:
        """The memory that it holds."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Size of that memory."""
        return sum(array.nbytes for array in self.arrays())


@dataclass(frozen=True, eq=False)
class CacheState(Held):
    """State of a network, in the order in which it comes to its layers.

    Attributes:
        tensors: what layers have left: a convolution its last inputs, [B, kernel - 1, C].
        keys: the keys and values of every attention.
        parts: the states of its parts.
        position: how many positions it has counted.
    """

    tensors: tuple[mx.array, ...] = ()
    keys: tuple[KVState, ...] = ()
    parts: Mapping[str, CacheState] = field(default_factory=dict)
    position: int = 0

    def arrays(self) -> Iterator[mx.array]:
        yield from self.tensors
        for keys in self.keys:
            yield from (block.buffer.array for block in keys.blocks)
        for part in self.parts.values():
            yield from part.arrays()


@dataclass(frozen=True)
class CacheOptions:
    """How much is kept.

    Attributes:
        dtype: in which keys and values are kept; None as they are computed.
        left_chunks: how many chunks before its own attention sees; None for all.
        room: for how many pieces new memory is made, where it is needed.
    """

    dtype: mx.Dtype | None = None
    left_chunks: int | None = None
    room: int = 1


class Cache:
    """One run of a network over one piece.

    Layers must come in the same order in every run.

    Args:
        state: what the run before has left; None at the start of a sequence.
        options: how much is kept.
        chunk: positions of an attention chunk, which `options.left_chunks` counts.

    Attributes:
        past: the state that it goes on from.
    """

    def __init__(self, state: CacheState | None = None, options: CacheOptions = CacheOptions(), chunk: int = 0) -> None:
        self.past = state
        self._options, self._chunk = options, chunk
        self._tensors: list[mx.array] = []
        self._keys: list[KVState] = []
        self._parts: dict[str, Cache] = {}
        self._position = 0 if state is None else state.position

    @property
    def state(self) -> CacheState:
        """For the run over the next piece."""
        parts = {name: part.state for name, part in self._parts.items()}
        return CacheState(tuple(self._tensors), tuple(self._keys), parts, self._position)

    def part(self, name: str, chunk: int) -> Cache:
        """The cache of a part of the network that attends in chunks of so many positions."""
        old = None if self.past is None else self.past.parts[name]
        return self._parts.setdefault(name, Cache(old, self._options, chunk))

    def recalled(self) -> mx.array | None:
        """What this layer has left in the last run, to be followed by `remember`; None in the first run."""
        return None if self.past is None else self.past.tensors[len(self._tensors)]

    def remember(self, tensor: mx.array) -> None:
        """Leave an array for the next run."""
        self._tensors.append(mx.contiguous(tensor))  # a copy, as a view would keep all that it is a part of

    def constant(self, make: Callable[[], mx.array]) -> mx.array:
        """What a layer needs in every run, and no run changes: made in the first one."""
        tensor = make() if self.past is None else self.past.tensors[len(self._tensors)]
        self._tensors.append(tensor)
        return tensor

    def extend(self, x: mx.array, reach: int) -> mx.array:
        """x [B, T, C] behind the `reach` frames before it: [B, reach + T, C]."""
        tail = self.recalled()
        if tail is None:
            tail = mx.zeros((x.shape[0], reach, x.shape[2]), x.dtype)
        x = mx.concatenate([tail.astype(x.dtype), x], axis=1)
        self.remember(x[:, x.shape[1] - reach :])
        return x

    def count(self, length: int) -> int:
        """The position of the first of `length` new ones; in the next run they are behind it."""
        start, self._position = self._position, self._position + length
        return start

    @property
    def _left(self) -> int | None:
        return None if self._options.left_chunks is None else self._options.left_chunks * self._chunk

    def keys_with(self, length: int) -> int:
        """How many keys the attentions of this part see when a piece of so many positions is added."""
        held = 0 if self.past is None else self.past.keys[0].length
        return length + (held if self._left is None else min(held, self._left))

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> list[KeysValues]:
        """Keys and values [B, heads, T, D] of this piece -> those that it attends to: the past's, then its own."""
        keys, values = (new.astype(self._options.dtype or new.dtype) for new in (keys, values))
        old = KVState() if self.past is None else self.past.keys[len(self._keys)]
        updated = old.updated(keys, values, keep=self._left, capacity=self._options.room * keys.shape[2])
        self._keys.append(updated)
        return updated.fetch()


def part_of(cache: Cache | None, name: str, chunk: int) -> Cache | None:
    """`cache.part`, if there is a cache."""
    return None if cache is None else cache.part(name, chunk)


def keys_with(cache: Cache | None, length: int) -> int:
    """How many keys attention sees when a piece of so many positions is added; without a cache its own."""
    return length if cache is None else cache.keys_with(length)


def first_position(cache: Cache | None, length: int) -> int:
    """The position at which a piece of so many begins; without a cache it is the whole."""
    return 0 if cache is None else cache.count(length)


def constant(make: Callable[[], mx.array], cache: Cache | None) -> mx.array:
    """What `make` gives, which is the same for every piece."""
    return make() if cache is None else cache.constant(make)


def extended(x: mx.array, reach: int, cache: Cache | None) -> mx.array:
    """x [B, T, C] behind the `reach` frames before it, which are zeros without a cache: [B, reach + T, C]."""
    return mx.pad(x, [(0, 0), (reach, 0), (0, 0)]) if cache is None else cache.extend(x, reach)


def followed(x: mx.array, reach: int, context: mx.array | None) -> mx.array:
    """x [B, T, C] and the `reach` frames after it: the context [B, L, C], and zeros in place of those that it lacks.

    [B, T + reach, C].
    """
    known = x if context is None else mx.concatenate([x, context], axis=1)
    return mx.pad(known, [(0, 0), (0, x.shape[1] + reach - known.shape[1]), (0, 0)])


def attended(keys: mx.array, values: mx.array, cache: Cache | None) -> list[KeysValues]:
    """The keys and values that a piece attends to; without a cache its own."""
    return [(keys, values)] if cache is None else cache.update_and_fetch(keys, values)
