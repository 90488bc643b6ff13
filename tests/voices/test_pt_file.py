"""`read_pt` against `torch.save`: every tensor that torch can write, and nothing that a pickle may ask to be run."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.voices import VoiceError
from mlx_cosyvoice.voices.pt_file import read_pt
from tests.support.process import run_python

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8,
]  # fmt: skip


def written(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def rewritten(path: Path, changes: dict[str, bytes | None], compression: int = zipfile.ZIP_STORED) -> Path:
    """The zip with other contents of some members (without their folder), or without them."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    folder = next(iter(members)).split("/")[0]
    members |= {f"{folder}/{name}": content for name, content in changes.items() if content is not None}
    removed = {f"{folder}/{name}" for name, content in changes.items() if content is None}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            if name not in removed:
                archive.writestr(name, content)
    return path


def with_pickle(path: Path, content: bytes) -> Path:
    """A file of torch.save whose pickle is replaced."""
    return rewritten(written(path, {"a": torch.zeros(4)}), {"data.pkl": content})


def assert_same(found: Any, expected: torch.Tensor) -> None:
    wide = expected.float() if expected.dtype == torch.bfloat16 else expected
    assert isinstance(found, np.ndarray)
    assert found.dtype == wide.numpy().dtype
    assert found.dtype.isnative
    assert found.shape == tuple(expected.shape)
    assert found.tobytes() == wide.contiguous().numpy().tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = (torch.randn(3, 5, generator=torch.Generator().manual_seed(0)) * 50).to(dtype)
    assert_same(read_pt(written(tmp_path / "a.pt", tensor)), tensor)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 1e-45])
def test_special_values(tmp_path: Path, value: float) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        tensor = torch.tensor([value, 1.0], dtype=dtype)
        assert_same(read_pt(written(tmp_path / "a.pt", tensor)), tensor)


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
    expand=st.booleans(),
)
def test_views(tmp_path_factory: pytest.TempPathFactory, shape: list[int], seed: int, expand: bool) -> None:
    """Any offset, any strides: permuted, cut, with steps, expanded."""
    draw = np.random.default_rng(seed)
    tensor = torch.arange(int(np.prod([2 * size + 1 for size in shape])), dtype=torch.int32)
    tensor = tensor.reshape([2 * size + 1 for size in shape])
    for axis, size in enumerate(shape):
        start = int(draw.integers(0, size + 1))
        tensor = torch.narrow(tensor, axis, start, size)
        if draw.integers(2):
            tensor = tensor[(slice(None),) * axis + (slice(None, None, 2),)]
    tensor = tensor.permute(tuple(draw.permutation(len(shape)).tolist()))
    if expand:
        tensor = tensor[None].expand(3, *tensor.shape)
    assert_same(read_pt(written(tmp_path_factory.mktemp("pt") / "a.pt", tensor)), tensor)


def test_containers_and_scalars(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    content: dict[str, Any] = collections.OrderedDict(
        a=[1, -(2**70), 1.5, True, None, "中文女"],
        b={"nested": (shared, shared[2:4])},
        c=torch.tensor(3.0),
        d=torch.tensor([1.0, 2.0], requires_grad=True),
    )
    found = read_pt(written(tmp_path / "a.pt", content))
    assert list(found) == list("abcd")
    assert found["a"] == content["a"]
    assert_same(found["b"]["nested"][0], shared)
    assert_same(found["b"]["nested"][1], shared[2:4])
    assert_same(found["c"], content["c"])
    assert found["d"].tolist() == [1.0, 2.0]


def test_what_is_read_is_a_copy(tmp_path: Path) -> None:
    zeros = torch.zeros(4)
    for array in read_pt(written(tmp_path / "a.pt", [zeros[:3], zeros[1:], zeros[:3].expand(2, 3), zeros[::2]])):
        array += 1
        assert (array == 1).all()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(tmp_path: Path, protocol: int) -> None:
    path = written(tmp_path / "a.pt", {"x": torch.arange(3)}, pickle_protocol=protocol)
    assert read_pt(path)["x"].tolist() == [0, 1, 2]


def test_the_name_of_the_archive_does_not_matter(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"x": torch.arange(3)}, buffer)
    (tmp_path / "b.bin").write_bytes(buffer.getvalue())
    assert read_pt(tmp_path / "b.bin")["x"].tolist() == [0, 1, 2]
    path = written(tmp_path / "a.pt", {"x": torch.arange(3)}).rename(tmp_path / "ä b.pt")
    assert read_pt(path)["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("order", ["little", "big", None])
def test_byte_order(tmp_path: Path, order: str | None) -> None:
    path = written(tmp_path / "a.pt", {"x": torch.arange(3), "y": torch.tensor([1.5], dtype=torch.bfloat16)})
    if order == "big":
        data = {"data/0": np.arange(3, dtype=">i8").tobytes(), "data/1": b"\x3f\xc0"}
        rewritten(path, {"byteorder": b"big", **data})
    elif order is None:  # before torch 2.1
        rewritten(path, {"byteorder": None})
    found = read_pt(path)
    assert found["x"].tolist() == [0, 1, 2]
    assert found["y"].tolist() == [1.5]
    assert found["x"].dtype.isnative


def test_a_tensor_of_a_gpu_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pt", {"x": torch.arange(3)})
    with zipfile.ZipFile(path) as archive:
        content = archive.read("a/data.pkl")
    assert content.count(b"\x03\x00\x00\x00cpu") == 1
    rewritten(path, {"data.pkl": content.replace(b"\x03\x00\x00\x00cpu", b"\x06\x00\x00\x00cuda:0")})
    assert read_pt(path)["x"].tolist() == [0, 1, 2]


class Executes:
    """Unpickled by anything that does not look, it runs a command."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("call", [
    (os.system, "touch {marker}"),
    (eval, "open({marker!r}, 'w')"),
    (exec, "open({marker!r}, 'w')"),
    (open, "{marker}", "w"),
    (getattr, "x", "upper"),
    (Path, "x"),
    (collections.Counter, "x"),
], ids=lambda call: call[0].__name__)  # fmt: skip
def test_nothing_is_run(tmp_path: Path, call: tuple[Any, ...]) -> None:
    marker = tmp_path / "was-run"
    arguments = [argument.format(marker=str(marker)) for argument in call[1:]]
    path = written(tmp_path / "evil.pt", {"anna": {"embedding": Executes(call[0], *arguments)}})
    with pytest.raises(VoiceError, match=r"evil\.pt: holds '.*'; only tensors") as caught:
        read_pt(path)
    assert call[0].__name__ in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("content", [
    b"cos\nsystem\n(S'touch MARKER'\ntR.",  # GLOBAL, REDUCE
    b"(S'touch MARKER'\nios\nsystem\n.",  # INST
    b"(cos\nsystem\nS'touch MARKER'\no.",  # OBJ
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch MARKER\x85R.",  # STACK_GLOBAL
    b"\x80\x04\x8c\x08builtins\x8c\x04open\x93\x8c\x06MARKER\x8c\x01w\x86R.",
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}(X\x08\x00\x00\x00__code__K\x01ub0cos\nsystem\n(S'touch MARKER'\ntR.",
    b"\x80\x02ccollections\nOrderedDict.__class__\n.",
    b"\x80\x04\x8c\x0bcollections\x8c\x15OrderedDict.__class__\x93.",
    b"ctorch\nFloatStorage.__init__.__globals__\n.",
    b"ctorch.hub\nload\n(S'a/b'\ntR.",
])  # fmt: skip
def test_nothing_is_run_by_hand_written_pickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VoiceError, match=r"evil\.pt: "):
        read_pt(with_pickle(tmp_path / "evil.pt", content))
    assert os.listdir(tmp_path) == ["evil.pt"]


def test_the_hand_written_pickles_would_run_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above tests something."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(b"cos\nsystem\n(S'touch MARKER'\ntR.")
    assert os.listdir(tmp_path) == ["MARKER"]


@pytest.mark.parametrize("state", [b"", b"}X\x04\x00\x00\x00hellK\x01sb", b"N}X\x04\x00\x00\x00hellK\x01s\x86b"])
def test_a_pickle_gets_no_function_to_keep_or_to_change(tmp_path: Path, state: bytes) -> None:
    path = with_pickle(tmp_path / "a.pt", b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + state + b".")
    with pytest.raises(VoiceError, match=r"holds 'torch\._utils\._rebuild_tensor_v2'; only tensors"):
        read_pt(path)


def test_modules_that_a_pickle_names_are_not_imported(tmp_path: Path) -> None:
    path = with_pickle(tmp_path / "a.pt", b"cthis\ns\n.")
    code = f"""
import sys
from pathlib import Path
from mlx_cosyvoice.voices.pt_file import read_pt
try:
    read_pt(Path({str(path)!r}))
except ValueError as error:
    assert "this.s" in str(error), error
assert not {{"this", "torch"}} & set(sys.modules)
"""
    assert run_python("-c", code).returncode == 0
    assert "this" not in sys.modules


@pytest.mark.parametrize("kind", ["module", "parameter", "sparse", "complex", "size", "device"])
def test_other_objects_are_refused(tmp_path: Path, kind: str) -> None:
    objects = {
        "module": torch.nn.Linear(2, 2),
        "parameter": torch.nn.Parameter(torch.zeros(2)),
        "sparse": torch.eye(3).to_sparse(),
        "complex": torch.zeros(2, dtype=torch.complex64),
        "size": torch.Size([2]),
        "device": torch.device("cpu"),
    }
    with pytest.raises(VoiceError, match=r"a\.pt: holds 'torch"):
        read_pt(written(tmp_path / "a.pt", {"x": objects[kind]}))


def test_the_old_format_says_how_to_save_again(tmp_path: Path) -> None:
    path = written(tmp_path / "it's old.pt", {"x": torch.arange(3)}, _use_new_zipfile_serialization=False)
    with pytest.raises(VoiceError, match=r"before version 1\.6, .* Save it again .*: python -c ") as caught:
        read_pt(path)
    code = str(caught.value).split('python -c "')[1].rstrip('"')
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    assert read_pt(path)["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"x", b"not a zip" * 99, pickle.dumps({"a": 1})])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(VoiceError, match=r"a\.pt: was not written by torch\.save"):
        read_pt(tmp_path / "a.pt")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.pt: no such file"):
        read_pt(tmp_path / "a.pt")
    with pytest.raises(VoiceError, match="is a folder"):
        read_pt(tmp_path)


def test_another_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(VoiceError, match=r"a\.zip: a zip, but not one that torch\.save has written"):
        read_pt(tmp_path / "a.zip")


def test_every_truncation_is_reported(tmp_path: Path) -> None:
    content = written(tmp_path / "a.pt", {"x": torch.arange(300.0)}).read_bytes()
    for length in range(0, len(content), 97):
        (tmp_path / "cut.pt").write_bytes(content[:length])
        with pytest.raises(VoiceError, match=r"cut\.pt: "):
            read_pt(tmp_path / "cut.pt")


@settings(deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_damage_is_reported_or_harmless(tmp_path_factory: pytest.TempPathFactory, position: float, value: int) -> None:
    folder = tmp_path_factory.mktemp("pt")
    content = bytearray(written(folder / "a.pt", {"x": torch.arange(3)}).read_bytes())
    content[int(position * len(content))] ^= value
    (folder / "a.pt").write_bytes(content)
    with contextlib.suppress(VoiceError):
        read_pt(folder / "a.pt")


@settings(deadline=None)
@given(content=st.binary(max_size=60))
def test_any_pickle_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    with contextlib.suppress(VoiceError):
        read_pt(with_pickle(tmp_path_factory.mktemp("pt") / "a.pt", content))


def test_a_compressed_member_is_refused(tmp_path: Path) -> None:
    path = rewritten(written(tmp_path / "a.pt", {"x": torch.zeros(1000)}), {}, zipfile.ZIP_DEFLATED)
    with pytest.raises(VoiceError, match=r"is compressed, which torch\.save does not do"):
        read_pt(path)


@pytest.mark.parametrize(("offset", "shape", "stride"), [
    ("K\x02", "K\x03", "K\x01"),  # two beyond the end of four
    ("K\x00", "K\x05", "K\x01"),
    ("K\x00", "K\x02", "K\x04"),
    ("J\xff\xff\xff\xff", "K\x01", "K\x01"),
    ("K\x00", "J\xff\xff\xff\xff", "K\x01"),
    ("K\x03", "K\x02", "J\xff\xff\xff\xff"),
    ("K\x00", "J\x00\x00\x00\x7f", "K\x00"),  # 8 GB of one element
    ("K\x00", "G?\xf0\x00\x00\x00\x00\x00\x00", "K\x01"),
], ids=repr)  # fmt: skip
def test_a_tensor_stays_within_its_storage(tmp_path: Path, offset: str, shape: str, stride: str) -> None:
    def rebuild(offset: str, shape: str, stride: str) -> bytes:
        storage = "(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
        return f"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n({storage}{offset}({shape}t({stride}tN}}tR.".encode(
            "latin1"
        )

    assert read_pt(with_pickle(tmp_path / "a.pt", rebuild("K\x01", "K\x03", "K\x01"))).shape == (3,)
    with pytest.raises(VoiceError, match=r"a\.pt: a tensor"):
        read_pt(with_pickle(tmp_path / "a.pt", rebuild(offset, shape, stride)))


def test_a_storage_of_the_wrong_size_is_refused(tmp_path: Path) -> None:
    path = rewritten(written(tmp_path / "a.pt", {"x": torch.zeros(4)}), {"data/0": b"\x00" * 12})
    with pytest.raises(VoiceError, match=r"data/0 has 12 bytes for 4 elements of a FloatStorage"):
        read_pt(path)


def test_another_reference_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match="refers to something outside of it"):
        read_pt(with_pickle(tmp_path / "a.pt", b"\x80\x02X\x01\x00\x00\x00xQ."))


def test_a_pickle_cannot_change_what_a_storage_holds(tmp_path: Path) -> None:
    """A matrix put into a storage, whose rows would be taken for its elements: read beyond its end."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    matrix = rebuild + b"(h\x01K\x00(K\x02K\x02t(K\x02K\x01tN}}tR"
    beyond = rebuild + b"(h\x01K\x01(K\x03t(K\x01tN}}tR"
    for state in (b"}X\x08\x00\x00\x00elements" + matrix + b"s", b"N}X\x08\x00\x00\x00elements" + matrix + b"s\x86"):
        content = b"\x80\x02" + storage + b"q\x01" + state + b"b0" + beyond + b"."
        with pytest.raises(VoiceError, match=r"a\.pt: damaged, its pickle: a dict was to be filled that is none"):
            read_pt(with_pickle(tmp_path / "a.pt", content))
