"""What `cosyvoice.cli.model.CosyVoice3Model.llm_job` passes on of the language model's tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Tokens of silence and breath, and how many of them may follow one another.
COSYVOICE3_SILENT_TOKENS = (1, 2, 28, 29, 55, 248, 494, 2241, 2242, 2322, 2323)
MOST = 5


def passed_on(tokens: Iterable[int], silent: Sequence[int] = COSYVOICE3_SILENT_TOKENS) -> list[int]:
    """`tokens` without the sixth and later ones of each run of silent tokens."""
    kept: list[int] = []
    run: list[int] = []
    for token in tokens:
        if token not in silent:
            kept, run = [*kept, *run[:MOST], token], []
        else:
            run.append(token)
    return kept + run[:MOST]
