"""What a file may give for each field of the configuration, and what is refused by the field's name."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from mlx_cosyvoice.config import CosyVoice2Config, FieldError, from_dict
from tests.hostile.harness import refusal


def fields(cls: type, key: str = "") -> Iterator[tuple[str, type, Any]]:
    """Path, type and default of every plain field, nested ones too."""
    hints = typing.get_type_hints(cls)
    for entry in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[entry.name]):
            yield from fields(typing.cast(type, hints[entry.name]), f"{key}{entry.name}.")
        else:
            yield f"{key}{entry.name}", hints[entry.name], entry.default


FIELDS = {path: (hint, default) for path, hint, default in fields(CosyVoice2Config)}


def nested(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def test_the_defaults_are_allowed_and_come_back() -> None:
    config = from_dict(CosyVoice2Config, CosyVoice2Config().to_dict())
    assert config == CosyVoice2Config()
    for path, (hint, default) in FIELDS.items():
        assert type(default) is (tuple if typing.get_origin(hint) else hint), path


@pytest.mark.parametrize("path", FIELDS)
def test_what_no_field_may_be(path: str) -> None:
    values: list[Any] = [
        None,
        True,
        "1",
        {},
        -2,
        10**5000,
        float("nan"),
        float("inf"),
        -math.inf,
        1e300,
        b"1",
        [[]] * 10**6,
    ]
    for value in values:
        refusal(partial(from_dict, CosyVoice2Config, nested(path, value)), path)


@pytest.mark.parametrize("path", [path for path, (hint, _) in FIELDS.items() if typing.get_origin(hint)])
def test_what_no_list_may_be(path: str) -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    for value in [[], [0], [-1], [1.5], [True], [10**400], [1] * 1000, [[[1]]], cyclic, 3]:
        refusal(partial(from_dict, CosyVoice2Config, nested(path, value)), path)


@pytest.mark.parametrize("path", [path for path, (hint, _) in FIELDS.items() if hint is int])
def test_a_whole_number_is_no_fraction(path: str) -> None:
    refusal(lambda: from_dict(CosyVoice2Config, nested(path, 3.0)), path, "whole number")
    if path != "llm.sampling.win_size" and not path.endswith("num_decoding_left_chunks"):
        refusal(lambda: from_dict(CosyVoice2Config, nested(path, 0)), path, "at least")


@pytest.mark.parametrize(("path", "value"), [
    ("llm.qwen.rope_theta", 0),
    ("llm.qwen.rope_theta", -10000.0),
    ("llm.qwen.rms_norm_eps", 0),
    ("llm.qwen.rms_norm_eps", 1e10),
    ("llm.mix_ratio", [5, 0]),
    ("llm.mix_ratio", [5]),
    ("llm.mix_ratio", [5, 15, 25]),
    ("llm.sampling.top_p", 0),
    ("llm.sampling.top_p", 1.5),
    ("flow.encoder.num_blocks", 10**9),
    ("flow.encoder.static_chunk_size", 0),
    ("flow.decoder.estimator.static_chunk_size", 0),
    ("hift.audio_limit", 0),
    ("speech_tokenizer.attn_ln_eps", -1e-6),
    ("sample_rate", 1),
])  # fmt: skip
def test_absurd_values_are_refused(path: str, value: Any) -> None:
    message = refusal(lambda: from_dict(CosyVoice2Config, nested(path, value)), path)
    assert message.startswith(path)


def test_a_part_that_is_no_mapping() -> None:
    with pytest.raises(FieldError, match=r"llm\.qwen: must be a mapping, not \[1, 2\]"):
        from_dict(CosyVoice2Config, {"llm": {"qwen": [1, 2]}})


def test_a_whole_number_may_stand_for_a_number() -> None:
    config = from_dict(CosyVoice2Config, nested("llm.qwen.rope_theta", 1000000))
    assert config.llm.qwen.rope_theta == 1e6
    assert type(config.llm.qwen.rope_theta) is float
