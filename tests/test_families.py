"""Families are declared three times over, by hand: what the declarations say of the same thing must agree."""

from __future__ import annotations

import pytest

import reference.families
from converters.families import OFFICIALS
from mlx_cosyvoice.families import FAMILIES


@pytest.mark.parametrize("model_type", list(FAMILIES))
def test_the_declarations_agree(model_type: str) -> None:
    ours, oracle, official = FAMILIES[model_type], reference.families.FAMILIES[model_type], OFFICIALS[model_type]
    assert ours.model_type == model_type
    assert official.family is ours
    assert {one.name: one.file for one in ours.components} == {name: one.file for name, one in oracle.networks.items()}
    assert list(official.origins) == list(ours.names) == list(oracle.networks)
    assert {name: one.prefix for name, one in official.origins.items()} == {
        name: one.prefix for name, one in oracle.networks.items()
    }
    assert (ours.yaml[0], ours.special_tokens) == (oracle.yaml, oracle.tokens)
    assert ours.mel.fmax == oracle.mel_fmax
