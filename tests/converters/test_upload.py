"""Publishing a converted model, against a stand-in of the hub's HTTP API on this machine."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from converters import __main__ as cli
from converters.convert import convert
from converters.upload import FILES, UploadError, model_sha256, upload
from mlx_cosyvoice.hub import ModelNotFoundError, find_model
from mlx_cosyvoice.weights import load_weights, read_config
from tests.support.checkpoints import snapshot
from tests.support.hub import TOKEN, Hub, hub_server

REPO = "somebody/tiny-mlx"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The stand-in, to which the client is led; with a token, and without the Xet protocol, which only the hub has."""
    with hub_server() as running:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.url)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            running.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


@pytest.fixture(scope="module")
def converted(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(tiny_checkpoint, tmp_path_factory.mktemp("published") / "model", components=["hift", "llm"]).out


@pytest.fixture
def model(converted: Path, tmp_path: Path) -> Path:
    """A converted model that a test may change."""
    return shutil.copytree(converted, tmp_path / "model")


def parity_of(model: Path, **changes: object) -> dict:
    """As `python -m parity run --json` writes it."""
    layer = {"type": "Linear", "verdict": "pass", "error_over_floor": 1.25}
    stage = {
        "title": "Language model",
        "dtype": "float32",
        "verdict": "pass",
        "layers": {"llm.a": layer},
        "outputs": {},
    }
    result = {
        "verdict": "pass",
        "settings": {"streaming": False},
        "model_sha256": model_sha256(model),
        "stages": {"llm": stage},
    }
    return {**result, **changes}


class TestPublished:
    def test_what_is_uploaded(self, hub: Hub, model: Path) -> None:
        (model / "notes.txt").write_text("mine")
        url = upload(model, REPO)
        assert url == f"{hub.url}/{REPO}"
        repository = hub.repositories[REPO]
        assert not repository.private
        files = {name: content for name, content in snapshot(model).items() if name != "notes.txt"}
        assert repository.branches["main"] == files
        (commit,) = repository.commits
        assert "mlx-cosyvoice" in commit["summary"]
        assert all(any(Path(name).match(pattern) for pattern in FILES) for name in files)

    def test_it_can_be_loaded_by_its_name(self, hub: Hub, model: Path) -> None:
        upload(model, REPO)
        folder = find_model(REPO)
        assert folder != model
        assert read_config(folder)[1]["components"] == ["llm", "hift"]
        assert load_weights(folder).keys() == load_weights(model).keys()

    def test_a_second_upload_replaces_the_first(self, hub: Hub, model: Path, tiny_checkpoint: Path) -> None:
        sharded = convert(
            tiny_checkpoint, model.parent / "sharded", components=["hift", "llm"], max_shard_bytes=2_000_000
        ).out
        upload(sharded, REPO)
        assert "model.safetensors.index.json" in hub.repositories[REPO].branches["main"]
        upload(model, REPO)
        assert hub.repositories[REPO].branches["main"] == snapshot(model)

    def test_private_and_on_a_branch(self, hub: Hub, model: Path) -> None:
        url = upload(model, REPO, private=True, revision="4bit")
        assert url.endswith(f"{REPO}/tree/4bit")
        assert hub.repositories[REPO].private
        assert hub.repositories[REPO].branches["main"] == {}
        assert hub.repositories[REPO].branches["4bit"] == snapshot(model)
        upload(model, REPO, revision="4bit")

    def test_after_a_conversion(
        self, hub: Hub, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
    ) -> None:
        arguments = ["--out", str(tmp_path / "out"), "--components", "hift", "--upload", REPO, "--private"]
        assert cli.main([str(tiny_checkpoint), *arguments]) == 0
        assert f"published: {hub.url}/{REPO}" in capsys.readouterr().out
        assert hub.repositories[REPO].branches["main"] == snapshot(tmp_path / "out")

    def test_without_a_conversion(self, hub: Hub, model: Path) -> None:
        assert cli.main(["--upload-only", str(model), REPO]) == 0
        assert hub.repositories[REPO].branches["main"] == snapshot(model)


class TestCard:
    def test_parity_that_was_not_run(self, hub: Hub, model: Path) -> None:
        upload(model, REPO)
        card = hub.repositories[REPO].branches["main"]["README.md"].decode()
        assert "license: apache-2.0" in card
        assert "## Parity" in card
        assert "Not run" in card
        assert json.loads((model / "conversion.json").read_text())["files"]["llm.pt"]["sha256"][:16] in card

    @pytest.mark.parametrize("inside", [True, False])
    def test_parity_that_was_run(self, inside: bool, hub: Hub, model: Path, tmp_path: Path) -> None:
        path = (model if inside else tmp_path) / "parity.json"
        path.write_text(json.dumps(parity_of(model)))
        upload(model, REPO, parity=None if inside else path)
        published = hub.repositories[REPO].branches["main"]
        assert published["parity.json"] == path.read_bytes()
        card = published["README.md"].decode()
        assert "**pass**" in card
        assert "| Language model | float32 | pass | 1/1 | 1.2 |" in card
        assert "Not run" not in card

    def test_what_was_edited_stays(self, hub: Hub, model: Path) -> None:
        (model / "README.md").write_text((model / "README.md").read_text() + "\nMy own words.\n")
        upload(model, REPO)
        assert hub.repositories[REPO].branches["main"]["README.md"].endswith(b"\nMy own words.\n")

    def test_a_full_disk_leaves_the_card(self, hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_space(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        (model / "parity.json").write_text(json.dumps(parity_of(model)))
        before = snapshot(model)
        monkeypatch.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space"):
            upload(model, REPO)
        assert snapshot(model) == before
        assert hub.requests == []

    def test_parity_of_another_model(self, hub: Hub, model: Path) -> None:
        (model / "parity.json").write_text(json.dumps(parity_of(model, model_sha256="0" * 64)))
        with pytest.raises(UploadError, match="is of another model"):
            upload(model, REPO)
        assert hub.requests == []

    @pytest.mark.parametrize("text", ["", "[]", "{}"])
    def test_a_file_that_is_no_parity(self, text: str, hub: Hub, model: Path, tmp_path: Path) -> None:
        (tmp_path / "parity.json").write_text(text)
        with pytest.raises(UploadError, match="python -m parity run --json"):
            upload(model, REPO, parity=tmp_path / "parity.json")
        assert hub.requests == []


class TestFailures:
    @pytest.fixture
    def fails(self, model: Path, capsys: pytest.CaptureFixture) -> Callable[..., str]:
        def run(*words: str, repo: str = REPO) -> str:
            before = snapshot(model)
            assert cli.main(["--upload-only", str(model), repo]) == 1
            (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
            for word in ("error: ", repo, *words):
                assert word in line
            assert snapshot(model) == before
            return line

        return run

    def test_no_token(self, hub: Hub, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("HF_TOKEN")
        fails("no token", "hf auth login", "settings/tokens")
        assert hub.requests == []

    @pytest.mark.parametrize("repo", ["tiny", "a/b/c", "some body/tiny", "somebody/-x-", "/tiny", "somebody/"])
    def test_a_bad_name(self, repo: str, hub: Hub, fails: Callable[..., str]) -> None:
        fails("OWNER/NAME", repo=repo)
        assert hub.requests == []

    def test_a_token_that_is_not_known(
        self, hub: Hub, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch, model: Path
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_other")
        fails("does not accept the token", f"is kept: {model}")

    @pytest.mark.parametrize("word", ["create", "preupload", "commit"])
    def test_no_permission(self, word: str, hub: Hub, fails: Callable[..., str], model: Path) -> None:
        hub.refusals[word] = 403
        fails("must not write there", "write access", "another OWNER", f"is kept: {model}")

    def test_an_upload_that_breaks_off_can_be_repeated(self, hub: Hub, fails: Callable[..., str], model: Path) -> None:
        hub.refusals["commit"] = 500
        fails("answered 500", "--upload-only", f"is kept: {model}")
        assert hub.repositories[REPO].branches["main"] == {}
        hub.refusals.clear()
        sent = sum(request[0] == "PUT" for request in hub.requests)
        upload(model, REPO)
        assert hub.repositories[REPO].branches["main"] == snapshot(model)
        assert sum(request[0] == "PUT" for request in hub.requests) == sent  # the weights were there already

    def test_no_network(
        self, hub: Hub, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch, model: Path
    ) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
            fails("cannot be reached", "Check the network", f"is kept: {model}")

    def test_a_conversion_that_cannot_be_published_is_kept(
        self, hub: Hub, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
    ) -> None:
        hub.refusals["create"] = 403
        out = tmp_path / "out"
        assert cli.main([str(tiny_checkpoint), "--out", str(out), "--components", "hift", "--upload", REPO]) == 1
        assert f"is kept: {out}" in capsys.readouterr().err
        load_weights(out)

    def test_nothing_is_converted_for_a_request_that_must_fail(
        self, hub: Hub, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
    ) -> None:
        assert cli.main([str(tiny_checkpoint), "--out", str(tmp_path / "out"), "--upload", "tiny"]) == 1
        assert "OWNER/NAME" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("name", ["config.json", "conversion.json", "model.safetensors"])
    def test_a_folder_that_is_no_whole_model(
        self, name: str, hub: Hub, model: Path, capsys: pytest.CaptureFixture
    ) -> None:
        (model / name).unlink()
        assert cli.main(["--upload-only", str(model), REPO]) == 1
        assert str(model) in capsys.readouterr().err
        assert hub.requests == []

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--upload-only", "DIR", "a/b", "--out", "out"],
            ["--out", "out", "--private"],
            ["--out", "out", "--parity", "parity.json"],
            [],
        ],
    )
    def test_wrong_usage(self, arguments: list[str], capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 2


class TestDownload:
    def test_an_interrupted_one_is_told_and_goes_on(self, hub: Hub, model: Path, tmp_path: Path) -> None:
        upload(model, REPO)
        hub.refusals["model.safetensors"] = 403
        with pytest.raises(ModelNotFoundError, match=REPO):
            find_model(REPO)
        hub.refusals.clear()
        assert load_weights(find_model(REPO)).keys() == load_weights(model).keys()

    def test_a_repository_that_is_not_there(self, hub: Hub) -> None:
        with pytest.raises(ModelNotFoundError, match="somebody/nothing"):
            find_model("somebody/nothing")
