"""CosyVoice2, a streaming text-to-speech model, in MLX."""

from mlx_cosyvoice import _blas  # noqa: F401  (before anything imports mlx.core)
