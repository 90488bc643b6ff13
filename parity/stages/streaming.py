"""Speech tokens to waveform hop by hop: what is handed to the networks, what is carried on, and what is put out.

The networks themselves have stages of their own. This one compares the loop around them: a free run shows how far
the waveforms are apart, and an isolated run, in which every hop starts from the reference's state and the networks
return what the reference's returned, shows which part of the loop is wrong.

The reference runs a causal vocoder on all frames so far at every hop, and what is new is compared. The port's goes on
from its own state, which is then right, as everything that went into it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlx_parity.intercept import ModuleCall, intercepted
from mlx_parity.sides import Side
from parity.sides import entry
from parity.stages.base import Arrays, Given, Outputs
from parity.stages.loop import Loop
from parity.stages.vocoder import noise as source_noise
from parity.stages.vocoder import samples_per_frame

if TYPE_CHECKING:
    from mlx_cosyvoice.decoding import OfficialState

#: The run's speech tokens are repeated to this many, and of the prompt only this many are used: hops of 38, 50 and 7.
TOKENS, PROMPT_TOKENS, HOPS = 95, 12, 3
#: Frames of a causal vocoder's noise: twice the utterance, so that a wrong loop need not run out of it.
LONGEST = 4 * TOKENS
#: Two Euler steps: what the loop does between the networks does not depend on how fine the mel is.
TIMESTEPS = 2

#: Part of a hop -> the part of the loop that makes it.
PARTS = {
    "flow_token": "streaming.hop",
    "flow_mode": "streaming.hop",
    "vocoder_mel_kept": "streaming.mel_cache",
    "vocoder_mel_new": "streaming.offset",
    "vocoder_source": "streaming.source_cache",
    "vocoder_noise": "streaming.noise",
    "wav_seam": "streaming.cross_fade",
    "wav": "streaming.held_back",
    "mel_cache": "streaming.mel_cache",
    "source_cache": "streaming.source_cache",
    "speech_tail": "streaming.speech_tail",
}


@dataclass(frozen=True)
class Hop:
    """What one hop of either side did; arrays in the official layout.

    Attributes:
        flow: what went into the flow: token, the flags streaming and finalize, and the Euler steps (0: not passed).
        mel: what came out of the flow.
        vocoder: what went into the vocoder: mel and cached source (None if there is none); a causal one: mel and noise.
        made: what came out of the vocoder: wav and source.
        wav: what was put out.
        cache: mel, source and speech that are carried on; empty after the last hop.
    """

    flow: tuple[np.ndarray, bool, bool, int]
    mel: np.ndarray
    vocoder: tuple[np.ndarray, Any]
    made: tuple[np.ndarray, np.ndarray]
    wav: np.ndarray
    cache: tuple[np.ndarray, ...]


@contextmanager
def watched(side: Side, right: list[Hop] | None, hops: list[Hop]) -> Iterator[dict[str, tuple[ModuleCall, Any]]]:
    """Network -> its last call and what that returned; with `right`, what it returned there in the hop after `hops`."""
    seen: dict[str, tuple[ModuleCall, Any]] = {}

    def answer(call: ModuleCall) -> Any:
        if right is None:
            output = call.run()
        elif call.path == "flow":
            output = side.array(right[len(hops)].mel, channels_first=True)
        else:
            made = right[len(hops)].made
            if side.module.hift.causal and side.name == "mlx":
                call.run()  # for its state
                wav, source = _new(made, right[len(hops) - 1].made if hops else None)
                made = wav, source
            output = side.array(made[0]), side.array(made[1], channels_first=True)
        seen[call.path] = call, output
        return output

    with intercepted(side.module._asdict(), answer, entry(side)):
        yield seen


class Streaming(Loop):
    name = "streaming"
    title = "Streaming"
    details = (*Loop.details, Hop)
    needs = ("speech_token", "prompt_token", "prompt_feat", "embedding")
    modes = ("official",)
    owners: ClassVar[Mapping[str, str]] = {
        f"hop{number}.{part}": owner for number in range(1, HOPS + 1) for part, owner in PARTS.items()
    }

    def call(self, side: Side, given: Given) -> Outputs:
        return self._run(side, given, None)

    def call_isolated(self, side: Side, given: Given, expected: Outputs) -> Outputs:
        return self._run(side, given, expected.details)

    @staticmethod
    def _run(side: Side, given: Given, right: list[Hop] | None) -> Outputs:
        """The stream; with `right`, every hop starts from the state that the one before has there."""
        hops: list[Hop] = []
        asked: dict[int, int] = {}

        hift = side.module.hift
        whole = source_noise(hift, given.tape, LONGEST * samples_per_frame(hift), "streaming") if hift.causal else None

        def noise(samples: int, start: int = 0) -> tuple[Any, Any]:
            """Drawn anew for every hop; a causal vocoder's is the same in all of them."""
            asked[len(hops)] = samples
            rand_ini, sine_noise = whole or source_noise(hift, given.tape, samples, "streaming", f"/{len(hops)}")
            return side.array(rand_ini), side.array(sine_noise[:, start : start + samples])

        stream = _reference_stream if side.name == "pytorch" else _model_stream
        with watched(side, right, hops) as seen:
            for wav, *cache in stream(side, _utterance(given), noise, right):
                hops.append(_hop(side, seen, wav, tuple(cache)))
        return outputs(hops, side, whole[1] if whole else None, asked)


def _utterance(inputs: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """token [1, TOKENS], and the prompt's token, mel and embedding."""
    prompt_token = inputs["prompt_token"][:, :PROMPT_TOKENS]
    token = np.resize(inputs["speech_token"].reshape(-1), TOKENS)[None]
    return token, prompt_token, inputs["prompt_feat"][:, : 2 * prompt_token.shape[1]], inputs["embedding"]


def _reference_stream(side: Side, utterance: Any, noise: Any, right: list[Hop] | None) -> Iterator[tuple[Any, ...]]:
    """wav, and the cache's mel, source and speech unless it was the last hop."""
    from reference.streaming import Prompt, stream

    token, *prompt = map(side.array, utterance)
    for piece in stream(side.module.flow, side.module.hift, token, Prompt(*prompt), noise, n_timesteps=TIMESTEPS):
        cache = piece.cache
        kept = () if cache is None or side.module.hift.causal else (cache.mel, cache.source, cache.speech)
        yield piece.wav, *kept


def _model_stream(side: Side, utterance: Any, noise: Any, right: list[Hop] | None) -> Iterator[tuple[Any, ...]]:
    """The same of the MLX package's decoder."""
    from mlx_cosyvoice.decoding import OfficialDecoder
    from mlx_cosyvoice.prompt import Prompt

    tokens, *prompt = utterance[0][0].tolist(), *map(side.array, utterance[1:])
    decoder = OfficialDecoder(*side.module, n_timesteps=TIMESTEPS)
    state, number, final = decoder.start(Prompt(*prompt), noise), 0, False
    while not final:
        if right is not None and number:
            state = _state_after(side, right[number - 1], state)
        position, due = len(state.token), decoder.due(state)
        final = len(tokens) - position < due if right is None else number == len(right) - 1
        new = tokens[position:] if final else tokens[position : position + due]
        wav, state = decoder.step(state, new, final=final)
        tail = state.vocoder
        kept = () if tail is None or side.module.hift.causal else (tail.mel, tail.source, tail.speech[None])
        yield wav[None], *kept
        number += 1


def _state_after(side: Side, hop: Hop, state: OfficialState) -> OfficialState:
    """What the reference carried on after `hop`, for the MLX decoder to start from."""
    from mlx_cosyvoice.decoding import OfficialState, VocoderTail
    from reference.streaming import hops

    tail = state.vocoder
    if not side.module.hift.causal:
        mel, source, speech = hop.cache
        tail = VocoderTail(
            side.array(mel, channels_first=True), side.array(source, channels_first=True), side.array(speech[0])
        )
    spoken = sum(hops(TOKENS, state.prompt.tokens, 3)[: state.hops])
    return OfficialState(state.prompt, state.noise, tuple(hop.flow[0][0].tolist()), spoken, state.hops, tail)


def _hop(side: Side, seen: Mapping[str, tuple[ModuleCall, Any]], wav: Any, cache: tuple[Any, ...]) -> Hop:
    def official(array: Any) -> Any:
        return None if array is None else side.numpy(array, channels_first=True)

    (flow, mel), (hift, made) = seen["flow"], seen["hift"]
    return Hop(
        (side.numpy(flow.args[0]), *(flow.kwargs.get(name, 0) for name in ("streaming", "finalize", "n_timesteps"))),
        official(mel),
        (official(hift.args[0]), _source_or_noise(side, hift)),
        (official(made[0]), official(made[1])),
        official(wav),
        tuple(map(official, cache)),
    )


def _source_or_noise(side: Side, hift: ModuleCall) -> Any:
    if side.module.hift.causal:
        return side.numpy(hift.kwargs["sine_noise"])
    source = hift.kwargs["cache_source"]
    return None if source is None else side.numpy(source, channels_first=True)


def _new(arrays: tuple[np.ndarray, ...], before: tuple[np.ndarray, ...] | None) -> tuple[np.ndarray, ...]:
    """What arrays that end with time have beyond those of the hop before."""
    return arrays if before is None else tuple(a[..., b.shape[-1] :] for a, b in zip(arrays, before, strict=True))


def _causal_parts(side: Side, hop: Hop, before: Hop | None) -> dict[str, np.ndarray]:
    mel, old = hop.vocoder[0], before.vocoder[0] if before else None
    if side.name == "pytorch" and old is not None:
        mel = mel[:, :, old.shape[2] :]
    return {"vocoder_mel_new": mel, "wav": hop.wav}


def _faded_parts(side: Side, hop: Hop, before: Hop | None) -> dict[str, np.ndarray]:
    from reference import streaming as reference

    mel, source = hop.vocoder
    kept, faded = (reference.KEPT_FRAMES, reference.KEPT_SAMPLES) if before else (0, 0)
    parts = {"vocoder_mel_new": mel[:, :, kept:]}
    if before:
        parts["vocoder_mel_kept"] = mel[:, :, :kept]
        parts["vocoder_source"] = np.zeros((1, 1, 0)) if source is None else source
        parts["wav_seam"] = hop.wav[:, :faded]
    parts["wav"] = hop.wav[:, faded:]
    return parts | dict(zip(("mel_cache", "source_cache", "speech_tail"), hop.cache, strict=False))


def _noise_goes_on(side: Side, hops: list[Hop], whole: np.ndarray) -> Iterator[bool]:
    """Whether the noise of each hop is that of the samples whose turn it is: the reference begins anew with the mel."""
    done = 0
    for hop in hops:
        noise = hop.vocoder[1]
        yield np.array_equal(noise, whole[:, done : done + noise.shape[1]].astype(noise.dtype))
        done += noise.shape[1] if side.name == "mlx" else 0


def _noise_fits(side: Side, hops: list[Hop], asked: Mapping[int, int]) -> Iterator[bool]:
    """Whether the noise of each hop is for the samples of the mel that is vocoded."""
    for number, hop in enumerate(hops):
        yield asked.get(number) == hop.vocoder[0].shape[2] * samples_per_frame(side.module.hift)


def outputs(hops: list[Hop], side: Side, whole: np.ndarray | None, asked: Mapping[int, int]) -> Outputs:
    """Everything that is compared, by hop and part, and the hops themselves as details.

    Args:
        hops: of the stream.
        side: that made them.
        whole: the noise that a causal vocoder's is a part of; None for another vocoder's.
        asked: hop, from 0 -> for how many samples that one was given noise.
    """
    result, parts_of = Outputs(details=hops), _faded_parts if whole is None else _causal_parts
    for number, (before, hop) in enumerate(zip([None, *hops], hops, strict=False), start=1):
        token, *mode = hop.flow
        parts = parts_of(side, hop, before)
        result.tensors |= {f"hop{number}.{part}": array for part, array in parts.items()}
        result.tokens[f"hop{number}.flow_token"] = token
        result.tokens[f"hop{number}.flow_mode"] = np.array([mode], np.int64)
    fitting = _noise_fits(side, hops, asked) if whole is None else _noise_goes_on(side, hops, whole)
    for number, right in enumerate(fitting, start=1):
        result.tokens[f"hop{number}.vocoder_noise"] = np.array([[right]], np.int64)
    return result
