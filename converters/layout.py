"""Which files a checkpoint consists of, and where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlx_cosyvoice.weights import COMPONENTS

YAML = "cosyvoice2.yaml"
#: What the first publication of CosyVoice2 called it, as CosyVoice 1 does to this day.
EARLY_YAML = "cosyvoice.yaml"
SPEAKERS = "spk2info.pt"
BLANK_EN = "CosyVoice-BlankEN"
QWEN_CONFIG = f"{BLANK_EN}/config.json"
TEXT_FILES = (f"{BLANK_EN}/vocab.json", f"{BLANK_EN}/merges.txt", f"{BLANK_EN}/tokenizer_config.json")

#: Component -> its weights.
WEIGHT_FILES = {
    "llm": "llm.pt",
    "flow": "flow.pt",
    "hift": "hift.pt",
    "campplus": "campplus.onnx",
    "speech_tokenizer": "speech_tokenizer_v2.onnx",
}


def needed_files(components: Iterable[str] = COMPONENTS) -> list[str]:
    """The files that a conversion of these components reads, relative to the checkpoint's folder."""
    components = list(components)
    text = [QWEN_CONFIG, *TEXT_FILES] if "llm" in components else []
    return [YAML, *text, *(WEIGHT_FILES[name] for name in components)]


def alternative(name: str) -> str | None:
    """What is read in the place of a needed file that is not there; None if nothing is."""
    if name == YAML:
        return EARLY_YAML
    return f"{name.removesuffix('.pt')}.safetensors" if name.endswith(".pt") else None


@dataclass(frozen=True)
class Files:
    """The files of a checkpoint, for some components.

    Attributes:
        folder: of the checkpoint.
        paths: needed file, by its official name -> where it is.
    """

    folder: Path
    paths: Mapping[str, Path]

    def __getitem__(self, name: str) -> Path:
        return self.paths[name]

    def weights(self, component: str) -> Path:
        return self.paths[WEIGHT_FILES[component]]

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
    folder: Path, components: Iterable[str] = COMPONENTS, llm: str | Path | None = None
) -> tuple[Files, list[str]]:
    """Where the needed files are, or would be.

    Args:
        folder: of the checkpoint.
        components: what will be converted.
        llm: another file for the language model's weights: a path, or the name of a file in `folder`.

    Returns:
        The files; and the names of those that are missing.
    """
    paths, missing = {}, []
    for name in needed_files(components):
        other = alternative(name)
        options = [folder / name, *([folder / other] if other else [])]
        if name == WEIGHT_FILES["llm"] and llm is not None:
            options = [Path(llm).expanduser(), folder / llm]
        found = next((path for path in options if path.is_file()), None)
        if found is None:
            missing.append(str(llm) if name == WEIGHT_FILES["llm"] and llm is not None else name)
        paths[name] = found or options[0]
    return Files(folder, paths), missing
