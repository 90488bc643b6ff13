"""Which files a checkpoint consists of, and where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from converters.families import Official, official_of, yaml_names

SPEAKERS = "spk2info.pt"


def needed_files(official: Official, components: Iterable[str] | None = None) -> dict[str, list[str]]:
    """The files that a conversion reads, relative to the checkpoint's folder, each with what is read in its place.

    Args:
        official: the family.
        components: those that are converted; None for all.
    """
    yaml = official.family.yaml[0]
    needed = {yaml: [name for name in (*official.family.yaml, *yaml_names()) if name != yaml]}
    parts = official.family.parts(official.family.names if components is None else components)
    needed |= {name: [] for part in parts for name in official.origins[part.name].beside}
    for part in parts:
        stem = part.file.removesuffix(".pt")
        needed[part.file] = [f"{stem}.safetensors"] if stem != part.file else []
    return needed


@dataclass(frozen=True)
class Files:
    """The files of a checkpoint, for some components.

    Attributes:
        official: the family.
        folder: of the checkpoint.
        paths: needed file, by its official name -> where it is.
    """

    official: Official
    folder: Path
    paths: Mapping[str, Path]

    @property
    def yaml(self) -> Path:
        return self.paths[self.official.family.yaml[0]]

    def weights(self, component: str) -> Path:
        return self.paths[self.official.family[component].file]

    @property
    def speakers(self) -> Path:
        """They may be missing."""
        return self.folder / SPEAKERS

    def recorded(self) -> dict[str, Path]:
        """Name in conversion.json -> path of every file that is read: relative to the folder, if it lies there."""
        paths = [*self.paths.values(), *([self.speakers] if self.speakers.is_file() else [])]
        return {
            path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else path.name: path
            for path in paths
        }


def locate(
    folder: Path, components: Iterable[str] | None = None, llm: str | Path | None = None
) -> tuple[Files, list[str]]:
    """Where the needed files are, or would be.

    Args:
        folder: of the checkpoint.
        components: what will be converted; None for all.
        llm: another file for the language model's weights: a path, or the name of a file in `folder`.

    Returns:
        The files; and the names of those that are missing.
    """
    official = official_of(folder)
    paths, missing = {}, []
    for name, others in needed_files(official, components).items():
        options = [folder / option for option in (name, *others)]
        replaced = llm is not None and name == official.family["llm"].file
        if replaced:
            options = [Path(str(llm)).expanduser(), folder / str(llm)]
        found = next((path for path in options if path.is_file()), None)
        if found is None:
            missing.append(str(llm) if replaced else name)
        paths[name] = found or options[0]
    return Files(official, folder, paths), missing
