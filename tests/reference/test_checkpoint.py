"""Reading official weights for the reference: nothing but tensors, nothing missing, nothing left over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from reference.checkpoint import load_tensors, read_state_dict


class _Code:
    def __reduce__(self) -> Any:
        return print, ("executed",)


@pytest.fixture
def linear() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(2, 3))


def loaded(module: torch.nn.Module, path: Path) -> torch.nn.Module:
    return load_tensors(module, read_state_dict(path, set(module.state_dict())), path)


def test_prefix_and_counters_are_dropped(linear: torch.nn.Module, tmp_path: Path) -> None:
    state = {f"generator.{key}": torch.full_like(value, 7) for key, value in linear.state_dict().items()}
    torch.save({**state, "epoch": 3, "step": 4}, tmp_path / "hift.pt")
    found = loaded(linear, tmp_path / "hift.pt")
    assert all((value == 7).all() for value in found.state_dict().values())
    assert not found.training


def test_tied_tensors_may_stand_once(linear: torch.nn.Module, tmp_path: Path) -> None:
    torch.save({"a.weight": torch.ones(2)}, tmp_path / "llm.pt")
    found = read_state_dict(tmp_path / "llm.pt", {"a.weight", "b.weight"}, {"b.weight": "a.weight"})
    assert found["b.weight"] is found["a.weight"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("0.bias"), "bias"),
        (lambda state: state.update({"0.extra": torch.ones(1)}), "extra"),
        (lambda state: state.update({"0.weight": torch.ones(3, 3)}), "weight"),
    ],
    ids=["missing", "surplus", "mis-shaped"],
)
def test_keys_and_shapes_must_fit(linear: torch.nn.Module, tmp_path: Path, change: Any, named: str) -> None:
    state = dict(linear.state_dict())
    change(state)
    torch.save(state, tmp_path / "llm.pt")
    with pytest.raises(ValueError, match=rf"llm\.pt.*{named}"):
        loaded(linear, tmp_path / "llm.pt")


def test_code_is_never_executed(linear: torch.nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"0.weight": _Code()}, tmp_path / "flow.pt")
    with pytest.raises(ValueError, match=r"flow\.pt"):
        loaded(linear, tmp_path / "flow.pt")
    assert capsys.readouterr().out == ""


def test_a_truncated_file_is_named(linear: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "flow.pt"
    torch.save(linear.state_dict(), path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"flow\.pt"):
        loaded(linear, path)
