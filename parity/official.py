"""`reference/` beside the official code of FunAudioLLM/CosyVoice, stage by stage, on one checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlx_parity import Pipeline, Port
from mlx_parity.findings import RunReport
from mlx_parity.pairing.modules import Pairing
from mlx_parity.sides import Side, side_of
from mlx_parity.stage import Given, Outputs, Sides
from parity.pair import Reference
from parity.stages.flow import CONDITIONS
from parity.stages.flow_pieces import utterance
from parity.stages.loop import phase_floor
from parity.stages.sampler_trials import make_trials
from parity.stages.speaker_encoder import SpeakerEncoder
from parity.stages.speech_tokenizer import SpeechTokenizer
from parity.stages.text import VARIED
from reference import features, streaming
from reference.official import calls
from reference.official.checkout import Checkout
from reference.official.networks import Official
from reference.sampling import RASSampler

#: Rows of log-probabilities from which samplers draw, and special ids in them, of which upstream forbids the first.
ROWS, SPECIAL = 160, 3
#: Text that arrives token by token, the prompt's speech there, and how many tokens come before the speech ends.
ARRIVING, PROMPT, LAST = 12, 20, 90
#: Euler steps of the flow by itself.
STEPS = 4
#: Speech tokens of the utterance that is streamed, in three hops, the Euler steps there, and the speed of the whole.
SPOKEN, FEW, SPEED = 150, 2, 1.25
#: Names in the path of a module that is watched there, at most.
DEPTH = 2
#: Samples of noise that a causal vocoder has, and frames by which its source is shorter where it looks ahead.
LONGEST, AHEAD = 480 * 400, 3

TEXT, WAVES = ("text", "transcript"), ("wave16", "wave24")
TEXTS = ("text_token", "prompt_text_token", "prompt_token")
SPEECH = ("speech_token", "prompt_token", "prompt_feat", "embedding")


class Beside(Port):
    """One stage. Of every module the first two calls are compared."""

    def keep(self, path: str, call: int) -> bool:
        return call < 2


class Networks(Beside):
    """One stage that runs networks of the checkpoint: `ours` gives them in a dtype."""

    def __init__(
        self, name: str, ours: Callable[[str], torch.nn.Module], theirs: Any, call: Any, **options: Any
    ) -> None:
        super().__init__(name, lambda: ours("float32"), theirs, call, **options)
        self._ours = ours

    def reference(self, pair: Any, dtype: str) -> Side:
        if dtype != "float64":
            return super().reference(pair, dtype)
        twins = {path: path for path in self.pairing.modules}
        self._forget("_reference", "_network")  # what has twice the size comes in its place, and not beside it
        return side_of(self._ours(dtype)).paired(twins)


class Loop(Networks):
    """Code around networks. These are watched as wholes, as stages before it look into them.

    What they make where errors add up is judged by what is put out, which knows of the phase.
    """

    def keep(self, path: str, call: int) -> bool:
        return False

    def carried(self, name: str, sides: Sides) -> float:
        """What the phase adds up, in this run of the vocoder and the one before; see `phase_floor`."""
        part, _, number = name.rpartition("_")
        if part != "wav":
            return 0.0
        f0 = [f"f0_{run}" for run in (int(number) - 1, int(number))]
        every = sides.actual, sides.expected, sides.exact
        return max(phase_floor(name, sides, *(one.tensors.get(run) for one in every)) for run in f0)

    @cached_property
    def pairing(self) -> Pairing:
        found = super().pairing
        return replace(
            found, modules={path: twin for path, twin in found.modules.items() if len(path.split(".")) <= DEPTH}
        )


class Asked(torch.nn.Module):
    """What is no network: `ask` is a function."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        super().__init__()
        self.ask = ask


def _is_official(module: Any) -> bool:
    return any(cls.__module__.startswith("cosyvoice.") for cls in type(module).__mro__)


def _called(side: Side, name: str, *arguments: Any, **options: Any) -> Any:
    """A method of the reference's network, or what calls the official one in its way."""
    if _is_official(side.module):
        return getattr(calls, name)(side.module, *arguments, **options)
    return getattr(side.module, name)(*arguments, **options)


def _texts(side: Side, given: Given) -> dict[str, np.ndarray]:
    texts = (given["text"], given["transcript"], *VARIED)
    return {f"text_{number}": np.array([side.module.ask(text)]) for number, text in enumerate(texts)}


def _features(side: Side, given: Given) -> dict[str, torch.Tensor]:
    log_mel, mel = side.module.ask(*(side.array(given[name]) for name in WAVES))
    return {"log_mel": log_mel[None], "prompt_feat": mel.mT[None]}


def _by_onnx(stage: Any, side: Side, given: Given) -> Outputs:
    """The reference's network as `stage` runs it, or ONNX Runtime, which says less of what it does."""
    made: Outputs = side.module.ask(given) if isinstance(side.module, Asked) else stage.call(side, given)
    return Outputs({} if made.tokens else made.tensors, made.tokens, made.margins)


def _said(side: Side, given: Given, name: str, *texts: Any, end: int | None = None, **options: Any) -> Outputs:
    """Tokens that nobody drew, then `end` as soon as it may come; and what the model was asked at every step."""
    walk = (6561 * given.tape.uniform("walk", (LAST,))).astype(np.int64).tolist()
    rows, forbidden = list[np.ndarray](), list[bool]()

    def follow(row: torch.Tensor, decoded: list[int], ignore_eos: bool) -> int:
        rows.append(side.numpy(row))
        forbidden.append(ignore_eos)
        ended = end is not None and not ignore_eos and len(decoded) >= LAST
        return end if ended else walk[len(decoded) % LAST]  # type: ignore[return-value]

    token = np.array([list(_called(side, name, *texts, follow, **options))])
    asked = np.array([forbidden], np.int64)
    return Outputs({"log_probs": np.stack(rows)[None]}, {"speech_token": token, "end_forbidden": asked})


def _speech(side: Side, given: Given, *, arriving: bool) -> Outputs:
    """A token for each of the text, in the first half of which it must not end; or the same of text that arrives."""
    text, prompt_text, speech = (side.plain(given[name]) for name in TEXTS)
    if not arriving:
        ratios: dict[str, Any] = {"min_token_text_ratio": 0.5, "max_token_text_ratio": 1}
        return _said(side, given, "generate", text, prompt_text, speech, **ratios)
    texts, options = (
        (text[:, :ARRIVING].split(1, 1), prompt_text, speech[:, :PROMPT]),
        {"instruction": given["opening"]},
    )
    return _said(side, given, "generate_bistream", *texts, end=side.module.eos_token, **options)


def _sampled(side: Side, given: Given) -> dict[str, np.ndarray]:
    def make(uniforms: Iterator[float]) -> Any:
        draw = side.module.ask(uniforms)
        return lambda row, *asked: draw(torch.from_numpy(row), *asked)

    return {"sampler": make_trials(given.tape, ROWS, SPECIAL).tokens(make)[None]}


def _conditions(side: Side, given: Given, *, hop: bool) -> dict[str, torch.Tensor]:
    token, prompt = utterance(given)
    made = _called(side, "encode", *map(side.array, (token, *prompt)), streaming=hop, finalize=not hop)
    return dict(zip(CONDITIONS, made, strict=True))


def _mel(side: Side, given: Given, *, hop: bool) -> dict[str, torch.Tensor]:
    arrays = (side.array(given[name]) for name in CONDITIONS)
    return {"mel": _called(side, "decoder", *arrays, n_timesteps=STEPS, streaming=hop)}


def _draws(side: Side, given: Given, causal: bool) -> streaming.Draw:
    """The vocoder's random numbers, run by run; a causal one's are the same in all of them."""
    runs = list[str]()

    def draw(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        runs.append(f"noise/{0 if causal else len(runs)}")
        noise = given.tape.uniform if causal else given.tape.normal
        drawn = noise(runs[-1], (1, LONGEST, 9))[:, :samples]
        return side.array(given.tape.uniform(f"rand_ini/{runs[-1]}", (1, 9))), side.array(drawn)

    return draw


def _wave(side: Side, given: Given, *, causal: bool, hop: bool) -> dict[str, torch.Tensor]:
    """The end of speech; or a hop, in which a causal vocoder looks ahead, and another goes on from a source."""
    mel, options = side.array(given["mel"]), dict[str, Any]()
    if hop:
        options = {"finalize": False} if causal else {"cache_source": side.array(given["source"][:, :, :3840] / 2)}
    rand_ini, noise = _draws(side, given, causal)(480 * (mel.shape[2] - (AHEAD if hop and causal else 0)))
    wav, source = _called(side, "inference", mel, rand_ini=rand_ini, sine_noise=noise, **options)
    return {"wav": wav, "source": source}


def _spoken(side: Side, given: Given, *, causal: bool, model: Any, hop: bool) -> dict[str, torch.Tensor]:
    """By the loop around flow and vocoder: in hops, or at once and faster."""
    networks, prompt = (side.module["flow"], side.module["hift"]), map(side.array, utterance(given)[1])
    token = side.array(np.resize(given["speech_token"], (1, SPOKEN)))
    spoken = *networks, token, streaming.Prompt(*prompt), _draws(side, given, causal)
    f0 = list[torch.Tensor]()
    with networks[1].f0_predictor.register_forward_hook(lambda _, __, made: f0.append(made)):
        if _is_official(networks[0]):
            wavs = calls.spoken(model, *spoken, stream=hop, speed=1.0 if hop else SPEED, n_timesteps=FEW)
        elif hop:
            wavs = [piece.wav for piece in streaming.stream(*spoken, n_timesteps=FEW)]
        else:
            wavs = [streaming.offline(*spoken, speed=SPEED, n_timesteps=FEW)]
    return {f"{part}_{at}": array for part, made in (("f0", f0), ("wav", wavs)) for at, array in enumerate(made)}


def stages_of(reference: Reference, official: Official) -> list[Port]:
    """In data-flow order. What comes after speech tokens is compared at once and as speech is streamed."""
    ours, theirs = reference.component, official.network
    fmax, causal = reference.family.mel_fmax, reference.family.source_noise is not None

    def both(make: Callable[[str], torch.nn.Module]) -> torch.nn.Module:
        return torch.nn.ModuleDict({part: make(part) for part in ("flow", "hift")})

    def mels(wave16: torch.Tensor, wave24: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return features.log_mel_spectrogram(wave16), features.mel_spectrogram(wave24, fmax)

    def onnx(stage: Any, need: str, give: str) -> Port:
        their = Asked(partial(stage.asked, reference.files.weights(stage.component)))
        call, our = partial(_by_onnx, stage), partial(ours, stage.component)
        return Networks(stage.name, our, their, call, needs=(need,), gives=(give,))

    def network(
        name: str, part: str, call: Any, needs: Sequence[str], gives: Sequence[str] = (), **options: Any
    ) -> Port:
        sides = partial(ours, part), (lambda: theirs(part))
        return Networks(name, *sides, partial(call, **options), needs=needs, gives=gives)

    def functions(name: str, our: Any, their: Any, call: Any, needs: Sequence[str], gives: Sequence[str] = ()) -> Port:
        return Beside(name, lambda: Asked(our), lambda: Asked(their), call, needs=needs, gives=gives)

    found = [
        functions(
            "text_tokenizer", lambda text: ours("text_tokenizer", "float32").encode(text), official.encode, _texts, TEXT
        ),
        functions("audio_features", mels, official.features, _features, WAVES, ("log_mel", "prompt_feat")),
        onnx(SpeechTokenizer(), "log_mel", "prompt_token"),
        onnx(SpeakerEncoder(), "fbank", "embedding"),
        network("llm", "llm", _speech, TEXTS, ("speech_token",), arriving=False),
        network("llm_arriving_text", "llm", _speech, (*TEXTS, "opening"), arriving=True),
        functions(
            "sampler",
            lambda uniforms: RASSampler(reference.config["llm"]["sampling"], uniforms, -SPECIAL),
            lambda uniforms: calls.sampler(theirs("llm"), uniforms, -SPECIAL),
            _sampled,
            (),
        ),
    ]
    loop = (lambda dtype: both(partial(ours, dtype=dtype))), (lambda: both(theirs))
    for mode, hop in (("", False), ("_streaming", True)):
        spoken = partial(_spoken, causal=causal, model=official.named("model"), hop=hop)
        found += [
            network(f"flow_encoder{mode}", "flow", _conditions, SPEECH, CONDITIONS, hop=hop),
            network(f"flow_decoder{mode}", "flow", _mel, CONDITIONS, ("mel",), hop=hop),
            network(f"vocoder{mode}", "hift", _wave, ("mel", "source")[: 1 + hop], ("source",), causal=causal, hop=hop),
            Loop("streaming" if hop else "offline", *loop, spoken, needs=SPEECH),
        ]
    return found


def compare(
    checkout: Checkout,
    checkpoint: Path,
    inputs: Mapping[str, Any],
    stages: Collection[str] | None = None,
    **options: Any,
) -> RunReport:
    """Hold `reference/` against the official networks, which are the port.

    Args:
        checkout: of the official code.
        checkpoint: the official folder, of either family.
        inputs: as of `parity.run.run`.
        stages: names; None for all.
        options: of `Pipeline.run`.

    Raises:
        ValueError: a stage that does not exist, or what a checkpoint or an environment lacks.
    """
    reference = Reference(checkpoint)
    pipeline = Pipeline(stages_of(reference, Official(checkout, reference.family, reference.files.paths)))
    names = [stage.name for stage in pipeline.stages]
    unknown = sorted({*(stages or ())} - {*names})
    if unknown:
        raise ValueError(f"no such stage: {', '.join(unknown)}; there are: {', '.join(names)}")
    return pipeline.run(_given(reference, inputs), stages=stages, **options)


def _given(reference: Reference, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """With what is read and not compared: ids in the order of the language model, and upstream's filter bank."""
    encode, reads = reference.component("text_tokenizer", "float32").encode, reference.family.reads
    assert reads is not None
    read = reads("zero_shot", inputs["text"], inputs["transcript"], "", encode)
    words = len(read.text) - len(encode(inputs["text"]))
    fbank = features.mean_normalize(features.kaldi_fbank(torch.from_numpy(inputs["wave16"])))
    ids = {"prompt_text_token": np.array([read.text[:words]]), "text_token": np.array([read.text[words:]])}
    return {**inputs, **ids, "opening": read.opening, "fbank": fbank[None].numpy()}
