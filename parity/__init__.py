"""Runs the PyTorch reference and the MLX model on the same inputs and says where, and by how much, they part."""
