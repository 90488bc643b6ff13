"""Measures that mean something for speech. Pure NumPy; a NaN or an infinity never gives a good value."""
