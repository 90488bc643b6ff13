"""Text made ready for the LLM: normalized, cut into segments, and tokenized."""

from mlx_cosyvoice.text.build import build_tokenizer
from mlx_cosyvoice.text.normalize import TextNormalizer
from mlx_cosyvoice.text.streaming_tokenizer import StreamingTokenizer
from mlx_cosyvoice.text.tokenizer import TextTokenizer

__all__ = [
    "StreamingTokenizer",
    "TextNormalizer",
    "TextTokenizer",
    "build_tokenizer",
]
