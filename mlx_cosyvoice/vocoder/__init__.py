"""The HiFT vocoder: mel to waveform."""

from mlx_cosyvoice.vocoder.f0_predictor import ConvRNNF0Predictor
from mlx_cosyvoice.vocoder.generator import HiFTGenerator
from mlx_cosyvoice.vocoder.source import SineGen2, SourceModuleHnNSF

__all__ = ["ConvRNNF0Predictor", "HiFTGenerator", "SineGen2", "SourceModuleHnNSF"]
