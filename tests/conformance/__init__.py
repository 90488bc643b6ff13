"""Both sides against the numbers that the official code produced: each test runs on the reference and on the port."""
