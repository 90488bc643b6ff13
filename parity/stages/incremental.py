"""The incremental decoder: what it hands to flow and vocoder, what it carries on, and what it gives out.

Flow and vocoder are causal to the decoder: whatever it says of a frame must be what one run over the whole utterance
says of it. So the reference makes one run, and in an isolated run of the decoder the reference's mel, f0 and source
stand in for its own, each for the frames that it claims to be at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from mlx_parity.intercept import ModuleCall, intercepted
from mlx_parity.sides import Side
from mlx_parity.tape import Tape
from parity.pieces import STEPS
from parity.stages import convolutions
from parity.stages.base import Given, Outputs, Sides
from parity.stages.convolutions import Seam, with_others
from parity.stages.flow_pieces import PROMPT_TOKENS, TOKENS, utterance
from parity.stages.incremental_watch import SOURCE, Seen, WholeUtterance, joined, watched
from parity.stages.loop import Loop, phase_floor
from parity.stages.vocoder import noise as source_noise
from parity.stages.vocoder import samples_per_frame
from parity.stages.whole_vocoder import Draws, exactly, vocoded

FRAMES = 2 * TOKENS
#: New tokens of every hop and whether it is the last: the first one ends, after 20 or more, at the border of a chunk of
#: 25 and has its lookahead of 3.
HOPS = [[24, 0], [25, 0], [TOKENS - 49, 1]]
#: Frames of the speech that are computed before the last hop, as three tokens after each must be known.
COMPUTED = 2 * (49 - 3)
#: Tokens of utterances that end before the first hop is full.
SHORT = (0, 1, 4)
#: Names of what is made of a mel, and of an excitation: by the loop's window, and by a causal vocoder of its own state.
F0, WAV = ("f0", convolutions.F0), ("wav", convolutions.WAV)


class Incremental(Loop):
    name = "incremental"
    title = "Incremental decoder"
    details = (*Loop.details, WholeUtterance, Seam)
    needs = ("speech_token", "prompt_token", "prompt_feat", "embedding")
    modes = ("incremental",)
    owners: ClassVar[Mapping[str, str]] = {
        "voice": "incremental.voices",
        "voice_token": "incremental.voices",
        "voice_kept": "incremental.voices",
        "hops": "incremental.hop",
        "short": "incremental.hop",
        "mel": "incremental.hop",
        "mel_full": "incremental.full",
        "full": "incremental.full",
        "f0": "incremental.source_window",
        "source_window": "incremental.source_window",
        "vocoder_window": "incremental.vocoder_window",
        "source": SOURCE,
        "wav": "incremental.held_back",
    }

    def for_isolation(self, given: Given, expected: Outputs) -> tuple[Given, Outputs]:
        """With what is compared within the vocoder."""
        return given, with_others(expected, expected.details.within)

    def suspect(self, output: str) -> str:
        return self.owner(output)[0] if " " in output else super().suspect(output)

    def call(self, side: Side, given: Given) -> Outputs:
        if side.name == "mlx":
            return _streamed(side, given, None)
        flow, hift = side.module
        token, prompt = utterance(given)
        arrays = [side.array(array) for array in (token, *prompt)]
        mel, full = (
            flow.inference(*arrays, streaming=streaming, finalize=True, n_timesteps=STEPS)
            for streaming in (True, False)
        )
        _, spks, _ = flow.encode(*arrays, streaming=True, finalize=True)
        whole, wav = vocoded(side, side.numpy(mel), _draws(hift, given.tape))
        utterance_whole = WholeUtterance(**vars(whole), full=side.numpy(full))
        return _outputs(side, utterance_whole, side.numpy(spks), wav, token, prompt[0])

    def carried(self, name: str, sides: Sides) -> float:
        """Errors of f0 add up in the phase: MLX's may lean to one side where the reference's cancel each other."""
        if name not in ("source", *WAV):
            return 0.0
        (f0,) = (known for known in F0 if known in sides.exact.tensors)
        return phase_floor(name, sides, *(one.tensors.get(f0) for one in (sides.actual, sides.expected, sides.exact)))

    def call_isolated(self, side: Side, given: Given, expected: Outputs) -> Outputs:
        whole: WholeUtterance = expected.details
        if side.name == "mlx":
            return _streamed(side, given, whole)
        precise, wav = exactly(side, whole, _draws(side.module.hift, given.tape))
        made = _outputs(
            side, precise, expected.tensors["voice"], wav, utterance(given)[0], expected.tokens["voice_token"]
        )
        return with_others(made, precise.within)


def _draws(hift: Any, tape: Tape) -> Draws:
    """Of the whole utterance, which is the same in whatever pieces it is computed."""
    return source_noise(hift, tape, FRAMES * samples_per_frame(hift), "incremental")


def _outputs(
    side: Side, whole: WholeUtterance, spks: np.ndarray, wav: np.ndarray, token: np.ndarray, prompt_token: np.ndarray
) -> Outputs:
    samples = 2 * samples_per_frame(side.module.hift)
    return Outputs(
        _tensors(side.module.hift.causal, whole.mel, whole.full[:, :, COMPUTED:], whole.f0, whole.source, spks, wav),
        {
            "voice_token": prompt_token,
            "voice_kept": np.ones((1, 1), np.int64),
            "full": _full(token, {"finalize": True, "n_timesteps": STEPS}),
            "hops": np.array([HOPS]).reshape(1, -1),
            "short": np.array([[min(count, 1), samples * count] for count in SHORT]).reshape(1, -1),
            "source_window": np.ones((1, 1), np.int64),
            "vocoder_window": np.ones((1, 1), np.int64),
        },
        details=whole,
    )


def _tensors(
    causal: bool,
    mel: np.ndarray | None,
    full: np.ndarray,
    f0: np.ndarray | None,
    source: np.ndarray | None,
    spks: np.ndarray,
    wav: np.ndarray,
) -> dict[str, np.ndarray]:
    """What is compared, in data-flow order. `full` is of the last hop, where that is not computed as a chunk."""
    made = {"voice": spks, "mel": mel, "mel_full": full, F0[causal]: f0, "source": source, WAV[causal]: wav}
    return {name: array for name, array in made.items() if array is not None}


def _streamed(side: Side, given: Given, whole: WholeUtterance | None) -> Outputs:
    """The utterance by the MLX package's decoder, after another voice with the same prompt.

    Every state is gone on from twice: with other tokens after the utterance itself has, which must not notice.
    """
    from mlx_cosyvoice.decoding import IncrementalDecoder, decode
    from mlx_cosyvoice.prompt import Prompt

    token, prompt = utterance(given)
    draws = _draws(side.module.hift, given.tape)
    seen = Seen(draws[1])
    rand_ini, sine_noise = map(side.array, (draws[0], np.pad(draws[1], ((0, 0), (0, draws[1].shape[1]), (0, 0)))))

    def noise(samples: int, start: int | None = None) -> tuple[Any, Any]:
        begin = sum(source.shape[2] for source in seen.sources) if start is None else start
        return rand_ini, sine_noise[:, begin : begin + samples]

    def from_start(samples: int, start: int = 0) -> tuple[Any, Any]:
        return noise(samples, start)

    decoder = IncrementalDecoder(*side.module, n_timesteps=STEPS, left_context_chunks=None)
    other, own = (Prompt(*map(side.array, (*prompt[:2], embedding))) for embedding in (-prompt[2], prompt[2]))
    decoder.start(other, noise)
    voice = decoder.start(own, noise).flow
    hift = side.module.hift
    seams = whole.seams if whole else {}
    known: Any = Remembering(decoder)
    stream, wavs, watching = decode(known, own, noise, token[0].tolist()), list[np.ndarray](), None
    while True:
        with watched(side, decoder, seen, whole), convolutions.watched(side, hift, seams, watching) as watching:
            piece = next(stream, None)
        if piece is None:
            break
        wavs.append(np.array(piece))
        state, new = known.last
        decoder.step(replace(state, noise=from_start), new[::-1], final=len(new) < decoder.due(state))
    full, asked = _ended_in_full(side, decoder, known.last, whole)
    short = [_lengths(decoder, own, from_start, token[0, :n]) for n in SHORT]
    mel, f0, source = map(joined, (seen.mels, seen.f0, seen.sources))
    spks, wav = side.numpy(voice.spks), np.concatenate(wavs)[None]
    made = Outputs(
        _tensors(hift.causal, mel, full, f0, source, spks, wav),
        {
            "voice_token": np.array([voice.tokens[:PROMPT_TOKENS]]),
            "voice_kept": _kept(decoder.flow, other, own, voice.nbytes),
            "full": asked,
            "hops": np.array(seen.hops).reshape(1, -1),
            "short": np.array(short).reshape(1, -1),
            **{name: np.array([[int(right)]]) for name, right in seen.aligned.items()},
        },
    )
    return with_others(made, convolutions.outputs(side, hift, watching.seams, watching.followed)) if seams else made


def _kept(flow: Any, other: Any, own: Any, budget: int) -> np.ndarray:
    """Whether it is the voice used last that is kept where there is room for just one, of `budget` bytes."""
    from mlx_cosyvoice.decoding.incremental.prefill import PrefilledVoices

    voices = PrefilledVoices(flow, budget)
    voices.state(other)
    return np.array([[voices.state(own) is voices.state(own)]], np.int64)


def _ended_in_full(
    side: Side, decoder: Any, last: tuple[Any, list[int]], whole: WholeUtterance | None
) -> tuple[np.ndarray, np.ndarray]:
    """The last hop's mel if it is a run over everything, and what the flow was asked for; `whole` answers for it."""
    asked = []

    def flow(call: ModuleCall) -> Any:
        asked.append(_full(side.numpy(call.args[0]), call.kwargs))
        return call.run() if whole is None else side.array(whole.full, channels_first=True)

    with intercepted({"flow": side.module.flow}, flow):
        mel, _ = decoder.flow.step(last[0].flow, last[1], final="full")
    return side.numpy(mel, channels_first=True), asked[0]


def _full(token: np.ndarray, flags: Mapping[str, Any]) -> np.ndarray:
    """What the flow is asked for in such a run."""
    mode = [int(flags.get(name, 0)) for name in ("streaming", "finalize", "n_timesteps")]
    return np.concatenate([token, [mode]], axis=1).astype(np.int64)


class Remembering:
    """A decoder that knows the `last` state that it has gone on from, and with what tokens."""

    def __init__(self, decoder: Any) -> None:
        self.start, self.due, self._step = decoder.start, decoder.due, decoder.step
        self.last: tuple[Any, list[int]]

    def step(self, state: Any, token: list[int], *, final: bool) -> Any:
        self.last = state, token
        return self._step(state, token, final=final)


def _lengths(decoder: Any, prompt: Any, noise: Callable[..., Any], token: np.ndarray) -> tuple[int, int]:
    """How many pieces an utterance is spoken in, and how many samples."""
    from mlx_cosyvoice.decoding import decode

    pieces = [wav.size for wav in decode(decoder, prompt, noise, token.tolist())]
    return len(pieces), sum(pieces)
