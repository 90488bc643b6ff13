"""Reading files that strangers made: every size is checked before memory is taken for it.

What these readers raise does not name the file: their callers do, in an error of their own kind.
"""

from mlx_cosyvoice.strict.errors import BadFileError
from mlx_cosyvoice.strict.json_text import parse_json, read_json_object
from mlx_cosyvoice.strict.regular import open_regular, read_bytes
from mlx_cosyvoice.strict.safetensors_header import Entry, Header, read_header

__all__ = [
    "BadFileError",
    "Entry",
    "Header",
    "open_regular",
    "parse_json",
    "read_bytes",
    "read_header",
    "read_json_object",
]
