"""CosyVoice3. What it has in common with CosyVoice2 is declared there."""

from __future__ import annotations

from dataclasses import replace

from mlx_cosyvoice.config import CosyVoice3Config
from mlx_cosyvoice.families.cosyvoice2 import CAMPPLUS, COSYVOICE2, HIFT, LLM, SPEECH_TOKENIZER
from mlx_cosyvoice.families.cosyvoice3_tokens import SILENCE, SPECIAL_TOKENS, SPEECH_IDS, SYSTEM_PROMPT
from mlx_cosyvoice.families.declaration import Component, Family, Layers

FLOW = Component(
    "flow",
    network="mlx_cosyvoice.flow:CausalMaskedDiffWithDiT",
    file="flow.pt",
    # where every official synthesis starts from; and what positions multiply
    float32_tensors=("decoder.rand_noise", "decoder.estimator.rotary_embed.inv_freq"),
    layers=(Layers("flow.decoder.estimator.depth", "decoder.estimator.transformer_blocks."),),
    equal=(
        ("token_frame_rate", "flow.input_frame_rate"),
        ("token_mel_ratio", "flow.token_mel_ratio"),
        ("flow.pre_lookahead_len", "flow.pre_lookahead_layer.pre_lookahead_len"),
        ("flow.input_size", "flow.pre_lookahead_layer.in_channels"),
        ("flow.input_size", "flow.decoder.estimator.mu_dim"),
        ("flow.output_size", "flow.decoder.estimator.spk_dim"),
        ("flow.output_size", "flow.decoder.estimator.mel_dim"),
        ("flow.output_size", "flow.decoder.estimator.out_channels"),
    ),
    multiples=(("flow.decoder.estimator.static_chunk_size", "token_mel_ratio"),),
)

COSYVOICE3 = Family(
    model_type="cosyvoice3",
    title="CosyVoice3",
    yaml=("cosyvoice3.yaml",),
    config=CosyVoice3Config,
    components=(
        replace(LLM, network="mlx_cosyvoice.llm:CosyVoice3LM", settings={"ids": SPEECH_IDS}),
        FLOW,
        # the phase adds up errors of f0: its predictor computes in float64, from the weights as they were published
        replace(HIFT, network="mlx_cosyvoice.vocoder:CausalHiFTGenerator", float32_tensors=("f0_predictor",)),
        CAMPPLUS,
        replace(SPEECH_TOKENIZER, file="speech_tokenizer_v3.onnx"),
    ),
    special_tokens=SPECIAL_TOKENS,
    mel=replace(COSYVOICE2.mel, fmax=None),
    model_input="mlx_cosyvoice.speech.modes:model_input",
    source_noise="mlx_cosyvoice.speech.fixed_noise:source_noise",
    system_prompt=SYSTEM_PROMPT,
    silence=SILENCE,
)
