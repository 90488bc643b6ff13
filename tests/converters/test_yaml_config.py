"""cosyvoice2.yaml is read as data, and what the MLX network does not support is refused by name."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.errors import ConfigError
from converters.families.cosyvoice2 import COSYVOICE2_OFFICIAL
from converters.qwen import read_qwen_config
from converters.yaml_config import model_config
from converters.yaml_reader import read_yaml
from converters.yaml_references import Node
from mlx_cosyvoice.config import CosyVoice2Config, from_dict
from reference.synthetic.sizes import FULL, TINY
from reference.synthetic.text import write_blank_en
from reference.synthetic.yaml import yaml_text


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "cosyvoice2.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def config_from(path: Path, **found: Any) -> CosyVoice2Config:
    return model_config(COSYVOICE2_OFFICIAL, read_yaml(path), found, where=path)


@pytest.mark.parametrize("sizes", [TINY, FULL], ids=["tiny", "full"])
def test_the_sizes_come_through(sizes: dict[str, Any], write: Callable[[str], Path]) -> None:
    config = config_from(
        write(yaml_text(sizes, 1986)),
        llm={"qwen": sizes["llm"]["qwen"]},
        speech_tokenizer=sizes["speech_tokenizer"],
        campplus=sizes["campplus"],
    )
    assert config == from_dict(CosyVoice2Config, sizes)


def test_the_full_size_is_the_default_config(write: Callable[[str], Path]) -> None:
    assert config_from(write(yaml_text(FULL, 1986))) == CosyVoice2Config()


def test_tags_become_nodes(write: Callable[[str], Path]) -> None:
    content = read_yaml(write("a: !new:x.Y\n    size: 3\nb: !name:f.g\nc: !apply:os.system [echo]\n"))
    assert content == {
        "a": Node("new", "x.Y", {"size": 3}),
        "b": Node("name", "f.g", None),
        "c": Node("apply", "os.system", ["echo"]),
    }


def test_references_and_arithmetic(write: Callable[[str], Path]) -> None:
    content = read_yaml(
        write(
            "a: 25\nb: 2\nproduct: !ref <a> * <b>\nsum: !ref <a> + 1.5\n"
            "same: !ref <list>\nlist: [!ref <later>]\nlater: x\n"
            "node: !new:x.Y\n    size: !ref <a> - <b>\nhalf: !ref 1 / <b>\nlr: 1e-5\n"
        )
    )
    assert content["product"] == 50
    assert type(content["product"]) is int
    assert content["sum"] == 26.5
    assert content["same"] == content["list"] == ["x"]
    assert content["node"].arguments == {"size": 23}
    assert content["half"] == 0.5
    assert content["lr"] == 1e-5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: !ref <b>\n", ["!ref <b>", "no key 'b'"]),
        ("a: !ref <a>\n", ["refers to itself"]),
        ("a: !ref <b>\nb: [!ref <a>]\n", ["refers to itself"]),
        ("a: !ref <b>/sub/folder\nb: x\n", ["<b>/sub/folder", "supported"]),
        ("a: !ref <b> * 2\nb: x\n", ["needs two numbers", "'x'"]),
        ("a: !ref <b> / 0\nb: 1\n", ["division"]),
        ("a: !ref __import__('os').system('true')\n", ["supported"]),
        ("a: !new:x.Y [1\n", ["not YAML"]),
        ("a: 1\na: 2\n", ["'a' comes twice", "line 2"]),
        ("a: &x [1]\nb: *x\n", ["aliases", "line 2"]),
        (
            "a: !!python/object/apply:os.system [touch]\n",
            ["unknown tag", "python/object/apply:os.system", "never executed"],
        ),
        ("a: !!python/name:os.system\n", ["unknown tag", "never executed"]),
        ("a: !include:/etc/passwd\n", ["unknown tag", "!include"]),
        ("- a\n- b\n", ["keys and values", "list"]),
        ("", ["keys and values"]),
        ("a: " + "[" * 5000 + "]" * 5000, ["nested"]),
        ("a: \x00", ["not YAML"]),
        ("a: 2001-99-99\n", ["not YAML"]),
    ],
)
def test_what_is_not_understood_is_named(text: str, words: list[str], write: Callable[[str], Path]) -> None:
    path = write(text)
    with pytest.raises(ConfigError) as error:
        read_yaml(path)
    for word in [str(path), *words]:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cosyvoice2.yaml"
    path.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(ConfigError, match="not YAML"):
        read_yaml(path)
    path.write_bytes(b"# " + b"x" * 2_000_000)
    with pytest.raises(ConfigError, match="larger than 100000 bytes"):
        read_yaml(path)
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(tmp_path / "missing.yaml")


def test_python_tags_are_never_executed(write: Callable[[str], Path], tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    for tag in ("!!python/object/apply:os.mkdir", "!apply:os.mkdir", "!new:os.mkdir", "!name:os.mkdir"):
        path = write(yaml_text(TINY, 1) + f"evil: {tag} [{proof}]\n")
        if tag.startswith("!!"):
            with pytest.raises(ConfigError):
                read_yaml(path)
        else:
            config_from(path)  # a key of no concern to the network
        assert not proof.exists()


TINY_YAML = yaml_text(TINY, 1)
SNIPPETS = [
    "[",
    "]",
    "{",
    "}",
    ": ",
    "\n",
    "- ",
    "!ref <flow>",
    "!new:a.B",
    "!!python/name:os.system",
    "null",
    "1: 2\n",
    ".inf",
    "'",
]


@given(st.integers(0, len(TINY_YAML)), st.integers(0, 30), st.sampled_from(SNIPPETS) | st.text(max_size=5))
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_read_or_refused(start: int, removed: int, inserted: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cosyvoice2.yaml"
        path.write_text(TINY_YAML[:start] + inserted + TINY_YAML[start + removed :], errors="replace")
        with contextlib.suppress(ConfigError):
            assert isinstance(config_from(path), CosyVoice2Config)


UNSUPPORTED = [
    ("cosyvoice.llm.llm.Qwen2LM", "cosyvoice.llm.llm.CosyVoice3LM", ["llm", "CosyVoice3LM"]),
    ("cosyvoice.llm.llm.Qwen2Encoder", "os.system", ["llm.llm", "os.system"]),
    ("common.ras_sampling", "common.nucleus_sampling", ["llm.sampling", "nucleus_sampling"]),
    ("flow.CausalMaskedDiffWithXvec", "flow.CausalMaskedDiffWithDiT", ["flow", "CausalMaskedDiffWithDiT"]),
    ("UpsampleConformerEncoder", "ConformerEncoder", ["flow.encoder", "ConformerEncoder"]),
    ("CausalConditionalCFM", "ConditionalCFM", ["flow.decoder", "ConditionalCFM"]),
    ("CausalConditionalDecoder", "ConditionalDecoder", ["flow.decoder.estimator", "ConditionalDecoder"]),
    ("generator.HiFTGenerator", "generator.CausalHiFTGenerator", ["hift", "CausalHiFTGenerator"]),
    ("ConvRNNF0Predictor", "CausalConvRNNF0Predictor", ["hift.f0_predictor", "CausalConvRNNF0Predictor"]),
    ("get_qwen_tokenizer", "get_tokenizer", ["get_tokenizer", "tokenizer.get_tokenizer"]),
    ("solver: 'euler'", "solver: 'midpoint'", ["flow.decoder.cfm_params.content.solver", "'midpoint'", "'euler'"]),
    ("t_scheduler: 'cosine'", "t_scheduler: 'linear'", ["t_scheduler", "'linear'"]),
    ("use_cnn_module: False", "use_cnn_module: True", ["flow.encoder.use_cnn_module", "True"]),
    ("        use_cnn_module: False\n", "", ["flow.encoder.use_cnn_module", "missing"]),
    ("macaron_style: False", "macaron_style: 0", ["flow.encoder.macaron_style", "0"]),
    ("normalize_before: True", "normalize_before: False", ["flow.encoder.normalize_before"]),
    ("normalize_before: True", "key_bias: False", ["flow.encoder.key_bias"]),
    ("input_layer: 'linear'", "input_layer: 'conv2d'", ["flow.encoder.input_layer", "'conv2d'"]),
    ("'rel_pos_espnet'", "'abs_pos'", ["flow.encoder.pos_enc_layer_type"]),
    ("act_fn: 'gelu'", "act_fn: 'snake'", ["flow.decoder.estimator.act_fn", "'snake'"]),
    ("n_spks: 1", "n_spks: 2", ["flow.decoder.n_spks", "2"]),
    ("macaron_style: False", "macaron_style: False\n        dilation: 2", ["flow.encoder.dilation", "unknown", "2"]),
    ("num_decoding_left_chunks: -1", "num_decoding_left_chunks: 2", ["num_decoding_left_chunks", "2"]),
    ("sample_rate: 24000", "sample_rate: 22050", ["sample_rate", "22050"]),
    ("token_frame_rate: 25", "token_frame_rate: 50", ["token_frame_rate", "50"]),
    ("inference_cfg_rate: 0.7", "inference_cfg_rate: .inf", ["inference_cfg_rate", "inf"]),
    ("fmax: 8000", "fmax: null", ["feat_extractor.fmax", "None", "8000"]),
    ("skip_special_tokens: True", "skip_special_tokens: False", ["get_tokenizer.skip_special_tokens"]),
    ("            num_mid_blocks: 2\n", "", ["flow.decoder.estimator.num_mid_blocks", "missing"]),
    ("                inference_cfg_rate: 0.7\n", "", ["inference_cfg_rate", "missing"]),
    ("num_mid_blocks: 2", "num_mid_blocks: two", ["num_mid_blocks", "'two'"]),
    ("num_mid_blocks: 2", "num_mid_blocks: 0", ["flow.decoder.estimator.num_mid_blocks", "at least 1"]),
    ("linear_units: 128", "linear_units: yes", ["linear_units", "True"]),
    ("upsample_rates: [8, 5, 3]", "upsample_rates: [8, five, 3]", ["hift.upsample_rates", "'five'"]),
    ("upsample_rates: [8, 5, 3]", "upsample_rates: 8", ["upsample_rates", "8"]),
    ("        n_fft: 16\n", "", ["hift.istft_params.n_fft", "missing"]),
    ("    istft_params:\n        n_fft: 16\n        hop_len: 4\n", "    istft_params: 4\n", ["hift.istft_params", "4"]),
    ("    vocab_size: 6561", "    vocab_size: 4096", ["speech_token_size is 6561", "vocab_size is 4096"]),
    ("llm_input_size: 64\n", "llm_input_size: 32\n", ["llm_input_size is 32", "llm_output_size is 64"]),
    ("!ref <chunk_size> * <token_mel_ratio>", "30", ["static_chunk_size is 30", "50"]),
]


@pytest.mark.parametrize(
    ("old", "new", "words"), UNSUPPORTED, ids=[f"{n}-{new.strip()[:40]}" for n, (_, new, _) in enumerate(UNSUPPORTED)]
)
def test_what_the_network_does_not_support_is_named(
    old: str, new: str, words: list[str], write: Callable[[str], Path]
) -> None:
    text = yaml_text(TINY, 1)
    assert old in text
    path = write(text.replace(old, new))
    with pytest.raises(ConfigError) as error:
        config_from(path)
    for word in [str(path), *words]:
        assert word in str(error.value)


@pytest.mark.parametrize("key", ["llm", "flow", "hift", "sample_rate", "feat_extractor", "get_tokenizer"])
def test_a_missing_section_is_named(key: str, write: Callable[[str], Path]) -> None:
    content = read_yaml(write(yaml_text(TINY, 1)))
    del content[key]
    with pytest.raises(ConfigError, match=f"{key}: missing"):
        model_config(COSYVOICE2_OFFICIAL, content, {}, where="cosyvoice2.yaml")


def test_sizes_of_other_files_must_fit(write: Callable[[str], Path]) -> None:
    path = write(yaml_text(TINY, 1))
    with pytest.raises(ConfigError, match="llm_input_size is 64, but CosyVoice-BlankEN hidden_size is 896"):
        config_from(path, llm={"qwen": FULL["llm"]["qwen"]})
    with pytest.raises(ConfigError, match="spk_embed_dim is 192, but the speaker encoder's embedding_size is 512"):
        config_from(path, campplus={**TINY["campplus"], "embedding_size": 512})


def test_what_loading_would_refuse_is_not_converted(write: Callable[[str], Path]) -> None:
    path = write(yaml_text(TINY, 1).replace("Xvec\n    input_size: 512", "Xvec\n    input_size: 256"))
    with pytest.raises(ConfigError, match=r"flow.input_size, flow.encoder.input_size: must agree, not be 256 and 512"):
        config_from(path, flow={})


class TestQwenConfig:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        write_blank_en(tmp_path, vocab_size="tiny", qwen_config=TINY["llm"]["qwen"])
        return tmp_path / "config.json"

    def test_the_sizes_come_through(self, path: Path) -> None:
        assert read_qwen_config(path) == TINY["llm"]["qwen"]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"hidden_act": "gelu"}, ["hidden_act", "'gelu'", "'silu'"]),
            ({"use_sliding_window": True}, ["use_sliding_window", "True"]),
            ({"rope_scaling": {"type": "yarn"}}, ["rope_scaling", "yarn"]),
            ({"model_type": "llama"}, ["model_type", "'llama'"]),
            ({"num_hidden_layers": "two"}, ["num_hidden_layers", "'two'"]),
            ({"num_hidden_layers": 0}, ["num_hidden_layers", "at least 1"]),
            ({"num_attention_heads": 3}, ["num_attention_heads 3"]),
            ({"head_dim": 32}, ["head_dim 32"]),
        ],
    )
    def test_other_networks_are_refused(self, changes: dict[str, Any], words: list[str], path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        with pytest.raises(ConfigError) as error:
            read_qwen_config(path)
        for word in [str(path), *words]:
            assert word in str(error.value)

    def test_a_missing_size_and_broken_files_are_named(self, path: Path) -> None:
        content = json.loads(path.read_text())
        del content["rope_theta"]
        path.write_text(json.dumps(content))
        with pytest.raises(ConfigError, match="rope_theta: missing"):
            read_qwen_config(path)
        for text in ("{", "[]"):
            path.write_text(text)
            with pytest.raises(ConfigError, match="JSON"):
                read_qwen_config(path)
        path.unlink()
        with pytest.raises(ConfigError, match="no such file"):
            read_qwen_config(path)
