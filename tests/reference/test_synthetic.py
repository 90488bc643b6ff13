"""The synthetic checkpoint: official keys and shapes, recipe values, whole or not at all."""

from __future__ import annotations

import errno
import io
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from reference.families import FAMILIES
from reference.synthetic import checkpoint as synthetic
from reference.synthetic import recipe
from reference.synthetic.sizes import SIZES3
from reference.synthetic.yaml import yaml_text
from tests.support.checkpoints import snapshot
from tests.support.golden import GOLDEN, golden_name, official_shapes, recipe_state_dict
from tests.support.process import ROOT


@pytest.fixture(
    params=[("cosyvoice2", "tiny_checkpoint"), ("cosyvoice3", "tiny_checkpoint3")], ids=lambda param: param[0]
)
def written(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A family, and the folder of its tiny checkpoint."""
    return request.param[0], request.getfixturevalue(request.param[1])


@pytest.mark.parametrize("size", ["tiny", "full"])
@pytest.mark.parametrize("stage", list(FAMILIES["cosyvoice2"].networks))
@pytest.mark.parametrize("family", list(FAMILIES))
def test_the_networks_have_the_official_keys_and_shapes(family: str, stage: str, size: str) -> None:
    sizes = synthetic.SYNTHETICS[family].sizes[size][stage]
    expected = official_shapes(golden_name(stage, size, family))
    assert synthetic.official_shapes(FAMILIES[family].networks[stage], sizes) == expected


@pytest.mark.parametrize("stage", ["llm", "flow", "hift"])
def test_the_pt_files_hold_the_recipe(written: tuple[str, Path], stage: str) -> None:
    family, folder = written
    state = torch.load(folder / f"{stage}.pt", weights_only=True)
    prefix = FAMILIES[family].networks[stage].prefix
    assert bool(prefix) == ((family, stage) == ("cosyvoice2", "hift"))
    expected = recipe_state_dict(golden_name(stage, "tiny", family))
    assert set(state) == {prefix + key for key in expected}
    for key, value in expected.items():
        assert state[prefix + key].dtype == torch.float32
        np.testing.assert_array_equal(state[prefix + key].numpy(), value, err_msg=key)


def test_the_tied_text_head_is_stored_once(written: tuple[str, Path]) -> None:
    state = torch.load(written[1] / "llm.pt", weights_only=True)
    head, embedding = state["llm.model.lm_head.weight"], state["llm.model.model.embed_tokens.weight"]
    assert head.data_ptr() == embedding.data_ptr()


OWN_FILES = {
    "cosyvoice2": {"cosyvoice2.yaml", "speech_tokenizer_v2.onnx", "spk2info.pt"},
    "cosyvoice3": {"cosyvoice3.yaml", "speech_tokenizer_v3.onnx", "config.json"},
}


def test_the_folder_has_the_official_files(written: tuple[str, Path]) -> None:
    family, folder = written
    blank = {
        f"CosyVoice-BlankEN/{name}" for name in ("config.json", "vocab.json", "merges.txt", "tokenizer_config.json")
    }
    weights = {"llm.pt", "flow.pt", "hift.pt", "campplus.onnx"}
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {"synthetic.json", *OWN_FILES[family], *weights, *blank}


def test_the_yaml_of_cosyvoice3_is_the_published_one() -> None:
    """Read as data, its training part too."""
    text = yaml_text(SIZES3["full"], 1986, "cosyvoice3.yaml")
    published = json.loads((GOLDEN / "cosyvoice3.yaml.json").read_text())
    about = {key for key in published if key.startswith("_") and not key.startswith("__")}
    assert yaml.load(text, Tags) == {key: value for key, value in published.items() if key not in about}


class Tags(yaml.SafeLoader):
    """A tag is a key beside its arguments, and a reference a text."""


def tagged(loader: Tags, suffix: str, node: yaml.Node) -> Any:
    kind, _, target = suffix.partition(":")
    if kind == "ref":
        return f"!ref {loader.construct_scalar(node)}"  # type: ignore[arg-type]
    if isinstance(node, yaml.MappingNode):
        return {f"!{kind}": target, **loader.construct_mapping(node, deep=True)}
    if isinstance(node, yaml.SequenceNode):
        return {f"!{kind}": target, "args": loader.construct_sequence(node, deep=True)}
    return {f"!{kind}": target, "value": node.value}


Tags.add_multi_constructor("!", tagged)


def test_the_seed_decides_the_weights(tiny_checkpoint: Path, tmp_path: Path) -> None:
    again = synthetic.write_checkpoint(tmp_path / "again")
    other = synthetic.write_checkpoint(tmp_path / "other", seed=recipe.SEED + 1)
    mine = snapshot(tiny_checkpoint)
    assert snapshot(again) == mine
    changed = {name for name, content in snapshot(other).items() if content != mine[name]}
    assert {"llm.pt", "flow.pt", "hift.pt", "campplus.onnx", "speech_tokenizer_v2.onnx", "spk2info.pt"} <= changed


def test_an_existing_folder_is_refused_and_replaced_with_force(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    assert synthetic.main([str(out)]) == 0
    assert synthetic.main([str(out)]) == 1
    assert "--force" in capsys.readouterr().err
    assert synthetic.main([str(out), "--force", "--seed", "7"]) == 0
    assert json.loads((out / "synthetic.json").read_text()) == {"size": "tiny", "seed": 7}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_force_does_not_replace_a_folder_of_other_things(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    before = snapshot(tmp_path)
    assert synthetic.main([str(tmp_path / "photos"), "--force"]) == 1
    assert "remove it yourself" in capsys.readouterr().err
    assert snapshot(tmp_path) == before


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setitem(synthetic.COSYVOICE2_SYNTHETIC.onnx, "campplus", full)  # type: ignore[arg-type]
    assert synthetic.main([str(tmp_path / "made" / "for" / "it")]) == 1
    error = capsys.readouterr().err
    assert "campplus.onnx" in error
    assert "No space left" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [1_000_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_a_file_that_cannot_grow_leaves_nothing_behind(limit: int, tmp_path: Path) -> None:
    """In llm.pt and in flow.pt: the system's answer differs from that of a full disk in the number only."""
    result = subprocess.run(
        [sys.executable, "-m", "reference.synthetic", str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.returncode == 1
    assert f"error: {tmp_path / 'out'}: File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_while_saving_is_raised_as_such(
    stop: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(io.FileIO):
        def write(self, data: object) -> int:
            raise stop

    monkeypatch.setattr(Path, "open", lambda self, mode: Interrupted(self, "w"))
    with pytest.raises(stop):
        synthetic._save(tmp_path / "llm.pt", {"a": torch.zeros(10_000)})


def test_an_unknown_size_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="size must be one of tiny, full, not 'huge'"):
        synthetic.write_checkpoint(tmp_path / "out", size="huge")


@pytest.mark.slow
def test_the_full_checkpoint_has_the_published_sizes(tmp_path: Path) -> None:
    folder = synthetic.write_checkpoint(tmp_path / "full", size="full")
    try:
        sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
        assert sizes["llm.pt"] == pytest.approx(2_023_000_000, rel=0.01)
        assert sizes["campplus.onnx"] == pytest.approx(28_303_423, rel=0.03)
        assert sizes["speech_tokenizer_v2.onnx"] == pytest.approx(496_082_973, rel=0.01)
    finally:
        shutil.rmtree(folder)
