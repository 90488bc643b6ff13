"""URLs, e-mail addresses, file names and paths, spelled as people read them out."""

from __future__ import annotations

import re

from mlx_cosyvoice.text.spoken.speaker import Speaker
from mlx_cosyvoice.text.spoken.tables import tables

_TOP_SURE = "com|org|net|edu|gov|io|ai|cn|de|fr|jp|kr|uk|eu|app|dev|info|co\\.uk|com\\.cn"
_EXTENSIONS = "|".join(tables("signs")["endings"].split())
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9_])?"
_REST = "[/?#][A-Za-z0-9_.~%/?#=&+:;,@!*-]{0,1000}"
_HOST = rf"(?:{_LABEL}\.){{1,5}}"

_MAIL = re.compile(
    r"(?<![A-Za-z0-9_.+-])(?:mailto:)?([A-Za-z0-9_](?:[A-Za-z0-9_.+-]{0,63}))@((?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,12})(?![A-Za-z0-9])"
)
_URL = re.compile(rf"(?:https?|ftp)://([A-Za-z0-9_.:@-]{{1,200}}(?:{_REST})?)", re.IGNORECASE)
_SITE = re.compile(
    rf"(?<![A-Za-z0-9_.@/-])(?:www\.{_HOST}[A-Za-z]{{2,12}}|{_HOST}(?:{_TOP_SURE})(?=/)|"
    rf"{_HOST}(?:{_TOP_SURE}))(?![A-Za-z0-9_@-])(?:{_REST})?",
    re.IGNORECASE,
)
_FILE = re.compile(
    rf"(?<![A-Za-z0-9_.@/\\-])((?:[A-Za-z0-9_.-]{{1,60}}/){{0,10}}(?:{_LABEL}\.){{1,4}}(?:{_EXTENSIONS}))(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"
)
_PATH = re.compile(
    r"(?<![A-Za-z0-9_./\\<~-])((?:~|\.{1,2})?(?:/[A-Za-z0-9_.@+-]{1,100}){2,20}/?|(?:~|\.{1,2})/[A-Za-z0-9_.@+-]{1,100}"
    r"|[A-Za-z]:\\(?:[A-Za-z0-9_.-]{1,100}\\?){0,20}|(?<=\s)/[A-Za-z][A-Za-z0-9_-]{2,40}(?=[\s.,;:!?]|$))"
)
_TRAILING = ".,;:!?)'\"*_-"
_PIECES = re.compile(r"[A-Za-z]+|\d+|.")
_NAMES = {
    ".": "dot", "/": "slash", "\\": "backslash", "-": "dash", "_": "underscore", "@": "at", ":": "colon",
    "?": "question",
    "=": "equals", "&": "and", "#": "hash", "+": "plus", "~": "tilde", "%": "percent",
}  # fmt: skip


def spell(text: str, speaker: Speaker) -> str:
    """`text` with addresses and names of files in words."""
    if not any(sign in text for sign in "./\\@"):
        return text
    text = _replaced(_MAIL, text, speaker, lambda found: f"{found[1]}@{found[2]}")
    text = _replaced(_URL, text, speaker, lambda found: re.sub(r"^www\.", "", found[1], flags=re.IGNORECASE))
    text = _replaced(_SITE, text, speaker, lambda found: found[0])
    text = _replaced(_PATH, text, speaker, lambda found: found[1], exact=False)
    return _replaced(_FILE, text, speaker, lambda found: found[1], exact=False)


def _replaced(pattern, text, speaker, what, *, exact=True):  # type: ignore[no-untyped-def]
    def words(found: re.Match[str]) -> str:
        address = what(found)
        kept = address.rstrip(_TRAILING)
        return in_words(kept.removesuffix("/"), speaker, exact=exact) + address[len(kept) :]

    return speaker.replaced(pattern, text, words)


def in_words(address: str, speaker: Speaker, *, exact: bool) -> str:
    """An address in words; where `exact` is False, hyphens and underscores are only heard as a gap."""
    words = []
    for piece in _PIECES.findall(address):
        if piece.isdecimal():
            words.append(speaker.whole(piece) if len(piece) <= 4 else speaker.digits(piece))
        elif piece.isalpha():
            words.append(piece)
        elif exact or piece not in "-_":
            words.append(speaker.signs.get(_NAMES.get(piece, ""), ""))
    return " ".join(filter(None, words))
