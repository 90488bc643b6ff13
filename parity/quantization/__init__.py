"""Quantized models, of which two things are asked that must not be mixed up.

Whether our code is right: the reference runs with the same weights, unpacked (`unpacked`), and the packed ones are held
against the checkpoint (`weights`). And what the packing costs (`packing`).
"""
