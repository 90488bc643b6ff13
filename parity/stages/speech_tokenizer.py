"""Log mel to speech tokens (S3TokenizerV2), with ONNX Runtime on the official file as a third witness."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mlx_parity.intercept import ModuleCall, intercepted
from mlx_parity.sides import Side
from parity.stages.base import Arrays, Given, Outputs, Stage


class SpeechTokenizer(Stage):
    name = "speech_tokenizer"
    title = "Speech tokenizer"
    component = "speech_tokenizer"
    needs = ("log_mel", "prompt_mel")
    gives = ("prompt_token", "prompt_feat")
    owners: ClassVar = {"prompt_token": "speech_tokenizer.quantizer._codebook"}

    def call(self, side: Side, given: Given) -> Outputs:
        seen: list[np.ndarray] = []

        def answer(call: ModuleCall) -> Any:
            before = call.run()
            seen.append(side.numpy(before))
            return before

        with intercepted({"speech_tokenizer": side.module}, answer, "before_rounding"):
            tokens = side.numpy(side.module(side.array(given["log_mel"], channels_first=True)))
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

    def asked(self, file: Path, given: Given) -> Outputs | None:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file))
        mel = given["log_mel"].astype(np.float32)
        tokens = session.run(None, {"feats": mel, "feats_length": np.array([mel.shape[2]], np.int32)})[0]
        return Outputs(tokens={"prompt_token": tokens.reshape(1, -1).astype(np.int64)})
