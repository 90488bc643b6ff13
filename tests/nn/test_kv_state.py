"""Keys and values of the past: in order, shared by the states of an utterance, and never changed."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.nn.kv_state import KVState

#: Places of a buffer that a test makes.
CAPACITY = 16


def appended(state: KVState, first: int, places: int, *, keep: int | None = None) -> KVState:
    """With keys [1, 1, places, 1] numbered from `first`, and their negatives as values."""
    count = mx.arange(first, first + places, dtype=mx.float32).reshape(1, 1, places, 1)
    return state.updated(count, -count, keep=keep, capacity=CAPACITY)


def listed(state: KVState) -> list[int]:
    both = [np.concatenate([np.array(block[which]) for block in state.fetch()], axis=2) for which in (0, 1)]
    np.testing.assert_array_equal(both[0], -both[1])
    assert state.length == both[0].size
    return both[0].reshape(-1).astype(int).tolist()


def test_pieces_stay_in_order_in_buffers_that_are_filled_one_after_the_other() -> None:
    states = [KVState()]
    for start in range(0, 40, 2):
        states.append(appended(states[-1], start, 2))
    assert [listed(state) for state in states[1:]] == [list(range(2 * count)) for count in range(1, 21)]
    assert [block.length for block in states[-1].blocks] == [CAPACITY, CAPACITY, 8]
    assert [block.buffer.array.shape[3] for block in states[-1].blocks] == [CAPACITY] * 3
    assert states[-1].blocks[0].buffer is states[1].blocks[0].buffer
    shorter = appended(states[-1], 40, 1)
    assert listed(shorter) == list(range(41))
    assert listed(appended(shorter, 41, CAPACITY + 3)) == list(range(41 + CAPACITY + 3)), "longer than a buffer"


def test_states_that_go_on_from_the_same_one_do_not_meet() -> None:
    start = appended(KVState(), 0, 4)
    first = appended(start, 100, 3)
    second = appended(start, 200, 2)
    third = appended(first, 300, 1)
    assert listed(start) == [0, 1, 2, 3]
    assert listed(first) == [0, 1, 2, 3, 100, 101, 102]
    assert listed(second) == [0, 1, 2, 3, 200, 201]
    assert listed(third) == [0, 1, 2, 3, 100, 101, 102, 300]
    assert first.blocks[0].buffer is start.blocks[0].buffer
    assert second.blocks[1].buffer is not first.blocks[0].buffer


def test_only_the_kept_places_are_read_and_little_more_is_held() -> None:
    state = KVState()
    expected: list[int] = []
    for start in range(0, 100, 2):
        state, expected = appended(state, start, 2, keep=6), [*expected, start, start + 1][-8:]
        assert listed(state) == expected
        assert sum(block.buffer.array.shape[3] for block in state.blocks) <= 8 + 2 * CAPACITY
    assert listed(appended(state, 100, 2, keep=0)) == [100, 101]


def test_a_buffer_is_filled_in_place() -> None:
    """Or every hop would copy what it appends to: eight times the state at worst."""
    state = KVState()
    places = set()
    for start in range(0, CAPACITY, 4):
        state = appended(state, start, 4)
        mx.eval(state.blocks[0].buffer.array)
        places.add(np.array(state.blocks[0].buffer.array, copy=False).ctypes.data)
    assert len(places) == 1
