"""CosyVoice2's official checkpoints."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from converters.early_yaml import completed
from converters.families.cosyvoice2_yaml import ROOT
from converters.families.declaration import Added, Official, Origin, Shape
from converters.onnx_campplus import campplus_config, read_campplus
from converters.onnx_speech_tokenizer import read_speech_tokenizer
from converters.qwen import QWEN_CONFIG, TEXT_FILES, read_qwen_config
from mlx_cosyvoice.config import CosyVoice2Config
from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.flow.cfm import NOISE_FRAMES


def _llm(config: CosyVoice2Config) -> dict[str, Shape]:
    qwen, llm = config.llm.qwen, config.llm
    return {
        "llm.model.model.embed_tokens.weight": (qwen.vocab_size, qwen.hidden_size),
        "llm.model.model.layers.0.mlp.gate_proj.weight": (qwen.intermediate_size, qwen.hidden_size),
        "llm_decoder.weight": (llm.speech_token_size + 3, llm.llm_output_size),
    }


def _flow(config: CosyVoice2Config) -> dict[str, Shape]:
    flow, encoder, estimator = config.flow, config.flow.encoder, config.flow.decoder.estimator
    width, attention = estimator.channels[0], estimator.num_heads * estimator.attention_head_dim
    lookahead = (encoder.output_size, encoder.output_size, flow.pre_lookahead_len + 1)
    return {
        "input_embedding.weight": (flow.vocab_size, flow.input_size),
        "spk_embed_affine_layer.weight": (flow.output_size, flow.spk_embed_dim),
        "encoder.embed.out.0.weight": (encoder.output_size, encoder.input_size),
        "encoder.encoders.0.feed_forward.w_1.weight": (encoder.linear_units, encoder.output_size),
        "encoder.pre_lookahead_layer.conv1.weight": lookahead,
        "decoder.estimator.time_mlp.linear_1.weight": (4 * width, estimator.in_channels),
        "decoder.estimator.mid_blocks.0.1.0.attn1.to_q.weight": (attention, width),
        "decoder.estimator.final_proj.weight": (estimator.out_channels, width, 1),
    }


def _hift(config: CosyVoice2Config) -> dict[str, Shape]:
    hift = config.hift
    last = hift.base_channels // 2 ** len(hift.upsample_rates)
    weight = "parametrizations.weight.original1"
    return {
        f"conv_post.{weight}": (hift.istft_params.n_fft + 2, last, 7),
        f"conv_pre.{weight}": (hift.base_channels, hift.in_channels, 7),
        f"f0_predictor.condnet.0.{weight}": (hift.f0_predictor.cond_channels, hift.f0_predictor.in_channels, 3),
        "f0_predictor.classifier.weight": (hift.f0_predictor.num_class, hift.f0_predictor.cond_channels),
        "m_source.l_linear.weight": (1, hift.nb_harmonics + 1),
    }


def _pairs(config: CosyVoice2Config, names: Collection[str]) -> list[tuple[str, int, str, int]]:
    flow, llm = config.flow, config.llm
    estimator, chunk = flow.decoder.estimator, flow.encoder.static_chunk_size * config.token_mel_ratio
    chunk_name = "flow.encoder.static_chunk_size * token_mel_ratio"
    pairs = [
        ("flow.output_size", flow.output_size, "feat_extractor.num_mels", COSYVOICE2.mel.num_mels),
        ("flow.decoder.estimator.out_channels", estimator.out_channels, "flow.output_size", flow.output_size),
        ("llm.speech_token_size", llm.speech_token_size, "flow.vocab_size", flow.vocab_size),
        ("flow.output_size", flow.output_size, "hift.in_channels", config.hift.in_channels),
        ("llm.llm_input_size", llm.llm_input_size, "llm.llm_output_size", llm.llm_output_size),
        ("flow.decoder.estimator.static_chunk_size", estimator.static_chunk_size, chunk_name, chunk),
    ]
    if "llm" in names:
        hidden = llm.qwen.hidden_size
        pairs.append(("llm.llm_input_size", llm.llm_input_size, "CosyVoice-BlankEN hidden_size", hidden))
    if "campplus" in names:
        size = config.campplus.embedding_size
        pairs.append(("flow.spk_embed_dim", flow.spk_embed_dim, "the speaker encoder's embedding_size", size))
    return pairs


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
    shapes=_llm,
)

FLOW = Origin(
    anchors=("encoder_proj.weight", "input_embedding.weight"),
    shapes=_flow,
    added={
        "decoder.rand_noise": Added(
            "torch.randn(1, 80, 15000) with seed 0, as the official class draws it",
            lambda config: _fixed_noise(config.flow.decoder.estimator.out_channels),
        )
    },
)

HIFT = Origin(
    anchors=("f0_predictor.classifier.weight", "m_source.l_linear.weight"),
    prefix="generator.",
    training=("discriminator", "discriminators", "mpd", "msd", "mrd"),
    weight_norm=True,
    shapes=_hift,
)

COSYVOICE2_OFFICIAL = Official(
    COSYVOICE2,
    hub="FunAudioLLM/CosyVoice2-0.5B",
    schema=ROOT,
    origins={
        "llm": LLM,
        "flow": FLOW,
        "hift": HIFT,
        "campplus": Origin(read=_campplus),
        "speech_tokenizer": Origin(read=read_speech_tokenizer),
    },
    completed=completed,
    pairs=_pairs,
)
