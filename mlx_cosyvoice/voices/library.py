"""A folder of voices with names."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import platformdirs

from mlx_cosyvoice.voices.errors import UnknownVoiceError, VoiceError
from mlx_cosyvoice.voices.names import check_name, same_file
from mlx_cosyvoice.voices.voice import Voice

#: Environment variable that names the folder.
ENVIRONMENT = "MLX_COSYVOICE_VOICES"
SUFFIX = ".safetensors"

#: Names that an error lists at most.
_LISTED = 20


def default_folder() -> Path:
    """`$MLX_COSYVOICE_VOICES` if it is set, else `voices` in the user's data folder for mlx-cosyvoice."""
    folder = os.environ.get(ENVIRONMENT)
    return _expanded(folder) if folder else Path(platformdirs.user_data_dir("mlx-cosyvoice")) / "voices"


def _expanded(folder: str | os.PathLike[str]) -> Path:
    """The folder with a user's name at its start replaced.

    Raises:
        VoiceError: there is no such user.
    """
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise VoiceError(f"{folder}: cannot be the library's folder ({error})") from error


class VoiceLibrary:
    """Voices by name, each a file `NAME.safetensors` of one folder, which is made when the first voice is added.

    Names are letters of any script, digits, spaces and most signs. They are the names of files on every system, so
    two names that differ in case only are the same voice, and none leads out of the folder. Several processes may
    use a library at the same time.

    Attributes:
        folder: where the voices are.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = default_folder() if folder is None else _expanded(folder)

    def names(self) -> list[str]:
        """The names of all voices, sorted. The files are not opened: one that is no voice is found by `get`.

        Raises:
            OSError: the folder cannot be read. One that does not exist is an empty library.
        """
        return sorted(self._files(), key=lambda name: (same_file(name), name))

    def path(self, name: str) -> Path:
        """The file of the voice `name`; where there is none yet, the one that `add` would write.

        Raises:
            VoiceError: this cannot be the name of a voice.
        """
        name = check_name(name)
        files = self._files()
        if name in files:
            return files[name]
        for other, path in files.items():
            if same_file(other) == same_file(name):
                return path
        return self.folder / f"{name}{SUFFIX}"

    def add(self, name: str, voice: Voice, *, force: bool = False) -> Path:
        """Save `voice` under `name`.

        Args:
            name: see the class.
            voice: what to save.
            force: replace the voice that has this name.

        Returns:
            The file.

        Raises:
            VoiceError: this cannot be the name of a voice, or there is one of that name and `force` is not given.
            OSError: the file cannot be written; the library is as it was before.
        """
        path = self.path(name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            voice.save(path, force=force)
        except FileExistsError:
            if not self.folder.is_dir():
                raise VoiceError(f"{self.folder}: is not a folder, so it cannot be a library of voices") from None
            raise _taken([path.stem]) from None
        return path

    def ensure_free(self, *names: str) -> None:
        """Learn before long work, or before the first of several, that voices cannot be added.

        Raises:
            VoiceError: one of the names cannot be a voice's, or there are voices of these names; all are listed.
        """
        taken = [path.stem for path in map(self.path, names) if path.is_file()]
        if taken:
            raise _taken(taken)

    def get(self, name: str) -> Voice:
        """Read the voice `name`.

        Raises:
            UnknownVoiceError: there is none of that name; the nearest names are listed.
            VoiceError: the name cannot be one, or its file is not a voice.
        """
        return Voice.load(self._existing(name))

    def remove(self, name: str) -> None:
        """Delete the voice `name`.

        Raises:
            UnknownVoiceError: there is none of that name.
            OSError: the file cannot be deleted.
        """
        self._existing(name).unlink()

    def _files(self) -> dict[str, Path]:
        """Name -> file. Files whose name is no voice's, such as hidden ones, are somebody else's."""
        files = {}
        try:
            entries = list(self.folder.iterdir())
        except FileNotFoundError:
            return {}
        except NotADirectoryError as error:
            raise VoiceError(f"{self.folder}: is not a folder, so it cannot be a library of voices") from error
        for path in entries:
            if path.suffix == SUFFIX and path.is_file():
                try:
                    files[check_name(path.stem)] = path
                except VoiceError:
                    continue
        return files

    def _existing(self, name: str) -> Path:
        path = self.path(name)
        if not path.is_file():
            raise UnknownVoiceError(f"no voice {name!r} in {self.folder}. {self._hint(name)}")
        return path

    def _hint(self, name: str) -> str:
        names = self.names()
        if not names:
            return 'The library is empty; add a voice: mlx-cosyvoice voices add NAME PROMPT.wav --transcript "..."'
        folded = {same_file(other): other for other in names}
        near = [folded[other] for other in difflib.get_close_matches(same_file(name), folded, n=3)]
        question = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        return f"{question}It has {', '.join(names[:_LISTED])}{more}"


def _taken(names: list[str]) -> VoiceError:
    return VoiceError(
        f"the library has {', '.join(map(repr, names))} already; give force=True (--force) to replace, or another name"
    )
