"""Speech tokens to waveform hop by hop: what is handed to the networks, what is carried on, and what is put out.

The networks themselves have stages of their own. This one compares the loop around them: a free run shows how far
the waveforms are apart, and an isolated run, in which every hop starts from the reference's state and the networks
return what the reference's returned, shows which part of the loop is wrong.

The reference runs a causal vocoder on all frames so far at every hop, and what is new is compared. The port's goes on
from its own state: the isolated run lets it, with the reference's F0 and excitation in place of its own, and compares
what it makes of all frames with what the reference does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlx_parity.intercept import ModuleCall, intercepted
from mlx_parity.sides import Side
from parity.sides import entry
from parity.stages.base import Arrays, Given, Outputs, Sides
from parity.stages.convolutions import Seam, with_others
from parity.stages.incremental_watch import SOURCE
from parity.stages.loop import Loop, phase_floor
from parity.stages.streaming_causal import Followed, followed, within
from parity.stages.streaming_hops import OF_PHASE, PARTS, Hop, Stream, new_of, outputs
from parity.stages.vocoder import noise as source_noise
from parity.stages.vocoder import samples_per_frame
from parity.stages.whole_vocoder import Draws, Whole, exactly, vocoded

if TYPE_CHECKING:
    from mlx_cosyvoice.decoding import OfficialState

#: The run's speech tokens are repeated to this many, and of the prompt only this many are used: hops of 38, 50 and 7.
TOKENS, PROMPT_TOKENS, HOPS = 95, 12, 3
#: Frames of a causal vocoder's noise: twice the utterance, so that a wrong loop need not run out of it.
LONGEST = 4 * TOKENS
#: Two Euler steps: what the loop does between the networks does not depend on how fine the mel is.
TIMESTEPS = 2


@contextmanager
def watched(
    side: Side, right: list[Hop] | None, hops: list[Hop], following: Followed | None
) -> Iterator[dict[str, tuple[ModuleCall, Any]]]:
    """Network -> its last call and what that returned; with `right`, what it returned there in the hop after `hops`.

    A causal vocoder of the port, `following` which we are, is then run nevertheless.
    """
    seen: dict[str, tuple[ModuleCall, Any]] = {}

    def answer(call: ModuleCall) -> Any:
        hop, before = (right[len(hops)], right[len(hops) - 1] if hops else None) if right else (None, None)
        by_itself = following.run(call, before, hop) if following and call.path == "hift" else None
        if hop is None:
            output = by_itself or call.run()
        elif call.path == "flow":
            output = side.array(hop.mel, channels_first=True)
        else:
            wav, source = new_of(hop.made, before.made if before and by_itself else None)
            made = wav, source
            output = side.array(made[0]), side.array(made[1], channels_first=True)
        seen[call.path] = call, output
        return output

    def noted(call: ModuleCall) -> Any:
        seen["f0"] = call, call.run()
        return seen["f0"][1]

    hift = side.module.hift
    predictor = {} if hift.causal else {"f0": hift.f0_predictor}
    with intercepted(side.module._asdict(), answer, entry(side)), intercepted(predictor, noted):
        yield seen


class Streaming(Loop):
    name = "streaming"
    title = "Streaming"
    details = (*Loop.details, Hop, Stream, Whole, Seam)
    needs = ("speech_token", "prompt_token", "prompt_feat", "embedding")
    modes = ("official",)
    owners: ClassVar[Mapping[str, str]] = {
        f"hop{number}.{part}": owner for number in range(1, HOPS + 1) for part, owner in PARTS.items()
    } | {"source": SOURCE}

    def for_isolation(self, given: Given, expected: Outputs) -> tuple[Given, Outputs]:
        """With what is compared of a causal vocoder, which is not answered for then."""
        stream: Stream = expected.details
        if stream.whole is None:
            return given, expected
        return given, with_others(expected, within(stream.whole, stream.wav))

    def carried(self, name: str, sides: Sides) -> float:
        """What the phase adds up; see `phase_floor`."""
        hop, _, part = name.partition(".")
        if part not in OF_PHASE:
            return 0.0
        number, every = int(hop.removeprefix("hop")), (sides.actual, sides.expected, sides.exact)
        streams: list[list[Hop]] = [one.details.hops if one.details else [] for one in every]
        known = [[stream[at].f0 if at < len(stream) else None for stream in streams] for at in range(number)]
        return max(phase_floor(name, sides, *f0) for f0 in known[-2:])

    def call(self, side: Side, given: Given) -> Outputs:
        return self._run(side, given, None)

    def call_isolated(self, side: Side, given: Given, expected: Outputs) -> Outputs:
        return self._run(side, given, expected.details)

    @staticmethod
    def _run(side: Side, given: Given, right: Stream | None) -> Outputs:
        """The stream; with `right`, every hop starts from the state that the one before has there."""
        answers = right.hops if right else None
        hops: list[Hop] = []
        asked: dict[int, int] = {}

        hift = side.module.hift
        whole = source_noise(hift, given.tape, LONGEST * samples_per_frame(hift), "streaming") if hift.causal else None

        def noise(samples: int, start: int = 0) -> tuple[Any, Any]:
            """Drawn anew for every hop; a causal vocoder's is the same in all of them."""
            asked[len(hops)] = samples
            rand_ini, sine_noise = whole or source_noise(hift, given.tape, samples, "streaming", f"/{len(hops)}")
            return side.array(rand_ini), side.array(sine_noise[:, start : start + samples])

        reference = side.name == "pytorch"
        stream = _reference_stream if reference else _model_stream
        with ExitStack() as stack:
            following = None
            if whole is not None and not reference:
                following = stack.enter_context(followed(side, whole, right.whole if right else None))
            seen = stack.enter_context(watched(side, answers, hops, following))
            for wav, *cache in stream(side, _utterance(given), noise, answers):
                hops.append(_hop(side, seen, wav, tuple(cache)))
        goes_on = following.goes_on if following else [True] * len(hops)
        made = outputs(hops, side, whole[1] if whole else None, asked, goes_on, answers)
        if following is not None:
            made.details = Stream(hops).following(following.f0, samples_per_frame(hift))
            return with_others(made, following.outputs()) if right else made
        return made if whole is None else _with_whole(side, made, whole, right)


def _with_whole(side: Side, made: Outputs, noise: Draws, right: Stream | None) -> Outputs:
    """With what the reference's causal vocoder makes of all frames at once, of its own and where it is isolated."""
    hops = made.details.hops
    mel = hops[-1].vocoder[0]
    draws = noise[0], noise[1][:, : mel.shape[2] * samples_per_frame(side.module.hift)]
    if right is not None and right.whole is not None:
        return with_others(made, within(*exactly(side, right.whole, draws)))
    whole, _ = vocoded(side, mel, draws)
    made.details = replace(Stream(hops).following(whole.f0, samples_per_frame(side.module.hift)), whole=whole)
    return made


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


def _hop(side: Side, seen: dict[str, tuple[ModuleCall, Any]], wav: Any, cache: tuple[Any, ...]) -> Hop:
    def official(array: Any) -> Any:
        return None if array is None else side.numpy(array, channels_first=True)

    (flow, mel), (hift, made) = seen["flow"], seen["hift"]
    f0 = side.numpy(seen.pop("f0")[1]) if "f0" in seen else None
    return Hop(
        (side.numpy(flow.args[0]), *(flow.kwargs.get(name, 0) for name in ("streaming", "finalize", "n_timesteps"))),
        official(mel),
        (official(hift.args[0]), _source_or_noise(side, hift)),
        (official(made[0]), official(made[1])),
        official(wav),
        tuple(map(official, cache)),
        f0,
        bool(hift.kwargs.get("finalize", True)),
    )


def _source_or_noise(side: Side, hift: ModuleCall) -> Any:
    if side.module.hift.causal:
        return side.numpy(hift.kwargs["sine_noise"])
    source = hift.kwargs["cache_source"]
    return None if source is None else side.numpy(source, channels_first=True)
