"""One text, spoken by both sides from the same tokens with the same noise, and what a listener says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlx_cosyvoice import decoding, prompt
from mlx_cosyvoice.speech.decoders import Decoders
from mlx_parity.compare import Verdict
from mlx_parity.localization.captured import advance
from mlx_parity.sides import Side
from parity import listening
from parity.pair import Pair
from parity.stages import AudioFeatures, LanguageModel, Offline, Settings, SpeakerEncoder, SpeechTokenizer, vocoder
from parity.stages.base import Given
from parity.stages.llm import DRAWS, generate, sampler
from reference import streaming
from reference.nano.recogniser import word_errors
from reference.silence import passed_on
from reference.synthetic.checkpoint import MARKER
from reference.upsample_encoder import left_context

#: What takes a voice from a recording.
VOICE = (AudioFeatures(), SpeechTokenizer(), SpeakerEncoder())
#: Speech tokens of a text token, at most, as officially.
LONGEST = 20


@dataclass(frozen=True)
class Spoken:
    """What one side said: samples [n], likeness of the voice (a cosine), words and how many are wrong, if counted."""

    wave: np.ndarray
    similarity: float
    heard: str | None
    word_errors: int | None

    def to_dict(self) -> dict[str, Any]:
        return {"heard": self.heard, "word_errors": self.word_errors, "similarity": self.similarity}


@dataclass(frozen=True)
class Heard:
    """`rate` is of the waves, in Hz. `deaf` says why nobody listened for words, `raised` what stopped MLX, or ""."""

    said: str
    rate: int
    mlx: Spoken
    reference: Spoken
    deaf: str = ""
    raised: str = ""

    @property
    def sides(self) -> dict[str, Spoken]:
        return {"MLX": self.mlx, "PyTorch": self.reference}

    @property
    def verdict(self) -> Verdict:
        """Likeness and errors are no part of it. Other words than the reference's prove that something was missed."""
        same = self.mlx.heard == self.reference.heard and not self.raised
        return Verdict.PASS if same else Verdict.INCONCLUSIVE

    def lines(self) -> list[str]:
        found = [f"spoken by both, same tokens and noise: {self.said}"]
        for name, side in self.sides.items():
            words = "" if self.deaf else f"{side.heard or 'nothing'} ({side.word_errors} words wrong), "
            found.append(f"heard of {name}: {words}likeness to the recording's voice {side.similarity:.3f}")
        return [*found, self.remark]

    @property
    def remark(self) -> str:
        if self.verdict is not Verdict.PASS:
            return f"inconclusive: {self.raised or 'MLX is heard to say other words than PyTorch'}"
        return f"nobody listened: {self.deaf}" if self.deaf else "both are heard alike, which is no part of the verdict"

    def to_dict(self) -> dict[str, Any]:
        sides = {"mlx": self.mlx.to_dict(), "reference": self.reference.to_dict()}
        return {"said": self.said, **sides, "deaf": self.deaf, "raised": self.raised}


def listen(
    pair: Pair, inputs: dict[str, Any], settings: Settings, seed: int = 0, embed: listening.Embed | None = None
) -> Heard | str:
    """Speak the inputs' `text` in the voice of their recording, or say in a line why that would tell nothing.

    Args:
        pair: both models.
        inputs: as for `parity.run.run`.
        settings: streaming, and the Euler steps.
        seed: of the tape from which tokens and noise are drawn.
        embed: the speaker encoder that judges likeness; None for the checkpoint's own.
    """
    said, file = listening.said_words(str(inputs["text"])), pair.reference.file("campplus")
    if (pair.reference.checkpoint / MARKER).is_file():
        return "random weights say nothing"
    if not said:
        return "the recogniser does not know all words of the text, as it does digits: --text 'one two three'"
    if file is None or pair.reference.family.reads is None or not inputs["transcript"]:
        return "the voice needs a speaker encoder, and a --transcript of what is said in the recording"
    embed = embed or listening.official_encoder(file)
    given = _given(pair, inputs, settings, seed)
    mlx, raised = np.zeros(0, np.float32), ""
    try:
        mlx = _spoken(Offline().model(pair), given)
    except Exception as error:  # whatever a broken model raises: what the stages found must still be told
        raised = f"MLX raised {type(error).__name__} while it spoke: {error}"
    side = Offline().reference(pair, Offline().dtype(pair))
    with side.running():
        reference = _spoken(side, given)
    own, rate, deaf, recogniser = listening.embedding(embed, inputs["wave16"], 16000), pair.model.sample_rate, "", None
    try:
        recogniser = listening.recogniser_of(said)
    except ModuleNotFoundError as error:
        deaf = str(error)

    def judged(wave: np.ndarray) -> Spoken:
        heard = listening.heard_words(recogniser, wave, rate) if recogniser else None
        words = (None, None) if heard is None else (" ".join(heard), word_errors(heard, said))
        return Spoken(wave, listening.similarity(embed, wave, rate, own), *words)

    return Heard(" ".join(said), rate, judged(mlx), judged(reference), deaf, raised)


def _given(pair: Pair, inputs: dict[str, Any], settings: Settings, seed: int) -> Given:
    """The voice, and the reference's tokens of the text."""
    arrays, family = dict(inputs), pair.reference.family
    for stage in VOICE:
        advance(stage, pair, arrays, settings, seed)
    encode = pair.reference.component("text_tokenizer", "float32").encode
    text = encode(inputs["text"])
    assert family.reads is not None
    read = family.reads("zero_shot", inputs["text"], inputs["transcript"], "", encode).text
    arrays |= {"text_token": np.array([text]), "prompt_text_token": np.array([read[: -len(text)]])}
    given, model = Given(arrays, settings, seed), LanguageModel()
    side = model.reference(pair, model.dtype(pair))
    draws = given.tape.uniform("heard/draws", (DRAWS * LONGEST * len(text),)).tolist()
    with side.running():
        token = passed_on(generate(side, given, sampler(side, draws)), family.silent)
    return given.adding({"speech_token": np.array([token], np.int64)})


def _spoken(side: Side, given: Given) -> np.ndarray:
    """What a side makes of the tokens: samples [n]. What streams with caches is one run with chunk masks there."""
    (flow, hift), token, mode = side.module, given["speech_token"], given.settings.streaming
    steps, scale = {"n_timesteps": given.settings.n_timesteps}, vocoder.samples_per_frame(hift)
    voice = [side.array(given[name]) for name in ("prompt_token", "prompt_feat", "embedding")]
    rand_ini, sine_noise = map(side.array, vocoder.noise(hift, given.tape, 2 * token.shape[1] * scale, "heard"))
    place = 0

    def noise(samples: int, start: int | None = None) -> tuple[Any, Any]:
        """Every hop's begins anew, unless it says with which sample, or goes on with its state."""
        nonlocal place
        begin = place if start is None else start
        place += samples if mode == "incremental" else 0
        return rand_ini, sine_noise[:, begin : begin + samples]

    if side.name == "mlx":
        decoder = Decoders(flow, hift).get(mode or "offline", speed=1, **steps)
        pieces = [np.array(one) for one in decoding.decode(decoder, prompt.Prompt(*voice), noise, token[0].tolist())]
    elif mode == "incremental":
        with left_context(flow, decoding.incremental.LEFT_CONTEXT_CHUNKS):
            mel = flow.inference(side.array(token), *voice, streaming=True, finalize=True, **steps)
        drawn = dict(zip(("rand_ini", "sine_noise"), noise(mel.shape[2] * scale), strict=True))
        pieces = [side.numpy(hift.inference(mel, **drawn)[0])[0]]
    else:
        arguments = flow, hift, side.array(token), streaming.Prompt(*voice), noise
        hops = [one.wav for one in streaming.stream(*arguments, **steps)] if mode else []
        pieces = [side.numpy(wav)[0] for wav in hops or [streaming.offline(*arguments, **steps)]]
    return np.concatenate(pieces)
