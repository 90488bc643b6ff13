"""Room for keys and values that is made at once."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.llm import KVCache, Qwen2LM
from mlx_cosyvoice.llm.cache import LayerCache
from tests.support import llm as support_llm


def rows(start: int, count: int) -> mx.array:
    return mx.broadcast_to(mx.arange(start, start + count, dtype=mx.float32)[None, None, :, None], (1, 2, count, 4))


def room(cache: LayerCache) -> list[int]:
    return [array.shape[2] for array in cache.arrays()]


@settings(max_examples=50, deadline=None)
@given(
    capacity=st.integers(0, 700),
    pieces=st.lists(st.integers(1, 300), min_size=1, max_size=5),
    copied=st.integers(0, 4),
    copy_capacity=st.integers(0, 900),
)
def test_what_is_held_does_not_depend_on_the_room(
    capacity: int, pieces: list[int], copied: int, copy_capacity: int
) -> None:
    cache, end = LayerCache(capacity), 0
    for index, count in enumerate(pieces):
        if index == copied:
            cache = cache.copy(copy_capacity)
        keys, values = cache.update_and_fetch(rows(end, count), -rows(end, count))
        end += count
        assert cache.offset == end
        assert np.array_equal(np.array(keys), np.array(rows(0, end)))
        assert np.array_equal(np.array(values), np.array(-rows(0, end)))
        assert all(held >= end and held % LayerCache.step == 0 for held in room(cache))


@pytest.mark.parametrize(("capacity", "made"), [(0, 256), (1, 256), (256, 256), (257, 512), (1000, 1024)])
def test_room_is_made_at_once_in_whole_blocks(capacity: int, made: int) -> None:
    cache = LayerCache(capacity)
    assert room(cache) == []  # none before the dtype is known
    cache.update_and_fetch(rows(0, 5), rows(0, 5))
    assert room(cache) == [made, made]
    cache.update_and_fetch(rows(0, made - 5), rows(0, made - 5))
    assert room(cache) == [made, made]
    cache.update_and_fetch(rows(0, 1), rows(0, 1))
    assert room(cache) == [made + 256] * 2


def test_a_cache_makes_room_for_no_more_than_its_limit_at_once() -> None:
    cache = KVCache(1, capacity=10**9)
    for one in (cache, cache.copy(10**9)):
        one.layers[0].update_and_fetch(rows(0, 3), rows(0, 3))
        assert room(one.layers[0]) == [KVCache.LIMIT] * 2


def test_a_position_of_the_full_model_takes_24_kilobytes() -> None:
    cache = KVCache(24, capacity=KVCache.LIMIT)
    for layer in cache.layers:
        layer.update_and_fetch(mx.zeros((1, 2, 1, 64)), mx.zeros((1, 2, 1, 64)))
    assert cache.nbytes == 24576 * KVCache.LIMIT
    assert cache.nbytes < 51e6


@pytest.mark.parametrize("with_prefix", [False, True])
def test_generation_makes_room_once(with_prefix: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Qwen2LM(support_llm.config("tiny"))
    prefix = model.prefill_prefix([1] * 10) if with_prefix else None
    assert prefix is None or room(prefix.layers[0]) == [256, 256]
    seen: list[list[int]] = []
    extend = LayerCache.update_and_fetch

    def noted(self: LayerCache, *args: mx.array) -> tuple[mx.array, mx.array]:
        result = extend(self, *args)
        seen.append(room(self))
        return result

    monkeypatch.setattr(LayerCache, "update_and_fetch", noted)
    tokens = model.generate(
        [1] * 20, [1] * 10, [5] * 100, lambda *_: 7, min_token_text_ratio=0, max_token_text_ratio=20, prefix=prefix
    )
    assert len(list(tokens)) == 400
    assert seen == [[768, 768]] * len(seen)  # 1 + 10 + 20 + 1 + 100 + 400, in whole blocks
    if prefix is not None:
        assert room(prefix.layers[0]) == [256, 256]
