"""Fuzzing of every reader of files that strangers make: `make fuzz`, and in small in the tests."""
