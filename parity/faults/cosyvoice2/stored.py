"""Mistakes in what is stored: fields, tensors and tokens that no stage need feel."""

from __future__ import annotations

import mlx.core as mx

from parity.faults.base import Mistakes, at
from parity.faults.files import field, tokens

TEXT: Mistakes = {
    "stored-tokens-exchanged: [cough] and [sigh] have each other's id.": tokens("[cough]", "[sigh]"),
    "stored-token-strips: <strong> swallows the space before it.": tokens("<strong>", lstrip=True),
}
LLM: Mistakes = {
    "stored-window: The window for repetitions has 11 tokens in place of 10.": field("llm.sampling.win_size", 11),
    "stored-mix-ratio: Speech and text are mixed 5 to 14.": field("llm.mix_ratio", (5, 14)),
    "stored-token-rate: Speech tokens are counted 50 a second.": field("token_frame_rate", 50),
    "stored-unread-row: The embedding of a token that nobody says is not a number.": at(
        "llm.llm.model.model.embed_tokens", kind="weights"
    ).sets(weight=lambda own: mx.concatenate([own[:-1], mx.full((1, own.shape[1]), mx.nan, own.dtype)])),
    "stored-rows-exchanged: The embeddings of the last two speech tokens are exchanged.": at(
        "llm.speech_embedding", kind="weights"
    ).sets(weight=lambda own: mx.concatenate([own[:-2], own[-1:], own[-2:-1]])),
}
FLOW: Mistakes = {
    "stored-noise-end: The fixed noise ends after ten seconds.": at("flow.decoder", kind="weights").sets(
        rand_noise=lambda own: mx.concatenate([own[:, :500], mx.zeros_like(own[:, 500:])], axis=1)
    ),
    "stored-scaled: A tensor is a hundredth of a percent too large.": at("flow.encoder_proj", kind="weights").sets(
        weight=lambda own: own * 1.0001
    ),
}
HIFT: Mistakes = {
    "stored-threshold: What is voiced begins at 5 Hz.": field("hift.nsf_voiced_threshold", 5.0),
    "stored-limit: Samples are clipped at 1 in place of 0.99.": field("hift.audio_limit", 1.0),
}
