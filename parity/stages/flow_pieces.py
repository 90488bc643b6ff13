"""Speech tokens to mel in chunks whose networks remember what came before, as the incremental decoder runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mlx_parity.sides import Side
from parity.pieces import STEPS, STEPWISE, Cut, pieces_of
from parity.stages.base import Arrays, Given, Outputs, Stage

if TYPE_CHECKING:
    from parity.pair import Pair

#: The run's prompt and speech tokens are repeated to this many: three chunks, one of them of the prompt alone, and a
#: rest. Neither their sum nor its multiples are the width of any layer, so time is the axis that is as long. The prompt
#: and the 20 tokens of a first hop end one token before the border of a chunk.
PROMPT_TOKENS, TOKENS = 29, 53
#: New tokens of the hops, but for the last one.
HOPS = (24, 25)


class FlowPieces(Stage):
    name = "flow_pieces"
    title = "Flow in pieces"
    component = "flow"
    needs = ("speech_token", "prompt_token", "prompt_feat", "embedding")
    modes = ("incremental",)
    #: How many chunks before its own a frame attends to; None for all.
    left: ClassVar[int | None] = None

    def pieces(self, pair: Pair) -> Cut:
        config = pair.reference.config["flow"]
        chunk = config["decoder"]["estimator"]["static_chunk_size"] // config["token_mel_ratio"]
        return Cut(pieces_of(PROMPT_TOKENS + TOKENS, chunk, config["pre_lookahead_len"], self.left))

    def keep(self, path: str, call: int) -> bool:
        # of the estimator's parts the first step; a state that another step has left shows there
        return not path.startswith(f"{STEPWISE}.") or call % STEPS == 0

    def call(self, side: Side, given: Given) -> Outputs:
        token, prompt = utterance(given)
        run = _whole if side.name == "pytorch" else _hop_by_hop
        return Outputs({"mel": side.numpy(run(side, token, prompt, self.left), channels_first=True)})


class FlowLeftContext(FlowPieces):
    """The same where attention is limited to what came last, as it is by default."""

    name = "flow_left_context"
    title = "Flow in pieces, left context"
    left = 1


def utterance(inputs: Arrays) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """token [1, TOKENS]; the prompt's token [1, PROMPT_TOKENS], mel [1, 2 PROMPT_TOKENS, 80] and embedding [1, 192]."""
    token, prompt_token = (
        np.resize(inputs[name].reshape(-1), count)[None]
        for name, count in (("speech_token", TOKENS), ("prompt_token", PROMPT_TOKENS))
    )
    feat = inputs["prompt_feat"][0]
    feat = feat[np.arange(2 * PROMPT_TOKENS) % len(feat)][None]
    return token, (prompt_token, feat, inputs["embedding"])


def _whole(side: Side, token: np.ndarray, prompt: tuple[np.ndarray, ...], left: int | None) -> object:
    from reference.upsample_encoder import left_context

    arrays = (side.array(array) for array in (token, *prompt))
    with left_context(side.module, left):
        return side.module.inference(*arrays, streaming=True, finalize=True, n_timesteps=STEPS)


def _hop_by_hop(side: Side, token: np.ndarray, prompt: tuple[np.ndarray, ...], left: int | None) -> object:
    import mlx.core as mx

    from mlx_cosyvoice.decoding.incremental import IncrementalFlow
    from mlx_cosyvoice.prompt import Prompt

    flow = IncrementalFlow(side.module, n_timesteps=STEPS, left_context_chunks=left)
    state, new = flow.start(Prompt(*map(side.array, prompt))), token[0].tolist()
    mels = []
    for hop in HOPS:
        mel, state = flow.step(state, new[:hop])
        mels.append(mel)
        new = new[hop:]
    mel, state = flow.step(state, new, final="causal")
    return mx.concatenate([*mels, mel], axis=1)
