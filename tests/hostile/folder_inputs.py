"""Hostile model folders: `config.json`, the weights, the index of shards, and what is no file at all."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.harness import Inputs
from tests.hostile.safetensors_inputs import NASTY, of_any_kind, replace
from tests.hostile.text_bytes import BROKEN

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
INPUTS = of_any_kind(WEIGHTS)


def _whole(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def set_fields(path: Path, changes: dict[str, Any]) -> None:
    """Change fields, each named by its path: "llm.qwen.vocab_size"."""
    content = json.loads(path.read_text())
    for key, value in changes.items():
        *parents, last = key.split(".")
        place = content
        for parent in parents:
            place = place[parent]
        place[last] = value
    path.write_text(json.dumps(content))


INPUTS.add_each(CONFIG, "json", BROKEN, _whole, CONFIG)

_ESTIMATOR = "flow.decoder.estimator"

INPUTS.add_each(CONFIG, "field", {
    "type-nasty": {"model_type": NASTY * 100_000},
    "type-deep": {"model_type": [[[[[[1]]]]]]},
    "version-true": {"format_version": True},
    "version-2^60": {"format_version": 2**60},
    "version-fraction": {"format_version": 1.0},
    "components-object": {"components": {"llm": 1}},
    "components-twice": {"components": ["hift", "hift"]},
    "components-nested": {"components": [["llm"]]},
    "components-many": {"components": ["llm"] * 100_000},
    "components-nasty": {"components": [NASTY]},
    "dtypes-list": {"dtypes": ["float32"]},
    "dtypes-nested": {"dtypes": {"llm": {"llm": []}}},
    "dtypes-of-lists": {"dtypes": {"llm": ["float32"], "flow": {}}},
    "layer-dtypes-list": {"layer_dtypes": ["llm"]},
    "layer-dtypes-of-nothing": {"layer_dtypes": {"llm.nowhere": "float32"}},
    "layer-dtypes-of-nobody": {"layer_dtypes": {NASTY: "float32"}},
    "layer-dtypes-many": {"layer_dtypes": {f"llm.{n}": "float32" for n in range(100_000)}},
    "layer-dtypes-int4": {"layer_dtypes": {"llm.llm": "int4"}},
    "quantization-list": {"quantization": [4]},
    "quantization-bits": {"quantization": {"bits": 10**9, "group_size": 64}},
    "quantization-true": {"quantization": {"bits": True, "group_size": 64}},
    "quantization-fraction": {"quantization": {"bits": 4.0, "group_size": 64}},
    "quantization-zero": {"quantization": {"bits": 4, "group_size": 0}},
    "quantization-mode": {"quantization": {"bits": 4, "group_size": 64, "mode": [NASTY]}},
    "quantization-of-a-layer": {"quantization": {"bits": 4, "group_size": 64, "llm.x": {"bits": []}}},
    "layers": {"llm.qwen.num_hidden_layers": 10**9},
    "some-layers": {"llm.qwen.num_hidden_layers": 500},
    "one-layer-more": {"llm.qwen.num_hidden_layers": 3},
    "one-layer-less": {"llm.qwen.num_hidden_layers": 1},
    "no-layers": {"llm.qwen.num_hidden_layers": 0},
    "words": {"llm.qwen.vocab_size": 10**12},
    "some-words": {"llm.qwen.vocab_size": 9_999_999},
    "one-word": {"llm.qwen.vocab_size": 1},
    "widths": {"llm.qwen.hidden_size": 131072, "llm.llm_input_size": 131072, "llm.llm_output_size": 131072},
    "inner-width": {"llm.qwen.intermediate_size": 131072},
    "odd-heads": {"llm.qwen.num_attention_heads": 3},
    "odd-shared-heads": {"llm.qwen.num_key_value_heads": 3},
    "more-shared-heads": {"llm.qwen.num_key_value_heads": 8},
    "speech-tokens": {"llm.speech_token_size": 9_999_999},
    "two-widths": {"llm.llm_input_size": 65},
    "encoder-layers": {"flow.encoder.num_blocks": 512},
    "encoder-heads": {"flow.encoder.attention_heads": 7},
    "mid-blocks": {f"{_ESTIMATOR}.num_mid_blocks": 512, f"{_ESTIMATOR}.n_blocks": 512},
    "two-channels": {f"{_ESTIMATOR}.channels": [64, 64]},
    "no-channels": {f"{_ESTIMATOR}.channels": []},
    "channels": {f"{_ESTIMATOR}.channels": [131072]},
    "mel": {"flow.output_size": 81},
    "frame-rates": {"flow.input_frame_rate": 50},
    "ratios": {"token_mel_ratio": 3},
    "upsampling-many": {"hift.upsample_rates": [1] * 16, "hift.upsample_kernel_sizes": [3] * 16},
    "upsampling-other": {"hift.upsample_rates": [8, 5, 2]},
    "upsampling-of-two": {"hift.upsample_rates": [8, 5]},
    "dilations-of-two": {"hift.resblock_dilation_sizes": [[1, 3, 5]] * 2},
    "source-kernels-of-two": {"hift.source_resblock_kernel_sizes": [7, 7]},
    "resblocks-many": {"hift.resblock_kernel_sizes": [3] * 16, "hift.resblock_dilation_sizes": [[1] * 16] * 16},
    "transform-odd": {"hift.istft_params": {"n_fft": 15, "hop_len": 4}},
    "transform-long": {"hift.istft_params": {"n_fft": 65536, "hop_len": 4}},
    "transform-of-15": {"hift.istft_params": {"n_fft": 15, "hop_len": 5}, "hift.upsample_rates": [8, 4, 3]},
    "hop": {"hift.istft_params": {"n_fft": 16, "hop_len": 16}},
    "rate": {"sample_rate": 48000},
    "rates": {"sample_rate": 22050, "hift.sampling_rate": 22050},
    "dense-layers": {"campplus.num_layers": [512, 512, 512]},
    "growth": {"campplus.growth_rate": 131072},
    "tokenizer-layers": {"speech_tokenizer.n_audio_layer": 512},
    "tokenizer-heads": {"speech_tokenizer.n_audio_head": 3},
    "tokenizer-width": {"speech_tokenizer.n_audio_state": 131072},
    "flow-list": {"flow": []},
    "flow-none": {"flow": None},
}, set_fields)  # fmt: skip


def _tensors(path: Path, tensors: dict[str, Any]) -> None:
    """The few weights of one component, in the place of all."""
    set_fields(path.with_name(CONFIG), {"components": ["llm"]})
    path.unlink()
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    replace(path, tensors)


def _packed(path: Path, tensors: dict[str, Any]) -> None:
    set_fields(path.with_name(CONFIG), {"quantization": {"bits": 4, "group_size": 64}})
    _tensors(path, tensors)


_LAYER = "llm.llm.model.model.layers.0.mlp.up_proj"

INPUTS.add_each(WEIGHTS, "tensors", {
    "none": {},
    "others": {"weights": ("F32", [2], bytes(8))},
    "int64": {"llm.a": ("I64", [2], bytes(16))},
    "bool": {"llm.a": ("BOOL", [2], bytes(2))},
    "float64": {"llm.a": ("F64", [2], bytes(16))},
    "packed-unasked": {f"{_LAYER}.scales": ("F32", [2, 2], bytes(16))},
    "uint32-unasked": {f"{_LAYER}.weight": ("U32", [2, 2], bytes(16))},
    "layer-10^9": {"llm.llm.model.model.layers.1000000000.mlp.up_proj.weight": ("F32", [1, 1], bytes(4))},
    "nasty": {f"llm.{NASTY}{'x' * 100_000}": ("F32", [1], bytes(4))},
    "many": {f"llm.{n}": ("F32", [0], b"") for n in range(50_000)},
}, _tensors)  # fmt: skip

INPUTS.add_each(WEIGHTS, "packed", {
    "alone": {f"{_LAYER}.scales": ("F32", [2, 2], bytes(16))},
    "float": {
        f"{_LAYER}.weight": ("F32", [2, 16], bytes(128)),
        f"{_LAYER}.scales": ("F32", [2, 2], bytes(16)),
        f"{_LAYER}.biases": ("F32", [2, 2], bytes(16)),
    },
    "scales-of-integers": {
        f"{_LAYER}.weight": ("U32", [2, 16], bytes(128)),
        f"{_LAYER}.scales": ("U32", [2, 2], bytes(16)),
        f"{_LAYER}.biases": ("U32", [2, 2], bytes(16)),
    },
    "narrow": {
        f"{_LAYER}.weight": ("U32", [2, 1], bytes(8)),
        f"{_LAYER}.scales": ("F32", [2, 2], bytes(16)),
        f"{_LAYER}.biases": ("F32", [2, 2], bytes(16)),
    },
    "biases-narrow": {
        f"{_LAYER}.weight": ("U32", [2, 16], bytes(128)),
        f"{_LAYER}.scales": ("F32", [2, 2], bytes(16)),
        f"{_LAYER}.biases": ("F32", [2, 1], bytes(8)),
    },
    "of-no-axes": {
        f"{_LAYER}.weight": ("U32", [], bytes(4)),
        f"{_LAYER}.scales": ("F32", [], bytes(4)),
        f"{_LAYER}.biases": ("F32", [], bytes(4)),
    },
    "nowhere": {
        "llm.nowhere.weight": ("U32", [2, 8], bytes(64)),
        "llm.nowhere.scales": ("F32", [2, 1], bytes(8)),
        "llm.nowhere.biases": ("F32", [2, 1], bytes(8)),
    },
}, _packed)  # fmt: skip


def _index(path: Path, content: Any) -> None:
    path.with_name(WEIGHTS).unlink()
    path.write_bytes(content if isinstance(content, bytes) else json.dumps({"weight_map": content}).encode())


INPUTS.add_each(INDEX, "json", BROKEN, _index, INDEX)
INPUTS.add_each(INDEX, "map", {
    "above": {"llm.a": "../model.safetensors"},
    "far-above": {"llm.a": "../../../../../etc/passwd"},
    "absolute": {"llm.a": "/etc/passwd"},
    "below": {"llm.a": "part/model.safetensors"},
    "nothing": {"llm.a": ""},
    "itself": {"llm.a": "."},
    "parent": {"llm.a": ".."},
    "nul": {"llm.a": "a\x00.safetensors"},
    "nasty": {"llm.a": f"{NASTY}.safetensors"},
    "long": {"llm.a": f"{'x' * 1_000_000}.safetensors"},
    "another-file": {"llm.a": CONFIG},
    "not-there": {"llm.a": "model-00001-of-00002.safetensors"},
    "many-not-there": {f"llm.{n}": f"{n}.safetensors" for n in range(100_000)},
    "number": {"llm.a": 1},
    "list": ["llm.a"],
    "empty": {},
}, _index)  # fmt: skip


def _shards(path: Path, content: tuple[dict[str, str], dict[str, list[str]]]) -> None:
    weight_map, files = content
    _index(path, weight_map)
    for name, keys in files.items():
        path.with_name(name).write_bytes((2).to_bytes(8, "little") + b"{}")
        replace(path.with_name(name), {key: ("F32", [1], bytes(4)) for key in keys})


_A, _B = "a.safetensors", "b.safetensors"

INPUTS.add_each(INDEX, "shards", {
    "one-key-twice": ({"llm.a": _A, "llm.b": _B}, {_A: ["llm.a"], _B: ["llm.a", "llm.b"]}),
    "not-in-the-index": ({"llm.a": _A}, {_A: ["llm.a", "llm.b"]}),
    "not-in-the-shard": ({"llm.a": _A, "llm.b": _A}, {_A: ["llm.a"]}),
    "in-another-shard": ({"llm.a": _A, "llm.b": _B}, {_A: ["llm.b"], _B: ["llm.a"]}),
}, _shards)  # fmt: skip


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        before = Path.cwd()
        os.chdir(path.parent)  # the name of a socket must be short
        try:
            one.bind(path.name)
        finally:
            os.chdir(before)


#: What may stand in the place of a file, and would block, or never end.
NO_FILES: dict[str, Callable[[Path], Any]] = {
    "pipe": _pipe,
    "socket": _socket,
    "folder": Path.mkdir,
    "link-to-a-device": lambda path: path.symlink_to("/dev/zero"),
    "link-to-the-terminal": lambda path: path.symlink_to("/dev/tty"),
    "link-to-itself": lambda path: path.symlink_to(path.name),
    "link-to-nowhere": lambda path: path.symlink_to("nowhere"),
    "link-to-a-folder": lambda path: path.symlink_to("."),
}


def in_place_of(file: str) -> Inputs:
    """`NO_FILES` in the place of `file`."""

    def write(path: Path, make: Callable[[Path], Any]) -> None:
        if path.name == INDEX:
            path.with_name(WEIGHTS).unlink()
        path.unlink(missing_ok=True)
        make(path)

    inputs = Inputs()
    inputs.add_each(file, "no-file", NO_FILES, write, Path(file).name)
    return inputs


INPUTS += [*in_place_of(CONFIG), *in_place_of(WEIGHTS), *in_place_of(INDEX)]
