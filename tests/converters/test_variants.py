"""Checkpoints as people have them: wrapped, renamed, in part wrong, of another kind, or somewhere else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import mlx.core as mx
import pytest
import torch
from safetensors.torch import save_file

from converters import __main__ as cli
from converters.convert import ConversionReport, convert
from mlx_cosyvoice.weights import load_weights, read_config
from parity.pair import Reference
from tests.support.checkpoints import WEIGHT_FILES, Folders, change_state, damaged_copy, replace_text

State = dict[str, Any]
DISCRIMINATOR = "discriminator.mpd.discriminators.0.convs.0.bias"


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + key: tensor for key, tensor in state.items()}


def rewrite(change: Callable[[State], Any]) -> Callable[[Path], None]:
    """A change of what a `.pt` file holds."""
    return lambda path: torch.save(change(torch.load(path, weights_only=True)), path)


def as_safetensors(change: Callable[[State], State] = dict) -> Callable[[Path], None]:
    """The file as a safetensors file of the same stem, in its place."""

    def apply(path: Path) -> None:
        state = change(torch.load(path, weights_only=True))
        path.unlink()
        save_file({key: tensor.clone() for key, tensor in state.items()}, path.with_suffix(".safetensors"))

    return apply


def weight_g_and_v(state: State) -> State:
    def rename(key: str) -> str:
        key = key.replace("parametrizations.weight.original0", "weight_g")
        return key.replace("parametrizations.weight.original1", "weight_v")

    return {rename(key): tensor for key, tensor in state.items()}


def without_head(state: State) -> State:
    return {key: tensor for key, tensor in state.items() if "lm_head" not in key}


def is_as_converted(report: ConversionReport, component: str, model: Path) -> None:
    weights = load_weights(report.out)
    expected = {key: value for key, value in load_weights(model).items() if key.startswith(f"{component}.")}
    assert weights.keys() == expected.keys()
    for key, value in expected.items():
        assert mx.array_equal(weights[key], value), key


WRAPPED: dict[str, tuple[str, Callable[[Path], None], dict[str, Any]]] = {
    "data parallel": ("llm", rewrite(prefixed("module.")), {"removed_from_names": ["module"]}),
    "compiled": ("flow", rewrite(prefixed("_orig_mod.")), {"removed_from_names": ["_orig_mod"]}),
    "deepspeed": (
        "llm",
        rewrite(lambda state: {"module": state, "optimizer": None, "global_steps": 12, "epoch": 1, "step": 5}),
        {"within": "module", "left_out": ["epoch", "global_steps", "optimizer", "step"]},
    ),
    "lightning": (
        "flow",
        rewrite(lambda state: {"state_dict": prefixed("model.")(state), "epoch": 1}),
        {"within": "state_dict", "prefix": "model.", "left_out": ["epoch"]},
    ),
    "a vocoder's training": (
        "hift",
        rewrite(lambda state: {**state, DISCRIMINATOR: torch.zeros(4), "epoch": 1, "step": 2}),
        {"left_out": [DISCRIMINATOR, "epoch", "step"]},
    ),
    "the older weight norm": (
        "hift",
        rewrite(weight_g_and_v),
        {
            "renamed": {
                "weight_g": "parametrizations.weight.original0",
                "weight_v": "parametrizations.weight.original1",
            }
        },
    ),
    "safetensors": ("llm", as_safetensors(without_head), {}),
    "wrapped safetensors": ("hift", as_safetensors(prefixed("model.")), {"prefix": "model."}),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_what_trainers_save(kind: str, tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path) -> None:
    component, change, stripped = WRAPPED[kind]
    copy = damaged_copy(tiny_checkpoint, tmp_path / "checkpoint", WEIGHT_FILES[component], change)
    report = convert(copy, tmp_path / "out", components=[component])
    is_as_converted(report, component, tiny_model)
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert record["stripped"] == ({component: stripped} if stripped else {})


@pytest.mark.parametrize("kind", WRAPPED)
def test_the_reference_reads_it_too(kind: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """So that parity can be proven."""
    component, change, _ = WRAPPED[kind]
    copy = damaged_copy(tiny_checkpoint, tmp_path / "checkpoint", WEIGHT_FILES[component], change)
    expected = Reference(tiny_checkpoint).component(component, "float32").state_dict()
    found = Reference(copy).component(component, "float32").state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


class TestRefused:
    def test_an_average_beside_the_model(self, folders: Folders, fails: Callable[..., str]) -> None:
        both = rewrite(lambda state: {"model": state, "ema": {key: tensor * 2 for key, tensor in state.items()}})
        folders.damage("llm.pt", both)
        fails("llm.pt", "holds the network 2 times ('model.', 'ema.')", "save the one that is meant alone")

    def test_shards_of_zero_stage_3(self, folders: Folders, fails: Callable[..., str]) -> None:
        folders.damage("llm.pt", rewrite(lambda state: {"module": {key: torch.zeros(0) for key in state}}))
        fails("llm.pt", "empty tensors only", "zero_to_fp32.py")

    def test_a_whole_pickled_module(self, folders: Folders, fails: Callable[..., str]) -> None:
        folders.damage("hift.pt", lambda path: torch.save(torch.nn.Linear(2, 2), path))
        fails("hift.pt", "was not loaded", "save the state dict alone")

    def test_a_damaged_safetensors_file(self, folders: Folders, fails: Callable[..., str]) -> None:
        folders.damage("llm.pt", as_safetensors())
        path = folders.checkpoint / "llm.safetensors"
        path.write_bytes(path.read_bytes()[:-10])
        fails(str(path), "cut off", "Get it again")

    def test_an_empty_safetensors_file(self, folders: Folders, fails: Callable[..., str]) -> None:
        folders.damage("llm.pt", lambda path: path.unlink() or path.with_suffix(".safetensors").write_bytes(b""))  # type: ignore[func-returns-value]
        fails(f"{folders.checkpoint / 'llm.safetensors'}: is empty")

    def test_a_pointer_in_place_of_a_safetensors_file(self, folders: Folders, fails: Callable[..., str]) -> None:
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
        folders.damage("llm.pt", lambda path: path.unlink() or path.with_suffix(".safetensors").write_bytes(pointer))  # type: ignore[func-returns-value]
        fails("llm.safetensors", "git lfs pull")


class TestOptionalSpeakers:
    """A model is whole without the speakers of `spk2info.pt`."""

    CONTENTS: ClassVar[dict[str, tuple[Any, str]]] = {
        "a list": ([1], "dict of speakers"),
        "a tensor": ({"me": torch.zeros(3)}, "'me'"),
        "two embeddings": ({"me": {"embedding": torch.zeros(2, 192)}}, "embedding"),
        "infinite": ({"me": {"embedding": torch.full((1, 192), float("inf"))}}, "embedding"),
        "no embedding": ({"me": {"prompt_text": torch.zeros(1, 4)}}, "no embedding"),
        "numpy": ({"me": {"embedding": torch.zeros(1, 192).numpy()}}, "spk2info.pt"),
        "one frame too many": (
            {
                "me": {
                    "prompt_text": torch.ones(1, 3, dtype=torch.int32),
                    "llm_prompt_speech_token": torch.ones(1, 50, dtype=torch.int32),
                    "flow_prompt_speech_token": torch.ones(1, 50, dtype=torch.int32),
                    "prompt_speech_feat": torch.randn(1, 101, 80),
                    "llm_embedding": torch.randn(1, 192),
                    "flow_embedding": torch.randn(1, 192),
                }
            },
            "'me'",
        ),
    }

    @pytest.mark.parametrize("kind", CONTENTS)
    def test_wrong_content(self, kind: str, folders: Folders, capsys: pytest.CaptureFixture) -> None:
        content, word = self.CONTENTS[kind]
        folders.damage("spk2info.pt", lambda path: torch.save(content, path))
        self._converted_without(folders, capsys, word)

    @pytest.mark.parametrize(
        ("content", "word"),
        [
            (b"", "is empty"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"<html>404</html>", "spk2info.pt"),
            (b"PK\x03\x04 and no more", "spk2info.pt"),
        ],
    )
    def test_a_wrong_file(self, content: bytes, word: str, folders: Folders, capsys: pytest.CaptureFixture) -> None:
        folders.damage("spk2info.pt", lambda path: path.write_bytes(content))
        self._converted_without(folders, capsys, word)

    @pytest.mark.parametrize("zipped", [True, False])
    def test_code_is_not_run(self, zipped: bool, folders: Folders, capsys: pytest.CaptureFixture) -> None:
        proof = folders.root / "executed"
        content = {"me": {"embedding": _Code(proof)}}
        folders.damage("spk2info.pt", lambda path: torch.save(content, path, _use_new_zipfile_serialization=zipped))
        self._converted_without(folders, capsys, "spk2info.pt")
        assert not proof.exists()

    def _converted_without(self, folders: Folders, capsys: pytest.CaptureFixture, word: str) -> None:
        arguments = ["--components", "hift", "--out", str(folders.out), "--force"]
        assert cli.main([str(folders.checkpoint), *arguments]) == 0
        [warning] = capsys.readouterr().err.splitlines()
        assert warning.startswith(f"warning: {folders.checkpoint / 'spk2info.pt'}: ")
        assert word in warning
        assert warning.endswith("The model is converted without the speakers of this file.")
        record = json.loads((folders.out / "conversion.json").read_text())
        assert record["speakers"] == []
        assert record["warnings"] == [warning.removeprefix("warning: ")]
        assert not (folders.out / "spk2info.safetensors").exists()


class _Code:
    """Unpickled, this makes a folder."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return Path.mkdir, (self.proof,)


class TestAnotherLanguageModel:
    @pytest.mark.parametrize("place", ["beside", "elsewhere", "wrapped", "safetensors"])
    def test_it_is_taken(self, place: str, tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path) -> None:
        checkpoint = damaged_copy(
            tiny_checkpoint, tmp_path / "checkpoint", "llm.pt", lambda path: path.rename(path.with_name("llm.rl.pt"))
        )
        other = checkpoint / "llm.rl.pt"
        named = "llm.rl.pt"
        if place != "beside":
            named = str(other.rename(tmp_path / "tuned.bin"))
        if place == "wrapped":
            rewrite(prefixed("module."))(Path(named))
        if place == "safetensors":
            as_safetensors(without_head)(Path(named))
            named = str(Path(named).with_suffix(".safetensors"))
        out = tmp_path / "out"
        assert cli.main([str(checkpoint), "--out", str(out), "--components", "llm", "--llm", named]) == 0
        expected = {key: value for key, value in load_weights(tiny_model).items() if key.startswith("llm.")}
        assert all(mx.array_equal(value, expected[key]) for key, value in load_weights(out).items())
        files = json.loads((out / "conversion.json").read_text())["files"]
        assert Path(named).name in files
        assert "llm.pt" not in files

    def test_the_reference_takes_it_too(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        other = tmp_path / "tuned.pt"
        torch.save({k: 2 * v for k, v in torch.load(tiny_checkpoint / "llm.pt", weights_only=True).items()}, other)
        plain = Reference(tiny_checkpoint).component("llm", "float32").llm_decoder.weight
        assert torch.equal(
            Reference(tiny_checkpoint, llm=other).component("llm", "float32").llm_decoder.weight, 2 * plain
        )

    def test_a_file_that_is_not_there(self, fails: Callable[..., str]) -> None:
        fails("lacks no.pt", arguments=("--llm", "no.pt"))

    def test_an_empty_file(self, folders: Folders, fails: Callable[..., str]) -> None:
        (folders.root / "empty.pt").write_bytes(b"")
        fails("empty.pt: is empty", arguments=("--llm", str(folders.root / "empty.pt")))

    def test_another_component(self, tiny_checkpoint: Path, fails: Callable[..., str]) -> None:
        fails("holds the weights of the flow", arguments=("--llm", str(tiny_checkpoint / "flow.pt")))

    def test_no_language_model_is_converted(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="the language model is not among the components"):
            convert(tiny_checkpoint, tmp_path / "out", components=["hift"], llm="llm.pt")

    def test_the_others_are_named_where_the_usual_one_is_missing(
        self, folders: Folders, fails: Callable[..., str]
    ) -> None:
        folders.damage("llm.pt", lambda path: path.rename(path.with_name("llm.rl.pt")))
        fails("lacks llm.pt", "It has llm.rl.pt: choose with --llm llm.rl.pt")


EARLY = (
    ("token_frame_rate: 25\n", ""),
    ("token_mel_ratio: 2\n\n", ""),
    ("input_frame_rate: !ref <token_frame_rate>", "input_frame_rate: 25"),
    ("token_mel_ratio: !ref <token_mel_ratio>", "token_mel_ratio: 2"),
    ("chunk_size: 25 # in tokens\n", ""),
    ("num_decoding_left_chunks: -1 # below 0: all\n", ""),
    ("    mix_ratio: [5, 15]\n", ""),
    ("        static_chunk_size: !ref <chunk_size>\n    decoder", "    decoder"),
    ("            static_chunk_size: !ref <chunk_size> * <token_mel_ratio>\n", ""),
    ("            num_decoding_left_chunks: !ref <num_decoding_left_chunks>\n", ""),
    ("CausalConditionalDecoder\n", "ConditionalDecoder\n            causal: True\n"),
)

COSYVOICE_1 = """sample_rate: 22050
text_encoder_input_size: 512
llm_input_size: 1024
llm_output_size: 1024
spk_embed_dim: 192
"""
COSYVOICE_1_CLASSES = """sample_rate: 22050
llm: !new:cosyvoice.llm.llm.TransformerLM
    llm_input_size: 1024
"""


class TestYaml:
    @pytest.mark.parametrize("name", ["cosyvoice.yaml", "cosyvoice3.yaml"])
    def test_under_another_name(self, name: str, tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path) -> None:
        """Its first one, or that of another model: its classes tell what it is."""
        copy = damaged_copy(
            tiny_checkpoint, tmp_path / "copy", "cosyvoice2.yaml", lambda path: path.rename(path.with_name(name))
        )
        report = convert(copy, tmp_path / "out", components=["flow"])
        is_as_converted(report, "flow", tiny_model)
        assert name in report.record["files"]

    def test_as_it_was_first_published(self, tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path) -> None:
        def early(path: Path) -> None:
            for old, new in EARLY:
                replace_text(old, new)(path)
            path.rename(path.with_name("cosyvoice.yaml"))

        copy = damaged_copy(tiny_checkpoint, tmp_path / "copy", "cosyvoice2.yaml", early)
        report = convert(copy, tmp_path / "out")
        assert report.config == read_config(tiny_model)[0]
        assert "cosyvoice.yaml" in report.record["files"]

    def test_an_early_decoder_that_is_not_causal(self, folders: Folders, fails: Callable[..., str]) -> None:
        folders.damage("cosyvoice2.yaml", replace_text("CausalConditionalDecoder\n", "ConditionalDecoder\n"))
        fails("flow.decoder.estimator", "ConditionalDecoder", "not supported")

    @pytest.mark.parametrize(
        ("content", "model"),
        [(COSYVOICE_1, "CosyVoice 1"), (COSYVOICE_1_CLASSES, "CosyVoice 1")],
    )
    @pytest.mark.parametrize("name", ["cosyvoice.yaml", "cosyvoice2.yaml"])
    def test_of_another_model(
        self, name: str, content: str, model: str, folders: Folders, fails: Callable[..., str]
    ) -> None:
        def change(path: Path) -> None:
            path.unlink()
            path.with_name(name).write_text(content)

        folders.damage("cosyvoice2.yaml", change)
        fails(f"{folders.checkpoint / name}: is of {model}", "FunAudioLLM/CosyVoice2-0.5B")

    @pytest.mark.parametrize("name", ["cosyvoice2.yaml", *(f"CosyVoice-BlankEN/{name}" for name in (
        "config.json", "vocab.json", "merges.txt", "tokenizer_config.json"))])  # fmt: skip
    def test_a_byte_order_mark(self, name: str, tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path) -> None:
        """An editor on Windows puts one before the text."""
        copy = damaged_copy(
            tiny_checkpoint, tmp_path / "copy", name, lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        )
        report = convert(copy, tmp_path / "out", components=["llm"])
        is_as_converted(report, "llm", tiny_model)
        assert (report.out / "tokenizer.json").read_bytes() == (tiny_model / "tokenizer.json").read_bytes()


class TestPlaces:
    def test_one_folder_too_high(self, tiny_checkpoint: Path, folders: Folders, fails: Callable[..., str]) -> None:
        folders.checkpoint = folders.root / "pretrained_models"
        shutil.copytree(tiny_checkpoint, folders.checkpoint / "CosyVoice2-0.5B", copy_function=_link)
        fails(f"The checkpoint is in {folders.checkpoint / 'CosyVoice2-0.5B'}: give that.")

    def test_the_cache_of_the_hub(self, tiny_checkpoint: Path, folders: Folders, fails: Callable[..., str]) -> None:
        folders.checkpoint = folders.root / "models--FunAudioLLM--CosyVoice2-0.5B"
        inner = folders.checkpoint / "snapshots" / "abcdef"
        shutil.copytree(tiny_checkpoint, inner, copy_function=_link)
        fails(f"The checkpoint is in {inner}: give that.")

    def test_several(self, tiny_checkpoint: Path, folders: Folders, fails: Callable[..., str]) -> None:
        folders.checkpoint = folders.root / "models"
        for name in ("a", "b"):
            (folders.checkpoint / name).mkdir(parents=True)
            (folders.checkpoint / name / "cosyvoice2.yaml").write_text("")
        fails(f"There are checkpoints in {folders.checkpoint / 'a'}, {folders.checkpoint / 'b'}: give one of them.")

    def test_one_folder_too_low(self, folders: Folders, fails: Callable[..., str]) -> None:
        folders.checkpoint = folders.good / "CosyVoice-BlankEN"
        fails(f"It is a part of the checkpoint {folders.good}: give that.")

    def test_one_of_its_files(self, folders: Folders, fails: Callable[..., str]) -> None:
        folders.checkpoint = folders.good / "llm.pt"
        fails("llm.pt: is a file; give the folder of a checkpoint")

    def test_a_converted_model(self, tiny_model: Path, folders: Folders, fails: Callable[..., str]) -> None:
        folders.checkpoint = tiny_model
        fails(str(tiny_model), "It is a converted model already", "give the official checkpoint that it was made from")

    def test_a_model_of_another_port(self, folders: Folders, fails: Callable[..., str]) -> None:
        folders.checkpoint = folders.root / "port"
        folders.checkpoint.mkdir()
        (folders.checkpoint / "config.json").write_text('{"model_type": "cosyvoice2", "version": "0.5B"}')
        fails(str(folders.checkpoint), "converted by another project", "convert the official checkpoint again")

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("https://huggingface.co/FunAudioLLM/CosyVoice2-0.5B", ["give the hub id, FunAudioLLM/CosyVoice2-0.5B"]),
            ("huggingface.co/FunAudioLLM/CosyVoice2-0.5B/tree/main", ["give the hub id, FunAudioLLM/CosyVoice2-0.5B"]),
            ("https://modelscope.cn/models/iic/CosyVoice2-0.5B", ["modelscope download --model iic/CosyVoice2-0.5B"]),
            ("https://www.modelscope.cn/models/iic/CosyVoice2-0.5B/files", ["--model iic/CosyVoice2-0.5B --local_dir"]),
        ],
    )
    def test_addresses(self, name: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        assert cli.main([name, "--out", str(tmp_path / "out")]) == 1
        [line] = capsys.readouterr().err.splitlines()
        for word in words:
            assert word in line
        assert list(tmp_path.iterdir()) == []


def _link(source: str, target: str) -> str:
    Path(target).hardlink_to(source)
    return target


def test_training_counters_alone_change_nothing(folders: Folders, tiny_model: Path) -> None:
    folders.damage("flow.pt", change_state(lambda state: state.update(epoch=3, step=17)))
    report = convert(folders.checkpoint, folders.root / "new", components=["flow"])
    is_as_converted(report, "flow", tiny_model)
    assert report.record["stripped"] == {"flow": {"left_out": ["epoch", "step"]}}
