"""Long silence between words, cut short (`cosyvoice.cli.model.CosyVoiceModel.llm_job`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlx_cosyvoice.families.declaration import Silence


def cut_short(tokens: Iterable[int], silence: Silence) -> Iterator[int]:
    """The speech tokens of an utterance without those of silence that follow `silence.most` others in a row.

    The language model goes on from all of them: only the flow does not hear of these.
    """
    run = 0
    for token in tokens:
        run = run + 1 if token in silence.tokens else 0
        if run <= silence.most:
            yield token
