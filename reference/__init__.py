"""CosyVoice2 in plain PyTorch: the oracle that the MLX implementation is measured against."""
