"""The decoder that `decoding=` names: how speech tokens become audio."""

from __future__ import annotations

from mlx_cosyvoice.decoding import Decoder, IncrementalDecoder, OfficialDecoder, OfflineDecoder
from mlx_cosyvoice.flow.masked_diff import CausalMaskedDiff
from mlx_cosyvoice.turns import turn
from mlx_cosyvoice.vocoder import CausalHiFTGenerator, HiFTGenerator

#: "offline": each segment of the text in one go, with attention over all of it. "official": upstream's streaming, in
#: chunks of 1, 2 and then 4 seconds, each of which costs more than the one before. "incremental": chunks of 1 second
#: that compute nothing twice and look back 16 seconds; the state has 230 MB a second of prompt and speech, at most
#: 5.5 GB (full size, float32, 10 Euler steps).
DECODINGS = ("offline", "official", "incremental")


class Decoders:
    """Makes the decoders of one model. Those that remember voices are kept."""

    def __init__(self, flow: CausalMaskedDiff, hift: HiFTGenerator | CausalHiFTGenerator) -> None:
        self.flow, self.hift = flow, hift
        self._incremental: dict[int, IncrementalDecoder] = {}

    def get(self, decoding: str | Decoder, *, speed: float, n_timesteps: int) -> Decoder:
        """The decoder of that name; a decoder is returned as it is.

        Raises:
            ValueError: an unknown name, or a decoder that cannot change the speed.
        """
        if decoding == "offline":
            return OfflineDecoder(self.flow, self.hift, n_timesteps=n_timesteps, speed=speed)
        if speed != 1:
            raise ValueError(f"speed is {speed}, but only decoding='offline' can change it, not {decoding!r}")
        if decoding == "official":
            return OfficialDecoder(self.flow, self.hift, n_timesteps=n_timesteps)
        if decoding == "incremental":
            return self._incremental.get(n_timesteps) or self._made(n_timesteps)
        if isinstance(decoding, str):
            raise ValueError(f"decoding is {decoding!r}, must be one of {', '.join(DECODINGS)}")
        return decoding

    def _made(self, n_timesteps: int) -> IncrementalDecoder:
        with turn():  # another thread may have had one meanwhile, and made it
            if n_timesteps not in self._incremental:
                self._incremental = {n_timesteps: IncrementalDecoder(self.flow, self.hift, n_timesteps=n_timesteps)}
            return self._incremental[n_timesteps]
