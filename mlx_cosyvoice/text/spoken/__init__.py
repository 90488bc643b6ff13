"""Text as people would say it, sentence by sentence."""

from mlx_cosyvoice.text.spoken.language import detect
from mlx_cosyvoice.text.spoken.text import first_language, ready, sentences, speak

__all__ = ["detect", "first_language", "ready", "sentences", "speak"]
