"""Mistakes in the loop that streams: hops, offsets, caches, the cross-fade."""

from __future__ import annotations

from mlx_cosyvoice.decoding import Hops, OfficialDecoder, StreamingVocoder
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
