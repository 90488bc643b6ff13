"""Mistakes in what is stored: fields, tensors and tokens that no stage need feel."""

from __future__ import annotations

import mlx.core as mx

from parity.faults.base import Catalogue
from parity.faults.files import field, tokens

TEXT, LLM, FLOW, HIFT = (Catalogue(stage) for stage in ("text_tokenizer", "llm", "flow_encoder", "vocoder"))
CATALOGUES = (TEXT, LLM, FLOW, HIFT)


field(LLM, "stored-window", "The window for repetitions has 11 tokens in place of 10.", "llm.sampling.win_size", 11)
field(LLM, "stored-mix-ratio", "Speech and text are mixed 5 to 14.", "llm.mix_ratio", (5, 14))
field(LLM, "stored-token-rate", "Speech tokens are counted 50 a second.", "token_frame_rate", 50)
field(HIFT, "stored-threshold", "What is voiced begins at 5 Hz.", "hift.nsf_voiced_threshold", 5.0)
field(HIFT, "stored-limit", "Samples are clipped at 1 in place of 0.99.", "hift.audio_limit", 1.0)


LLM.at("llm.llm.model.model.embed_tokens", kind="weights").setting(
    "stored-unread-row",
    "The embedding of a token that nobody says is not a number.",
    weight=lambda own: mx.concatenate([own[:-1], mx.full((1, own.shape[1]), mx.nan, own.dtype)]),
)
LLM.at("llm.speech_embedding", kind="weights").setting(
    "stored-rows-exchanged",
    "The embeddings of the last two speech tokens are exchanged.",
    weight=lambda own: mx.concatenate([own[:-2], own[-1:], own[-2:-1]]),
)
FLOW.at("flow.decoder", kind="weights").setting(
    "stored-noise-end",
    "The fixed noise ends after ten seconds.",
    rand_noise=lambda own: mx.concatenate([own[:, :500], mx.zeros_like(own[:, 500:])], axis=1),
)
FLOW.at("flow.encoder_proj", kind="weights").setting(
    "stored-scaled", "A tensor is a hundredth of a percent too large.", weight=lambda own: own * 1.0001
)


tokens(TEXT, "stored-tokens-exchanged", "[cough] and [sigh] have each other's id.", "[cough]", "[sigh]")
tokens(TEXT, "stored-token-strips", "<strong> swallows the space before it.", "<strong>", lstrip=True)
