"""The text of a synthetic `cosyvoice2.yaml`: the keys, tags and references of the published one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEMPLATE = """\
# A synthetic CosyVoice2 checkpoint: random weights in the official layout.
__set_seed1: !apply:random.seed [{seed}]
__set_seed2: !apply:numpy.random.seed [{seed}]
__set_seed3: !apply:torch.manual_seed [{seed}]
__set_seed4: !apply:torch.cuda.manual_seed_all [{seed}]

sample_rate: {sample_rate}
llm_input_size: {llm[llm_input_size]}
llm_output_size: {llm[llm_output_size]}
spk_embed_dim: {flow[spk_embed_dim]}
qwen_pretrain_path: ''
token_frame_rate: {token_frame_rate}
token_mel_ratio: {token_mel_ratio}

chunk_size: {encoder[static_chunk_size]} # in tokens
num_decoding_left_chunks: {estimator[num_decoding_left_chunks]} # below 0: all

llm: !new:cosyvoice.llm.llm.Qwen2LM
    llm_input_size: !ref <llm_input_size>
    llm_output_size: !ref <llm_output_size>
    speech_token_size: {llm[speech_token_size]}
    length_normalized_loss: True
    lsm_weight: 0
    mix_ratio: {llm[mix_ratio]}
    llm: !new:cosyvoice.llm.llm.Qwen2Encoder
        pretrain_path: !ref <qwen_pretrain_path>
    sampling: !name:cosyvoice.utils.common.ras_sampling
        top_p: {sampling[top_p]}
        top_k: {sampling[top_k]}
        win_size: {sampling[win_size]}
        tau_r: {sampling[tau_r]}

flow: !new:cosyvoice.flow.flow.CausalMaskedDiffWithXvec
    input_size: {flow[input_size]}
    output_size: {flow[output_size]}
    spk_embed_dim: !ref <spk_embed_dim>
    output_type: 'mel'
    vocab_size: {flow[vocab_size]}
    input_frame_rate: !ref <token_frame_rate>
    only_mask_loss: True
    token_mel_ratio: !ref <token_mel_ratio>
    pre_lookahead_len: {flow[pre_lookahead_len]}
    encoder: !new:cosyvoice.transformer.upsample_encoder.UpsampleConformerEncoder
        output_size: {encoder[output_size]}
        attention_heads: {encoder[attention_heads]}
        linear_units: {encoder[linear_units]}
        num_blocks: {encoder[num_blocks]}
        dropout_rate: 0.1
        positional_dropout_rate: 0.1
        attention_dropout_rate: 0.1
        normalize_before: True
        input_layer: 'linear'
        pos_enc_layer_type: 'rel_pos_espnet'
        selfattention_layer_type: 'rel_selfattn'
        input_size: {encoder[input_size]}
        use_cnn_module: False
        macaron_style: False
        static_chunk_size: !ref <chunk_size>
    decoder: !new:cosyvoice.flow.flow_matching.CausalConditionalCFM
        in_channels: {decoder[in_channels]}
        n_spks: 1
        spk_emb_dim: {decoder[spk_emb_dim]}
        cfm_params: !new:omegaconf.DictConfig
            content:
                sigma_min: 1e-06
                solver: 'euler'
                t_scheduler: 'cosine'
                training_cfg_rate: 0.2
                inference_cfg_rate: {decoder[inference_cfg_rate]}
                reg_loss_type: 'l1'
        estimator: !new:cosyvoice.flow.decoder.CausalConditionalDecoder
            in_channels: {estimator[in_channels]}
            out_channels: {estimator[out_channels]}
            channels: {estimator[channels]}
            dropout: 0.0
            attention_head_dim: {estimator[attention_head_dim]}
            n_blocks: {estimator[n_blocks]}
            num_mid_blocks: {estimator[num_mid_blocks]}
            num_heads: {estimator[num_heads]}
            act_fn: 'gelu'
            static_chunk_size: !ref <chunk_size> * <token_mel_ratio>
            num_decoding_left_chunks: !ref <num_decoding_left_chunks>

hift: !new:cosyvoice.hifigan.generator.HiFTGenerator
    in_channels: {hift[in_channels]}
    base_channels: {hift[base_channels]}
    nb_harmonics: {hift[nb_harmonics]}
    sampling_rate: !ref <sample_rate>
    nsf_alpha: {hift[nsf_alpha]}
    nsf_sigma: {hift[nsf_sigma]}
    nsf_voiced_threshold: {hift[nsf_voiced_threshold]}
    upsample_rates: {hift[upsample_rates]}
    upsample_kernel_sizes: {hift[upsample_kernel_sizes]}
    istft_params:
        n_fft: {hift[istft_params][n_fft]}
        hop_len: {hift[istft_params][hop_len]}
    resblock_kernel_sizes: {hift[resblock_kernel_sizes]}
    resblock_dilation_sizes: {hift[resblock_dilation_sizes]}
    source_resblock_kernel_sizes: {hift[source_resblock_kernel_sizes]}
    source_resblock_dilation_sizes: {hift[source_resblock_dilation_sizes]}
    lrelu_slope: {hift[lrelu_slope]}
    audio_limit: {hift[audio_limit]}
    f0_predictor: !new:cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor
        num_class: {f0[num_class]}
        in_channels: {f0[in_channels]}
        cond_channels: {f0[cond_channels]}

# for training
mel_spec_transform1: !name:matcha.utils.audio.mel_spectrogram
    n_fft: 1920
    num_mels: 80
    sampling_rate: !ref <sample_rate>
    hop_size: 480
    win_size: 1920
    fmin: 0
    fmax: null
    center: False
hifigan: !new:cosyvoice.hifigan.hifigan.HiFiGan
    generator: !ref <hift>
    discriminator: !new:cosyvoice.hifigan.discriminator.MultipleDiscriminator
        mpd: !new:matcha.hifigan.models.MultiPeriodDiscriminator
        mrd: !new:cosyvoice.hifigan.discriminator.MultiResSpecDiscriminator
    mel_spec_transform: [
        !ref <mel_spec_transform1>
    ]

# from text and audio to the network
get_tokenizer: !name:cosyvoice.tokenizer.tokenizer.get_qwen_tokenizer
    token_path: !ref <qwen_pretrain_path>
    skip_special_tokens: True
allowed_special: 'all'
tokenize: !name:cosyvoice.dataset.processor.tokenize
    get_tokenizer: !ref <get_tokenizer>
    allowed_special: !ref <allowed_special>
resample: !name:cosyvoice.dataset.processor.resample
    resample_rate: !ref <sample_rate>
feat_extractor: !name:matcha.utils.audio.mel_spectrogram
    n_fft: 1920
    num_mels: 80
    sampling_rate: !ref <sample_rate>
    hop_size: 480
    win_size: 1920
    fmin: 0
    fmax: 8000
    center: False
compute_fbank: !name:cosyvoice.dataset.processor.compute_fbank
    feat_extractor: !ref <feat_extractor>
parse_embedding: !name:cosyvoice.dataset.processor.parse_embedding
    normalize: True
data_pipeline: [
    !ref <tokenize>,
    !ref <resample>,
    !ref <compute_fbank>,
    !ref <parse_embedding>,
]
train_conf:
    optim: adam
    optim_conf:
        lr: 1e-5
    grad_clip: 5
"""


def yaml_text(sizes: Mapping[str, Any], seed: int) -> str:
    """HyperPyYAML for a network of these sizes (see `reference.synthetic.sizes`)."""
    flow = sizes["flow"]
    return _TEMPLATE.format(
        seed=seed,
        sample_rate=sizes["sample_rate"],
        token_frame_rate=sizes["token_frame_rate"],
        token_mel_ratio=sizes["token_mel_ratio"],
        llm=sizes["llm"],
        sampling=sizes["llm"]["sampling"],
        flow=flow,
        encoder=flow["encoder"],
        decoder=flow["decoder"],
        estimator=flow["decoder"]["estimator"],
        hift=sizes["hift"],
        f0=sizes["hift"]["f0_predictor"],
    )
