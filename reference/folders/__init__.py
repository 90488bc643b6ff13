"""Folders that appear whole or not at all, whatever interrupts their writing."""
