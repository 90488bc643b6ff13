"""Values of arrays survive their files, which hold no code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_parity.captures.values import CaptureError, read_values, write_values
from mlx_parity.localization.isolate import OPAQUE


@dataclass
class Box:
    content: Any


def test_values_come_back_and_may_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    array = np.arange(1000, dtype=np.float32).reshape(10, 100)
    value = {"a": array, 2.5: [array[::-1].T, "text", None, True], "box": Box((OPAQUE, np.zeros((0, 3), np.int64)))}
    write_values(value, path)
    back = read_values(path, [Box])
    assert back["box"].content[0] is OPAQUE
    assert back["box"].content[1].shape == (0, 3)
    assert back[2.5][1:] == ["text", None, True]
    back["a"][0] = 5
    np.testing.assert_array_equal(back[2.5][0], array[::-1].T)
    np.testing.assert_array_equal(read_values(path, [Box])["a"], array)


def test_an_array_is_stored_once(tmp_path: Path) -> None:
    array = np.zeros(100_000, np.float32)
    write_values([array] * 50, tmp_path / "x.json")
    assert (tmp_path / "x.safetensors").stat().st_size < 2 * array.nbytes


def test_a_type_that_is_not_expected_is_refused(tmp_path: Path) -> None:
    write_values(Box(1), tmp_path / "x.json")
    with pytest.raises(CaptureError, match=r"x\.json: holds a Box, which nothing here knows"):
        read_values(tmp_path / "x.json")


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot write a set"):
        write_values({1, 2}, tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", ["x.json", "x.safetensors"])
def test_half_of_the_files_is_none(kept: str, tmp_path: Path) -> None:
    write_values([np.zeros(3)], tmp_path / "x.json")
    for file in tmp_path.iterdir():
        if file.name != kept:
            file.unlink()
    with pytest.raises(CaptureError, match="cannot be read"):
        read_values(tmp_path / "x.json")
