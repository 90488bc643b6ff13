"""Hops, and change of speed: pure functions."""

import mlx.core as mx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

import mlx_cosyvoice.decoding as streaming
from mlx_cosyvoice.decoding import Hops, change_speed
from mlx_cosyvoice.prompt import Prompt
from reference.streaming import hops as reference_hops

HOPS = Hops()


def official_hops(tokens: int, prompt: int) -> list[int]:
    """The official loop with all tokens there from the start, stated with a different break: see `tts`."""
    hop, offset, done = 25, 0, []
    pad = int(np.ceil(prompt / 25) * 25 - prompt)
    while True:
        this = hop + pad if offset == 0 else hop
        if tokens - offset >= this + 3:
            done.append(this)
            offset += this
            hop = min(100, hop * 2)
        if tokens - offset < this + 3:
            return [*done, tokens - offset]


@settings(deadline=None)
@given(st.integers(0, 1500), st.integers(0, 400))
def test_hops_are_the_official_ones(tokens, prompt):
    assert HOPS.plan(tokens, prompt) == official_hops(tokens, prompt) == reference_hops(tokens, prompt, 3)


@settings(deadline=None)
@given(st.integers(0, 1500), st.integers(0, 400))
def test_hops_end_on_chunk_borders_and_leave_the_lookahead(tokens, prompt):
    plan = HOPS.plan(tokens, prompt)
    assert sum(plan) == tokens
    ends = np.cumsum([prompt, *plan[:-1]])[1:]
    assert not (ends % 25).any()
    assert plan[1:-1] == [50, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100][: len(plan[1:-1])]
    if len(plan) > 1:
        assert plan[-1] >= 3


@pytest.mark.parametrize(
    ("tokens", "prompt", "plan"),
    [
        (213, 37, [38, 50, 100, 25]),  # the golden run
        (40, 37, [40]),  # one too few for the first hop
        (41, 37, [38, 3]),  # the rest is exactly the lookahead
        (28, 0, [25, 3]),
        (27, 0, [27]),
        (28, 25, [25, 3]),  # a prompt that ends on a border needs nothing to get there
        (78, 50, [25, 50, 3]),
        (0, 10, [0]),
    ],
)
def test_plans(tokens, prompt, plan):
    assert HOPS.plan(tokens, prompt) == plan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chunk": 0}, "chunk must be at least 1, not 0"),
        ({"growth": 0}, "growth must be"),
        ({"longest": -25}, "longest must be"),
        ({"longest": 60}, r"longest \(60\) must be a multiple of chunk \(25\)"),
        ({"lookahead": -1}, "lookahead must be at least 0"),
    ],
)
def test_impossible_hops_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Hops(**arguments)


@pytest.mark.parametrize(("number", "prompt", "name"), [(-1, 0, "number"), (0, -1, "prompt_tokens")])
def test_hops_of_nothing_are_refused(number, prompt, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 0, not -1"):
        HOPS.hop(number, prompt)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 600), st.floats(0.25, 4.0))
@example(8, 0.25)
@example(8, 4.0)
def test_speed_is_torchs_linear_interpolation(frames, speed):
    mel = np.random.default_rng(frames).standard_normal((1, frames, 3)).astype(np.float32) * 5
    changed = np.array(change_speed(mx.array(mel), speed))
    if int(frames / speed):
        expected = F.interpolate(torch.from_numpy(mel).mT, size=int(frames / speed), mode="linear").mT.numpy()
        np.testing.assert_allclose(changed, expected, rtol=0, atol=1e-5)
    else:  # where upstream raises
        assert changed.shape == (1, 1, 3)


@pytest.mark.parametrize("speed", [0, -1, 0.1, 5, float("nan"), float("inf")])
def test_absurd_speeds_are_refused(speed):
    with pytest.raises(ValueError, match=r"speed must be from 0\.25 to 4"):
        change_speed(mx.zeros((1, 4, 80)), speed)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((5,), (1, 10, 80), (1, 192)), r"prompt_token must be \[1, N\], not \[5\]"),
        (((1, 5), (1, 9, 80), (1, 192)), r"prompt_feat must be \[1, 10, 80\] for 5 prompt tokens"),
        (((1, 5), (1, 10, 80), (192,)), r"embedding must be \[1, 192\], not \[192\]"),
    ],
)
def test_prompts_of_wrong_shape_are_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        Prompt(mx.zeros(shapes[0], mx.int32), mx.zeros(shapes[1]), mx.zeros(shapes[2]))


def test_public_names_exist():
    assert all(hasattr(streaming, name) for name in streaming.__all__)
