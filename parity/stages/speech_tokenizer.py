"""Log mel to speech tokens (S3TokenizerV2), with ONNX Runtime on the official file as a third witness."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import mlx.core as mx
import numpy as np
import torch

from mlx_cosyvoice.speech_tokenizer import tokenizer
from parity.stages.base import Arrays, Outputs, Settings, Stage, tensor
from parity.tape import Tape
from reference.speech_tokenizer import codes as reference_codes


class SpeechTokenizer(Stage):
    name = "speech_tokenizer"
    title = "Speech tokenizer"
    component = "speech_tokenizer"
    needs = ("log_mel", "prompt_mel")
    gives = ("prompt_token", "prompt_feat")
    owners: ClassVar = {"prompt_token": "speech_tokenizer.quantizer._codebook"}

    @staticmethod
    def _outputs(before_rounding: np.ndarray, tokens: np.ndarray) -> Outputs:
        # a code flips where a value crosses +-0.5; the margin is the smallest distance among the 8 values of a code
        margin = np.abs(np.abs(before_rounding) - 0.5).min(-1)
        return Outputs(
            tensors={"before_rounding": before_rounding},
            tokens={"prompt_token": tokens.astype(np.int64)},
            margins={"prompt_token": margin},
        )

    def run_reference(self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype) -> Outputs:
        before = module.before_rounding(tensor(given["log_mel"], dtype))
        return self._outputs(before.to(torch.float64).numpy(), reference_codes(before).numpy())

    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> Outputs:
        before = module.before_rounding(mx.array(given["log_mel"].transpose(0, 2, 1)))
        return self._outputs(np.array(before), np.array(tokenizer.codes(before)))

    def publish(self, outputs: Outputs, given: Arrays) -> dict[str, np.ndarray]:
        # the official frontend cuts both to the same duration: two mel frames for a token
        length = min(given["prompt_mel"].shape[1] // 2, outputs.tokens["prompt_token"].shape[1])
        return {
            "prompt_token": outputs.tokens["prompt_token"][:, :length],
            "prompt_feat": given["prompt_mel"][:, : 2 * length],
        }

    def witnesses(self, checkpoint: Any, given: Arrays) -> Outputs | None:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(Path(checkpoint) / "speech_tokenizer_v2.onnx"))
        mel = given["log_mel"].astype(np.float32)
        tokens = session.run(None, {"feats": mel, "feats_length": np.array([mel.shape[2]], np.int32)})[0]
        return Outputs(tokens={"prompt_token": tokens.reshape(1, -1).astype(np.int64)})
