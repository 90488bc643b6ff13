"""The golden streaming run: its inputs and draws, and how far float32 itself can be trusted there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from reference import flow, hift, recipe
from reference.flow import CausalMaskedDiffWithXvec
from reference.hift import HiFTGenerator
from reference.streaming import Prompt, offline, stream
from tests.support import flow as flow_support
from tests.support.golden import as_torch, recipe_state_dict
from tests.support.hift import CONFIGS, as_mapping

TOKENS = 213
SPEED = 1.25
#: Golden name -> how it was made.
RUNS = ("stream", "offline", "offline_speed1.25")

Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]


def tokens() -> list[int]:
    return recipe.integers("input/token_stream", (1, TOKENS), 6561)[0].tolist()


def draws() -> Draw:
    """The draws of one run: those of the i-th run of the vocoder are named by i."""
    runs = 0

    def draw(samples: int) -> tuple[np.ndarray, np.ndarray]:
        nonlocal runs
        number, runs = runs, runs + 1
        rand_ini = (recipe.uniform(f"noise/rand_ini/{number}", (1, 9)) + 1) / 2
        return rand_ini, recipe.unit(f"noise/sine/{number}", (1, samples, 9))

    return draw


def torch_draws(dtype: torch.dtype = torch.float32) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    draw = draws()

    def torch_draw(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        rand_ini, sine_noise = draw(samples)
        return torch.from_numpy(rand_ini).to(dtype), torch.from_numpy(sine_noise).to(dtype)

    return torch_draw


def torch_prompt(dtype: torch.dtype = torch.float32) -> Prompt:
    given = flow_support.inputs()
    return Prompt(
        torch.from_numpy(given.prompt_token),
        torch.from_numpy(given.prompt_feat).to(dtype),
        torch.from_numpy(given.embedding).to(dtype),
    )


@cache
def reference_models(size: str) -> tuple[CausalMaskedDiffWithXvec, HiFTGenerator]:
    speaker = flow.build(flow_support.config_dict(size))
    speaker.load_state_dict(as_torch(recipe_state_dict(f"flow.{size}")), strict=True)
    vocoder = hift.build(as_mapping(CONFIGS[size]))
    vocoder.load_state_dict(as_torch(recipe_state_dict(f"hift.{size}")), strict=True)
    return speaker, vocoder
