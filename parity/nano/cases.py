"""What is said, and after whom: held-out strings in the voices of the recordings that come with the nano checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reference.nano.voices import VARIANTS, Variant
from reference.nano.words import held_out_strings, written

#: The three voices that are judged; kal16 is measured beside them.
VOICES, BESIDE = ("slt", "awb", "rms"), ("kal16",)


@dataclass(frozen=True)
class Case:
    """One utterance.

    Attributes:
        prompt: the file name of the recording that is cloned, such as "awb-1.06.flac".
        number: of the first held-out string that is said, and the seed of all draws.
        words: what is said.
    """

    prompt: str
    number: int
    words: tuple[str, ...]

    @property
    def voice(self) -> str:
        return voice_of(self.prompt)

    @property
    def variant(self) -> Variant:
        """Whose recording it is."""
        (found,) = (one for one in VARIANTS if one.held_out and self.prompt == f"{one.voice}-{one.warp}.flac")
        return found

    @property
    def key(self) -> str:
        return f"{self.prompt} {self.number} {len(self.words)}"


def voice_of(prompt: str) -> str:
    """The voice of `flite` in a recording of that name."""
    return prompt.partition("-")[0]


def cases(transcripts: Mapping[str, str], voices: Sequence[str], strings: range, joined: int = 1) -> Iterator[Case]:
    """All voices say the same strings; the recordings of a voice take turns.

    Args:
        transcripts: recording -> what is said in it. No recording is asked to say itself.
        voices: of `flite`.
        strings: numbers of held-out strings.
        joined: so many of them make one utterance; what is left of `strings` at the end is not said.
    """
    texts = held_out_strings()[strings.start : strings.stop]
    for turn, start in enumerate(range(0, len(texts) - joined + 1, joined)):
        words = sum(texts[start : start + joined], ())
        for voice in voices:
            recordings = sorted(name for name in transcripts if voice_of(name) == voice)
            for place in range(len(recordings)):
                recording = recordings[(turn + place) % len(recordings)]
                if transcripts[recording] not in written(words):
                    yield Case(recording, strings.start + start, words)
                    break
