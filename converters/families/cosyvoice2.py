"""CosyVoice2's official checkpoints."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import torch

from converters import trials
from converters.early_yaml import completed
from converters.families.cosyvoice2_yaml import ROOT
from converters.families.declaration import Added, Official, Origin, Pair, Shape
from converters.onnx_campplus import campplus_config, read_campplus
from converters.onnx_speech_tokenizer import read_speech_tokenizer
from converters.qwen import QWEN_CONFIG, TEXT_FILES, read_qwen_config
from mlx_cosyvoice.config import CosyVoice2Config
from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.families.cosyvoice2 import SPEECH_IDS
from mlx_cosyvoice.families.declaration import SpeechIds
from mlx_cosyvoice.flow.cfm import NOISE_FRAMES


def llm_shapes(config: Any, ids: SpeechIds) -> dict[str, Shape]:
    """Those of a language model, with what follows its speech tokens."""
    qwen, llm = config.llm.qwen, config.llm
    return {
        "llm.model.model.embed_tokens.weight": (qwen.vocab_size, qwen.hidden_size),
        "llm.model.model.layers.0.mlp.gate_proj.weight": (qwen.intermediate_size, qwen.hidden_size),
        "llm_decoder.weight": (llm.speech_token_size + ids.count, llm.llm_output_size),
    }


def stage_shapes(config: Any) -> dict[str, Shape]:
    """Those of what all flow stages have."""
    flow = config.flow
    return {
        "input_embedding.weight": (flow.vocab_size, flow.input_size),
        "spk_embed_affine_layer.weight": (flow.output_size, flow.spk_embed_dim),
    }


def _flow(config: CosyVoice2Config) -> dict[str, Shape]:
    flow, encoder, estimator = config.flow, config.flow.encoder, config.flow.decoder.estimator
    width, attention = estimator.channels[0], estimator.num_heads * estimator.attention_head_dim
    lookahead = (encoder.output_size, encoder.output_size, flow.pre_lookahead_len + 1)
    return {
        **stage_shapes(config),
        "encoder.embed.out.0.weight": (encoder.output_size, encoder.input_size),
        "encoder.encoders.0.feed_forward.w_1.weight": (encoder.linear_units, encoder.output_size),
        "encoder.pre_lookahead_layer.conv1.weight": lookahead,
        "decoder.estimator.time_mlp.linear_1.weight": (4 * width, estimator.in_channels),
        "decoder.estimator.mid_blocks.0.1.0.attn1.to_q.weight": (attention, width),
        "decoder.estimator.final_proj.weight": (estimator.out_channels, width, 1),
    }


def hift_shapes(config: Any, conv_pre: int = 7, f0: int = 3) -> dict[str, Shape]:
    """Those of a vocoder; `conv_pre` and `f0` are the kernel sizes of that layer and of the f0 predictor's first."""
    hift = config.hift
    last = hift.base_channels // 2 ** len(hift.upsample_rates)
    weight = "parametrizations.weight.original1"
    return {
        f"conv_post.{weight}": (hift.istft_params.n_fft + 2, last, 7),
        f"conv_pre.{weight}": (hift.base_channels, hift.in_channels, conv_pre),
        f"f0_predictor.condnet.0.{weight}": (hift.f0_predictor.cond_channels, hift.f0_predictor.in_channels, f0),
        "f0_predictor.classifier.weight": (hift.f0_predictor.num_class, hift.f0_predictor.cond_channels),
        "m_source.l_linear.weight": (1, hift.nb_harmonics + 1),
    }


def pairs(config: Any, names: Collection[str]) -> list[Pair]:
    """What must agree in all families."""
    flow, llm = config.flow, config.llm
    estimator = flow.decoder.estimator
    pairs = [
        ("flow.output_size", flow.output_size, "feat_extractor.num_mels", COSYVOICE2.mel.num_mels),
        ("flow.decoder.estimator.out_channels", estimator.out_channels, "flow.output_size", flow.output_size),
        ("llm.speech_token_size", llm.speech_token_size, "flow.vocab_size", flow.vocab_size),
        ("flow.output_size", flow.output_size, "hift.in_channels", config.hift.in_channels),
        ("llm.llm_input_size", llm.llm_input_size, "llm.llm_output_size", llm.llm_output_size),
    ]
    if "llm" in names:
        hidden = llm.qwen.hidden_size
        pairs.append(("llm.llm_input_size", llm.llm_input_size, "CosyVoice-BlankEN hidden_size", hidden))
    if "campplus" in names:
        size = config.campplus.embedding_size
        pairs.append(("flow.spk_embed_dim", flow.spk_embed_dim, "the speaker encoder's embedding_size", size))
    return pairs


def _pairs(config: CosyVoice2Config, names: Collection[str]) -> list[Pair]:
    chunk = config.flow.encoder.static_chunk_size * config.token_mel_ratio
    chunk_name = "flow.encoder.static_chunk_size * token_mel_ratio"
    found = config.flow.decoder.estimator.static_chunk_size
    return [*pairs(config, names), ("flow.decoder.estimator.static_chunk_size", found, chunk_name, chunk)]


def _campplus(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    tensors = read_campplus(path)
    return dict(tensors), campplus_config(tensors)


def _fixed_noise(channels: int) -> torch.Tensor:
    """[1, channels, 15000]. The reference draws with a generator of its own, so that a slip on either side shows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.randn(1, channels, NOISE_FRAMES)


LLM = Origin(
    anchors=("llm_decoder.weight", "speech_embedding.weight"),
    mistaken={
        "model.embed_tokens.weight": "holds a Qwen2 as Hugging Face saves it, without what CosyVoice2 adds to it "
        "(speech_embedding, llm_decoder): convert it with upstream's "
        "examples/grpo/cosyvoice2/huggingface_to_pretrained.py"
    },
    beside=(QWEN_CONFIG, *TEXT_FILES),
    sizes=lambda paths: {"qwen": read_qwen_config(paths[QWEN_CONFIG])},
    shapes=partial(llm_shapes, ids=SPEECH_IDS),
    trial=trials.llm,
)

NOISE = Added(
    "torch.randn(1, 80, 15000) with seed 0, as the official class draws it",
    lambda config: _fixed_noise(config.flow.decoder.estimator.out_channels),
)

FLOW = Origin(
    anchors=("encoder_proj.weight", "input_embedding.weight"),
    shapes=_flow,
    added={"decoder.rand_noise": NOISE},
    trial=trials.flow,
)

HIFT = Origin(
    anchors=("f0_predictor.classifier.weight", "m_source.l_linear.weight"),
    prefix="generator.",
    training=("discriminator", "discriminators", "mpd", "msd", "mrd"),
    weight_norm=True,
    shapes=hift_shapes,
    trial=trials.vocoder,
)

CAMPPLUS = Origin(read=_campplus, trial=trials.speaker_encoder)
SPEECH_TOKENIZER = Origin(read=read_speech_tokenizer, trial=trials.speech_tokenizer)

COSYVOICE2_OFFICIAL = Official(
    COSYVOICE2,
    hub="FunAudioLLM/CosyVoice2-0.5B",
    schema=ROOT,
    origins={"llm": LLM, "flow": FLOW, "hift": HIFT, "campplus": CAMPPLUS, "speech_tokenizer": SPEECH_TOKENIZER},
    completed=completed,
    pairs=_pairs,
)
