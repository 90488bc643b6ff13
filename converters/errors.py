"""Errors whose message says all that a user needs: which file or key, what is wrong, what to do."""

from __future__ import annotations


class CheckpointError(ValueError):
    """An official checkpoint that is incomplete, damaged or of another kind."""


class ConfigError(ValueError):
    """A configuration file with a value or key that the MLX network does not support."""
