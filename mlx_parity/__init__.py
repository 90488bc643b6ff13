"""Holds an MLX port against the PyTorch model that it was made from, and names the place where they part."""

__version__ = "0.1.0"
