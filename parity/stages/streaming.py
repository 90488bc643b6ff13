"""Speech tokens to waveform hop by hop: what is handed to the networks, what is carried on, and what is given out.

The networks themselves have stages of their own. This one compares the loop around them: a free run shows how far
the waveforms are apart, and an isolated run, in which every hop starts from the reference's state and the networks
return what the reference's returned, shows which part of the loop is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import mlx.core as mx
import numpy as np
import torch

from mlx_cosyvoice.decoding import FlowPrompt, OfficialDecoder, OfficialState, VocoderTail
from parity.pair import DTYPES, Pair
from parity.stages.base import Arrays, Outputs, Settings, Stage, tensor
from parity.tape import Tape
from reference import streaming as reference

#: The run's speech tokens are repeated to this many, and of the prompt this many are taken: hops of 38, 50 and 7.
TOKENS, PROMPT_TOKENS, HOPS = 95, 12, 3
#: Two Euler steps: what the loop does between the networks does not depend on how fine the mel is.
TIMESTEPS = 2
SAMPLES_PER_FRAME, SINES = 480, 9

#: Part of a hop -> the part of the loop that makes it.
PARTS = {
    "flow_token": "streaming.hop",
    "flow_mode": "streaming.hop",
    "vocoder_mel_kept": "streaming.mel_cache",
    "vocoder_mel_new": "streaming.offset",
    "vocoder_source": "streaming.source_cache",
    "wav_seam": "streaming.cross_fade",
    "wav": "streaming.held_back",
    "mel_cache": "streaming.mel_cache",
    "source_cache": "streaming.source_cache",
    "speech_tail": "streaming.speech_tail",
}


class Networks(NamedTuple):
    """The two components that the loop runs."""

    flow: Any
    hift: Any


@dataclass(frozen=True)
class Hop:
    """What one hop of either side did; arrays in the official layout.

    Attributes:
        flow: what went into the flow: token, and the flags streaming and finalize.
        mel: what came out of the flow.
        vocoder: what went into the vocoder: mel and cached source (None if there is none).
        made: what came out of the vocoder: wav and source.
        wav: what was given out.
        cache: mel, source and speech that are carried on; empty after the last hop.
    """

    flow: tuple[np.ndarray, bool, bool]
    mel: np.ndarray
    vocoder: tuple[np.ndarray, np.ndarray | None]
    made: tuple[np.ndarray, np.ndarray]
    wav: np.ndarray
    cache: tuple[np.ndarray, ...]


class Spy:
    """Stands in for a network: notes what goes in and comes out, and may return something else instead."""

    def __init__(self, network: Any, instead: Callable[[], Any] | None = None) -> None:
        self._network, self._instead = network, instead
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._noted(self._network, args, kwargs)

    def inference(self, *args: Any, **kwargs: Any) -> Any:
        return self._noted(lambda *args, **kwargs: self._network.inference(*args, **kwargs), args, kwargs)

    def _noted(self, network: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = network(*args, **kwargs) if self._instead is None else self._instead()
        self.calls.append((args, kwargs, output))
        return output


def _first(array: mx.array) -> np.ndarray:
    """Channels-last MLX to channels-first NumPy."""
    result = np.array(array.astype(mx.float32))
    return result.transpose(0, 2, 1) if result.ndim == 3 else result


def _last(array: np.ndarray) -> mx.array:
    """And back, in float32."""
    result = np.asarray(array, np.float32)
    return mx.array(result.transpose(0, 2, 1) if result.ndim == 3 else result)


class Streaming(Stage):
    name = "streaming"
    title = "Streaming"
    needs = ("speech_token", "prompt_token", "prompt_feat", "embedding")
    streaming_only = True
    owners: ClassVar[Mapping[str, str]] = {
        f"hop{number}.{part}": owner for number in range(1, HOPS + 1) for part, owner in PARTS.items()
    }

    def reference_module(self, pair: Pair, dtype: torch.dtype) -> Networks:
        exact = dtype == torch.float64
        return Networks(
            *(pair.reference.component(name, dtype if exact else DTYPES[pair.dtype(name)]) for name in Networks._fields)
        )

    def model_module(self, pair: Pair) -> Networks:
        return Networks(pair.model.flow, pair.model.hift)

    @staticmethod
    def _given(given: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """token [1, TOKENS], and the prompt's token, mel and embedding."""
        prompt_token = given["prompt_token"][:, :PROMPT_TOKENS]
        token = np.resize(given["speech_token"].reshape(-1), TOKENS)[None]
        return token, prompt_token, given["prompt_feat"][:, : 2 * prompt_token.shape[1]], given["embedding"]

    @staticmethod
    def _draws(tape: Tape, number: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the vocoder's run in hop `number`."""
        rand_ini = tape.uniform(f"streaming/rand_ini/{number}", (1, SINES))
        return rand_ini, tape.normal(f"streaming/sine_noise/{number}", (1, samples, SINES))

    def run_reference(self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype) -> Outputs:
        return self._run_reference(Spy(module.flow), Spy(module.hift), given, tape)

    def exact_isolated(self, pair: Pair, given: Arrays, tape: Tape, settings: Settings, expected: Outputs) -> Outputs:
        hops = iter(expected.details), iter(expected.details)

        def vocoded() -> tuple[torch.Tensor, ...]:
            return tuple(map(tensor, next(hops[1]).made))

        flow = Spy(pair.reference.config.flow, lambda: tensor(next(hops[0]).mel))
        return self._run_reference(flow, Spy(None, vocoded), given, tape)

    def _run_reference(self, flow: Spy, hift: Spy, given: Arrays, tape: Tape) -> Outputs:
        token, prompt_token, feat, embedding = map(tensor, self._given(given))

        def draw(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
            rand_ini, sine_noise = self._draws(tape, len(hift.calls), samples)
            return tensor(rand_ini), tensor(sine_noise)

        prompt = reference.Prompt(prompt_token, feat, embedding)
        pieces = list(reference.stream(flow, hift, token, prompt, draw, n_timesteps=TIMESTEPS))  # type: ignore[arg-type]
        hops = []
        for piece, into_flow, into_hift in zip(pieces, flow.calls, hift.calls, strict=True):
            source, cache = into_hift[1]["cache_source"], piece.cache
            hops.append(
                Hop(
                    (into_flow[0][0].numpy(), into_flow[1]["streaming"], into_flow[1]["finalize"]),
                    _numpy(into_flow[2]),
                    (_numpy(into_hift[0][0]), None if source is None else _numpy(source)),
                    (_numpy(into_hift[2][0]), _numpy(into_hift[2][1])),
                    _numpy(piece.wav),
                    () if cache is None else tuple(map(_numpy, (cache.mel, cache.source, cache.speech))),
                )
            )
        return outputs(hops)

    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> Outputs:
        return self._run_model(module, given, tape, None)

    def run_isolated(self, module: Any, given: Arrays, tape: Tape, settings: Settings, expected: Outputs) -> Outputs:
        return self._run_model(module, given, tape, expected.details)

    def _run_model(self, module: Any, given: Arrays, tape: Tape, fed: list[Hop] | None) -> Outputs:
        token, *prompt = self._given(given)
        tokens = token[0].tolist()
        hops: list[Hop] = []

        def noise(samples: int) -> tuple[mx.array, mx.array]:
            rand_ini, sine_noise = self._draws(tape, len(hops), samples)
            return mx.array(rand_ini), mx.array(sine_noise)

        state = OfficialState(FlowPrompt(*map(mx.array, prompt)), noise)
        while not state.ended and (fed is None or len(hops) < len(fed)):
            flow, hift = Spy(module.flow), Spy(module.hift)
            if fed is not None:
                hop = fed[len(hops)]
                flow = Spy(module.flow, lambda mel=hop.mel: _last(mel))  # type: ignore[misc]
                made = mx.array(np.asarray(hop.made[0], np.float32)), _last(hop.made[1])
                hift = Spy(module.hift, lambda made=made: made)  # type: ignore[misc]
                if hops:
                    state = self._state_of(fed[len(hops) - 1], state)
            decoder = OfficialDecoder(flow, hift, n_timesteps=TIMESTEPS)  # type: ignore[arg-type]
            position, due = len(state.token), decoder.due(state)
            final = len(tokens) - position < due if fed is None else len(hops) == len(fed) - 1
            new = tokens[position:] if final else tokens[position : position + due]
            wav, state = decoder.step(state, new, final=final)
            hops.append(self._hop(flow, hift, wav, state.tail))
        return outputs(hops)

    @staticmethod
    def _state_of(before: Hop, state: OfficialState) -> OfficialState:
        """The reference's state after the hop `before`, for the decoder to go on from."""
        heard = tuple(before.flow[0][0].tolist())
        mel, source, speech = before.cache
        tail = VocoderTail(_last(mel), _last(source), mx.array(np.asarray(speech[0], np.float32)))
        spoken = sum(reference.hops(TOKENS, state.prompt.tokens, 3)[: state.hops])
        return OfficialState(state.prompt, state.noise, heard, spoken, state.hops, tail)

    @staticmethod
    def _hop(flow: Spy, hift: Spy, wav: mx.array, tail: VocoderTail | None) -> Hop:
        (token, *_), how, mel = flow.calls[-1]
        (into_vocoder,), cached, made = hift.calls[-1]
        source = cached["cache_source"]
        cache = () if tail is None else (_first(tail.mel), _first(tail.source), np.array(tail.speech)[None])
        return Hop(
            (np.array(token), how["streaming"], how["finalize"]),
            _first(mel),
            (_first(into_vocoder), None if source is None else _first(source)),
            (np.array(made[0]), _first(made[1])),
            np.array(wav)[None],
            cache,
        )


def _numpy(value: torch.Tensor) -> np.ndarray:
    return value.to(torch.float64).numpy()


def outputs(hops: list[Hop]) -> Outputs:
    """Everything that is compared, by hop and part, and the hops themselves as details."""
    result = Outputs(details=hops)
    for number, hop in enumerate(hops, start=1):
        token, streaming, finalize = hop.flow
        mel, source = hop.vocoder
        kept = reference.KEPT_FRAMES if number > 1 else 0
        parts = {"vocoder_mel_new": mel[:, :, kept:]}
        if number > 1:
            parts["vocoder_mel_kept"] = mel[:, :, :kept]
            parts["vocoder_source"] = np.zeros((1, 1, 0)) if source is None else source
            parts["wav_seam"] = hop.wav[:, : reference.KEPT_SAMPLES]
        parts["wav"] = hop.wav[:, kept * SAMPLES_PER_FRAME :]
        parts |= dict(zip(("mel_cache", "source_cache", "speech_tail"), hop.cache, strict=False))
        result.tensors |= {f"hop{number}.{part}": array for part, array in parts.items()}
        result.tokens[f"hop{number}.flow_token"] = token
        result.tokens[f"hop{number}.flow_mode"] = np.array([[streaming, finalize]], np.int64)
    return result
