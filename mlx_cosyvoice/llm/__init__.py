"""Text tokens to speech tokens: the Qwen2 language model, its key-value cache and its sampler."""

from mlx_cosyvoice.llm.cache import KVCache
from mlx_cosyvoice.llm.lm import Qwen2LM, Sampler
from mlx_cosyvoice.llm.sampling import RASSampler, uniforms

__all__ = ["KVCache", "Qwen2LM", "RASSampler", "Sampler", "uniforms"]
