"""Sizes, inputs and the historic fault of the flow stage, shared by its reference and MLX tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from mlx_cosyvoice.config import CFMConfig, EncoderConfig, EstimatorConfig, FlowConfig
from reference.synthetic import recipe

VOCAB = 6561
PROMPT = 37
LOOKAHEAD = 3
#: The prefixes, in tokens, of the golden `mel/stream_chunks`: each ends a chunk of 25 (prompt included).
STREAM_ENDS = (13, 38, 63, 88, 113)

CONFIGS = {
    "tiny": FlowConfig(
        encoder=EncoderConfig(linear_units=128, num_blocks=1),
        decoder=CFMConfig(
            estimator=EstimatorConfig(channels=(64,), attention_head_dim=32, n_blocks=1, num_mid_blocks=2, num_heads=2)
        ),
    ),
    "full": FlowConfig(),
}


class Inputs(NamedTuple):
    """Arguments of the stage, as NumPy arrays in the official layout."""

    token: np.ndarray
    prompt_token: np.ndarray
    prompt_feat: np.ndarray
    embedding: np.ndarray

    def with_token(self, token: np.ndarray) -> Inputs:
        return self._replace(token=token)

    def without_prompt(self) -> Inputs:
        return self._replace(prompt_token=self.prompt_token[:, :0], prompt_feat=self.prompt_feat[:, :0])


def inputs() -> Inputs:
    """The golden inputs."""
    return Inputs(
        token=recipe.integers("input/token", (1, 50), VOCAB),
        prompt_token=recipe.integers("input/prompt_token", (1, PROMPT), VOCAB),
        prompt_feat=recipe.unit("input/prompt_feat", (1, 2 * PROMPT, 80)) * np.float32(2.5) - np.float32(5),
        embedding=recipe.unit("input/embedding", (1, 192)),
    )


def stream_inputs() -> list[tuple[int, Inputs]]:
    """(frames already spoken, inputs) of the five calls behind the golden `mel/stream_chunks`."""
    token = recipe.integers("input/token_long", (1, STREAM_ENDS[-1] + LOOKAHEAD), VOCAB)
    starts = (0, *STREAM_ENDS[:-1])
    return [
        (2 * start, inputs().with_token(token[:, : end + LOOKAHEAD]))
        for start, end in zip(starts, STREAM_ENDS, strict=True)
    ]


def config_dict(size: str) -> dict[str, Any]:
    return dataclasses.asdict(CONFIGS[size])


@contextmanager
def decoder_mask_dropped(flow: Any) -> Iterator[None]:
    """The historic bug, on either side: the decoder of a streaming run attends to everything."""
    estimator = flow.decoder.estimator
    chunk = estimator.static_chunk_size
    estimator.static_chunk_size = 0
    try:
        yield
    finally:
        estimator.static_chunk_size = chunk
