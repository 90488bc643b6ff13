"""Every way in which a checkpoint can be wrong: one line that names what is, and the output folder as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch

from tests.support.checkpoints import Folders, change_state, replace_text, truncate

FILES = (
    "cosyvoice2.yaml",
    *("llm.pt", "flow.pt", "hift.pt", "campplus.onnx", "speech_tokenizer_v2.onnx"),
    *(f"CosyVoice-BlankEN/{name}" for name in ("config.json", "vocab.json", "merges.txt", "tokenizer_config.json")),
)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(name: str, folders: Folders, fails: Callable[..., str]) -> None:
    folders.damage(name, Path.unlink)
    fails(str(folders.checkpoint), f"lacks {name}.")


@pytest.mark.parametrize("name", FILES)
def test_an_empty_file_and_a_git_lfs_pointer(name: str, folders: Folders, fails: Callable[..., str]) -> None:
    folders.damage(name, lambda path: path.write_bytes(b""))
    fails(str(folders.checkpoint / name), "is empty")
    (folders.checkpoint / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    fails(str(folders.checkpoint / name), "git lfs pull")


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("name", ["llm.pt", "flow.pt", "hift.pt", "campplus.onnx", "speech_tokenizer_v2.onnx"])
def test_a_truncated_file(name: str, fraction: float, folders: Folders, fails: Callable[..., str]) -> None:
    folders.damage(name, truncate(fraction))
    fails(str(folders.checkpoint / name), "a damaged or cut one", "Get it again")


@pytest.mark.parametrize(
    "name", ["llm.pt", "campplus.onnx", "CosyVoice-BlankEN/config.json", "CosyVoice-BlankEN/vocab.json"]
)
def test_a_file_that_is_something_else(name: str, folders: Folders, fails: Callable[..., str]) -> None:
    folders.damage(name, lambda path: path.write_text("<html>404 not found</html>"))
    fails(str(folders.checkpoint / name))


class Code:
    """Unpickled, this makes a folder."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["llm.pt", "flow.pt", "hift.pt"])
def test_a_pt_file_that_carries_code(name: str, zipped: bool, folders: Folders, fails: Callable[..., str]) -> None:
    proof = folders.root / "executed"
    content = {"weight": torch.zeros(2), "evil": Code(proof)}
    folders.damage(name, lambda path: torch.save(content, path, _use_new_zipfile_serialization=zipped))
    fails(str(folders.checkpoint / name), "code", "was not loaded")
    assert not proof.exists()


KEY = {
    "llm.pt": "llm_decoder.weight",
    "flow.pt": "encoder_proj.weight",
    "hift.pt": "generator.conv_pre.parametrizations.weight.original1",
}


@pytest.mark.parametrize("name", KEY)
class TestKeys:
    def test_missing(self, name: str, folders: Folders, fails: Callable[..., str]) -> None:
        folders.damage(name, change_state(lambda state: state.pop(KEY[name])))
        fails(str(folders.checkpoint / name), f"missing: {KEY[name].removeprefix('generator.')}")

    def test_surplus(self, name: str, folders: Folders, fails: Callable[..., str]) -> None:
        folders.damage(name, change_state(lambda state: state.update(stranger=torch.zeros(2))))
        fails(str(folders.checkpoint / name), "not part of the network: stranger")

    def test_mis_shaped(self, name: str, folders: Folders, fails: Callable[..., str]) -> None:
        folders.damage(name, change_state(lambda state: state.update({KEY[name]: state[KEY[name]][:, :3].clone()})))
        fails(str(folders.checkpoint / name), "wrong shape", KEY[name].removeprefix("generator."), ", 3")

    def test_not_a_tensor(self, name: str, folders: Folders, fails: Callable[..., str]) -> None:
        folders.damage(name, change_state(lambda state: state.update({KEY[name]: [1.0, 2.0]})))
        fails(str(folders.checkpoint / name), KEY[name], "list", "not a plain tensor")

    def test_not_of_floats(self, name: str, folders: Folders, fails: Callable[..., str]) -> None:
        folders.damage(name, change_state(lambda state: state.update({KEY[name]: state[KEY[name]].int()})))
        fails(str(folders.checkpoint / name), KEY[name].removeprefix("generator."), "int32")

    def test_not_finite(self, name: str, folders: Folders, fails: Callable[..., str]) -> None:
        folders.damage(name, change_state(lambda state: state[KEY[name]].view(-1)[5:6].fill_(float("nan"))))
        fails(str(folders.checkpoint / name), KEY[name].removeprefix("generator."), "NaN")


def test_the_noise_is_not_taken_from_the_checkpoint(folders: Folders, fails: Callable[..., str]) -> None:
    folders.damage(
        "flow.pt", change_state(lambda state: state.update({"decoder.rand_noise": torch.zeros(1, 80, 15000)}))
    )
    fails("flow.pt", "decoder.rand_noise")


def test_a_key_twice(folders: Folders, fails: Callable[..., str]) -> None:
    folders.damage("hift.pt", change_state(lambda state: state.update({"conv_pre.bias": torch.zeros(64)})))
    fails("hift.pt", "'conv_pre.bias'", "'generator.conv_pre.bias'")


def test_files_that_are_swapped(folders: Folders, fails: Callable[..., str]) -> None:
    folders.damage("llm.pt", lambda path: shutil.copy(folders.good / "hift.pt", path))
    fails("llm.pt", "holds the weights of the hift, not of the llm", "right file")


def test_values_too_large_for_scales_of_float16(folders: Folders, fails: Callable[..., str]) -> None:
    folders.damage("llm.pt", change_state(lambda state: state[KEY["llm.pt"]].view(-1)[5:6].fill_(1e5)))
    fails("llm.pt", "llm.llm_decoder.weight", "1e+05", "--dtype bfloat16", arguments=("--quantize", "4"))


@pytest.mark.parametrize(
    ("name", "node"),
    [("campplus.onnx", "/head/conv1/Conv"), ("speech_tokenizer_v2.onnx", "/blocks.1/attn/key/MatMul")],
)
def test_onnx_without_the_expected_nodes(name: str, node: str, folders: Folders, fails: Callable[..., str]) -> None:
    def rename(path: Path) -> None:
        model = onnx.load(path)
        [found] = [entry for entry in model.graph.node if entry.name == node]
        found.name = "/stranger/Conv"
        onnx.save(model, path)

    folders.damage(name, rename)
    fails(str(folders.checkpoint / name), "no node for", ".".join(node.strip("/").split("/")[:-1]))


def test_onnx_of_another_network(folders: Folders, fails: Callable[..., str]) -> None:
    folders.damage("campplus.onnx", lambda path: shutil.copy(folders.good / "speech_tokenizer_v2.onnx", path))
    fails(str(folders.checkpoint / "campplus.onnx"), "CAM++")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("solver: 'euler'", "solver: 'midpoint'", ["flow.decoder.cfm_params.content.solver", "midpoint", "euler"]),
        ("act_fn: 'gelu'", "act_fn: 'gelu'\n            extra: 1", ["flow.decoder.estimator.extra", "unknown"]),
        ("channels: [64]", "channels: [64, 64]", ["channels", "64, 64"]),
        ("base_channels: 64", "base_channels: 128", ["hift.pt", "wrong shape", "conv_post"]),
        ("allowed_special: 'all'", "allowed_special: !!python/object/apply:os.getcwd []", ["never executed"]),
    ],
)
def test_a_yaml_with_unknown_values(
    old: str, new: str, words: list[str], folders: Folders, fails: Callable[..., str]
) -> None:
    folders.damage("cosyvoice2.yaml", replace_text(old, new))
    fails(str(folders.checkpoint), *words)


def test_a_vocabulary_that_is_too_large(folders: Folders, fails: Callable[..., str]) -> None:
    folders.damage("CosyVoice-BlankEN/config.json", replace_text('"vocab_size": 1000', '"vocab_size": 903'))
    fails("vocab.json", "903 embeddings")
