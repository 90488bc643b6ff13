"""The reference's causal vocoder: its own properties."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from reference import causal_hift
from reference.checkpoint import read_state_dict
from tests.support import hift3 as support
from tests.support.golden import as_torch, assert_close, golden, recipe_state_dict


@pytest.fixture(scope="module")
def tiny() -> causal_hift.CausalHiFTGenerator:
    vocoder = causal_hift.build(dataclasses.asdict(support.CONFIGS["tiny"]))
    vocoder.load_state_dict(as_torch(recipe_state_dict("hift3.tiny")), strict=True)
    return vocoder


def wav(vocoder: causal_hift.CausalHiFTGenerator) -> torch.Tensor:
    draws: dict[str, Any] = {name: torch.from_numpy(array) for name, array in support.draws().items()}
    return vocoder.inference(torch.from_numpy(support.mel()), **draws)[0]


@pytest.mark.parametrize("prefix", ["", "generator."])
def test_keys_are_found_with_and_without_the_trainer_s_prefix(
    tiny: causal_hift.CausalHiFTGenerator, tmp_path: Path, prefix: str
) -> None:
    weights = as_torch(recipe_state_dict("hift3.tiny"))
    torch.save({f"{prefix}{key}": tensor for key, tensor in weights.items()}, tmp_path / "hift.pt")
    found = read_state_dict(tmp_path / "hift.pt", tiny.state_dict().keys())
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[key], weights[key]) for key in weights)


def test_float64(tiny: causal_hift.CausalHiFTGenerator) -> None:
    wide = copy.deepcopy(tiny).double()
    made = wav(wide)
    assert made.dtype == torch.float64
    assert_close(made.numpy(), golden("hift3.tiny")["wav"], 2e-3, "wav")


def test_f0_stays_float64_in_a_network_of_half_precision(tiny: causal_hift.CausalHiFTGenerator) -> None:
    half = copy.deepcopy(tiny).bfloat16()
    assert torch.isfinite(wav(half)).all()
    assert half.f0_predictor.classifier.weight.dtype == torch.float64
