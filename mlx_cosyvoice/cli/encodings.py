"""Bytes of a text file or of standard input to text."""

from __future__ import annotations

import codecs
import io
import warnings

_MARKS = (  # the longer first: one begins like another
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHINESE = "gb18030"

#: So many bytes, or a line, are enough to tell whether they are Chinese.
_SAMPLE = 64

# More than half of Chinese text are these and its punctuation; of other text that happens to decode, hardly any are.
_FREQUENT = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学"
    "如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将"
    "两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及"
    "比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统"
    "区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共"
    "确传师观清今切院让识候带导争运，。、？！：；“”（）《》…—·"
)  # fmt: skip
_SHARE = 0.25


def text_encoding(name: str) -> str:
    """The encoding of that name as Python knows it; a byte order mark of UTF-8 is no part of the text.

    Raises:
        ValueError: there is none, or it is not one of text.
    """
    try:
        known = codecs.lookup(name).name
        b"a".decode(known)
    except UnicodeDecodeError:
        pass  # half a character of UTF-16
    except (LookupError, ValueError):
        raise ValueError(
            f"--encoding {name}: no known encoding of text; use one such as utf-8, gb18030, big5, utf-16 or latin-1"
        ) from None
    return "utf-8-sig" if known == "utf-8" else known


def decode_file(data: bytes, name: str, encoding: str | None = None) -> str:
    """The text of a file, with line feeds for line ends.

    Without an encoding it is UTF-8, what its byte order mark says, or, with a warning, plausible Chinese of GB18030.

    Args:
        data: what the file holds.
        name: of the file, for messages.
        encoding: from `text_encoding`.

    Raises:
        ValueError: it is in none of them; the first bad byte is named.
    """
    chosen = encoding or _marked(data) or "utf-8"
    try:
        text = data.decode(chosen)
    except UnicodeError as error:
        if encoding is None and chosen == "utf-8" and _is_plausible_chinese(data, final=True):
            _warn_of_chinese(name)
            text = data.decode(_CHINESE)
        else:
            raise ValueError(f"{name}: {_what_is_wrong(chosen, error)}") from error
    if encoding is None and text.count("\0") > len(text) // 8:
        raise ValueError(
            f"{name}: not a text file, or UTF-16 without its mark: many NUL bytes; try --encoding utf-16-le"
        )
    return _with_line_feeds().decode(text, final=True)


class StreamDecoder:
    """As `decode_file`, for bytes that arrive.

    What cannot be decoded is left out, with one warning, where something to say came before it.

    Args:
        name: of the stream, for messages.
        encoding: from `text_encoding`.
    """

    def __init__(self, name: str, encoding: str | None = None) -> None:
        self._name, self._encoding = name, encoding or "utf-8"
        self._decoder = None if encoding is None else codecs.getincrementaldecoder(encoding)()
        self._line_ends = _with_line_feeds()
        self._waiting = b""  # the beginning of a byte order mark, or a sample of what is not UTF-8
        self._read = 0
        self._may_be_chinese = encoding is None
        self._has_spoken = False

    def decode(self, data: bytes, *, final: bool = False) -> str:
        """The text of the bytes so far that was not returned before.

        Raises:
            ValueError: the first bytes cannot be decoded at all, or most of them cannot.
        """
        self._read += len(data)
        data, self._waiting = self._waiting + data, b""
        if self._decoder is None:
            if not final and any(mark.startswith(data) and mark != data for mark, _ in _MARKS):
                self._waiting = data
                return ""
            self._encoding = _marked(data) or self._encoding
            self._decoder = codecs.getincrementaldecoder(self._encoding)()
        text = self._decoded(self._decoder, data, final)
        self._has_spoken = self._has_spoken or _says_something(text)
        return self._line_ends.decode(text, final=final)

    def _decoded(self, decoder: codecs.IncrementalDecoder, data: bytes, final: bool) -> str:
        try:
            text = decoder.decode(data, final)
        except UnicodeDecodeError as error:
            return self._despite(decoder, error, data, final)
        except UnicodeError as error:  # UTF-16 without a byte order mark
            raise ValueError(f"{self._name}: {_what_is_wrong(self._encoding, error)}") from error
        self._may_be_chinese = self._may_be_chinese and text.isascii()
        return text.replace("\ufffd", "") if decoder.errors == "replace" else text

    def _despite(self, decoder: codecs.IncrementalDecoder, error: UnicodeDecodeError, data: bytes, final: bool) -> str:
        """What can be read where `error` was met."""
        good, rest = error.object[: error.start], error.object[error.start :]
        before = ""
        if self._may_be_chinese and self._encoding == "utf-8" and good.isascii():
            before, data = good.decode(), rest
            decoder.reset()
            if not final and len(rest) < _SAMPLE and b"\n" not in rest:
                self._waiting = rest
                return before
            if _is_plausible_chinese(rest, final=final):
                _warn_of_chinese(self._name)
                self._encoding, self._may_be_chinese = _CHINESE, False
                self._decoder = codecs.getincrementaldecoder(_CHINESE)("replace")
                return before + self._decoded(self._decoder, rest, final)
        self._complain(error, good)
        self._may_be_chinese, decoder.errors = False, "replace"
        return before + self._decoded(decoder, data, final)

    def _complain(self, error: UnicodeDecodeError, good: bytes) -> None:
        wrong = _what_is_wrong(self._encoding, error, self._read - len(error.object))
        if not self._has_spoken and (not _says_something(good.decode(self._encoding, "ignore")) or _is_binary(error)):
            raise ValueError(f"{self._name} is {wrong}") from error
        warnings.warn(f"{self._name} is {wrong}; what cannot be read is left out", stacklevel=2)


def _marked(data: bytes) -> str | None:
    """The encoding that the byte order mark names."""
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def _with_line_feeds() -> io.IncrementalNewlineDecoder:
    return io.IncrementalNewlineDecoder(None, translate=True)


def _says_something(text: str) -> bool:
    return any(map(str.isalnum, text))


def _is_binary(error: UnicodeDecodeError) -> bool:
    """Whether so much of what was to be decoded is no text that the rest is none either."""
    text = error.object.decode(error.encoding, "replace")
    strange = sum(text.count(sign) for sign in ("\ufffd", "\0"))
    return len(text) >= _SAMPLE and strange > len(text) // 4


def _what_is_wrong(encoding: str, error: UnicodeError, offset: int = 0) -> str:
    """For a message; `offset` is the place of the first byte that the decoder saw."""
    encoding = encoding.removesuffix("-sig").upper()
    if not isinstance(error, UnicodeDecodeError):
        return f"not {encoding} text ({error}); say its encoding by --encoding NAME, such as gb18030"
    where = f"byte {offset + error.start} is 0x{error.object[error.start]:02x}"
    return f"not {encoding} text ({where}); say its encoding by --encoding NAME, such as gb18030"


def _is_plausible_chinese(data: bytes, *, final: bool) -> bool:
    """Whether `data`, which may end within a character unless it is `final`, is Chinese in GB18030."""
    try:
        text = codecs.getincrementaldecoder(_CHINESE)().decode(data, final)
    except UnicodeDecodeError:
        return False
    foreign = [character for character in text if not character.isascii()]
    frequent = sum(character in _FREQUENT for character in foreign)
    return bool(foreign) and frequent >= _SHARE * len(foreign)


def _warn_of_chinese(name: str) -> None:
    warnings.warn(
        f"{name} is not UTF-8 text and was read as Chinese in GB18030; else give --encoding NAME", stacklevel=3
    )
