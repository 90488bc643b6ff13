"""Filter bank to speaker embedding (CAM++), with ONNX Runtime on the official file as a third witness."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from parity.sides import Side
from parity.stages.base import Arrays, Outputs, Settings, Stage
from parity.tape import Tape


class SpeakerEncoder(Stage):
    name = "speaker_encoder"
    title = "Speaker encoder"
    component = "campplus"
    needs = ("fbank",)
    gives = ("embedding",)

    def call(self, side: Side, inputs: Arrays, tape: Tape, settings: Settings) -> Outputs:
        return Outputs({"embedding": side.official(side.module(side.array(inputs["fbank"])))})

    def witnesses(self, file: Path | None, inputs: Arrays) -> Outputs | None:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file))
        return Outputs(tensors={"embedding": session.run(None, {"input": inputs["fbank"].astype(np.float32)})[0]})
