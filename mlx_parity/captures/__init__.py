"""What a reference did, in a folder: it serves any number of ports, also where the reference's framework is not."""

from mlx_parity.captures.folder import capture, captured_in

__all__ = ["capture", "captured_in"]
