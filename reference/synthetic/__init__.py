"""Checkpoints in the official layout with weights from a recipe: what stands in for the official one in tests."""
