"""Filter bank to speaker embedding (CAM++), with ONNX Runtime on the official file as a third witness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from parity.stages.base import Arrays, Outputs, Settings, Stage, tensor
from parity.tape import Tape


class SpeakerEncoder(Stage):
    name = "speaker_encoder"
    title = "Speaker encoder"
    component = "campplus"
    needs = ("fbank",)
    gives = ("embedding",)

    def run_reference(self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype) -> Outputs:
        return Outputs(tensors={"embedding": module(tensor(given["fbank"], dtype)).to(torch.float64).numpy()})

    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> Outputs:
        return Outputs(tensors={"embedding": np.array(module(mx.array(given["fbank"])))})

    def witnesses(self, checkpoint: Any, given: Arrays) -> Outputs | None:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(Path(checkpoint) / "campplus.onnx"))
        return Outputs(tensors={"embedding": session.run(None, {"input": given["fbank"].astype(np.float32)})[0]})
