"""Text made ready for the LLM: normalised, cut into segments, and tokenised."""

from mlx_cosyvoice.text.build import build_tokenizer, build_tokenizer_json
from mlx_cosyvoice.text.normalize import TextNormalizer
from mlx_cosyvoice.text.special_tokens import COSYVOICE2_SPECIAL_TOKENS
from mlx_cosyvoice.text.streaming_tokenizer import StreamingTokenizer
from mlx_cosyvoice.text.tokenizer import TextTokenizer

__all__ = [
    "COSYVOICE2_SPECIAL_TOKENS",
    "StreamingTokenizer",
    "TextNormalizer",
    "TextTokenizer",
    "build_tokenizer",
    "build_tokenizer_json",
]
