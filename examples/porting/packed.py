"""A model's language model and flow in float32 beside the same packed into 4 bits: MLX beside MLX.

    mlx-parity run examples/porting/packed.py

MODEL and PACKED name folders that `python -m converters` has made of one checkpoint, with `--quantize` for the second;
without them tiny ones with random weights are made. The plain side computes with what packing has left of the weights:
what is judged is the code that runs packed layers, and what is packed otherwise than it should be is named.
"""

import os
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np

from mlx_parity import Port

TOKENS, PROMPT, STEPS, SPOKEN = 53, 30, 2, 6
PARTS = ("llm", "flow")


@cache
def model(name):
    """The model in the folder that a variable of the environment names, or a tiny one."""
    from mlx_cosyvoice import load

    return load(os.environ.get(name) or made(name), dtype=None)


def made(name):
    """The folder of a tiny model, converted as its name says."""
    from converters.convert import convert
    from reference.synthetic.checkpoint import write_checkpoint

    folder = Path(tempfile.mkdtemp())
    bits = 4 if name == "PACKED" else None
    checkpoint, out = write_checkpoint(folder / "checkpoint"), folder / "model"
    return convert(checkpoint, out, quantize=bits, group_size=32, quantize_components=PARTS).out


def to_tokens(side, given):
    """Log-probabilities along tokens that are given, with a cache."""
    llm, rows = side.module, {}
    x, past = (
        llm.prompt(*(given[name][0].tolist() for name in ("text", "prompt_text", "prompt_token"))),
        llm.make_cache(),
    )
    for number, token in enumerate(given["token"][0, :SPOKEN].tolist()):
        rows[f"log_probs{number}"] = llm.step(x, past)
        x = llm.embed_speech([token])
    return rows


def to_mel(side, given, *, streaming):
    """Speech tokens to the mel of the new ones."""
    arrays = [side.plain(given[name]) for name in ("token", "prompt_token", "prompt_feat", "embedding")]
    return {"mel": side.module(*arrays, streaming=streaming, finalize=not streaming, n_timesteps=STEPS)}


def stages():
    """The parts that are packed."""
    speech = ("token", "prompt_token", "prompt_feat", "embedding")
    plain, packed = (
        {part: (lambda name=name, part=part: getattr(model(name), part)) for part in PARTS}
        for name in ("MODEL", "PACKED")
    )
    return [
        Port("llm", plain["llm"], packed["llm"], to_tokens, needs=("text", "prompt_text", "prompt_token", "token")),
        *(
            Port(name, plain["flow"], packed["flow"], partial(to_mel, streaming=name != "flow"), needs=speech)
            for name in ("flow", "flow_streaming")
        ),
    ]


def inputs():
    """Random tokens, features and texts by name."""
    generator = np.random.default_rng(0)
    normal = {"prompt_feat": (1, 2 * PROMPT, 80), "embedding": (1, 192)}
    whole = {"token": (TOKENS, 6561), "prompt_token": (PROMPT, 6561), "text": (9, 256), "prompt_text": (4, 256)}
    return {
        **{name: generator.standard_normal(shape).astype(np.float32) for name, shape in normal.items()},
        **{name: generator.integers(0, most, (1, count)) for name, (count, most) in whole.items()},
    }
