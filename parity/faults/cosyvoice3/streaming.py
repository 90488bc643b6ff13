"""Mistakes in how CosyVoice3 is streamed as upstream does it, and in how it is spoken at once."""

from __future__ import annotations

from mlx_cosyvoice.decoding import Hops, OfficialDecoder, offline
from mlx_cosyvoice.decoding.causal_vocoder import CausalVocoder
from mlx_cosyvoice.vocoder import CausalHiFTGenerator
from parity.faults.base import Mistakes, at

HOP, OFFSET, NOISE = at("streaming.hop"), at("streaming.offset"), at("streaming.noise").of(CausalVocoder.step)
HIFT = at("hift")

OFFLINE: Mistakes = {
    "offline-in-chunks: Offline the flow attends in chunks, as if speech were streamed.": at("offline.flow").edits(
        "streaming=False", "streaming=True", of=offline.OfflineDecoder.step
    ),
}

MISTAKES: Mistakes = {
    "last-hop-in-chunks: The last hop attends in chunks too, where upstream has it attend to everything.": HOP.edits(
        "streaming=not final", "streaming=True", of=OfficialDecoder._new_frames
    ),
    "prompt-not-filled: The first hop does not fill the prompt up to a whole chunk.": HOP.edits(
        "size + -prompt_tokens % self.chunk if number == 0 else size", "size", of=Hops.hop
    ),
    "lookahead-not-waited-for: A later hop does not wait for its lookahead, so it speaks three tokens fewer.": (
        HOP.edits("+ self.hops.lookahead", "+ (0 if state.hops else self.hops.lookahead)", of=OfficialDecoder.due)
    ),
    "offset-in-tokens: What was spoken is skipped in tokens in place of mel frames.": OFFSET.edits(
        "state.spoken * self.flow.token_mel_ratio", "state.spoken", of=OfficialDecoder._new_frames
    ),
    "noise-anew-in-every-piece: The noise begins anew with every piece.": NOISE.edits(", begin * scale)", ", 0)"),
    "noise-one-frame-late: The noise of a later piece goes on one frame too late.": NOISE.edits(
        ", begin * scale)", ", (begin + 1 if begin else 0) * scale)"
    ),
    "mirrored-in-every-piece: The mirrored frame before the last level is put before every piece, in place of the first"
    " alone.": HIFT.edits(
        "self.reflection_pad(x) if level == len(self.ups) - 1 and starts else x",
        "self.reflection_pad(x)[:, : x.shape[1] + starts] if level == len(self.ups) - 1 else x",
        of=CausalHiFTGenerator.upsampled,
    ),
    "f0-ahead-as-zeros: While speech is streamed, zeros stand for the frames that f0 looks at.": HIFT.edits(
        "self.f0_predictor(known, context, cache)",
        "self.f0_predictor(known, None, cache)",
        of=CausalHiFTGenerator.__call__,
    ),
    "source-not-delayed: While speech is streamed, the excitation does not wait for conv_pre, which is four frames "
    "behind.": HIFT.edits(
        "self.stft.frames(signal)",
        "mx.roll(self.stft.frames(signal), 0 if finalize else -4 * self.samples_per_frame // self.stft.hop, 1)",
        of=CausalHiFTGenerator.source_spectrum,
    ),
}
