"""Mistakes in the loop that streams (hops, offsets, caches, the cross-fade), and in how speech is spoken at once."""

from __future__ import annotations

from mlx_cosyvoice.decoding import Hops, OfficialDecoder, StreamingVocoder, offline
from parity.faults.base import Mistakes, at

MISTAKES: Mistakes = {
    "stream-window: Chunks are cross-faded with a Hann window in place of Hamming.": at("streaming.cross_fade").edits(
        "np.hamming(", "np.hanning(", of=StreamingVocoder.__init__
    ),
    "stream-source-cache: The vocoder starts every chunk with a new source.": at("streaming.source_cache").edits(
        "None if tail is None else tail.source", "None", of=StreamingVocoder._vocode
    ),
    "stream-mel-cache: One mel frame too few is kept between chunks.": at("streaming.mel_cache").edits(
        "mel[:, -self.mel_frames :]", "mel[:, 1 - self.mel_frames :]", of=StreamingVocoder._tail
    ),
    "stream-offset: What was spoken is skipped in tokens in place of mel frames.": at("streaming.offset").edits(
        "state.spoken * self.flow.token_mel_ratio", "state.spoken", of=OfficialDecoder._new_frames
    ),
    "stream-hop: Hops do not grow: each takes 25 tokens.": at("streaming.hop").edits(
        "self.chunk * self.growth ** min(number, self.longest)", "self.chunk", of=Hops.hop
    ),
}


SPEED = at("offline.change_speed").of(offline.change_speed)

OFFLINE: Mistakes = {
    "speed-inverted: A higher speed speaks slower.": SPEED.edits("check_speed(speed)", "check_speed(1 / speed)"),
    "speed-aligned-corners: The mel is resampled half a frame off, as with the corners aligned.": SPEED.edits(
        "0, wanted)", "0, wanted) + 0.5"
    ),
    "speed-rounded: The number of frames is rounded up, where upstream cuts it off.": SPEED.edits(
        "int(frames / check_speed(speed))", "int(frames / check_speed(speed)) + (speed != 1)"
    ),
    "offline-steps: The number of Euler steps that is asked for never reaches the flow.": at("offline.flow").edits(
        "n_timesteps=self.n_timesteps", "n_timesteps=10", of=offline.OfflineDecoder.step
    ),
}
