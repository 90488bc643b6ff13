"""Speech tokens: the golden sizes, and when two token sequences count as equal."""

from __future__ import annotations

import numpy as np

from mlx_cosyvoice.config import SpeechTokenizerConfig, SpeechTokenizerV3Config

SIZES = {
    "tiny": SpeechTokenizerConfig(n_audio_state=128, n_audio_head=2, n_audio_layer=2),
    "full": SpeechTokenizerConfig(),
}
#: Of CosyVoice3's tokenizer.
SIZES3 = {
    "tiny": SpeechTokenizerV3Config(n_audio_state=128, n_audio_head=2, n_audio_layer=4),
    "full": SpeechTokenizerV3Config(),
}
#: A value this close to a rounding edge (-0.5 or 0.5) may fall on either side.
EDGE = 1e-4


def assert_tokens(tokens: np.ndarray, expected: np.ndarray, before_rounding: np.ndarray) -> None:
    """The same tokens, but where one of a token's golden values before rounding lies on an edge."""
    assert tokens.shape == expected.shape, f"tokens: shape {tokens.shape}, golden {expected.shape}"
    doubtful = (np.abs(np.abs(before_rounding) - 0.5) < EDGE).any(axis=-1)
    wrong = (tokens != expected) & ~doubtful
    assert not wrong.any(), f"{wrong.sum()} of {tokens.size} tokens differ, the first at {np.argwhere(wrong)[0]}"
