"""Where in a file its recordings lie. What a file claims about its own length is never the truth."""

from mlx_cosyvoice.audio.containers.find import find_layout
from mlx_cosyvoice.audio.containers.kinds import kind_of
from mlx_cosyvoice.audio.containers.layout import FileView, Layout, Part, opened

__all__ = ["FileView", "Layout", "Part", "find_layout", "kind_of", "opened"]
