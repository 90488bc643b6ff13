"""The CPU's own forms of what MLX's CPU backend is slow at, for `nn.functional` alone.

Elementwise functions, attention and products of a matrix and a vector are NumPy's, on memory that it shares with MLX:
they evaluate their inputs, so what they return is a constant to `mx.vjp` and `mx.compile`. Convolutions are written as
matrix products of MLX's.
"""
