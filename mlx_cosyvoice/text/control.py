"""Control tokens in text: find the known ones, and those that only look like some."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Sequence

from mlx_cosyvoice.families import COSYVOICE2

#: What somebody who writes it means as a control token. `[12]` and `a < b > c` are ordinary text.
LOOKS_LIKE_ONE = re.compile(r"<\|[^|<>\s]{1,40}\|>|\[[A-Za-z][\w-]{0,30}\]|</?[A-Za-z][\w-]{0,30}>")


class ControlTokens:
    """The special tokens of a family, as they stand in text.

    Attributes:
        known: matches each of them.
    """

    def __init__(self, tokens: Sequence[str] = COSYVOICE2.special_tokens) -> None:
        self._tokens = tokens
        self.known = re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)) or "(?!)")

    def unknown(self, text: str) -> list[str]:
        """What looks like a control token (`[word]`, `<word>`, `</word>`, `<|word|>`) but is none that the model knows.

        Each is listed once, in the order of the text. The model reads such a thing as ordinary letters.
        """
        found = dict.fromkeys(LOOKS_LIKE_ONE.findall(text))
        return [token for token in found if token not in self._tokens]

    def warn(self, text: str) -> None:
        """One UserWarning that names the unknown tokens of `text` and the nearest known ones, if there are any."""
        unknown = self.unknown(text)
        if not unknown:
            return
        shown = ", ".join(self._with_nearest(token) for token in unknown[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        warnings.warn(
            f"the text has what look like control tokens but are none, and will be spoken as letters: {shown}{more}",
            stacklevel=4,
        )

    def _with_nearest(self, token: str) -> str:
        near = difflib.get_close_matches(token.lower(), self._tokens, n=2, cutoff=0.6)
        return f"{token} (did you mean {' or '.join(near)}?)" if near else token
