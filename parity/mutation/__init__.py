"""Mutation testing of the harness: mistakes that nobody chose by hand are put into the MLX side, and looked for.

Rules make the mutants (`operators`, `damage`), a seed draws them (`draw`), each runs in a process of its own (`trial`)
over the stages that reach it (`reach`), against a reference that ran once (`mlx_parity.captures`).
"""
