"""Text files and standard input in whatever encoding: read, or one line that says what to do."""

from __future__ import annotations

import io
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlx_cosyvoice
from mlx_cosyvoice.cli import main
from mlx_cosyvoice.cli.encodings import StreamDecoder, decode_file, text_encoding
from tests.support.process import ROOT
from tests.support.speaking import StandIn, StandInStream

CHINESE = "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002"


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mlx_cosyvoice, "load", StandIn.load, raising=False)
    monkeypatch.setattr(StandIn, "calls", [])
    monkeypatch.setenv("MLX_COSYVOICE_MODEL", "the model")


@pytest.fixture
def speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple]:
    """Runs the command on a file or on standard input: its status, what was to be spoken, what was said on stderr."""

    def run(content: bytes, *options: str, by_file: bool) -> tuple[int, str, str]:
        source = ["--file", str(tmp_path / "text.txt")]
        (tmp_path / "text.txt").write_bytes(content)
        monkeypatch.setattr(StandIn, "calls", [])
        heard: list[str] = []

        def stream(self: StandIn, words: Iterable[str]) -> StandInStream:
            heard.extend(words)
            return real(self, ["a"])

        monkeypatch.setattr(StandIn, "_stream", stream)
        if not by_file:
            source = ["-"]
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        arguments = ["speak", *source, *options, "--speaker", "bo", "--out", str(tmp_path / "a.wav"), "--force"]
        status = main([*arguments, "--json"])
        text = next((call["text"] for name, call in StandIn.calls if name == "stream"), "")
        return status, text if by_file else "".join(heard), capsys.readouterr().err

    real = StandIn._stream
    return run


@pytest.mark.parametrize("by_file", [True, False])
@pytest.mark.parametrize(("encoding", "options", "warned"), [
    ("utf-8", (), ""), ("utf-8-sig", (), ""), ("utf-16", (), ""), ("utf-32", (), ""),
    ("gb18030", (), "was read as Chinese in GB18030"), ("gb18030", ("--encoding", "gbk"), ""),
    ("utf-16-be", ("--encoding", "UTF-16BE"), ""), ("utf-8", ("--encoding", "utf8"), ""),
    ("utf-8-sig", ("--encoding", "utf-8"), ""),
])  # fmt: skip
def test_encodings_that_are_read(
    speaks: Callable[..., tuple], by_file: bool, encoding: str, options: tuple[str, ...], warned: str
) -> None:
    text = f"One:\r\n{CHINESE}\rEnd.\n"
    status, spoken, errors = speaks(text.encode(encoding), *options, by_file=by_file)
    assert (status, spoken) == (0, f"One:\n{CHINESE}\nEnd.\n")
    assert warned in errors
    assert errors.count("\n") == bool(warned)


@pytest.mark.parametrize("by_file", [True, False])
def test_an_encoding_that_must_be_named(speaks: Callable[..., tuple], by_file: bool) -> None:
    content = "\u00c9t\u00e9 \u00e0 la plage".encode("latin-1")
    status, _, errors = speaks(content, by_file=by_file)
    assert status == 1
    assert "not UTF-8 text (byte 0 is 0xc9); say its encoding by --encoding NAME" in errors
    assert ("text.txt: " if by_file else "standard input ") in errors
    assert errors.count("\n") == 1
    status, spoken, errors = speaks(content, "--encoding", "latin-1", by_file=by_file)
    assert (status, spoken, errors) == (0, "\u00c9t\u00e9 \u00e0 la plage", "")


def test_standard_input_does_not_end_where_bytes_cannot_be_read(speaks: Callable[..., tuple]) -> None:
    content = b"So \xff it goes.\nAnd \xc3\xa9\xfe goes on\xe4\xbd"
    status, spoken, errors = speaks(content, by_file=False)
    assert (status, spoken) == (0, "So  it goes.\nAnd \u00e9 goes on")
    assert errors.count("\n") == 1
    assert "warning: standard input is not UTF-8 text (byte 3 is 0xff)" in errors
    status, _, errors = speaks(content, by_file=True)
    assert status == 1
    assert "text.txt: not UTF-8 text (byte 3 is 0xff)" in errors


@pytest.mark.parametrize(("arguments", "message"), [
    (("--file", "FILE", "--encoding", "foo"), "--encoding foo: no known encoding of text"),
    (("-", "--encoding", "rot13"), "--encoding rot13: no known encoding of text"),
    (("one", "--encoding", "utf-8"), "--encoding belongs to --file or to - (standard input)"),
])  # fmt: skip
def test_bad_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "a.txt").write_text("one")
    named = [str(tmp_path / "a.txt") if argument == "FILE" else argument for argument in arguments]
    assert main(["speak", *named, "--speaker", "bo", "--out", str(tmp_path / "a.wav")]) == 1
    assert message in capsys.readouterr().err


def test_no_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["speak", "-", "--speaker", "bo", "--out", str(tmp_path / "a.wav")]) == 1
    assert "standard input is closed" in capsys.readouterr().err
    assert StandIn.calls == []  # where it is closed, the model's file would take its place


@pytest.mark.parametrize("content", [b"\0" * 100, "Hello".encode("utf-16-le")])
def test_a_file_of_nuls_is_no_text(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"a\.txt: not a text file, or UTF-16 without its mark: many NUL bytes"):
        decode_file(content, "a.txt")


FOREIGN = {
    "euc-kr": "안녕하세요. 저는 학생입니다. 오늘은 날씨가 좋네요.",
    "shift_jis": "こんにちは。今日はいい天気ですね。",
    "euc-jp": "こんにちは。今日はいい天気ですね。",
    "big5": "這是一個測試。我們去公園玩吧。",
    "cp1251": "Привет, как дела? Сегодня хорошо.",
    "koi8-r": "Привет, как дела? Сегодня хорошо.",
    "cp1253": "Καλημέρα, τι κάνεις;",
    "cp1255": "שלום מה שלומך",
    "latin-1": "Größe für Mädchen über Öl, où est le café",
}


@pytest.mark.parametrize("encoding", FOREIGN)
def test_what_is_no_chinese_is_not_taken_for_it(encoding: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"a\.txt: not UTF-8 text \(byte"):
            decode_file(FOREIGN[encoding].encode(encoding), "a.txt")


@pytest.mark.parametrize(
    "text", ["\u4f60\u597d", "\u7b2c\u4e00\u7ae0", "Hello \u4f60\u597d!", "\u300a\u7ea2\u697c\u68a6\u300b"]
)
def test_a_few_chinese_characters_are_enough(text: str) -> None:
    with pytest.warns(UserWarning, match=r"a\.txt is not UTF-8 text and was read as Chinese"):
        assert decode_file(text.encode("gbk"), "a.txt") == text


def test_a_recording_on_standard_input_is_no_text(speaks: Callable[..., tuple]) -> None:
    sample = ROOT / "parity" / "data" / "sample.wav"
    status, spoken, errors = speaks(sample.read_bytes(), by_file=False)
    assert (status, spoken) == (1, "")
    assert "standard input is not UTF-8 text (byte" in errors
    assert errors.count("\n") == 1


@given(
    st.text(st.sampled_from("a \n\r\u00e9\u4f60\U0001f600"), max_size=12),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    st.integers(1, 5),
)
def test_bytes_may_be_cut_anywhere(text: str, encoding: str, size: int) -> None:
    data, decoder = text.encode(encoding), StreamDecoder("it")
    parts = [decoder.decode(data[start : start + size]) for start in range(0, len(data), size)]
    whole = "".join([*parts, decoder.decode(b"", final=True)])
    assert whole == text.replace("\r\n", "\n").replace("\r", "\n")


@given(st.binary(max_size=40), st.integers(1, 9))
def test_any_bytes_are_text_or_a_value_error(data: bytes, size: int) -> None:
    decoder = StreamDecoder("it")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        said = ""
        try:
            parts = [decoder.decode(data[start : start + size]) for start in range(0, len(data), size)]
            "".join([*parts, decoder.decode(b"", final=True)]).encode()
        except ValueError as error:
            said = str(error)
    assert said == "" or re.fullmatch("it.* say its encoding by --encoding NAME.*", said)
    assert len(caught) <= 1


def test_a_line_is_read_as_chinese_at_once() -> None:
    """Who types it in a terminal of that encoding does not end the input."""
    decoder = StreamDecoder("it")
    with pytest.warns(UserWarning, match="GB18030"):
        assert decoder.decode("\u4f60\u597d\n".encode("gbk")) == "\u4f60\u597d\n"
    assert decoder.decode("\u518d".encode("gbk")) == "\u518d"


def test_names_of_encodings() -> None:
    assert text_encoding("UTF8") == "utf-8-sig"
    assert text_encoding("Latin1") == "iso8859-1"
    for name in ("foo", "base64", "undefined", "x\0", ""):
        with pytest.raises(ValueError, match="encoding"):
            text_encoding(name)
