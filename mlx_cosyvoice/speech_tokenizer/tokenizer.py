"""S3 speech tokenizer v2, after S3Tokenizer's `s3tokenizer.model_v2.S3TokenizerV2`."""

from __future__ import annotations

import mlx.core as mx

from mlx_cosyvoice.config import SpeechTokenizerConfig
from mlx_cosyvoice.nn import Module
from mlx_cosyvoice.speech_tokenizer.encoder import AudioEncoder
from mlx_cosyvoice.speech_tokenizer.quantizer import FSQVectorQuantization


class S3TokenizerV2(Module):
    """Whisper log mel (128 bins, 16 kHz, 10 ms hop) to speech tokens in [0, 6561). Official root: `speech_tokenizer`.

    One utterance, or a batch of utterances of one length: there is no padding, hence no mask.
    """

    def __init__(self, config: SpeechTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = AudioEncoder(config)
        self.quantizer = FSQVectorQuantization(config.n_audio_state)

    def before_rounding(self, log_mel: mx.array) -> mx.array:
        """[B, T, n_mels] -> [B, T', 8] float32 in (-1, 1), T' = ceil(ceil(T / 2) / 2).

        `quantizer.encode` makes tokens of these.

        Raises:
            ValueError: the shape is not [B, T, n_mels], or there is no frame.
        """
        if log_mel.ndim != 3 or log_mel.shape[2] != self.config.n_mels or log_mel.shape[1] == 0:
            raise ValueError(f"log_mel must be [batch, frames, {self.config.n_mels}], not {list(log_mel.shape)}")
        return self.quantizer(self.encoder(log_mel.astype(self.encoder.conv1.weight.dtype)))

    def __call__(self, log_mel: mx.array) -> mx.array:
        """[B, T, n_mels] -> tokens [B, T'] int32, 25 a second. Raises as `before_rounding` does."""
        return self.quantizer.encode(self.before_rounding(log_mel))
