"""Quantized models, of which two things are asked that must not be mixed up.

Whether our code is right: the reference runs with the same weights, unpacked (`parity.pair`), and the packed ones are
held against the checkpoint (`parity.audit.packed`). And what the packing costs (`packing`).
"""
