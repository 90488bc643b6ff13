"""Which module of a port is which of the reference, and in which order its axes are."""
