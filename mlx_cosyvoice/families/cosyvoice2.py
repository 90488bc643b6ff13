"""CosyVoice2."""

from __future__ import annotations

from math import prod

from mlx_cosyvoice.config import CosyVoice2Config
from mlx_cosyvoice.config_fields import FieldError
from mlx_cosyvoice.families.declaration import Component, Family, Layers, MelSettings, SpeechIds

#: In the official order: a token that the tokenizer lacks gets the next free id, so the order is part of the model.
#: The first three are Qwen2's own and have ids already.
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|endofprompt|>",
    "[breath]",
    "<strong>",
    "</strong>",
    "[noise]",
    "[laughter]",
    "[cough]",
    "[clucking]",
    "[accent]",
    "[quick_breath]",
    "<laughter>",
    "</laughter>",
    "[hissing]",
    "[sigh]",
    "[vocalized-noise]",
    "[lipsmack]",
    "[mn]",
)

#: Between the end of speech and "more text" stands one without a use.
SPEECH_IDS = SpeechIds(count=3, end=0, fill=2)


def _check_rate(config: CosyVoice2Config) -> None:
    frames = config.token_frame_rate * config.token_mel_ratio
    samples = prod(config.hift.upsample_rates) * config.hift.istft_params.hop_len
    if config.sample_rate != frames * samples:
        raise FieldError(
            f"hift.upsample_rates: {frames} frames of {samples} samples a second are not sample_rate, "
            f"{config.sample_rate}"
        )


LLM = Component(
    "llm",
    network="mlx_cosyvoice.llm:Qwen2LM",
    file="llm.pt",
    settings={"ids": SPEECH_IDS},
    layers=(Layers("llm.qwen.num_hidden_layers", "llm.model.model.layers."),),
    equal=(("llm.llm_input_size", "llm.qwen.hidden_size"), ("llm.llm_output_size", "llm.qwen.hidden_size")),
    multiples=(
        ("llm.qwen.hidden_size", "llm.qwen.num_attention_heads"),
        ("llm.qwen.num_attention_heads", "llm.qwen.num_key_value_heads"),
    ),
    at_most=(("llm.speech_token_size", "flow.vocab_size"),),
)

FLOW = Component(
    "flow",
    network="mlx_cosyvoice.flow:CausalMaskedDiffWithXvec",
    file="flow.pt",
    float32_tensors=("decoder.rand_noise",),  # every official synthesis starts from it
    layers=(
        Layers("flow.encoder.num_blocks", "encoder.encoders."),
        Layers("flow.decoder.estimator.num_mid_blocks", "decoder.estimator.mid_blocks."),
        Layers("flow.decoder.estimator.n_blocks", "decoder.estimator.mid_blocks.0.1."),
    ),
    equal=(
        ("token_frame_rate", "flow.input_frame_rate"),
        ("token_mel_ratio", "flow.token_mel_ratio"),
        ("flow.input_size", "flow.encoder.input_size"),
        ("flow.encoder.input_size", "flow.encoder.output_size"),  # the upsampled half begins as the first does
        ("flow.output_size", "flow.decoder.estimator.out_channels"),
    ),
    multiples=(("flow.encoder.output_size", "flow.encoder.attention_heads"),),
)

HIFT = Component(
    "hift",
    network="mlx_cosyvoice.vocoder:HiFTGenerator",
    file="hift.pt",
    float32=True,  # as in the official fp16 inference, and so the two below
    not_quantized="its weights are convolutions, which MLX does not quantize",
    layers=(
        Layers("hift.upsample_rates", "ups."),
        Layers("hift.resblock_kernel_sizes", "resblocks.", times="hift.upsample_rates"),
        Layers("hift.resblock_dilation_sizes.0", "resblocks.0.convs1."),
    ),
    equal=(
        ("sample_rate", "hift.sampling_rate"),
        ("hift.in_channels", "hift.f0_predictor.in_channels"),
        ("hift.upsample_rates", "hift.upsample_kernel_sizes"),
        ("hift.upsample_rates", "hift.source_resblock_kernel_sizes"),
        ("hift.upsample_rates", "hift.source_resblock_dilation_sizes"),
        ("hift.resblock_kernel_sizes", "hift.resblock_dilation_sizes"),
    ),
    multiples=(("hift.istft_params.n_fft", "hift.istft_params.hop_len"),),
    check=_check_rate,
)

CAMPPLUS = Component(
    "campplus",
    network="mlx_cosyvoice.speaker_encoder:CAMPPlus",
    file="campplus.onnx",
    float32=True,
    not_quantized="its weights are convolutions, which MLX does not quantize",
    layers=tuple(Layers(f"campplus.num_layers.{index}", f"xvector.block{index + 1}.tdnnd") for index in range(3)),
)

SPEECH_TOKENIZER = Component(
    "speech_tokenizer",
    network="mlx_cosyvoice.speech_tokenizer:S3TokenizerV2",
    file="speech_tokenizer_v2.onnx",
    float32=True,
    not_quantized="a wrong speech token changes the voice, and it runs once a recording only",
    layers=(Layers("speech_tokenizer.n_audio_layer", "encoder.blocks."),),
    multiples=(("speech_tokenizer.n_audio_state", "speech_tokenizer.n_audio_head"),),
)

COSYVOICE2 = Family(
    model_type="cosyvoice2",
    title="CosyVoice2",
    yaml=("cosyvoice2.yaml", "cosyvoice.yaml"),  # the first publication's name, and CosyVoice 1's to this day
    config=CosyVoice2Config,
    components=(LLM, FLOW, HIFT, CAMPPLUS, SPEECH_TOKENIZER),
    special_tokens=SPECIAL_TOKENS,
    mel=MelSettings(n_fft=1920, num_mels=80, sampling_rate=24000, hop_size=480, fmin=0, fmax=8000),
    model_input="mlx_cosyvoice.speech.modes:model_input",
)
