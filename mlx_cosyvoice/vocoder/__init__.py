"""The HiFT vocoder: mel to waveform."""

from mlx_cosyvoice.vocoder.causal_generator import CausalHiFTGenerator
from mlx_cosyvoice.vocoder.f0_predictor import ConvRNNF0Predictor
from mlx_cosyvoice.vocoder.generator import HiFTGenerator
from mlx_cosyvoice.vocoder.source import SineGen2, SourceModuleHnNSF

__all__ = ["CausalHiFTGenerator", "ConvRNNF0Predictor", "HiFTGenerator", "SineGen2", "SourceModuleHnNSF"]
