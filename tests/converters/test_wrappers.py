"""State dicts as trainers save them: read where that can mean one thing only, else the error says what they are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from converters.families.cosyvoice2 import COSYVOICE2_OFFICIAL
from converters.wrappers import StateDict, WrapperError, find_state_dict


class Tensor(int):
    """Stands for one."""


LLM = {
    name: Tensor(number)
    for number, name in enumerate(
        ("llm_decoder.weight", "llm_decoder.bias", "speech_embedding.weight", "llm.model.model.norm.weight")
    )
}
HIFT = {
    name: Tensor(number)
    for number, name in enumerate(
        ("f0_predictor.classifier.weight", "m_source.l_linear.weight", "conv_post.bias", "ups.0.weight")
    )
}
FLOW = {"encoder_proj.weight": Tensor(1), "input_embedding.weight": Tensor(2)}


def prefixed(prefix: str, names: Mapping[str, Any]) -> dict[str, Any]:
    return {prefix + name: value for name, value in names.items()}


def found(content: Mapping[Any, Any], component: str = "llm") -> StateDict:
    return find_state_dict(content, component, COSYVOICE2_OFFICIAL.origins, Tensor)


#: What upstream's trainer saves beside `module` when it trains with DeepSpeed, as far as it is of a kind of its own.
DEEPSPEED = {
    "buffer_names": [],
    "optimizer": {"loss_scaler": None, "base_optimizer_state": {0: {"exp_avg": Tensor(7)}}},
    "param_shapes": [OrderedDict({"llm_decoder.weight": (3, 4)})],
    "frozen_param_fragments": None,
    "global_steps": 12,
    "ds_config": {"train_batch_size": 1},
    "model": "llm",
    "epoch": 1,
    "step": 5,
    "loss_dict": {"loss": Tensor(8)},
}

READ: dict[str, tuple[Mapping[Any, Any], dict[str, Any]]] = {
    "as published": (LLM, {}),
    "upstream's trainer": ({**LLM, "epoch": 3, "step": 100}, {"left_out": ["epoch", "step"]}),
    "data parallel": (prefixed("module.", LLM), {"removed_from_names": ["module"]}),
    "compiled": (prefixed("_orig_mod.", LLM), {"removed_from_names": ["_orig_mod"]}),
    "both": (prefixed("module._orig_mod.", LLM), {"removed_from_names": ["module", "_orig_mod"]}),
    "a compiled part": (
        {name.replace("llm.", "llm._orig_mod."): value for name, value in LLM.items()},
        {"removed_from_names": ["_orig_mod"]},
    ),
    "deepspeed": ({"module": LLM, **DEEPSPEED}, {"within": "module", "left_out": sorted(DEEPSPEED)}),
    "lightning": (
        {"epoch": 3, "state_dict": prefixed("model.", LLM), "optimizer_states": [{}], "hyper_parameters": {"lr": 1}},
        {"within": "state_dict", "prefix": "model.", "left_out": ["epoch", "hyper_parameters", "optimizer_states"]},
    ),
    "lightning with a loss": (
        {"state_dict": {**prefixed("model.", LLM), "loss.weight": Tensor(9)}},
        {"within": "state_dict", "prefix": "model.", "left_out": ["loss.weight"]},
    ),
    "a whole model": (
        {**prefixed("llm.", LLM), **prefixed("flow.", FLOW)},
        {"prefix": "llm.", "left_out": sorted(prefixed("flow.", FLOW))},
    ),
    "an average": ({**prefixed("module.", LLM), "n_averaged": Tensor(4)},
                   {"removed_from_names": ["module"], "left_out": ["n_averaged"]}),
    "an average alone": ({"ema": LLM, "decay": 0.99}, {"within": "ema", "left_out": ["decay"]}),
    "the same twice": ({"model": LLM, "state_dict": LLM}, {"within": "model", "left_out": ["state_dict"]}),
    "deep": ({"checkpoint": {"model": {"net": LLM}}}, {"within": "checkpoint.model.net"}),
    "a frozen mapping": (MappingProxyType(LLM), {}),
    "an optimizer beside": ({**LLM, "optimizer": {"exp_avg": Tensor(5)}}, {"left_out": ["optimizer"]}),
    "numbers as names beside": ({**LLM, "ranks": {0: Tensor(5)}}, {"left_out": ["ranks"]}),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
def test_what_is_read(kind: str) -> None:
    content, record = READ[kind]
    state = found(content)
    assert state.tensors == LLM
    assert list(state.tensors) == list(LLM)
    assert state.record() == record


DISCRIMINATOR = {"discriminator.mpd.discriminators.0.convs.0.bias": Tensor(5)}


@pytest.mark.parametrize(
    ("content", "record"),
    [
        (prefixed("generator.", HIFT), {}),
        (HIFT, {}),
        ({**prefixed("generator.", HIFT), **DISCRIMINATOR, "epoch": 1}, {"left_out": [*DISCRIMINATOR, "epoch"]}),
        ({**HIFT, **DISCRIMINATOR}, {"left_out": [*DISCRIMINATOR]}),
        (
            prefixed("module.", {**prefixed("generator.", HIFT), **DISCRIMINATOR}),
            {"removed_from_names": ["module"], "left_out": [f"module.{name}" for name in DISCRIMINATOR]},
        ),
        ({"generator": HIFT, "optim_g": None}, {"within": "generator", "left_out": ["optim_g"]}),
        (
            {"state_dict": {**prefixed("net.generator.", HIFT), **prefixed("net.", DISCRIMINATOR)}},
            {"within": "state_dict", "prefix": "net.", "left_out": [f"net.{name}" for name in DISCRIMINATOR]},
        ),
    ],
)
def test_vocoders(content: dict, record: dict) -> None:
    state = found(content, "hift")
    assert state.tensors == HIFT
    assert state.record() == record


def test_the_older_weight_norm() -> None:
    old = {"ups.0.weight_g": Tensor(1), "ups.0.weight_v": Tensor(2)}
    state = found({**HIFT, **old}, "hift")
    assert state.tensors["ups.0.parametrizations.weight.original0"] == 1
    assert state.tensors["ups.0.parametrizations.weight.original1"] == 2
    assert state.record() == {
        "renamed": {
            "weight_g": "parametrizations.weight.original0",
            "weight_v": "parametrizations.weight.original1",
        }
    }


REFUSED: dict[str, tuple[Mapping[Any, Any], str]] = {
    "an average beside the model": (
        {"model": LLM, "ema": dict(LLM)}, r"holds the network 2 times \('model\.', 'ema\.'\): save the one"
    ),
    "an average under another prefix": (
        {**prefixed("model.", LLM), **prefixed("ema_model.", LLM)}, r"2 times \('ema_model\.', 'model\.'\)"
    ),
    "an average amid": ({**LLM, **prefixed("ema.", LLM)}, r"2 times \('', 'ema\.'\)"),
    "with and without a prefix": (
        {**LLM, **prefixed("module.", LLM)}, "has both 'llm_decoder.weight' and 'module.llm_decoder.weight'"
    ),
    "adapters": (
        {"base_model.model.llm.model.model.layers.0.self_attn.q_proj.lora_A.default.weight": Tensor(1)},
        "LoRA adapters: merge them",
    ),
    "adapters in the model": (
        {**LLM, "llm.model.model.layers.0.self_attn.q_proj.lora_A.default.weight": Tensor(1)}, "LoRA adapters"
    ),
    "a plain Qwen2": (
        {"model.embed_tokens.weight": Tensor(1), "lm_head.weight": Tensor(2)}, "huggingface_to_pretrained.py"
    ),
    "another component": (prefixed("module.", FLOW), "holds the weights of the flow, not of the llm"),
    "an optimizer": ({"optimizer": None, "lr": 1e-4, "step": 3}, "holds no weights, so it is not the llm"),
    "nothing": ({}, "holds no weights"),
    "a list in place of a tensor": ({**LLM, "llm_decoder.bias": [1.0]}, "'llm_decoder.bias' is of type list"),
    "a dict in place of a tensor": ({**LLM, "llm.model.model": {"a": 1}}, "'llm.model.model' is of type dict"),
    "a tensor without a name": ({**LLM, 3: Tensor(3)}, "entry 3 is named by a value of type int"),
    "a tensor named by a tuple": ({"module": {**LLM, (1, 2): Tensor(3)}}, "is named by a value of type tuple"),
    "an entry named by bytes": ({**LLM, b"x": 3}, "entry b'x' is of type int"),
    "a name of 4 MB": ({**LLM, "a." * 2_000_000: None}, "entry 'a.a.a.*is of type NoneType"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(kind: str) -> None:
    content, message = REFUSED[kind]
    with pytest.raises(WrapperError, match=message) as caught:
        found(content)
    assert len(str(caught.value)) < 400


def test_discriminators_alone() -> None:
    with pytest.raises(WrapperError, match="holds the discriminators of a vocoder's training"):
        found({"mpd.convs.weight": Tensor(1), "msd.convs.weight": Tensor(2)}, "hift")


def test_strangers_keep_their_names_for_the_check_that_follows() -> None:
    assert "stranger" in found({**LLM, "stranger": Tensor(5)}).tensors
    assert "stranger" in found({**prefixed("generator.", HIFT), "stranger": Tensor(5)}, "hift").tensors
    assert "llm_decoder.bias" in found({"llm_decoder.bias": Tensor(5)}).tensors


def _cycle() -> dict[str, Any]:
    content: dict[str, Any] = {f"part {number}": {} for number in range(1000)}
    for inner in content.values():
        inner.update(content)
        inner["self"] = content
    return content


def _deep() -> dict[str, Any]:
    content: dict[str, Any] = dict(LLM)
    for _ in range(100_000):
        content = {"inner": content}
    return content


@pytest.mark.parametrize("make", [_cycle, _deep])
def test_cycles_and_depth_end(make: Callable[[], dict[str, Any]]) -> None:
    with pytest.raises(WrapperError, match="holds no weights"):
        found(make())


def test_what_was_left_out_is_listed_in_bounds() -> None:
    record = found({**LLM, **{f"entry {number}": None for number in range(10_000)}}).record()
    assert len(record["left_out"]) == 41
    assert record["left_out"][-1] == "and 9960 more"
