"""What is measured: a name, the component it needs, and inputs that both sides run on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Config = Mapping[str, Any]

TOKENS_PER_SECOND, FRAMES_PER_SECOND = 25, 50

#: The recording that is continued, in seconds; what is said, in seconds.
PROMPT_SECONDS, SECONDS = 3.0, 10.0
#: Positions of the language model's prompt: when prefill is measured, and when decoding starts.
PREFILL, DECODE_FROM, DECODE_STEPS = 200, 234, 32

#: Euler steps of the flow.
EULER_STEPS = 10

BOTH = ("mlx", "pytorch")

#: What `hops` measures: name -> how it is called, and what its decoder is made with.
HOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "offline": ("offline", {"decoding": "offline"}),
    "official": ("official", {"decoding": "official"}),
    "incremental": ("incremental", {"decoding": "incremental"}),
    "incremental_exact": ("incremental, all context", {"decoding": "incremental", "left_context_chunks": None}),
}


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
        name: unique in a run.
        job: the name of its job on both sides.
        component: the part of the model that is loaded for it, or "" for none.
        inputs: arrays in the official layout, under the names that the stages have for them.
        settings: plain values that the job needs beside them.
        audio_seconds: how much speech one run makes or reads, None where that says nothing.
        tokens: speech tokens that one run makes, or 0.
        memory_bytes: weights and caches that one run has to read at least, where that is what bounds it, or 0.
        sides: which of the two run it.
        warm_up: whether a run that is not counted comes first.
    """

    name: str
    title: str
    job: str
    component: str
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    audio_seconds: float | None = None
    tokens: int = 0
    memory_bytes: int = 0
    sides: tuple[str, ...] = BOTH
    warm_up: bool = True


def with_steps(case: Case, steps: int) -> Case:
    """The same with other Euler steps, if the flow is in it."""
    if case.job not in ("flow", "hops", "voice_prefill", "pipeline"):
        return case
    return replace(case, settings={**case.settings, "n_timesteps": steps})


def _random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def _ids(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    return random.integers(0, size, (1, count)).astype(np.int64)


def _mel(random: np.random.Generator, frames: int, channels: int) -> np.ndarray:
    """[1, frames, channels], of the level and spread that speech has."""
    return (random.standard_normal((1, frames, channels)) * 2 - 6).astype(np.float32)


def speech_inputs(config: Config, prompt_seconds: float, seconds: float) -> dict[str, np.ndarray]:
    """Speech tokens to say, and the voice to say them with."""
    random, flow = _random(1), config["flow"]
    prompt = round(prompt_seconds * TOKENS_PER_SECOND)
    return {
        "prompt_token": _ids(random, prompt, flow["vocab_size"]),
        "prompt_feat": _mel(random, prompt * flow["token_mel_ratio"], flow["output_size"]),
        "embedding": random.standard_normal((1, flow["spk_embed_dim"])).astype(np.float32),
        "speech_token": _ids(random, round(seconds * TOKENS_PER_SECOND), flow["vocab_size"]),
    }


def flow(config: Config, seconds: float = SECONDS, name: str = "flow") -> Case:
    title, inputs = f"Flow, {PROMPT_SECONDS:g} s prompt + {seconds:g} s", speech_inputs(config, PROMPT_SECONDS, seconds)
    return Case(name, title, "flow", "flow", inputs, audio_seconds=seconds)


def vocoder(config: Config, seconds: float = SECONDS, name: str = "vocoder") -> Case:
    random, hift = _random(2), config["hift"]
    frames, sines = round(seconds * FRAMES_PER_SECOND), hift["nb_harmonics"] + 1
    samples = frames * math.prod(hift["upsample_rates"]) * hift["istft_params"]["hop_len"]
    inputs = {
        "mel": _mel(random, frames, hift["in_channels"]).transpose(0, 2, 1),
        "rand_ini": random.random((1, sines)).astype(np.float32),
        "sine_noise": random.standard_normal((1, samples, sines)).astype(np.float32),
    }
    return Case(name, f"Vocoder, {seconds:g} s", "vocoder", "hift", inputs, audio_seconds=seconds)


def f0_predictor(config: Config) -> Case:
    """A part of the vocoder, which some families compute in float64 and on the CPU alone."""
    whole = vocoder(config)
    mel = {"mel": whole.inputs["mel"]}
    return replace(whole, name="f0_predictor", title=f"F0 predictor, {SECONDS:g} s", job="f0_predictor", inputs=mel)


def _llm_prompt(config: Config, positions: int) -> dict[str, np.ndarray]:
    """A quarter text and three quarters speech; two positions are the model's own marks."""
    random, llm = _random(3), config["llm"]
    text = positions // 8
    return {
        "prompt_text_token": _ids(random, text, llm["qwen"]["vocab_size"]),
        "text_token": _ids(random, text, llm["qwen"]["vocab_size"]),
        "prompt_token": _ids(random, positions - 2 - 2 * text, llm["speech_token_size"]),
    }


def llm_prefill(config: Config) -> Case:
    title = f"LLM, prompt of {PREFILL} positions"
    return Case("llm_prefill", title, "llm_prefill", "llm", _llm_prompt(config, PREFILL))


def llm_decode(config: Config) -> Case:
    """Sampling is part of it."""
    inputs = {**_llm_prompt(config, DECODE_FROM), "uniforms": _random(4).random(64 * DECODE_STEPS)}
    title = f"LLM, {DECODE_STEPS} tokens from position {DECODE_FROM} on"
    least = DECODE_STEPS * decode_bytes(config, DECODE_FROM + DECODE_STEPS // 2)
    steps = {"steps": DECODE_STEPS}
    return Case("llm_decode", title, "llm_decode", "llm", inputs, steps, tokens=DECODE_STEPS, memory_bytes=least)


def lean(case: Case) -> Case:
    """The same where PyTorch leaves out what MLX does: upstream's text logits, which nobody reads."""
    settings = {**case.settings, "text_head": False}
    return replace(case, name=f"{case.name}_lean", title=f"{case.title}, no unused logits", settings=settings)


def decode_bytes(config: Config, position: int) -> int:
    """Float32 bytes that one token has to read: all weights but the embeddings, and the keys and values so far."""
    llm = config["llm"]
    qwen = llm["qwen"]
    hidden, inner = qwen["hidden_size"], qwen["intermediate_size"]
    kv = hidden // qwen["num_attention_heads"] * qwen["num_key_value_heads"]
    attention = 2 * hidden * hidden + hidden + 2 * (hidden * kv + kv)
    layer = attention + 3 * hidden * inner + 2 * hidden
    head = (llm["speech_token_size"] + 3) * (hidden + 1)
    return 4 * (qwen["num_hidden_layers"] * (layer + 2 * kv * position) + hidden + head)


def speech_tokenizer(config: Config) -> Case:
    mels, frames = config["speech_tokenizer"]["n_mels"], round(100 * SECONDS)
    log_mel = np.clip(_random(5).standard_normal((1, mels, frames)) * 0.5, -1, 1.5).astype(np.float32)
    title = f"Speech tokenizer, {SECONDS:g} s"
    return Case("speech_tokenizer", title, "speech_tokenizer", "speech_tokenizer", {"log_mel": log_mel}, {}, SECONDS)


def speaker_encoder(config: Config) -> Case:
    bins, frames = config["campplus"]["feat_dim"], round(100 * SECONDS) - 2
    fbank = (_random(6).standard_normal((1, frames, bins)) * 3).astype(np.float32)
    title = f"Speaker encoder, {SECONDS:g} s"
    return Case("speaker_encoder", title, "speaker_encoder", "campplus", {"fbank": fbank}, {}, SECONDS)


def hops(config: Config, name: str, seconds: float) -> Case:
    """Every hop of one of `HOPS` by itself: flow and vocoder, the tokens being there already.

    The first utterance of a voice each time. Warming up is the job's own affair, as a short utterance does for it.
    """
    (label, settings), inputs = HOPS[name], speech_inputs(config, PROMPT_SECONDS, seconds)
    title = f"Flow and vocoder hop by hop, {label}, {seconds:g} s"
    return Case(f"hops_{name}", title, "hops", "flow+hift", inputs, settings, seconds, sides=("mlx",), warm_up=False)


def voice_prefill(config: Config) -> Case:
    """The flow's share of the first hop where the voice has spoken before, beside that of a new voice."""
    title = f"Flow of the first hop, {PROMPT_SECONDS:g} s prompt, voice prefilled"
    inputs = speech_inputs(config, PROMPT_SECONDS, 4)  # more than a first hop takes
    return Case("voice_prefill", title, "voice_prefill", "flow+hift", inputs, sides=("mlx",))


def pipeline(config: Config, decoding: str) -> Case:
    """Text to audio with all components, as a user calls it."""
    inputs = speech_inputs(config, PROMPT_SECONDS, SECONDS)
    tokens = inputs.pop("speech_token").shape[1]
    title, settings = f"Text to {SECONDS:g} s of audio, {decoding} decoding", {"decoding": decoding, "tokens": tokens}
    return Case(f"pipeline_{decoding}", title, "pipeline", "all", inputs, settings, SECONDS, tokens, sides=("mlx",))


#: The stages that both sides run and that `ratios` holds, in data-flow order.
MAKERS: dict[str, Callable[[Config], Case]] = {
    "speech_tokenizer": speech_tokenizer,
    "speaker_encoder": speaker_encoder,
    "llm_prefill": llm_prefill,
    "llm_prefill_lean": lambda config: lean(llm_prefill(config)),
    "llm_decode": llm_decode,
    "llm_decode_lean": lambda config: lean(llm_decode(config)),
    "flow": flow,
    "vocoder": vocoder,
    "f0_predictor": f0_predictor,
}
