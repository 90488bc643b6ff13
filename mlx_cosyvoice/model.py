"""A model as a whole: load a converted one, take a voice from a recording, speak a text with it."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from mlx_cosyvoice.audio import recording_pieces
from mlx_cosyvoice.audio.source import Source
from mlx_cosyvoice.cloning import take_voice, utterance_tokens
from mlx_cosyvoice.decoding import Decoder
from mlx_cosyvoice.families import COSYVOICE2, FAMILIES, Family
from mlx_cosyvoice.families.declaration import imported
from mlx_cosyvoice.flow.masked_diff import CausalMaskedDiff
from mlx_cosyvoice.hub import find_model
from mlx_cosyvoice.llm import Sampler, SpeechLM
from mlx_cosyvoice.loading import OnFirstUse, computing_dtype, load_components
from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.quoting import quoted
from mlx_cosyvoice.speaker_encoder import CAMPPlus
from mlx_cosyvoice.speech import Metrics, SpeechStream, TokenSource, choose_mode, flow_input
from mlx_cosyvoice.speech.ahead import outside, run_ahead
from mlx_cosyvoice.speech.decoders import DECODINGS, Decoders
from mlx_cosyvoice.speech.opening import taken_from, without_opening
from mlx_cosyvoice.speech.prefixes import PrefixCache
from mlx_cosyvoice.speech.short_text import checked_length
from mlx_cosyvoice.speech.sources import AsyncPieces, Text, text_source
from mlx_cosyvoice.speech.utterances import TokenOptions, Utterances
from mlx_cosyvoice.speech_tokenizer import S3TokenizerV2
from mlx_cosyvoice.text import TextNormalizer, TextTokenizer
from mlx_cosyvoice.text.arriving import arriving_segments, whole_pieces
from mlx_cosyvoice.text.control import ControlTokens
from mlx_cosyvoice.turns import check_not_forked
from mlx_cosyvoice.vocoder import CausalHiFTGenerator, HiFTGenerator
from mlx_cosyvoice.voices import Voice, VoiceError, VoiceLibrary
from mlx_cosyvoice.weights import ModelFolderError

__all__ = ["DECODINGS", "CosyVoice2", "SpeechModel", "load"]

Self = TypeVar("Self", bound="SpeechModel")


class SpeechModel:
    """A loaded model of any family. Components bear their official names; one that was not converted is None.

    Any thread may use it, and several at once: chunks of audio are then computed in turns, in the order in which they
    are asked for. A process that was forked from one that had loaded a model may not (`ForkedError`).

    Attributes:
        family: what its folder declares it to be.
        config: sizes and constants.
        dtypes: component -> dtype that it computes in.
        stored_dtypes: component -> dtype that the model folder holds it in.
        sample_rate: of the audio it makes, in Hz.
        speakers: name -> voice of the speakers that came with the model (`spk2info.pt`), often none.
    """

    llm = OnFirstUse[SpeechLM]()
    flow = OnFirstUse[CausalMaskedDiff]()
    hift = OnFirstUse[HiFTGenerator | CausalHiFTGenerator]()
    campplus = OnFirstUse[CAMPPlus]()
    speech_tokenizer = OnFirstUse[S3TokenizerV2]()

    #: The only family that the class loads; None for any.
    only: ClassVar[Family | None] = None

    def __init__(
        self,
        family: Family,
        config: Any,
        components: dict[str, Any],
        dtypes: dict[str, str],
        stored_dtypes: dict[str, str] | None = None,
    ) -> None:
        self.family, self.config = family, config
        self.dtypes = dtypes
        self.stored_dtypes = dict(dtypes if stored_dtypes is None else stored_dtypes)
        self.sample_rate = config.sample_rate
        self.text_tokenizer: TextTokenizer | None = components.get("text_tokenizer")
        self._networks = {name: components[name] for name in family.names if name in components}
        self._unread = set(self._networks)
        self.speakers: dict[str, Voice] = components.get("speakers", {})
        llm, flow, hift = (components.get(name) for name in ("llm", "flow", "hift"))
        self._prefixes = None if llm is None else PrefixCache(llm)
        self._decoders = None if flow is None or hift is None else Decoders(flow, hift)

    @classmethod
    def load(cls: type[Self], path_or_repo: str | Path, *, dtype: str | None = "auto") -> Self:
        """Load a model folder written by `python -m converters`, or one on the Hugging Face hub.

        Args:
            path_or_repo: the folder, or the repository's name.
            dtype: what to compute in, for every component: "float32", "float16" or "bfloat16"; None for what the
                folder holds, packed weights staying packed; "auto" for float32 on the CPU, where that is several times
                faster (and 16-bit weights take twice the memory of their file), and for None on other devices.

        Raises:
            ModelNotFoundError: neither a folder nor a reachable repository.
            ModelFolderError: a folder that is not a complete converted model; the file or key is named.
            ValueError: `dtype` is not known.
        """
        computing_dtype(dtype)  # a wrong one is refused before anything is downloaded
        family, *loaded = load_components(find_model(path_or_repo), dtype)
        if cls.only not in (None, family):
            raise ModelFolderError(f"{path_or_repo}: is a {family.title}; load it with mlx_cosyvoice.load")
        return cls(family, *loaded)

    def clone(
        self,
        recording: Source,
        transcript: str = "",
        *,
        sample_rate: int | None = None,
        start: float = 0.0,
        end: float | None = None,
    ) -> Voice:
        """Take a voice from a recording, or a part of it, of at most 30 s. Silence at its ends is left out.

        Args:
            recording: an audio file: its path, its bytes, or a file object; or an array of samples. See
                `audio.read_recording`.
            transcript: what is said in it, in its language. Without it the voice can speak in the modes cross_lingual
                and instruct2 only.
            sample_rate: of an array, in Hz.
            start: where in the recording to begin, in seconds.
            end: where to end, in seconds; None for its end.

        Warns:
            AudioWarning: the file has a flaw, silence was left out, or the transcript can hardly be what is said.

        Raises:
            AudioError: the file is not audio, empty, silent, too short or too long.
            ValueError: the model lacks a component.
        """
        self._need("campplus", "speech_tokenizer")
        assert self.campplus is not None
        assert self.speech_tokenizer is not None
        part = {"sample_rate": sample_rate, "start": start, "end": end}
        return take_voice(recording, transcript, self.config, self.family, self.speech_tokenizer, self.campplus, **part)

    def voice(self, name: str) -> Voice:
        """The voice of that name: one of `speakers`, or of the user's library.

        Raises:
            UnknownVoiceError: there is none.
        """
        return self.speakers[name] if name in self.speakers else VoiceLibrary().get(name)

    def stream(
        self,
        text: Text,
        voice: Voice | str,
        *,
        mode: str | None = None,
        instruction: str | None = None,
        decoding: str | Decoder = "official",
        speed: float = 1.0,
        n_timesteps: int = 10,
        seed: int = 0,
        normalize: bool | str = True,
        min_token_text_ratio: float = 2,
        max_token_text_ratio: float = 20,
        sampler: Sampler | None = None,
    ) -> SpeechStream:
        """Speak `text` with `voice`, chunk by chunk: audio is there while the language model is still at work.

        A long text is spoken in segments of some 80 tokens, in memory that does not grow. `text` may also be an
        iterable of pieces, also an asynchronous one, such as the output of a language model; audio then comes out while
        text still comes in, some sentences at a time, each group normalized and spoken as a whole text is. The first is
        handed to the model when 60 characters, and about as many as the transcript has, end a sentence and the next has
        begun. Upstream's order, which mixes text and speech id by id, is taken with normalize=False where the prompt
        allows: its first sound may come sooner or later, and it needs three times as fast a writer to go on without a
        pause.

        Args:
            text: what to say, or an iterable of its pieces. Pieces that are None count as no text. An asynchronous
                iterable is run by the caller's event loop if there is one (take the chunks by `async for` then).
            voice: from `clone`, or a name that `voice` knows.
            mode: one of `MODES`. None chooses instruct2 if there is an instruction, sft if the voice has no recording,
                cross_lingual if it has no transcript, and zero_shot otherwise.
            instruction: how to speak, for instruct2, for instance "Speak slowly and softly.". Of a family that has a
                system prompt, what ends in "<|endofprompt|>" at the beginning of a whole text is one too.
            decoding: one of `DECODINGS`, or a decoder, such as an `IncrementalDecoder` with other options.
            speed: 1.25 is a quarter faster; with `decoding="offline"` only.
            n_timesteps: Euler steps of the flow; fewer are faster and rougher.
            seed: the same seed gives the same audio on the same machine.
            normalize: read numbers, signs and markdown in words, in `text` and in the transcript: True or "spoken" as
                people would say it, "upstream" as upstream does, False or "off" not at all.
            min_token_text_ratio: at least so many speech tokens a text token before a segment may end.
            max_token_text_ratio: at most so many.
            sampler: draws the speech tokens, instead of one made from `seed`.

        Raises:
            TypeError: `text` is neither text nor pieces of text; a wrong piece may be found only while it is spoken.
            ValueError: there is nothing to say in the text, an argument is out of range, or the model lacks a
                component. Of a text that arrives in pieces the first is found only while it is spoken.
            UnknownVoiceError: no voice of that name.
            VoiceError: the voice was taken by a model of another family.
        """
        source, mode, instruction = taken_from(text_source(text), mode, instruction, self.family.system_prompt)
        self._need("text_tokenizer", "llm", "flow", "hift")
        assert self._decoders is not None
        decoder = self._decoders.get(decoding, speed=speed, n_timesteps=n_timesteps)
        options = TokenOptions(seed, min_token_text_ratio, max_token_text_ratio, sampler)
        utterances = self._utterances(voice, mode, instruction, normalize, options)
        tokens = self._source(utterances, source, normalize)
        loop = source.loop if isinstance(source, AsyncPieces) else None
        return self._speech(tokens, utterances.prompt, decoder, seed, text_loop=loop)

    def synthesize(self, text: Text, voice: Voice | str, **options: Any) -> np.ndarray:
        """Speak `text` with `voice`, all at once.

        Args:
            text: as for `stream`.
            voice: as for `stream`.
            **options: as for `stream`, but `decoding` is "offline" unless you say otherwise.

        Returns:
            float32 samples in [-1, 1] at `sample_rate` Hz.

        Raises:
            ValueError: as `stream`.
        """
        with self.stream(text, voice, **{"decoding": "offline", **options}) as chunks:
            return np.concatenate(list(chunks))

    def speech_tokens(
        self,
        text: Text,
        voice: Voice | str,
        *,
        mode: str | None = None,
        instruction: str | None = None,
        seed: int = 0,
        normalize: bool | str = True,
        min_token_text_ratio: float = 2,
        max_token_text_ratio: float = 20,
        sampler: Sampler | None = None,
    ) -> Iterator[int]:
        """The tokens that `stream` would speak, 25 a second; arguments and errors as there."""
        source, mode, instruction = taken_from(text_source(text), mode, instruction, self.family.system_prompt)
        self._need("text_tokenizer", "llm")
        options = TokenOptions(seed, min_token_text_ratio, max_token_text_ratio, sampler)
        utterances = self._utterances(voice, mode, instruction, normalize, options)
        tokens = self._source(utterances, source, normalize)
        return run_ahead(lambda: tokens(Metrics()), source.loop if isinstance(source, AsyncPieces) else None)

    def convert_voice(
        self,
        recording: Source,
        voice: Voice | str,
        *,
        sample_rate: int | None = None,
        start: float = 0.0,
        end: float | None = None,
        decoding: str | Decoder = "offline",
        speed: float = 1.0,
        n_timesteps: int = 10,
        seed: int = 0,
    ) -> SpeechStream:
        """Say what is said in a recording with another voice; the language model has no part in it.

        A long recording is said in pieces of at most 30 s, cut where it is quiet, in memory that does not grow.

        Args:
            recording: of any length; as for `clone`, and so are `sample_rate`, `start` and `end`.
            voice: from `clone`, or a name that `voice` knows.
            sample_rate: of an array, in Hz.
            start: where in the recording to begin, in seconds.
            end: where to end, in seconds; None for its end.
            decoding: as for `stream`, and so the rest.
            speed: 1.25 is a quarter faster; with `decoding="offline"` only.
            n_timesteps: Euler steps of the flow.
            seed: of the vocoder's noise.

        Raises:
            AudioError: the file is not audio, empty, silent or too short. Damage farther on is found while it is said.
            ValueError: an argument is out of range, or the model lacks a component.
            UnknownVoiceError: no voice of that name.
            VoiceError: the voice was taken by a model of another family.
        """
        self._need("speech_tokenizer", "flow", "hift")
        assert self.speech_tokenizer is not None
        assert self._decoders is not None
        decoder = self._decoders.get(decoding, speed=speed, n_timesteps=n_timesteps)
        prompt = flow_input(self._fitting(self._as_voice(voice)))
        pieces = recording_pieces(recording, sample_rate=sample_rate, start=start, end=end)
        first = next(pieces)  # what is wrong with the recording is raised at the call
        tokens = utterance_tokens(outside(chain([first], pieces)), self.speech_tokenizer)
        return self._speech(lambda _: tokens, prompt, decoder, seed)

    def _need(self, *names: str) -> None:
        check_not_forked()
        strange = [name for name in names if name not in (*self.family.names, "text_tokenizer")]
        if strange:
            raise ValueError(f"a {self.family.title} has no {', '.join(strange)}")
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise ValueError(
                f"this model folder lacks {', '.join(missing)}: convert the checkpoint with all components "
                "(python -m converters CHECKPOINT --out DIR)"
            )

    def _as_voice(self, voice: Voice | str) -> Voice:
        return self.voice(voice) if isinstance(voice, str) else voice

    def _fitting(self, voice: Voice) -> Voice:
        """A voice whose recording is continued, once it is known not to be another family's."""
        if not voice.fits(self.family.model_type):
            theirs = " or ".join(FAMILIES[name].title if name in FAMILIES else quoted(name) for name in voice.families)
            raise VoiceError(
                f"this voice was taken by {theirs}, whose speech tokens and mel are not those of {self.family.title}: "
                "take it again from the recording with this model, or speak in mode sft, which needs the speaker "
                "embedding alone"
            )
        return voice

    def _normalizer(self, enabled: bool | str) -> TextNormalizer:
        return TextNormalizer(self.text_tokenizer, enabled=enabled, control=ControlTokens(self.family.special_tokens))

    def _utterances(
        self,
        voice: Voice | str,
        mode: str | None,
        instruction: str | None,
        normalize: bool | str,
        options: TokenOptions,
    ) -> Utterances:
        assert self.llm is not None
        assert self.text_tokenizer is not None
        voice = self._as_voice(voice)
        mode = choose_mode(voice, mode, instruction)
        prompt = imported(self.family.model_input)(
            voice if mode == "sft" else self._fitting(voice),
            mode,
            encode=self.text_tokenizer.encode,
            normalize=self._normalizer(normalize).whole,
            instruction=instruction,
            system_prompt=self.family.system_prompt,
        )
        assert self._prefixes is not None
        return Utterances(self.llm, self.text_tokenizer, prompt, self._prefixes, options, self.family.silence)

    def _source(self, utterances: Utterances, text: str | Iterable[object], normalize: bool | str) -> TokenSource:
        normalizer = self._normalizer(normalize)
        if isinstance(text, str):
            segments = checked_length(normalizer.segments(text), utterances.prompt, utterances.tokenizer.encode)
            return lambda metrics: utterances.of_segments(segments, metrics)
        pieces = without_opening(whole_pieces(outside(text)), self.family.system_prompt)
        if normalizer.mode == "off" and utterances.interleaves:
            return lambda metrics: utterances.of_arriving(pieces, metrics)
        arriving = arriving_segments(pieces, normalizer, len(utterances.prompt.transcript))
        return lambda metrics: utterances.of_segments(arriving, metrics)

    def _speech(
        self,
        tokens: TokenSource,
        prompt: Prompt,
        decoder: Decoder,
        seed: int,
        text_loop: AbstractEventLoop | None = None,
    ) -> SpeechStream:
        return SpeechStream(
            tokens,
            decoder,
            prompt,
            seed=seed,
            source_noise=partial(imported(self.family.source_noise), sines=self.config.hift.nb_harmonics + 1),
            sample_rate=self.sample_rate,
            text_loop=text_loop,
        )


class CosyVoice2(SpeechModel):
    """A loaded CosyVoice2."""

    only = COSYVOICE2


def load(path_or_repo: str | Path, *, dtype: str | None = "auto") -> SpeechModel:
    """The model in a folder, of whichever family; arguments and errors as of `CosyVoice2.load`."""
    return SpeechModel.load(path_or_repo, dtype=dtype)
