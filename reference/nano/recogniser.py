"""What a recogniser hears: CMU pocketsphinx, whose package has its acoustic model, with a grammar of our words."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soxr

from reference.nano.speech_tokenizer import edits
from reference.nano.words import DIGITS

RATE = 16000
#: Silence that is put before and after, in seconds: without it a sixth word is heard in every other string.
SILENCE = 0.2


class Recogniser:
    """Hears rows of `words`, one or more of them, and nothing else.

    Raises:
        ModuleNotFoundError: pocketsphinx is not installed.
    """

    def __init__(self, words: Iterable[str] = DIGITS) -> None:
        try:
            from pocketsphinx import Decoder, get_model_path
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("pocketsphinx is needed to recognise: pip install '.[nano]'") from error
        with tempfile.TemporaryDirectory() as folder:
            grammar = Path(folder) / "words.gram"
            grammar.write_text(f"#JSGF V1.0; grammar words; public <words> = ({' | '.join(words)})+;\n")
            self._decoder = Decoder(
                hmm=get_model_path("en-us/en-us"),
                dict=get_model_path("en-us/cmudict-en-us.dict"),
                jsgf=str(grammar),
                loglevel="FATAL",
            )

    def words(self, wave: np.ndarray, rate: int) -> tuple[str, ...]:
        """The words heard in [samples] in [-1, 1]."""
        low = np.pad(soxr.resample(np.asarray(wave, np.float32), rate, RATE), int(SILENCE * RATE))
        # It adapts to the loudness and noise that came before; each wave shall be the first.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw((low * 32767).clip(-32768, 32767).astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return tuple(found.hypstr.split()) if found is not None else ()


def word_errors(heard: Sequence[str], said: Sequence[str]) -> int:
    """Insertions, deletions and substitutions between two rows of words."""
    return edits(heard, said)
