"""Text cut into sentences, each of which is read by itself: what follows a sentence cannot change it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlx_cosyvoice.text.split import parts

#: A longer sentence is read in parts.
LONGEST = 400

_CLOSING = "\"'\u201d\u2019)\\]\u300d\u300f\uff09"
#: A run of marks is looked at once, from its beginning.
_END = re.compile(f"[\u3002\uff01\uff1f\uff1b]+[{_CLOSING}]*\\s*|(?<![.!?\u2026])[.!?\u2026]+[{_CLOSING}]*\\s+")

#: What has a full stop that ends no sentence: an initial, a short number, an abbreviation.
_NO_END = re.compile(
    r"(?:(?<=[a-z])str|(?:^|[^\w'])(?:[^\W\d_]|\d{1,3}|[^\W\d_](?:\.[^\W\d_])+|Mr|Mrs|Ms|Dr|Prof|St|Mt|No|Nos|Nr|Fig|Figs|Eq|Sec|"
    r"Ch|Vol|pp|vs|cf|"
    r"approx|ca|bzw|usw|Mio|Mrd|Tsd|evtl|ggf|inkl|zzgl|Abb|Kap|bspw|vgl|Chr|Min|Std|Uds?|n\u00fam|p\u00e1g|Dott|"
    r"pag|incl|excl|avg|misc|Co|Inc|Ltd|Jr|Sr|Gen|Col|Capt|Lt|Sgt|Rev|Hon|Gov|Sen|Rep|Pres|Dept|Est|Ave|Blvd|Rd|"
    r"art|min|max|"
    r"Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec|al|etc|Str|Hr|Fr|M|Mme|Mlle|Sig|Sr|Sra|Exmo))\.$",
    re.IGNORECASE,
)


def cut(text: str) -> Iterator[str]:
    """The sentences of a line, with the blanks after them; none is longer than LONGEST."""
    start = 0
    for end in ends(text):
        yield from parts(text[start:end], LONGEST)
        start = end
    if start < len(text):
        yield from parts(text[start:], LONGEST)


def ends(text: str) -> Iterator[int]:
    """Where the sentences of `text` end: only where it goes on with something else than a blank."""
    for found in _END.finditer(text):
        if found.end() < len(text) and not _NO_END.search(text, max(0, found.start() - 12), found.start() + 1):
            yield found.end()
