"""How a command reports a failure: in one line, without a traceback."""

from __future__ import annotations

import errno


def one_line(error: Exception, out: object) -> str:
    """What to print for an error whose message is meant for users, or for one of the system.

    `out` is named for a system error that names no file: those of writing do not.
    """
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename or out}: "
        hint = ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "; free some space, or choose a folder on another disk. Nothing was left behind."
        return f"{where}{error.strerror}{hint}"
    text = " ".join(str(error).split())
    # What a file holds, or is called, shall not command the terminal.
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
