"""Which names a voice in a library may have: those that are safe as names of files on every system."""

from __future__ import annotations

import unicodedata

from mlx_cosyvoice.quoting import quoted
from mlx_cosyvoice.voices.errors import VoiceError

MAX_CHARACTERS = 64
#: File systems allow 255 bytes, of which the suffix needs some.
MAX_BYTES = 200

#: Not allowed in names of files on Windows, or on any system.
FORBIDDEN = '/\\:*?"<>|'
#: Devices on Windows, with any suffix and in any case.
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def check_name(name: str) -> str:
    """`name` in Unicode's composed form (NFC), which macOS and Linux write the same.

    Raises:
        VoiceError: it cannot be the name of a voice; says why.
    """
    if not isinstance(name, str):
        raise VoiceError(f"a voice's name must be text, not {type(name).__name__}")
    reason = _fault(name)
    if reason:
        raise VoiceError(f"{quoted(name)} cannot be the name of a voice: {reason}")
    return unicodedata.normalize("NFC", name)


def same_file(name: str) -> str:
    """Equal for names that are one file where a file system ignores case or the composition of letters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _fault(name: str) -> str | None:
    if not name.strip():
        return "it is empty"
    # First, since the rest of a name that is no valid Unicode cannot be looked at.
    odd = next((character for character in name if not character.isprintable()), None)
    if odd is not None:
        return f"it has a control or invisible character (U+{ord(odd):04X})"
    # The time of composing grows with the square of the length. A character is composed of five at most.
    composed = unicodedata.normalize("NFC", name) if len(name) <= 5 * MAX_CHARACTERS else name
    if len(composed) > MAX_CHARACTERS or len(composed.encode()) > MAX_BYTES:
        return f"it is longer than {MAX_CHARACTERS} characters or {MAX_BYTES} bytes"
    bad = [character for character in name if character in FORBIDDEN]
    if bad:
        return f"it has the character {bad[0]}"
    if name != name.strip():
        return "it starts or ends with a space"
    if name.startswith((".", "-")):
        return f"it starts with {name[0]!r}"
    if name.endswith("."):
        return "it ends with a dot"
    if name.split(".")[0].strip().casefold() in RESERVED:
        return "it is a device on Windows"
    return None
