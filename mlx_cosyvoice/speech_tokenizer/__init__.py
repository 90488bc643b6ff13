"""S3 speech tokenizer v2: 16 kHz log mel to 25 speech tokens a second."""

from mlx_cosyvoice.speech_tokenizer.quantizer import codes
from mlx_cosyvoice.speech_tokenizer.tokenizer import S3TokenizerV2

__all__ = ["S3TokenizerV2", "codes"]
