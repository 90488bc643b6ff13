"""How fast the MLX model is beside the PyTorch reference: both on the same inputs, each in a process of its own.

The driver (`suite`) starts one worker process a side (`worker`, `processes`), lets them run by turns (`measure`), and
writes what it found as data, tables and charts. Nothing here is imported by the other harness.
"""
