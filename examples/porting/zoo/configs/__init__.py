"""Tiny configurations in the spelling of the published checkpoints' config.json, by what makes them special."""
