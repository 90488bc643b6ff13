"""What a planted fault is takes part in the report, and what nothing explains is not given a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_parity import check
from mlx_parity.report.culprits import culprit_to_dict
from mlx_parity.suspects import Scene, probable_cause
from mlx_parity.suspects.attention import Attention
from mlx_parity.suspects.formulas import ACTIVATIONS
from mlx_parity.suspects.norms import Norm
from tests.mlx_parity.models import ids, port, reference

gelu, gelu_tanh, silu = (ACTIVATIONS[name] for name in ("the exact GELU", "the GELU by tanh", "SiLU"))

Array = np.ndarray

RANDOM = np.random.default_rng(0)
X, GATE, UP = (RANDOM.normal(size=(1, 24, 32)) for _ in range(3))
FLOOR = 1e-7


def scene(port_made: Array, exact: Array, **options: Any) -> Scene:
    """With the rounding of float32, in a place that had these arrays before."""
    sources = options.pop("sources", {"gate": GATE, "up": UP, "its own input": X})
    return Scene(port_made.astype(np.float32).astype(np.float64), exact, 8 * FLOOR, sources, **options)


@pytest.mark.parametrize(
    ("port_made", "exact", "cause"),
    [
        (gelu_tanh(UP), gelu(UP), "the port applies the GELU by tanh to up, the reference the exact GELU"),
        (
            silu(UP) * GATE,
            silu(GATE) * UP,
            "the port makes SiLU of up, times gate, the reference SiLU of gate, times up",
        ),
        (X + UP, X + 0.5 * UP, "the port makes up + its own input, the reference 0.5 times up + its own input"),
        (UP, X + UP, "the port makes up, the reference up + its own input"),
        (UP, UP + 0.25, "the port makes up, the reference up + 0.25"),
    ],
)
def test_what_both_sides_made_is_told(port_made: Array, exact: Array, cause: str) -> None:
    assert probable_cause(scene(port_made, exact)) == cause


HIDDEN = np.cumsum(RANDOM.normal(size=(1, 24, 32)), axis=1)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda x: 3 * x, "the reference's is 0.333333 times the port's"),
        (lambda x: np.roll(x, 1, 1), "the port's is moved by 1 along axis 1"),
        (lambda x: np.roll(x, 16, -1), "the port exchanges the halves of the last axis"),
        (lambda x: 30 * np.arctanh(x / 30), "the port lacks the soft cap at 30"),
        (lambda x: x - GATE, "the port does not add gate"),
        (
            lambda x: x * np.linspace(1, 2, 24)[:, None],
            "the port's is the reference's but for a factor at each position",
        ),
        (
            lambda x: np.array(mx.array(x.astype(np.float32)).astype(mx.bfloat16).astype(mx.float32)),
            "the port rounds to bfloat16",
        ),
    ],
)
def test_what_makes_the_ports_the_references_is_told(change: Callable[[Array], Array], cause: str) -> None:
    assert probable_cause(scene(change(HIDDEN), HIDDEN)).startswith(cause)


def test_the_scale_of_embeddings_that_was_rounded_is_told() -> None:
    root = 48**0.5
    table = RANDOM.normal(size=(1, 24, 48))
    found = probable_cause(scene(table * 6.9375, table * root, sources={}))
    assert found == "the port rounds the scale 6.9282, the root of the width, to bfloat16, which makes it 6.9375"


NORM = Norm(1e-6, False, "its weights", 1)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"eps": 1e-5}, "the port has an epsilon of 1e-05, the reference an epsilon of 1e-06"),
        ({"centred": True}, "the port is a layer norm, the reference an RMS norm"),
        ({"weight": "its weights plus 1"}, "the port multiplies by its weights plus 1, the reference"),
        ({"groups": 4}, "the port normalises 4 groups of channels, the reference all channels together"),
    ],
)
def test_norms_are_told_apart(change: dict[str, Any], cause: str) -> None:
    x, weight = 0.3 * X + 0.1, RANDOM.normal(size=32)
    made = (norm(x, weight, None) for norm in (replace(NORM, **change), NORM))
    found = probable_cause(scene(*made, sources={"its own input": x}, parameters={"weight": weight}))
    assert found.startswith(cause)


ATTENTION = Attention("q_proj", "k_proj", "v_proj", 8, rotary="halves", part=8, scale=8**-0.5, window=6)
PROJECTED = {
    "v_proj": RANDOM.normal(size=(1, 24, 16)),
    "k_proj": RANDOM.normal(size=(1, 24, 16)),
    "q_proj": RANDOM.normal(size=(1, 24, 32)),
}


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"window": 0}, "the port has no sliding window, the reference a sliding window of 6"),
        ({"window": 5}, "the port has a sliding window of 5, the reference a sliding window of 6"),
        ({"rotary": "pairs"}, "the port rotates pairs of neighbours, the reference rotates halves of a head"),
        ({"part": 4}, "the port rotates 4 numbers of each head of 8, the reference 8"),
        ({"base": 500000.0}, "the port rotates by a base of 500000, the reference by 10000"),
        ({"rotary": ""}, "the port does not rotate, the reference rotates halves of a head"),
        ({"scale": 1.0}, "the port scales by 1, the reference by 0.353553"),
        ({"cap": 50.0}, "the port has a softcap of 50, the reference no softcap"),
        ({"ahead": None, "window": 6}, "the port has no causal mask"),
        ({"norm": "after"}, "the port has a norm of queries and keys, the reference no such norm"),
        ({"norm": "after", "eps": 1e-5}, "the port has a norm of queries and keys, the reference no such norm"),
        ({"tiled": True}, "the port shares keys among its heads in another order"),
    ],
)
def test_attention_is_told_apart(change: dict[str, Any], cause: str) -> None:
    made = (attention(PROJECTED) for attention in (replace(ATTENTION, **change), ATTENTION))
    assert probable_cause(scene(*made, sources=PROJECTED)) == cause


def test_a_fused_projection_is_taken_apart() -> None:
    fused = {"qkv_proj": np.concatenate([PROJECTED[name] for name in ("q_proj", "k_proj", "v_proj")], -1)}
    made = (attention(PROJECTED) for attention in (replace(ATTENTION, window=0), ATTENTION))
    assert probable_cause(scene(*made, sources=fused)).startswith("the port has no sliding window")


def test_what_nothing_explains_has_no_cause() -> None:
    assert probable_cause(scene(RANDOM.normal(size=UP.shape), np.sort(UP, 1) * GATE)) == ""
    assert probable_cause(scene(gelu_tanh(UP), np.sin(UP))) == ""
    assert probable_cause(scene(UP, UP)) == ""


def test_a_cause_stands_in_the_report() -> None:
    model = reference()
    (culprit,) = check(model, port(model, activation=nn.gelu_approx), ids()).culprits
    assert culprit.cause == "the port applies the GELU by tanh to up, the reference the exact GELU"
    assert json.loads(json.dumps(culprit_to_dict(culprit)))["cause"] == culprit.cause
    assert not check(model, port(model), ids()).culprits
