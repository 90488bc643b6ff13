"""Text tokens to speech tokens: the Qwen2 language model, its key-value cache and its sampler."""

from mlx_cosyvoice.llm.cache import KVCache
from mlx_cosyvoice.llm.cosyvoice3_lm import CosyVoice3LM
from mlx_cosyvoice.llm.drawing import Sampler
from mlx_cosyvoice.llm.lm import Qwen2LM, SpeechLM
from mlx_cosyvoice.llm.sampling import RASSampler
from mlx_cosyvoice.llm.uniforms import uniforms

__all__ = ["CosyVoice3LM", "KVCache", "Qwen2LM", "RASSampler", "Sampler", "SpeechLM", "uniforms"]
