"""Playing, on a stand-in for sounddevice."""

from __future__ import annotations

import builtins
import sys
import threading
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mlx_cosyvoice.audio import PlaybackError, Player
from mlx_cosyvoice.audio.player import find_sounddevice

CHUNK = np.linspace(-0.5, 0.5, 2400, dtype=np.float32)


class PortAudioError(Exception):
    pass


class Device:
    """Hears at most what it gets, and is slow."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.heard: list[np.ndarray] = []
        self.events: list[str] = []
        self.fails = False
        self.may_hear = threading.Event()
        self.may_hear.set()
        self.aborted = threading.Event()

    def start(self) -> None:
        self.events.append("start")

    def write(self, samples: np.ndarray) -> None:
        while not self.may_hear.wait(0.001):
            if self.aborted.is_set():
                raise PortAudioError("stopped")
        if self.fails:
            raise PortAudioError("unplugged")
        self.heard.append(samples)

    def stop(self) -> None:
        self.events.append("stop")

    def abort(self) -> None:
        self.aborted.set()
        self.events.append("abort")

    def close(self) -> None:
        self.events.append("close")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device()
    module: Any = ModuleType("sounddevice")
    module.PortAudioError = PortAudioError

    def output_stream(**options: Any) -> Device:
        device.options = options
        return device

    module.OutputStream = output_stream
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return device


def test_plays_everything_in_order(device: Device) -> None:
    with Player(24000) as player:
        for factor in (0.1, 0.5, 1.0):
            player.write(factor * CHUNK)
    assert device.options == {"samplerate": 24000, "channels": 1, "dtype": "float32"}
    assert [heard.shape for heard in device.heard] == [(2400, 1)] * 3
    assert np.array_equal(np.concatenate(device.heard)[:, 0], np.concatenate([f * CHUNK for f in (0.1, 0.5, 1.0)]))
    assert device.events == ["start", "stop", "close"]


def write_twenty(player: Player) -> None:
    for _ in range(20):
        player.write(CHUNK)


def test_does_not_hold_up_who_makes_the_audio(device: Device) -> None:
    device.may_hear.clear()
    with Player(24000) as player:
        writing = threading.Thread(target=write_twenty, args=(player,))
        writing.start()
        writing.join(60)
        assert not writing.is_alive()
        assert not device.heard
        device.may_hear.set()
    assert len(device.heard) == 20


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_is_silent_at_once_after_an_exception(device: Device, error: type[BaseException]) -> None:
    device.may_hear.clear()
    with pytest.raises(error), Player(24000) as player:  # noqa: PT012
        for _ in range(20):
            player.write(CHUNK)
        raise error
    assert not device.heard
    assert device.events == ["start", "abort", "close"]
    assert not player._thread.is_alive()


def test_a_device_that_fails_later(device: Device) -> None:
    device.fails = True
    with pytest.raises(PlaybackError, match="the output device failed: unplugged"), Player(24000) as player:  # noqa: PT012
        for _ in range(1000):  # more than may wait
            player.write(CHUNK)
    assert not player._thread.is_alive()


def test_no_device(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_device(**_: Any) -> None:
        raise PortAudioError("Error querying device -1")

    monkeypatch.setattr(sys.modules["sounddevice"], "OutputStream", no_device)
    with pytest.raises(PlaybackError, match="default output device cannot play: Error querying device -1"):
        Player(24000)


def test_sounddevice_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(PlaybackError, match=r"pip install 'mlx-cosyvoice\[play\]'"):
        Player(24000)


def test_portaudio_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PlaybackError, match=r"PortAudio library not found\): apt install libportaudio2"):
        find_sounddevice()
