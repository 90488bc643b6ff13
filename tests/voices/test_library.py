"""`VoiceLibrary`: names, finding, adding by several processes, and what else may lie in its folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import platformdirs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice.voices import UnknownVoiceError, Voice, VoiceError, VoiceLibrary
from mlx_cosyvoice.voices.names import check_name
from tests.support.process import ROOT
from tests.support.voices import assert_same_voice, make_voice


@pytest.fixture
def library(tmp_path: Path) -> VoiceLibrary:
    return VoiceLibrary(tmp_path / "voices")


def test_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_COSYVOICE_VOICES", str(tmp_path / "from environment"))
    assert VoiceLibrary().folder == tmp_path / "from environment"
    assert VoiceLibrary(str(tmp_path)).folder == tmp_path
    monkeypatch.setenv("MLX_COSYVOICE_VOICES", "~/voices")
    assert VoiceLibrary().folder == Path.home() / "voices"
    for unset in (
        lambda: monkeypatch.setenv("MLX_COSYVOICE_VOICES", ""),
        lambda: monkeypatch.delenv("MLX_COSYVOICE_VOICES"),
    ):
        unset()
        assert VoiceLibrary().folder == Path(platformdirs.user_data_dir("mlx-cosyvoice")) / "voices"


def test_an_empty_library_makes_no_folder(library: VoiceLibrary) -> None:
    assert library.names() == []
    with pytest.raises(UnknownVoiceError, match="The library is empty; add a voice: mlx-cosyvoice voices add"):
        library.get("anna")
    assert not library.folder.exists()


def test_add_get_and_remove(library: VoiceLibrary) -> None:
    for seed, name in enumerate(["ben", "Anna", "中文女", "R2-D2 (v1.5)"]):
        path = library.add(name, make_voice(seed))
        assert path == library.path(name) == library.folder / f"{name}.safetensors"
    assert library.names() == ["Anna", "ben", "R2-D2 (v1.5)", "中文女"]
    assert_same_voice(library.get("Anna"), make_voice(1))
    assert_same_voice(library.get("中文女"), make_voice(2))
    library.remove("ben")
    assert library.names() == ["Anna", "R2-D2 (v1.5)", "中文女"]
    with pytest.raises(UnknownVoiceError):
        library.remove("ben")


def test_a_voice_is_not_replaced_unasked(library: VoiceLibrary) -> None:
    library.add("anna", make_voice(1))
    with pytest.raises(VoiceError, match="the library has 'anna' already; give force=True"):
        library.add("anna", make_voice(2))
    assert_same_voice(library.get("anna"), make_voice(1))
    library.add("anna", make_voice(2), force=True)
    assert_same_voice(library.get("anna"), make_voice(2))
    assert os.listdir(library.folder) == ["anna.safetensors"]


def test_case_and_composition_of_letters_make_no_other_voice(library: VoiceLibrary) -> None:
    """On macOS and Windows they are the same file; so are they here."""
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    library.add(decomposed, make_voice(1))
    assert library.names() == [composed]
    for name in (composed, decomposed, "zo\u00eb", "ZOE\u0308"):
        assert_same_voice(library.get(name), make_voice(1))
        with pytest.raises(VoiceError, match=f"has '{composed}' already"):
            library.add(name, make_voice(2))
    library.add("ZO\u00cb", make_voice(3), force=True)
    assert library.names() == [composed]
    assert_same_voice(library.get(composed), make_voice(3))
    library.remove("zoe\u0308")
    assert library.names() == []


def test_files_of_both_cases_are_both_found(library: VoiceLibrary) -> None:
    """They can only have been copied into the folder, where the file system tells them apart."""
    library.folder.mkdir()
    for seed, name in enumerate(["Anna", "anna"]):
        make_voice(seed).save(library.folder / f"{name}.safetensors", force=True)
    if len(os.listdir(library.folder)) == 1:
        pytest.skip("the file system ignores case")
    assert library.names() == ["Anna", "anna"]
    assert_same_voice(library.get("Anna"), make_voice(0))
    assert_same_voice(library.get("anna"), make_voice(1))


def test_names_as_macos_writes_them(library: VoiceLibrary) -> None:
    library.folder.mkdir()
    make_voice(1).save(library.folder / "Zoe\u0308.safetensors")
    assert library.names() == ["Zo\u00eb"]
    assert_same_voice(library.get("Zo\u00eb"), make_voice(1))


@pytest.mark.parametrize(("wanted", "hint"), [
    ("ana", "Did you mean 'anna'"), ("ANNNA", "Did you mean 'anna'"), ("中文", "Did you mean '中文女'"),
    ("xyz", "It has"),
])  # fmt: skip
def test_an_unknown_voice_names_the_nearest(library: VoiceLibrary, wanted: str, hint: str) -> None:
    for name in ("anna", "ben", "中文女"):
        library.add(name, make_voice())
    with pytest.raises(UnknownVoiceError) as caught:
        library.get(wanted)
    message = str(caught.value)
    assert message.startswith(f"no voice {wanted!r} in {library.folder}. {hint}")
    assert message.endswith("It has anna, ben, 中文女")
    assert isinstance(caught.value, VoiceError)


def test_a_long_list_is_cut(library: VoiceLibrary) -> None:
    library.folder.mkdir()
    for number in range(30):
        (library.folder / f"v{number:02}.safetensors").write_bytes(b"")
    with pytest.raises(UnknownVoiceError, match=r"It has v00, .*v19 and 10 more$"):
        library.get("someone")


BAD_NAMES = {
    "": "is empty",
    "  ": "is empty",
    ".": r"starts with '\.'",
    "..": r"starts with '\.'",
    ".hidden": r"starts with '\.'",
    "-rf": "starts with '-'",
    "a/b": "has the character /",
    "../a": "has the character /",
    "/etc/passwd": "has the character /",
    "a\\b": r"has the character \\",
    "C:a": "has the character :",
    "a*": r"has the character \*",
    "a\x00b": r"has a control or invisible character \(U\+0000\)",
    "a\nb": r"U\+000A",
    "a\u202eb": r"U\+202E",
    "a\udce4": r"U\+DCE4",
    " a": "starts or ends with a space",
    "a ": "starts or ends with a space",
    "a.": "ends with a dot",
    "con": "device on Windows",
    "NUL": "device on Windows",
    "lpt1.x": "device on Windows",
    "x" * 65: "longer than 64 characters",
    "😀" * 51: "or 200 bytes",
}


@pytest.mark.parametrize(("name", "reason"), BAD_NAMES.items(), ids=repr)
def test_bad_names(library: VoiceLibrary, tmp_path: Path, name: str, reason: str) -> None:
    library.add("anna", make_voice())
    before = sorted(tmp_path.rglob("*"))
    for use in (
        library.get,
        library.remove,
        library.path,
        library.ensure_free,
        lambda n: library.add(n, make_voice(), force=True),
    ):
        with pytest.raises(VoiceError, match=f"cannot be the name of a voice: it .*{reason}"):
            use(name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_must_be_text(library: VoiceLibrary) -> None:
    with pytest.raises(VoiceError, match="must be text, not PosixPath"):
        library.get(Path("anna"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    ["a", "中文女", "日语男", "R2-D2", "Zoë", "a b", "v1.0", "x" * 64, "女" * 64, "한국어", "a'b", "100%", "conny"],
)
def test_good_names(library: VoiceLibrary, name: str) -> None:
    library.add(name, make_voice())
    assert library.names() == [unicodedata.normalize("NFC", name)]
    assert library.path(name).parent == library.folder


@settings(deadline=None)
@given(name=st.text(max_size=30))
def test_no_name_leads_out_of_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    library = VoiceLibrary(tmp_path_factory.mktemp("library") / "voices")
    try:
        check_name(name)
    except VoiceError:
        with pytest.raises(VoiceError):
            library.add(name, make_voice())
        assert not library.folder.exists()
        return
    path = library.add(name, make_voice())
    assert [path] == list(library.folder.iterdir())
    assert library.names() == [check_name(name)]
    assert_same_voice(library.get(name), make_voice())


def test_what_else_lies_in_the_folder(library: VoiceLibrary) -> None:
    library.add("anna", make_voice())
    (library.folder / "notes.txt").write_text("mine")
    (library.folder / ".hidden.safetensors").write_bytes(b"x")
    (library.folder / "CON.safetensors").write_bytes(b"x")
    (library.folder / "folder.safetensors").mkdir()
    (library.folder / "broken.safetensors").write_bytes(b"x")
    (library.folder / "nowhere.safetensors").symlink_to(library.folder / "nothing")
    assert library.names() == ["anna", "broken"]
    with pytest.raises(VoiceError, match=r"broken\.safetensors: not a safetensors file"):
        library.get("broken")
    library.remove("broken")
    assert library.names() == ["anna"]


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    library = VoiceLibrary(tmp_path / "file")
    for use in (library.names, lambda: library.get("a"), lambda: library.add("a", make_voice(), force=True)):
        with pytest.raises(VoiceError, match="file: is not a folder, so it cannot be a library"):
            use()
    assert (tmp_path / "file").read_text() == "mine"


def test_ensure_free(library: VoiceLibrary) -> None:
    library.ensure_free("anna", "ben")
    library.add("anna", make_voice())
    library.add("ben", make_voice())
    with pytest.raises(VoiceError, match="the library has 'anna', 'ben' already"):
        library.ensure_free("ANNA", "carl", "ben")


def test_processes_that_add_at_once(library: VoiceLibrary) -> None:
    """Of those who add the same name one succeeds; other names are not disturbed."""
    code = """
import sys, time
from mlx_cosyvoice.voices import VoiceError, VoiceLibrary
from tests.support.voices import make_voice
library, me, start = VoiceLibrary(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
time.sleep(max(0, start - time.time()))
won = 0
for number in range(20):
    library.add(f"own {me} {number}", make_voice(me))
    try:
        library.add(f"shared {number}", make_voice(me))
        won += 1
    except VoiceError as error:
        assert "already" in str(error)
    library.names()
print(won)
"""
    start = str(time.time() + 6)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(library.folder), str(me), start],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for me in range(3)
    ]  # fmt: skip
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], results
    assert sum(int(out) for out, _ in results) == 20
    assert len(library.names()) == 3 * 20 + 20
    assert all(isinstance(library.get(name), Voice) for name in library.names())
    assert not [name for name in os.listdir(library.folder) if name.startswith(".")]
