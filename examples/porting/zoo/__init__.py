"""Pairs of models: architectures that both mlx-lm and transformers have, tiny and with the same random weights."""
