"""What people give for a model or a checkpoint besides the folder itself: ids of hubs, and folders of another kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from converters import __main__ as converters_cli
from mlx_cosyvoice import CosyVoice2
from mlx_cosyvoice.cli import main as cli
from mlx_cosyvoice.hub import find_model
from mlx_cosyvoice.weights import ModelFolderError
from parity.__main__ import main as parity_cli
from parity.pair import load_pair
from tests.support.hub import Hub, Repository, hub_server

MODEL, CHECKPOINT = "somebody/tiny-mlx", "somebody/CosyVoice2-0.5B"

#: The configuration that another port of the model writes.
FOREIGN = {"model_type": "cosyvoice2", "version": "0.5B", "sample_rate": 24000, "mel_channels": 80, "dtype": "fp16"}


@pytest.fixture(scope="module")
def contents(tiny_model: Path, tiny_checkpoint: Path) -> dict[str, dict[str, bytes]]:
    """Repository -> file -> what is in it."""
    return {
        name: {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for name, folder in ((MODEL, tiny_model), (CHECKPOINT, tiny_checkpoint))
    }


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, contents: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    """A stand-in of the hub that has a converted model and a checkpoint."""
    with hub_server() as running:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        for name, files in contents.items():
            running.repositories[name] = Repository(private=False, branches={"main": dict(files)})
        yield running


def downloaded(hub: Hub) -> set[str]:
    return {path.split("/resolve/")[1].split("/", 1)[1] for method, path in hub.requests if "/resolve/" in path}


class TestIds:
    def test_info(self, hub: Hub, capsys: pytest.CaptureFixture) -> None:
        assert cli(["info", "--model", MODEL, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["model"]["sample_rate"] == 24000

    def test_load(self, hub: Hub) -> None:
        assert CosyVoice2.load(MODEL).sample_rate == 24000

    def test_parity(self, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        arguments = [
            "--checkpoint",
            CHECKPOINT,
            "--model",
            MODEL,
            "--stages",
            "text_tokenizer",
            "--json",
            str(tmp_path / "a.json"),
        ]
        assert parity_cli(["run", *arguments]) == 0
        assert "model_sha256" in json.loads((tmp_path / "a.json").read_text())
        assert load_pair(CHECKPOINT, MODEL).model.sample_rate == 24000

    def test_convert(self, hub: Hub, tmp_path: Path) -> None:
        assert converters_cli.main([CHECKPOINT, "--out", str(tmp_path / "out"), "--components", "hift"]) == 0
        assert json.loads((tmp_path / "out" / "conversion.json").read_text())["source"] == CHECKPOINT
        assert "llm.pt" not in downloaded(hub)

    def test_another_language_model_of_the_repository(self, hub: Hub, tmp_path: Path) -> None:
        files = hub.repositories[CHECKPOINT].branches["main"]
        files["llm.rl.pt"] = files.pop("llm.pt")
        arguments = ["--out", str(tmp_path / "out"), "--components", "llm", "--llm", "llm.rl.pt"]
        assert converters_cli.main([CHECKPOINT, *arguments]) == 0

    def test_an_early_repository(self, hub: Hub, tmp_path: Path) -> None:
        files = hub.repositories[CHECKPOINT].branches["main"]
        files["cosyvoice.yaml"] = files.pop("cosyvoice2.yaml")
        assert converters_cli.main([CHECKPOINT, "--out", str(tmp_path / "out"), "--components", "hift"]) == 0

    def test_a_checkpoint_given_as_a_model(self, hub: Hub, capsys: pytest.CaptureFixture) -> None:
        """A gigabyte of the real one would have matched what a model consists of."""
        hub.repositories[CHECKPOINT].branches["main"]["CosyVoice-BlankEN/model.safetensors"] = b"large"
        assert cli(["info", "--model", CHECKPOINT]) == 1
        [line] = capsys.readouterr().err.splitlines()
        assert f"{CHECKPOINT}: the repository has no config.json, so it is not a converted model" in line
        assert f"python -m converters {CHECKPOINT} --out DIR" in line
        assert downloaded(hub) == {"config.json"}

    def test_a_model_of_another_port(self, hub: Hub) -> None:
        hub.repositories["somebody/port"] = Repository(
            private=False, branches={"main": {"config.json": json.dumps(FOREIGN).encode(), "a.safetensors": b"large"}}
        )
        with pytest.raises(
            ModelFolderError, match=r"somebody/port: .*converted by another project; convert the official"
        ):
            find_model("somebody/port")
        assert downloaded(hub) == {"config.json"}

    @pytest.mark.parametrize("name", ["iic/CosyVoice2-0.5B", "iic/Another"])
    def test_of_modelscope(self, hub: Hub, name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        assert converters_cli.main([name, "--out", str(tmp_path / "out")]) == 1
        [line] = capsys.readouterr().err.splitlines()
        assert "It is an id of ModelScope" in line
        folder = name.split("/")[1]
        assert f"modelscope download --model {name} --local_dir {folder}" in line


class TestFolders:
    def test_a_checkpoint_given_as_a_model(self, tiny_checkpoint: Path, capsys: pytest.CaptureFixture) -> None:
        assert cli(["info", "--model", str(tiny_checkpoint)]) == 1
        [line] = capsys.readouterr().err.splitlines()
        assert f"{tiny_checkpoint}: has cosyvoice2.yaml, so it is an official checkpoint" in line
        assert f"python -m converters {tiny_checkpoint} --out DIR" in line

    def test_a_model_of_another_port(self, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        folder = shutil.copytree(tiny_model, tmp_path / "port")
        (folder / "config.json").write_text(json.dumps(FOREIGN))
        assert cli(["info", "--model", str(folder)]) == 1
        [line] = capsys.readouterr().err.splitlines()
        assert f"{folder / 'config.json'}: the model was converted by another project" in line
        assert "convert the official checkpoint again: python -m converters CHECKPOINT --out DIR" in line

    def test_a_pointer_in_place_of_the_weights(self, tiny_model: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(tiny_model, tmp_path / "model")
        (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
        with pytest.raises(ModelFolderError, match=r"model.safetensors: is a Git LFS pointer.*git lfs pull"):
            CosyVoice2.load(folder)

    def test_a_file_of_the_model(self, tiny_model: Path, capsys: pytest.CaptureFixture) -> None:
        assert cli(["info", "--model", str(tiny_model / "model.safetensors")]) == 1
        assert "is a file; give the model's folder" in capsys.readouterr().err
