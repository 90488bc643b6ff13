"""Log mel to speech tokens (S3TokenizerV2), with ONNX Runtime on the official file as a third witness."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from parity.intercept import ModuleCall, intercepted
from parity.sides import Side
from parity.stages.base import Arrays, Outputs, Settings, Stage
from parity.tape import Tape


class SpeechTokenizer(Stage):
    name = "speech_tokenizer"
    title = "Speech tokenizer"
    component = "speech_tokenizer"
    needs = ("log_mel", "prompt_mel")
    gives = ("prompt_token", "prompt_feat")
    owners: ClassVar = {"prompt_token": "speech_tokenizer.quantizer._codebook"}

    def call(self, side: Side, inputs: Arrays, tape: Tape, settings: Settings) -> Outputs:
        seen: list[np.ndarray] = []

        def answer(call: ModuleCall) -> Any:
            before = call.run()
            seen.append(side.official(before))
            return before

        with intercepted({"speech_tokenizer": side.module}, answer, "before_rounding"):
            tokens = side.official(side.module(side.array(inputs["log_mel"], channels_first=True)))
        (values,) = seen
        # a code flips where a value crosses +-0.5; the margin is the smallest distance among the 8 values of a code
        margin = np.abs(np.abs(values) - 0.5).min(-1)
        return Outputs({"before_rounding": values}, {"prompt_token": tokens.astype(np.int64)}, {"prompt_token": margin})

    def publish(self, outputs: Outputs, inputs: Arrays) -> dict[str, np.ndarray]:
        # the official frontend cuts both to the same duration: two mel frames for a token
        length = min(inputs["prompt_mel"].shape[1] // 2, outputs.tokens["prompt_token"].shape[1])
        return {
            "prompt_token": outputs.tokens["prompt_token"][:, :length],
            "prompt_feat": inputs["prompt_mel"][:, : 2 * length],
        }

    def witnesses(self, file: Path | None, inputs: Arrays) -> Outputs | None:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file))
        mel = inputs["log_mel"].astype(np.float32)
        tokens = session.run(None, {"feats": mel, "feats_length": np.array([mel.shape[2]], np.int32)})[0]
        return Outputs(tokens={"prompt_token": tokens.reshape(1, -1).astype(np.int64)})
