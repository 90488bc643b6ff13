"""The official code itself, from a checkout that somebody has: what this package's networks can be held against."""
