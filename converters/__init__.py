"""Turns an official CosyVoice2 checkpoint folder into an MLX model folder."""
