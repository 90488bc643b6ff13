"""Voices without a model, and the entries of an official `spk2info.pt` (which tests write with torch)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mlx_cosyvoice.voices import Voice


def make_voice(seed: int = 0, tokens: int = 7, **fields: Any) -> Voice:
    """A voice of random numbers."""
    draw = np.random.default_rng(seed)
    values: dict[str, Any] = {
        "prompt_token": draw.integers(0, 6561, (1, tokens), dtype=np.int32),
        "prompt_feat": draw.standard_normal((1, 2 * tokens, 80), dtype=np.float32),
        "embedding": draw.standard_normal((1, 192), dtype=np.float32),
        "transcript": "Hello, 你好.",
        "provenance": {"source": "a b.wav"},
    }
    return Voice(**(values | fields))


def sft_entry(seed: int = 0) -> dict[str, Any]:
    """As the official checkpoints have them."""
    return {"embedding": torch.randn(1, 192, generator=torch.Generator().manual_seed(seed))}


def zero_shot_entry(seed: int = 0, tokens: int = 7) -> dict[str, Any]:
    """As `CosyVoice2.add_zero_shot_spk` builds them: one tensor under several names, others cut out of larger ones."""
    generator = torch.Generator().manual_seed(seed)
    token = torch.randint(0, 6561, (1, tokens + 2), generator=generator, dtype=torch.int32)[:, :tokens]
    feat = torch.randn(80, 2 * tokens + 3, generator=generator).transpose(0, 1).unsqueeze(0)[:, : 2 * tokens]
    embedding = torch.randn(1, 192, generator=generator)
    ids = torch.tensor([[9707, 151643, 3]], dtype=torch.int32)
    lengths = {"prompt_text": 3, "llm_prompt_speech_token": tokens, "flow_prompt_speech_token": tokens}
    return {
        "prompt_text": ids,
        "llm_prompt_speech_token": token,
        "flow_prompt_speech_token": token,
        "prompt_speech_feat": feat,
        "llm_embedding": embedding,
        "flow_embedding": embedding,
        **{f"{name}_len": torch.tensor([count], dtype=torch.int32) for name, count in lengths.items()},
        "prompt_speech_feat_len": torch.tensor([2 * tokens], dtype=torch.int32),
    }


def assert_same_voice(found: Voice, expected: Voice) -> None:
    """All fields are equal, bit for bit."""
    for name in ("prompt_token", "prompt_feat", "embedding"):
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == b.dtype, name
        assert np.array_equal(a, b), name
    assert found.transcript == expected.transcript
    assert found.prompt_text == expected.prompt_text
    assert found.provenance == expected.provenance
    assert found.families == expected.families
