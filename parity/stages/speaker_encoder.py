"""Filter bank to speaker embedding (CAM++), with ONNX Runtime on the official file as a third witness."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlx_parity.sides import Side
from parity.stages.base import Given, Outputs, Stage


class SpeakerEncoder(Stage):
    name = "speaker_encoder"
    title = "Speaker encoder"
    component = "campplus"
    needs = ("fbank",)
    gives = ("embedding",)

    def call(self, side: Side, given: Given) -> Outputs:
        return Outputs({"embedding": side.numpy(side.module(side.array(given["fbank"])))})

    def asked(self, file: Path, given: Given) -> Outputs | None:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file))
        return Outputs(tensors={"embedding": session.run(None, {"input": given["fbank"].astype(np.float32)})[0]})
