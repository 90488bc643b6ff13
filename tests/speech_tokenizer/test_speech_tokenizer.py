"""The MLX speech tokenizer's own properties."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.speech_tokenizer import S3TokenizerV2, codes
from reference.synthetic import recipe
from tests.support.golden import assert_close, golden, recipe_state_dict
from tests.support.tokens import SIZES


def log_mel(frames: int) -> mx.array:
    return mx.array((recipe.unit(f"input/logmel{frames}", (1, 128, frames)) * np.float32(0.4)).transpose(0, 2, 1))


def build(size: str) -> S3TokenizerV2:
    weights = recipe_state_dict(f"speech_tokenizer.{size}", "speech_tokenizer.")
    return load_official(S3TokenizerV2(SIZES[size]), weights)


@pytest.fixture(scope="module")
def tiny() -> S3TokenizerV2:
    return build("tiny")


def test_the_quantizer_is_among_the_parameters(tiny: S3TokenizerV2) -> None:
    """Its official name starts with an underscore, which MLX by itself leaves out."""
    assert "project_down" in tiny.parameters()["quantizer"]["_codebook"]


@pytest.mark.parametrize("frames", range(1, 10))
def test_a_token_stands_for_four_frames(tiny: S3TokenizerV2, frames: int) -> None:
    assert tiny(log_mel(96)[:, :frames]).shape == (1, -(-frames // 4))


def test_a_batch_is_its_members(tiny: S3TokenizerV2) -> None:
    one, other = log_mel(96), log_mel(100)[:, :96]
    together = np.array(tiny.before_rounding(mx.concatenate([one, other])))
    alone = np.concatenate([tiny.before_rounding(one), tiny.before_rounding(other)])
    assert_close(together, alone, 1e-5, "before rounding")


@given(st.lists(st.integers(-1, 1), min_size=8, max_size=8))
def test_tokens_are_numbers_in_base_three(digits: list[int]) -> None:
    token = int(codes(mx.array(digits, dtype=mx.float32) * 0.9))
    assert 0 <= token < 6561
    assert [token // 3**place % 3 - 1 for place in range(8)] == digits


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_runs(dtype: mx.Dtype) -> None:
    tokenizer = build("tiny")
    tokenizer.set_dtype(dtype)
    assert tokenizer.quantizer._codebook.project_down.weight.dtype == dtype
    before = tokenizer.before_rounding(log_mel(301))
    assert before.dtype == mx.float32
    assert np.isfinite(np.array(before)).all()
    agreement = (np.array(tokenizer(log_mel(301))) == golden("speech_tokenizer.tiny")["codes301"]).mean()
    assert agreement > 0.5


@pytest.mark.parametrize("shape", [(100, 128), (1, 128, 100), (1, 0, 128)])
def test_a_wrong_shape_is_refused(tiny: S3TokenizerV2, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"log_mel must be \[batch, frames, 128\]"):
        tiny(mx.zeros(shape))
