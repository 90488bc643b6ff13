"""Loading official `.pt` files into the reference: nothing but tensors, nothing missing, nothing left over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from reference.checkpoint import load_pt


class _Code:
    def __reduce__(self) -> Any:
        return print, ("executed",)


@pytest.fixture
def linear() -> torch.nn.Module:
    return torch.nn.Linear(2, 3)


def test_prefix_and_counters_are_dropped(linear: torch.nn.Module, tmp_path: Path) -> None:
    state = {f"generator.{key}": torch.full_like(value, 7) for key, value in linear.state_dict().items()}
    torch.save({**state, "epoch": 3, "step": 4}, tmp_path / "hift.pt")
    loaded = load_pt(linear, tmp_path / "hift.pt", "generator.")
    assert all((value == 7).all() for value in loaded.state_dict().values())
    assert not loaded.training


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("bias"), "bias"),
        (lambda state: state.update(extra=torch.ones(1)), "extra"),
        (lambda state: state.update(weight=torch.ones(3, 3)), "weight"),
    ],
    ids=["missing", "surplus", "mis-shaped"],
)
def test_keys_and_shapes_must_fit(linear: torch.nn.Module, tmp_path: Path, change: Any, named: str) -> None:
    state = dict(linear.state_dict())
    change(state)
    torch.save(state, tmp_path / "llm.pt")
    with pytest.raises(ValueError, match=rf"llm\.pt.*{named}"):
        load_pt(linear, tmp_path / "llm.pt")


def test_code_is_never_executed(linear: torch.nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": _Code()}, tmp_path / "flow.pt")
    with pytest.raises(ValueError, match=r"flow\.pt"):
        load_pt(linear, tmp_path / "flow.pt")
    assert capsys.readouterr().out == ""


def test_a_truncated_file_is_named(linear: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "flow.pt"
    torch.save(linear.state_dict(), path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"flow\.pt"):
        load_pt(linear, path)
