"""The zoo's pairs of models: nothing of mlx-lm is left out, ports that agree do so, and ports that do not stand out."""

from __future__ import annotations

import copy

import numpy as np
import pytest

NEEDS = "the zoo needs mlx-lm and transformers, which need Python 3.11: pip install '.[zoo]'"
pytest.importorskip("mlx_lm", reason=NEEDS)
transformers = pytest.importorskip("transformers", reason=NEEDS)

from transformers import CONFIG_MAPPING, MODEL_MAPPING  # noqa: E402

from examples.porting.zoo.architectures import (  # noqa: E402
    ARCHITECTURES,
    NOT_IN_TRANSFORMERS,
    SAME_AS,
    UNAVAILABLE,
    left_out,
    models_of_mlx_lm,
)
from examples.porting.zoo.build import BuildError, build, build_config  # noqa: E402
from examples.porting.zoo.decode import Decoded, prefill_and_steps, token_ids  # noqa: E402

#: Model types that share another type's file in mlx-lm.
ALIASES = {"mistral", "falcon_mamba", "minimax_m2"}


def distance(left: Decoded, right: Decoded) -> tuple[float, float]:
    """Relative differences of two runs' logits: of the prompt, and of the steps."""
    pairs = ((left.prefill, right.prefill), (left.steps, right.steps))
    return tuple(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)  # type: ignore[return-value]


def ratios(name: str) -> tuple[float, float]:
    """MLX's distance from float64 in units of PyTorch's own in float32."""
    pair, ids = build(name), token_ids(128)
    exact = prefill_and_steps(copy.deepcopy(pair.torch_model).double(), ids)
    floor = distance(prefill_and_steps(pair.torch_model, ids), exact)
    error = distance(prefill_and_steps(pair.mlx_model, ids), exact)
    return error[0] / floor[0], error[1] / floor[1]


def test_no_model_of_mlx_lm_is_left_out() -> None:
    assert left_out() == []
    assert {*ARCHITECTURES, *SAME_AS, *UNAVAILABLE} - set(models_of_mlx_lm()) == ALIASES
    assert len(ARCHITECTURES) + len(SAME_AS) + len(UNAVAILABLE) == len({*ARCHITECTURES, *SAME_AS, *UNAVAILABLE})
    assert {name for names in SAME_AS.values() for name in names} <= set(ARCHITECTURES)


def test_what_transformers_is_said_to_lack_it_lacks() -> None:
    lacking = {name for name, reason in UNAVAILABLE.items() if reason == NOT_IN_TRANSFORMERS}
    assert len(lacking) > 20
    assert lacking & set(CONFIG_MAPPING.keys()) == set()
    assert CONFIG_MAPPING["step3p5"] not in MODEL_MAPPING


@pytest.mark.parametrize(
    "name",
    ["llama", "gemma4_text", "deepseek_v3", "mamba", "granitemoehybrid", "gemma3n", "olmo_hybrid", "qwen3_5_moe"],
)
def test_a_port_that_agrees_stays_within_four_floors(name: str) -> None:
    assert max(ratios(name)) < 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma", "gpt_oss", "mistral", "falcon_h1"])
def test_a_port_that_diverges_stands_out(name: str) -> None:
    assert min(ratios(name)) > 100


def test_a_seed_gives_one_pair_of_models() -> None:
    def logits(seed: int) -> np.ndarray:
        return prefill_and_steps(build("qwen3", seed).mlx_model, token_ids(128)).prefill

    assert np.array_equal(logits(1), logits(1))
    assert not np.allclose(logits(1), logits(2), atol=0.1)


def test_no_weight_hides_a_fault() -> None:
    for name in ("llama", "jamba", "deepseek_v3", "gemma2"):
        for key, value in build(name).torch_model.named_parameters():
            assert value.std() > 0.05, f"{name}: {key} is nearly constant"


def test_the_steps_go_on_with_the_cache() -> None:
    """Decoding equals one pass over everything, on both sides, beyond the window of eight positions."""
    pair, ids = build("gemma3_text"), token_ids(128)
    for model in (pair.torch_model, pair.mlx_model):
        stepped, whole = prefill_and_steps(model, ids), prefill_and_steps(model, np.append(ids, ids[0]), steps=1)
        assert np.allclose(stepped.steps, whole.prefill[-8:], rtol=0, atol=1e-4)


def test_a_side_that_refuses_is_named_with_what_it_says() -> None:
    config = {**ARCHITECTURES["phi"], "num_attention_heads": 5}
    with pytest.raises(BuildError, match=r"^mine: (transformers|mlx-lm) cannot build it: \w+: .+") as caught:
        build_config("mine", config)
    assert caught.value.__cause__ is caught.value.cause
    with pytest.raises(BuildError, match=r"^mine: mlx-lm cannot build it: ValueError: Model type bloom"):
        build_config("mine", {"model_type": "bloom", "vocab_size": 32, "hidden_size": 8, "n_layer": 1, "n_head": 2})
