"""Holds what a port stores against what the reference does: nothing is run."""
