"""What a family of models consists of, as values: loading, conversion and parity read them, and none asks which it is.

Everything here is cheap to import: a network is named, and its module imported when it is first built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from importlib import import_module
from math import prod
from typing import Any


def value_at(config: Any, path: str) -> int:
    """A number of the configuration, `path` being fields and places in lists; of a list, how many items it has."""
    value: Any = reduce(
        lambda inner, name: inner[int(name)] if name.isdecimal() else getattr(inner, name), path.split("."), config
    )
    return len(value) if isinstance(value, tuple) else int(value)


def imported(name: str) -> Any:
    """What "module:attribute" names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


@dataclass(frozen=True)
class Layers:
    """Numbered layers that the sizes make.

    Attributes:
        field: path of the field that counts them.
        prefix: what stands before their numbers in the component's keys.
        times: path of another field, where each item of `field` makes as many layers as that counts.
    """

    field: str
    prefix: str
    times: str = ""

    def claimed(self, config: Any) -> int:
        """How many the sizes make."""
        return prod(value_at(config, path) for path in (self.field, self.times) if path)

    def held(self, keys: Iterable[str], root: str = "") -> int:
        """How many there are among `keys`, which begin with `root`."""
        start = root + self.prefix
        return len({key[len(start) :].split(".", 1)[0] for key in keys if key.startswith(start)})


@dataclass(frozen=True)
class SpeechIds:
    """The ids that follow those of the speech tokens, counted from the first of them. Each ends a plain decode.

    Attributes:
        count: how many there are.
        end: the one that says so, which may be forbidden.
        fill: the one that asks for more text while text arrives.
    """

    count: int
    end: int
    fill: int

    @property
    def as_upstream_forbids(self) -> SpeechIds:
        """For a sampler that forbids the very first of them, as upstream does, whatever that one means."""
        return replace(self, end=0)


@dataclass(frozen=True)
class FramingSpeechIds(SpeechIds):
    """Ids of speech among which are those that stand around the text.

    Attributes:
        sos: begins the sequence.
        task: ends the text.
    """

    sos: int
    task: int


@dataclass(frozen=True)
class Silence:
    """Speech tokens of silence and breath, and how many in a row are made audio of.

    Attributes:
        tokens: which they are.
        most: of those in a row that follow so many, none is passed on.
    """

    tokens: frozenset[int] = frozenset()
    most: int = 5


@dataclass(frozen=True)
class Component:
    """A network of a model.

    Attributes:
        name: officially; the field of its sizes in the family's configuration, and what its weights' paths begin with.
        network: "module:class" of the MLX network, built from those sizes.
        file: its weights in an official checkpoint.
        settings: what the class is called with besides.
        float32: whether it stays float32 in a model of half precision unless somebody asks for less.
        float32_tensors: paths of those that are float32 in every model, or of modules of which all are.
        not_quantized: why it must not be; "" if it may.
        layers: what the sizes and the weights must agree on before anything is built.
        equal: paths of fields that must be equal, or lists of the same length. Of a pair that another component has a
            part in only where that is there too; so below.
        multiples: paths of fields of which the first must be a multiple of the second.
        at_most: paths of fields of which the first must not be larger than the second.
        check: raises `FieldError` for sizes that fit no other rule.
    """

    name: str
    network: str
    file: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    float32: bool = False
    float32_tensors: tuple[str, ...] = ()
    not_quantized: str = ""
    layers: tuple[Layers, ...] = ()
    equal: tuple[tuple[str, str], ...] = ()
    multiples: tuple[tuple[str, str], ...] = ()
    at_most: tuple[tuple[str, str], ...] = ()
    check: Callable[[Any], None] = field(default=lambda config: None)

    def always_float32(self, path: str) -> bool:
        """Whether the tensor of that path is float32 in every model."""
        return any(path == exact or path.startswith(f"{exact}.") for exact in self.float32_tensors)

    def build(self, config: Any) -> Any:
        """The network for a configuration of the family, without weights.

        Raises:
            ValueError: sizes that contradict each other.
        """
        return imported(self.network)(getattr(config, self.name), **self.settings)


@dataclass(frozen=True)
class MelSettings:
    """The mel spectrogram that the flow continues and the vocoder speaks, as `feat_extractor` of the YAML names it.

    Attributes:
        n_fft: samples of a transform, and of its window.
        num_mels: bands.
        sampling_rate: in Hz.
        hop_size: samples from one frame to the next.
        fmin: lower end of the lowest band, in Hz.
        fmax: upper end of the highest one; None is half the sampling rate.
    """

    n_fft: int
    num_mels: int
    sampling_rate: int
    hop_size: int
    fmin: float
    fmax: float | None


@dataclass(frozen=True)
class Family:
    """Models that differ in their weights and sizes only.

    Attributes:
        model_type: its name in config.json.
        title: its name for people.
        yaml: the file that describes the network in an official checkpoint; what else that was called.
        config: dataclass of all sizes, each component's in the field of its name.
        components: what a whole model has, in the order in which they are stored.
        special_tokens: what is added to the text tokenizer, in the official order: the ids follow from it.
        mel: the features of the flow and the vocoder.
        model_input: "module:function" that puts voice, mode and instruction in front of the text, as
            `mlx_cosyvoice.speech.modes.model_input` does.
        source_noise: "module:function" that draws for the vocoder, as `mlx_cosyvoice.speech.randomness.source_noise`.
        system_prompt: what the language model reads before everything else, "" for nothing; people do not type it.
        silence: what is cut short between the language model and the flow.
    """

    model_type: str
    title: str
    yaml: tuple[str, ...]
    config: type
    components: tuple[Component, ...]
    special_tokens: tuple[str, ...]
    mel: MelSettings
    model_input: str
    source_noise: str = "mlx_cosyvoice.speech.randomness:source_noise"
    system_prompt: str = ""
    silence: Silence = Silence()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all components."""
        return tuple(component.name for component in self.components)

    def __getitem__(self, name: str) -> Component:
        return next(component for component in self.components if component.name == name)

    def parts(self, names: Iterable[str]) -> list[Component]:
        """The components of these names, in their usual order."""
        names = set(names)
        return [component for component in self.components if component.name in names]
