"""Another port of CosyVoice, that of mlx-audio-plus, beside this project's reference, on one checkpoint.

    pip install --no-deps mlx-audio-plus==0.1.8
    mlx-parity run examples/porting/cosyvoice_peer.py

CHECKPOINT and CHECKPOINT3 name folders with the official files of CosyVoice2 and CosyVoice3; without them tiny ones
with random weights are made. Weights come through mlx-audio-plus' own conversion. docs/peers.md says what came of it.
"""

import importlib
import os
import re
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from bare_packages import pass_by_init
from mlx.utils import tree_unflatten

from mlx_parity import Port

TOKENS, PROMPT, STEPS = 31, 9, 2
FRAMES = 330
TEXT, PROMPT_TEXT, SPOKEN = 5, 3, 4


#: Where the peer's networks are.
S3GEN, V2, V3 = (
    f"mlx_audio.{path}" for path in ("codec.models.s3gen", "tts.models.cosyvoice2", "tts.models.cosyvoice3")
)


def peer(module):
    """A module of mlx-audio-plus."""
    for package in (S3GEN, V2, V3):
        pass_by_init(package, "pip install --no-deps mlx-audio-plus==0.1.8")
    return importlib.import_module(module)


@cache
def official(family):
    """The reference of a family's checkpoint, which is made where none is named."""
    from parity.pair import Reference
    from reference.synthetic.checkpoint import SYNTHETICS, write_checkpoint

    named = os.environ.get({"cosyvoice2": "CHECKPOINT", "cosyvoice3": "CHECKPOINT3"}[family])
    folder = Path(named or Path(tempfile.gettempdir()) / f"cosyvoice_peer_{family}")
    if not folder.exists():
        write_checkpoint(folder, synthetic=SYNTHETICS[family])
    return Reference(folder)


@cache
def network(name, family="cosyvoice2"):
    """A network of the reference."""
    return official(family).component(name, "float32")


def filled(model, weights):
    """The peer's model with weights, put in as the peer does: nothing says what is missing."""
    model.update(tree_unflatten([(name, mx.array(value)) for name, value in weights.items()]))
    model.eval()
    return model


def flow():
    """mlx-audio-plus' flow of CosyVoice2, as its `load_cosyvoice2` makes it."""
    config = official("cosyvoice2").config["flow"]
    matching, part = peer(f"{V2}.flow_matching"), config["decoder"]["estimator"]
    encoder = peer(f"{S3GEN}.transformer").UpsampleConformerEncoder(**config["encoder"])
    estimator = peer(f"{S3GEN}.decoder").ConditionalDecoder(**part)
    decoder = matching.CosyVoice2ConditionalCFM(cfm_params=matching.CFM_PARAMS, spk_emb_dim=80, estimator=estimator)
    model = peer(f"{S3GEN}.flow").CausalMaskedDiffWithXvec(n_timesteps=STEPS, encoder=encoder, decoder=decoder)
    return filled(model, peer(f"{V2}.scripts.convert").convert_flow_weights(network("flow").state_dict()))


def flow3(*, noise=False):
    """mlx-audio-plus' flow of CosyVoice3, as its `load_cosyvoice3` makes it.

    That reads the official `noise` from a file, where there is one; the conversion writes none.
    """
    config = official("cosyvoice3").config["flow"]
    part, torch_flow = config["decoder"]["estimator"], network("flow", "cosyvoice3")
    model = peer(f"{V3}.flow").build_flow_model(
        input_size=config["input_size"],
        n_timesteps=STEPS,
        rand_noise=mx.array(torch_flow.decoder.rand_noise.numpy()) if noise else None,
        **{f"dit_{name}": part[name] for name in ("dim", "depth", "heads", "dim_head", "ff_mult")},
    )
    module = peer(f"{V3}.convolution")
    channels = config["pre_lookahead_layer"]["channels"]
    model.pre_lookahead_layer = module.PreLookaheadLayer(config["input_size"], channels, config["pre_lookahead_len"])
    state = {name: value.numpy() for name, value in torch_flow.state_dict().items() if "inv_freq" not in name}
    return filled(model, peer(f"{V3}.scripts.convert").convert_flow_weights(state))


def hift():
    """mlx-audio-plus' vocoder of CosyVoice2."""
    config = dict(official("cosyvoice2").config["hift"])
    predictor = config.pop("f0_predictor")
    module = peer(f"{V2}.hifigan")
    model = module.CosyHiFTGenerator(**config)
    model.f0_predictor = module.CosyF0Predictor(predictor["in_channels"], predictor["cond_channels"])
    return filled(model, peer(f"{V2}.scripts.convert").convert_hift_weights(network("hift").state_dict()))


def campplus():
    """mlx-audio-plus' speaker encoder, which it fills from another project's copy of the official weights."""
    model = peer(f"{S3GEN}.xvector").CAMPPlus()
    state = {name: mx.array(value.numpy()) for name, value in network("campplus").state_dict().items()}
    return filled(model, model.sanitize(state))


def llm():
    """mlx-audio-plus' language model of CosyVoice2, on mlx-lm's Qwen2."""
    from mlx_lm.models.qwen2 import Model, ModelArgs

    config, module = official("cosyvoice2").config["llm"], peer(f"{V2}.llm.llm")
    qwen = Model(ModelArgs.from_dict({"model_type": "qwen2", "tie_word_embeddings": True, **config["qwen"]}))
    model = module.Qwen2LM(config["llm_input_size"], config["llm_output_size"], llm=module.Qwen2Encoder(qwen))
    own, inner = peer(f"{V2}.scripts.convert").convert_llm_weights(network("llm").state_dict())
    filled(qwen, {name: value for name, value in inner.items() if name != "lm_head.weight"})
    return filled(model, own)


def to_mel(side, given, *, finalize):
    """Speech tokens to the mel of the new ones: to the end of the speech, or in hops that look ahead."""
    arrays = [side.plain(given[name]) for name in ("token", "prompt_token")]
    arrays += [side.array(given[name]) for name in ("prompt_feat", "embedding")]
    if not isinstance(side.module, nn.Module):
        return {"mel": side.module.inference(*arrays, streaming=not finalize, finalize=finalize, n_timesteps=STEPS)}
    *pieces, embedding = arrays
    counted = [part for piece in pieces for part in (piece, mx.array([piece.shape[1]]))]
    return {"mel": side.module.inference(*counted, embedding, finalize=finalize, streaming=not finalize)[0]}


def to_wav(side, given):
    """A mel spectrogram to a waveform. The peer takes no random numbers: it draws its own."""
    mel = side.array(given["mel"])
    if isinstance(side.module, nn.Module):
        wav, source = side.module(mel)
    else:
        draws = {
            "rand_ini": given.tape.uniform("rand_ini", (1, 9)),
            "sine_noise": given.tape.normal("sine_noise", (1, 480 * mel.shape[2], 9)),
        }
        wav, source = side.module.inference(mel, **{name: side.array(value) for name, value in draws.items()})
    return {"source": source, "wav": wav}


def to_embedding(side, given):
    """Filter banks to the speaker's embedding."""
    return {"embedding": side.module(side.array(given["fbank"]))}


def to_tokens(side, given):
    """Text to speech tokens. What is drawn is given; compared are the log-probabilities that it is drawn from."""
    text, prompt_text, prompt = (side.plain(given[name]) for name in ("text", "prompt_text", "prompt_token"))
    seen: dict[str, Any] = {}

    def drawn(log_probs, decoded, _):
        seen[f"log_probs{len(seen)}"] = log_probs[None]
        return int(given["token"][0, len(decoded)])

    ratio = {"min_token_text_ratio": 0, "max_token_text_ratio": SPOKEN / TEXT}
    if isinstance(side.module, nn.Module):
        side.module.sampling = drawn
        counted = [part for piece in (text, prompt_text, prompt) for part in (piece, mx.array([piece.shape[1]]))]
        list(side.module.inference(*counted, None, **ratio))
    else:
        list(side.module.generate(text, prompt_text, prompt, drawn, **ratio))
    return seen


#: Pieces of the peer's paths -> the official ones, where weights do not tell: those of the vocoder are made of two.
NAMES = {r"condnet_(\d+)": r"condnet.\1"}


def rename(path):
    """The official path of a module of mlx-audio-plus."""
    for piece, name in NAMES.items():
        path = re.sub(piece, name, path)
    return path


def stages():
    """The networks one by one; none reads what another makes."""
    speech = ("token", "prompt_token", "prompt_feat", "embedding")
    whole, hop = (partial(to_mel, finalize=finalize) for finalize in (True, False))

    def official_flow3():
        return network("flow", "cosyvoice3")

    return [
        Port("llm", lambda: network("llm"), llm, to_tokens, needs=("text", "prompt_text", "prompt_token", "token")),
        Port("flow", lambda: network("flow"), flow, whole, needs=speech),
        Port("flow_hop", lambda: network("flow"), flow, hop, needs=speech),
        Port("hift", lambda: network("hift"), hift, to_wav, needs=("mel",), rename=rename),
        Port("campplus", lambda: network("campplus"), campplus, to_embedding, needs=("fbank",)),
        Port("flow3", official_flow3, flow3, whole, needs=speech),
        Port("flow3_with_noise", official_flow3, lambda: flow3(noise=True), whole, needs=speech),
        Port("flow3_hop_with_noise", official_flow3, lambda: flow3(noise=True), hop, needs=speech),
    ]


def inputs():
    """Random tokens, features and texts by name, as the official code takes them."""
    generator = np.random.default_rng(0)

    def normal(*shape):
        return generator.standard_normal(shape).astype(np.float32)

    return {
        "token": generator.integers(0, 6561, (1, TOKENS)),
        "prompt_token": generator.integers(0, 6561, (1, PROMPT)),
        "prompt_feat": normal(1, 2 * PROMPT, 80),
        "embedding": normal(1, 192),
        "mel": normal(1, 80, 20) - 4,
        "fbank": normal(1, FRAMES, 80),
        "text": generator.integers(0, 256, (1, TEXT)),
        "prompt_text": generator.integers(0, 256, (1, PROMPT_TEXT)),
    }
