"""The safetensors writer: any order, any dtype, shards, and files that others can read."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from converters import write
from converters.write import FORMATS, Entry, SafetensorsWriter, encode, split_into_shards

ENTRIES = st.lists(
    st.tuples(st.sampled_from(sorted(FORMATS)), st.lists(st.integers(0, 5), max_size=3)), min_size=1, max_size=8
)


@given(ENTRIES, st.integers(1, 400), st.randoms())
@settings(max_examples=60, deadline=None)
def test_others_read_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, kinds: list, max_bytes: int, random: object
) -> None:
    folder = tmp_path_factory.mktemp("weights")
    entries = [Entry(f"tensor.{i}", dtype, tuple(shape)) for i, (dtype, shape) in enumerate(kinds)]
    arrays = {entry.name: np.random.default_rng(7).normal(size=entry.shape).astype(np.float32) for entry in entries}
    order = list(entries)
    random.shuffle(order)  # type: ignore[attr-defined]
    with SafetensorsWriter(folder, entries, max_bytes) as writer:
        for entry in order:
            assert writer.write(entry.name, arrays[entry.name]) == entry.nbytes
    files = sorted(folder.glob("*.safetensors"))
    found = {name: tensor for file in files for name, tensor in load_file(file).items()}
    assert set(found) == set(arrays)
    for entry in entries:
        expected = torch.from_numpy(arrays[entry.name]).to(FORMATS[entry.dtype].torch)
        assert torch.equal(found[entry.name], expected)
    sizes = {entry.name: FORMATS[entry.dtype].itemsize for entry in entries}
    for file in files:
        assert set(mx.load(str(file))) <= set(arrays)
        content = file.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        del header["__metadata__"]
        assert all(tensor["data_offsets"][0] % sizes[name] == 0 for name, tensor in header.items())
    assert (folder / "model.safetensors.index.json").exists() == (len(files) > 1)


def test_shards_keep_the_order_and_the_limit() -> None:
    entries = [Entry(str(i), "float32", (size,)) for i, size in enumerate([1, 2, 3, 10, 1, 1])]
    shards = split_into_shards(entries, 4 * 5)
    assert [[entry.name for entry in shard] for shard in shards] == [["0", "1"], ["2"], ["3"], ["4", "5"]]


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (1 + 2**-8, "bfloat16", 1.0),  # a tie: to the even neighbor below
        (1 + 3 * 2**-8, "bfloat16", 1 + 2**-6),  # a tie: to the even neighbor above
        (1 + 2**-11, "float16", 1.0),
        (1 + 3 * 2**-11, "float16", 1 + 2**-9),
        (1e-8, "float16", 0.0),
        (6e-8, "float16", 2**-24),  # subnormal
    ],
)
def test_ties_go_to_even(value: float, dtype: str, expected: float) -> None:
    (data,) = encode(np.array([value], np.float32), dtype)
    assert torch.from_numpy(data).view(FORMATS[dtype].torch).item() == expected


def test_a_transposed_array_is_written_in_its_new_order(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    with SafetensorsWriter(tmp_path, [Entry("a", "float32", (3, 2))]) as writer:
        writer.write("a", array)
    np.testing.assert_array_equal(load_file(tmp_path / "model.safetensors")["a"].numpy(), array)


def test_misuse_is_an_error(tmp_path: Path) -> None:
    entries = [Entry("a", "float16", (2,)), Entry("b", "float32", (2,))]
    with SafetensorsWriter(tmp_path, entries) as writer:
        with pytest.raises(ValueError, match=r"a has shape \[3\], announced was \[2\]"):
            writer.write("a", np.zeros(3))
        with pytest.raises(KeyError):
            writer.write("c", np.zeros(2))
        with pytest.raises(OverflowError, match="7e\\+04, which is too large for float16"):
            writer.write("a", np.array([0, 70000.0]))
        writer.write("a", np.zeros(2))
        writer.write("b", np.zeros(2))
        with pytest.raises(KeyError):
            writer.write("a", np.zeros(2))
    with (
        pytest.raises(ValueError, match="1 announced tensors were not written: \\['b'\\]"),
        SafetensorsWriter(tmp_path, entries) as writer,
    ):
        writer.write("a", np.zeros(2))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_tensor_is_rounded_block_by_block(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).standard_normal((5, 9)).astype(np.float32)
    (whole,) = encode(array, dtype)
    monkeypatch.setattr(write, "BLOCK", 7)
    blocks = list(encode(array, dtype))
    assert len(blocks) == (1 if dtype == "float32" else 7)
    assert np.concatenate(blocks).tobytes() == whole.tobytes()


def test_a_number_too_large_is_found_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "BLOCK", 7)
    array = np.zeros(45, np.float32)
    array[44] = 1e6
    with pytest.raises(OverflowError, match=r"holds 1e\+06, which is too large for float16"):
        list(encode(array, "float16"))
