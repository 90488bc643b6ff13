"""CosyVoice2 as a whole: load a converted model, take a voice from a recording, speak a text with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice import audio
from mlx_cosyvoice.config import CosyVoice2Config
from mlx_cosyvoice.flow import CausalMaskedDiffWithXvec
from mlx_cosyvoice.hub import find_model
from mlx_cosyvoice.llm import Qwen2LM, RASSampler
from mlx_cosyvoice.speaker_encoder import CAMPPlus
from mlx_cosyvoice.speech_tokenizer import S3TokenizerV2
from mlx_cosyvoice.text import TextTokenizer
from mlx_cosyvoice.vocoder import HiFTGenerator
from mlx_cosyvoice.voices import Voice
from mlx_cosyvoice.weights import load_component, read_config

#: Waveform samples per mel frame at 24 kHz.
SAMPLES_PER_FRAME = 480


class CosyVoice2:
    """A loaded model. Components bear their official names; one that was not converted is None.

    Attributes:
        config: sizes and constants.
        dtypes: component -> dtype of its weights.
        sample_rate: of the audio it makes, in Hz.
    """

    llm: Qwen2LM | None
    flow: CausalMaskedDiffWithXvec | None
    hift: HiFTGenerator | None
    campplus: CAMPPlus | None
    speech_tokenizer: S3TokenizerV2 | None

    def __init__(self, config: CosyVoice2Config, components: dict[str, Any], dtypes: dict[str, str]) -> None:
        self.config = config
        self.dtypes = dtypes
        self.sample_rate = config.sample_rate
        self.text_tokenizer: TextTokenizer | None = components.get("text_tokenizer")
        self.llm = components.get("llm")
        self.flow = components.get("flow")
        self.hift = components.get("hift")
        self.campplus = components.get("campplus")
        self.speech_tokenizer = components.get("speech_tokenizer")

    @classmethod
    def load(cls, path_or_repo: str | Path) -> CosyVoice2:
        """Load a model folder written by `python -m converters`, or one on the Hugging Face hub.

        Raises:
            ModelNotFoundError: neither a folder nor a reachable repository.
            ModelFolderError: a folder that is not a complete converted model; the file or key is named.
        """
        folder = find_model(path_or_repo)
        config, meta = read_config(folder)
        builders: dict[str, Any] = {
            "llm": lambda: Qwen2LM(config.llm),
            "flow": lambda: CausalMaskedDiffWithXvec(config.flow),
            "hift": lambda: HiFTGenerator(config.hift),
            "campplus": lambda: CAMPPlus(config.campplus),
            "speech_tokenizer": lambda: S3TokenizerV2(config.speech_tokenizer),
        }
        components = {name: load_component(builders[name](), folder, name) for name in meta["components"]}
        if (folder / "tokenizer.json").exists():
            components["text_tokenizer"] = TextTokenizer.from_file(folder / "tokenizer.json")
        return cls(config, components, dict(meta["dtypes"]))

    def _need(self, *names: str) -> None:
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise ValueError(
                f"this model folder lacks {', '.join(missing)}: convert the checkpoint with all components "
                "(python -m converters CHECKPOINT --out DIR)"
            )

    def clone(self, recording: str | Path, transcript: str) -> Voice:
        """Take a voice from a recording of at most 30 s.

        Args:
            recording: an audio file of any sample rate and channel count that libsndfile reads.
            transcript: what is said in it, in its language.

        Raises:
            AudioError: the file is not audio, empty, silent or too long.
        """
        self._need("campplus", "speech_tokenizer")
        assert self.campplus is not None
        assert self.speech_tokenizer is not None
        wave16 = audio.load_audio(recording, 16000, max_seconds=audio.MAX_PROMPT_SECONDS)
        wave24 = audio.load_audio(recording, self.sample_rate)
        token = self.speech_tokenizer(audio.log_mel_spectrogram(wave16))
        feat = audio.mel_spectrogram(wave24)
        embedding = self.campplus(audio.mean_normalise(audio.kaldi_fbank(wave16)))
        # as the official frontend: exactly two mel frames for every token
        length = min(feat.shape[1] // self.config.token_mel_ratio, token.shape[1])
        return Voice(
            prompt_token=np.array(token[:, :length]).astype(np.int32),
            prompt_feat=np.array(feat[:, : length * self.config.token_mel_ratio]),
            embedding=np.array(embedding),
            transcript=transcript,
        )

    def synthesize(
        self,
        text: str,
        voice: Voice,
        *,
        seed: int = 0,
        n_timesteps: int = 10,
        min_token_text_ratio: float = 2,
        max_token_text_ratio: float = 20,
    ) -> np.ndarray:
        """Speak `text` with `voice` (zero-shot: the model continues the recording and its transcript).

        Args:
            text: what to say.
            voice: from `clone`.
            seed: the same seed gives the same audio on the same machine.
            n_timesteps: Euler steps of the flow.
            min_token_text_ratio: at least this many speech tokens per text token before the model may stop.
            max_token_text_ratio: at most this many.

        Returns:
            float32 samples in [-1, 1] at `sample_rate` Hz.

        Raises:
            ValueError: the text is empty, or the model lacks a component.
        """
        self._need("text_tokenizer", "llm", "flow", "hift")
        assert self.text_tokenizer is not None
        assert self.llm is not None
        assert self.flow is not None
        if not text.strip():
            raise ValueError("text is empty: give something to say")
        sampling_key, vocoder_key = mx.random.split(mx.random.key(seed))
        sampler = RASSampler.from_key(self.config.llm.sampling, sampling_key)
        tokens = list(
            self.llm.generate(
                self.text_tokenizer.encode(text),
                self.text_tokenizer.encode(voice.transcript),
                voice.prompt_token[0].tolist(),
                sampler,
                min_token_text_ratio=min_token_text_ratio,
                max_token_text_ratio=max_token_text_ratio,
            )
        )
        if not tokens:
            raise ValueError("the language model stopped at once: raise min_token_text_ratio, or try another seed")
        mel = self.flow(
            mx.array([tokens]),
            mx.array(voice.prompt_token),
            mx.array(voice.prompt_feat),
            mx.array(voice.embedding),
            streaming=False,
            finalize=True,
            n_timesteps=n_timesteps,
        )
        return np.array(self._vocode(mel, vocoder_key))

    def _vocode(self, mel: mx.array, key: mx.array) -> mx.array:
        """Mel [1, frames, 80] to samples [480 * frames], with fresh draws for the harmonic source."""
        assert self.hift is not None
        phase_key, noise_key = mx.random.split(key)
        sines = self.config.hift.nb_harmonics + 1
        wav, _ = self.hift(
            mel,
            rand_ini=mx.random.uniform(shape=(1, sines), key=phase_key),
            sine_noise=mx.random.normal((1, mel.shape[1] * SAMPLES_PER_FRAME, sines), key=noise_key),
        )
        return wav[0]
