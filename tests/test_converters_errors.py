"""Every way in which a conversion can fail: one line that names what is wrong, and the output folder as it was."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from converters import __main__ as cli
from converters import write
from converters.checkpoint import SPEAKERS, WEIGHT_FILES
from converters.convert import convert
from mlx_cosyvoice.weights import COMPONENTS
from tests.support.checkpoints import change_state, damaged_copy, replace_text, snapshot, truncate
from tests.support.process import ROOT

#: File -> the components that read it, so that a test converts no more than it needs.
READERS = {**{file: (name,) for name, file in WEIGHT_FILES.items()}, SPEAKERS: ("hift",)}


class Folders:
    """`checkpoint` is good until a test damages it; `out` holds an older model, which must survive every failure."""

    def __init__(self, good: Path, root: Path) -> None:
        self.good, self.root = good, root
        self.checkpoint, self.out = good, root / "results" / "out"
        self.components: tuple[str, ...] = COMPONENTS
        self.out.mkdir(parents=True)
        (self.out / "conversion.json").write_text("{}")
        (self.out / "model.safetensors").write_bytes(b"the old weights")

    def damage(self, name: str, change: Callable[[Path], object]) -> None:
        self.checkpoint = damaged_copy(self.good, self.root / "checkpoint", name, change)
        self.components = READERS.get(name, ("llm",) if "/" in name else COMPONENTS)


@pytest.fixture
def folders(tiny_checkpoint: Path, tmp_path: Path) -> Folders:
    return Folders(tiny_checkpoint, tmp_path)


@pytest.fixture
def fails(folders: Folders, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs the command over the old model, and checks all that is common to failures. Returns the message."""

    def run(*words: str, arguments: tuple[str, ...] = (), status: int = 1) -> str:
        before = snapshot(folders.out.parent)
        components = ("--components", ",".join(folders.components))
        given = [str(folders.checkpoint), "--out", str(folders.out), "--force", *components, *arguments]
        assert cli.main(given) == status
        shown = capsys.readouterr()
        lines = [line for line in re.split(r"[\r\n]+", shown.err) if line and "B/s]" not in line]
        assert len(lines) == 1, lines
        assert shown.out == ""
        for word in words:
            assert word in lines[0]
        assert snapshot(folders.out.parent) == before
        return lines[0]

    return run


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
@pytest.mark.parametrize("name", ["llm.pt", "flow.pt", "hift.pt", "spk2info.pt"])
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
    fails("llm.pt", "missing", "not part of the network", "right checkpoint")


def test_values_too_large_for_float16(folders: Folders, fails: Callable[..., str]) -> None:
    folders.damage("llm.pt", change_state(lambda state: state[KEY["llm.pt"]].view(-1)[5:6].fill_(1e5)))
    fails("llm.pt", "llm.llm_decoder.weight", "1e+05", "--dtype bfloat16", arguments=("--dtype", "float16"))


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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1], ["not a table"]),
        ({"me": torch.zeros(3)}, ["'me'"]),
        ({"me": {"embedding": torch.zeros(192)}}, ["'me'", "[1, N]"]),
        ({"me": {"embedding": torch.full((1, 192), float("inf"))}}, ["'me'", "infinite"]),
    ],
)
def test_speakers_that_are_none(content: object, words: list[str], folders: Folders, fails: Callable[..., str]) -> None:
    folders.damage("spk2info.pt", lambda path: torch.save(content, path))
    fails("spk2info.pt", *words)


def test_a_saved_zero_shot_prompt_is_left_out(folders: Folders, tmp_path: Path) -> None:
    prompt = {"flow_embedding": torch.zeros(1, 192), "prompt_text": torch.zeros(1, 4, dtype=torch.int32)}
    folders.damage("spk2info.pt", lambda path: torch.save({"prompt": prompt}, path))
    convert(folders.checkpoint, tmp_path / "out", components=["hift"])
    assert not (tmp_path / "out" / "spk2info.safetensors").exists()
    assert '"prompt": "has no entry' in (tmp_path / "out" / "conversion.json").read_text()


class TestOutput:
    def test_it_exists(self, tiny_checkpoint: Path, folders: Folders, capsys: pytest.CaptureFixture) -> None:
        before = snapshot(folders.out.parent)
        assert cli.main([str(tiny_checkpoint), "--out", str(folders.out)]) == 1
        error = capsys.readouterr().err
        assert str(folders.out) in error
        assert "--force" in error
        assert snapshot(folders.out.parent) == before

    def test_force_does_not_replace_other_things(self, folders: Folders, fails: Callable[..., str]) -> None:
        (folders.out / "conversion.json").rename(folders.out / "thesis.txt")
        fails(str(folders.out), "remove it yourself")

    def test_force_replaces_a_model(self, tiny_checkpoint: Path, folders: Folders) -> None:
        assert cli.main([str(tiny_checkpoint), "--out", str(folders.out), "--force", "--components", "hift"]) == 0
        assert (folders.out / "model.safetensors").read_bytes() != b"the old weights"
        assert [path.name for path in folders.out.parent.iterdir()] == ["out"]

    @pytest.mark.parametrize("place", [".", "inside", "inside/deep", "..", "../checkpoint/../checkpoint"])
    def test_it_lies_in_the_checkpoint_or_around_it(
        self, place: str, folders: Folders, tiny_checkpoint: Path, capsys: pytest.CaptureFixture
    ) -> None:
        checkpoint = shutil.copytree(
            tiny_checkpoint, folders.root / "checkpoints" / "checkpoint", copy_function=os.link
        )
        (checkpoint.parent / "conversion.json").write_text("{}")  # so that --force would replace them
        (checkpoint / "conversion.json").write_text("{}")
        before = set(snapshot(checkpoint.parent))
        assert cli.main([str(checkpoint), "--out", str(checkpoint / place), "--force"]) == 1
        assert "choose another output folder" in capsys.readouterr().err
        assert set(snapshot(checkpoint.parent)) == before

    def test_its_parent_is_a_file(self, folders: Folders, tiny_checkpoint: Path, capsys: pytest.CaptureFixture) -> None:
        (folders.root / "file").write_text("text")
        arguments = ["--components", "hift", "--out", str(folders.root / "file" / "out")]
        assert cli.main([str(tiny_checkpoint), *arguments]) == 1
        assert f"{folders.root / 'file'} is a file" in capsys.readouterr().err


class TestArguments:
    def test_unknown_components(self, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        for argument in ("components", "keep_float32"):
            option = f"--{argument.replace('_', '-')}"
            with pytest.raises(SystemExit) as stopped:
                cli.main([str(tiny_checkpoint), "--out", str(tmp_path / "out"), option, "flow,vocoder"])
            assert stopped.value.code == 2
            assert f"{option}: 'vocoder' is not one of llm, flow" in capsys.readouterr().err
            with pytest.raises(ValueError, match=f"{argument}: 'vocoder' is not one of"):
                convert(tiny_checkpoint, tmp_path / "out", **{argument: ["vocoder"]})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="components: name at least one"):
            convert(tiny_checkpoint, tmp_path / "out", components=[])
        assert list(tmp_path.iterdir()) == []

    def test_unknown_dtype(self, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(tiny_checkpoint), "--out", str(tmp_path / "out"), "--dtype", "int8"])
        assert stopped.value.code == 2
        assert "bfloat16" in capsys.readouterr().err
        with pytest.raises(ValueError, match="dtype must be one of float32, float16, bfloat16, not 'int8'"):
            convert(tiny_checkpoint, tmp_path / "out", dtype="int8")

    def test_a_checkpoint_that_is_not_there(self, folders: Folders, fails: Callable[..., str]) -> None:
        folders.checkpoint = folders.root / "nothing"
        fails(str(folders.checkpoint), "no such folder")
        folders.checkpoint.write_text("text")
        fails(str(folders.checkpoint), "is a file")

    @pytest.mark.parametrize(
        ("name", "model"),
        [("cosyvoice.yaml", "CosyVoice 1"), ("cosyvoice3.yaml", "CosyVoice 3"), ("config.json", "converted")],
    )
    def test_a_checkpoint_of_another_model(
        self, name: str, model: str, folders: Folders, fails: Callable[..., str]
    ) -> None:
        folders.damage("cosyvoice2.yaml", lambda path: path.rename(path.with_name(name)))
        fails("cosyvoice2.yaml", name, model)


class TestDiskFull:
    def test_while_writing(self, folders: Folders, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        original = write.SafetensorsWriter.write

        def full(self: write.SafetensorsWriter, name: str, array: np.ndarray) -> int:
            calls.append(name)
            if len(calls) == 50:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(self, name, array)

        monkeypatch.setattr(write.SafetensorsWriter, "write", full)
        fails(f"{folders.out}: No space left on device", "free some space")
        assert len(calls) == 50

    def test_seen_beforehand(self, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        usage = shutil.disk_usage("/")._replace(free=1_000_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        fails("the model needs 0.10 GB", "0.00 GB are free")

    @pytest.mark.parametrize("limit", [1_000, 10_000_000])
    def test_for_real(self, limit: int, folders: Folders) -> None:
        """Files may not grow beyond a limit; the system's answer differs from a full disk in the number only."""
        before = snapshot(folders.out.parent)
        result = subprocess.run(
            [sys.executable, "-m", "converters", str(folders.good), "--out", str(folders.out), "--force"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert result.returncode == 1
        assert f"error: {folders.out}: File too large" in result.stderr
        assert "Traceback" not in result.stderr
        assert snapshot(folders.out.parent) == before


PAUSE = """
import sys, time
from converters import __main__ as cli, write
original, calls = write.SafetensorsWriter.write, []
def slow(self, name, array):
    calls.append(name)
    if len(calls) == 40:
        print("half way", flush=True)
        time.sleep(60)
    return original(self, name, array)
write.SafetensorsWriter.write = slow
sys.exit(cli.main(sys.argv[1:]))
"""


def test_interrupted_half_way(folders: Folders) -> None:
    before = snapshot(folders.out.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", PAUSE, str(folders.good), "--out", str(folders.out), "--force"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half way\n"
    assert len(list(folders.out.parent.iterdir())) == 2  # the new folder is under way
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in error
    assert "Traceback" not in error
    assert snapshot(folders.out.parent) == before


def test_the_hub_cannot_be_reached(folders: Folders) -> None:
    before = snapshot(folders.out.parent)
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folders.root / "hub")}
    result = subprocess.run(
        [sys.executable, "-m", "converters", "--out", str(folders.out), "--force"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    message = result.stderr.strip().splitlines()[-1]
    for word in ("FunAudioLLM/CosyVoice2-0.5B", "hub", "local checkpoint folder", "CHECKPOINT=synthetic"):
        assert word in message
    assert snapshot(folders.out.parent) == before
