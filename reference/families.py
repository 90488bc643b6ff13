"""What the official checkpoint of each family consists of, and which network of this package holds which file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from reference import campplus, causal_hift, flow, flow_dit, hift, llm, official_config, speaking, speech_tokenizer
from reference.checkpoint import OfficialTensors, load_tensors, read_state_dict
from reference.cosyvoice3_tokens import COSYVOICE3_TOKENS
from reference.official_config import Said
from reference.onnx_file import OnnxFile, read_graph
from reference.silence import COSYVOICE3_SILENT_TOKENS
from reference.skeleton import skeleton
from reference.text_tokenizer import COSYVOICE2_TOKENS


@dataclass(frozen=True)
class Graph:
    """How the ONNX file of a component is read.

    Attributes:
        sizes: gives its whole configuration.
        names: beginning of an official path -> what the graph has there, where they differ.
    """

    sizes: Callable[[OnnxFile], dict[str, Any]]
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """A component.

    Attributes:
        build: makes it for a configuration of its official field names.
        file: its weights.
        prefix: what the official trainer puts before every key.
        tied: key -> the one whose tensor it shares, so that some files hold it once.
        fields: field of its configuration -> where an official file says it.
        graph: of a file that is an ONNX graph.
        drawn: path of a tensor that no file holds -> draws it as the official class does when it is made.
    """

    build: Callable[[Mapping[str, Any]], torch.nn.Module]
    file: str
    prefix: str = ""
    tied: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Said] = field(default_factory=dict)
    graph: Graph | None = None
    drawn: Mapping[str, Callable[[Mapping[str, Any]], torch.Tensor]] = field(default_factory=dict)

    def tensors(self, path: Path, config: Mapping[str, Any]) -> OfficialTensors:
        """Every tensor of its state dict, out of its file.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is damaged, carries code, or is of another network.
        """
        network = skeleton(self.build, config)
        if self.graph is not None:
            readers = read_graph(OnnxFile(path), network, self.graph.names)
            return OfficialTensors(lambda: readers)
        return OfficialTensors(partial(self._state_dict, path, set(network.state_dict())))

    def _state_dict(self, path: Path, keys: set[str]) -> dict[str, Callable[[], torch.Tensor]]:
        tensors = read_state_dict(path, keys, self.tied)
        return {key: partial(torch.detach, tensor) for key, tensor in tensors.items()}

    def load(self, path: Path, config: Mapping[str, Any]) -> torch.nn.Module:
        """The network with its official weights, strictly, in evaluation mode. Raises as `tensors`."""
        return load_tensors(skeleton(self.build, config), self.tensors(path, config), path)


@dataclass(frozen=True)
class Family:
    """A family.

    Attributes:
        yaml: what describes its networks.
        networks: by official name.
        tokens: those that it adds to the text tokenizer, in order.
        mel_fmax: where the mel of the prompt ends, in Hz; None is the Nyquist frequency.
        defaults: argument of the official code's functions -> what it is where nobody says otherwise.
        reads: what its language model reads of mode, text, transcript and instruction, as `speaking.cosyvoice2`.
        silent: speech tokens of which few in a row are passed on.
        source_noise: samples -> the noise of every utterance that the vocoder has, as `speaking.causal_noise`.
    """

    yaml: str
    networks: Mapping[str, Network]
    tokens: tuple[str, ...]
    mel_fmax: float | None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    reads: Callable[..., speaking.Read] | None = None
    silent: tuple[int, ...] = ()
    source_noise: Callable[[int], tuple[torch.Tensor, torch.Tensor]] | None = None


TIED = {"llm.model.lm_head.weight": "llm.model.model.embed_tokens.weight"}
NOISE = {"decoder.rand_noise": lambda config: flow.fixed_noise(config["decoder"]["estimator"]["out_channels"])}
CAMPPLUS = Network(campplus.build, "campplus.onnx", graph=Graph(official_config.campplus_sizes))
SPEECH_TOKENIZER = Network(
    speech_tokenizer.build,
    "speech_tokenizer_v2.onnx",
    graph=Graph(
        official_config.speech_tokenizer_sizes,
        {"encoder.": "", "quantizer._codebook.project_down": "quantizer.project_in"},
    ),
)
DEFAULTS = {"n_timesteps": 10, "min_token_text_ratio": 2, "max_token_text_ratio": 20, "speed": 1.0}

COSYVOICE2 = Family(
    "cosyvoice2.yaml",
    {
        "llm": Network(llm.build, "llm.pt", tied=TIED, fields=official_config.LLM),
        "flow": Network(flow.build, "flow.pt", fields=official_config.FLOW, drawn=NOISE),
        "hift": Network(hift.build, "hift.pt", prefix="generator.", fields=official_config.HIFT),
        "campplus": CAMPPLUS,
        "speech_tokenizer": SPEECH_TOKENIZER,
    },
    COSYVOICE2_TOKENS,
    8000.0,
    DEFAULTS,
    speaking.cosyvoice2,
)

COSYVOICE3 = Family(
    "cosyvoice3.yaml",
    {
        "llm": Network(llm.build3, "llm.pt", tied=TIED, fields=official_config.LLM),
        "flow": Network(flow_dit.build, "flow.pt", fields=official_config.FLOW3, drawn=NOISE),
        "hift": Network(causal_hift.build, "hift.pt", fields=official_config.HIFT3),
        "campplus": CAMPPLUS,
        "speech_tokenizer": replace(SPEECH_TOKENIZER, file="speech_tokenizer_v3.onnx"),
    },
    COSYVOICE3_TOKENS,
    None,
    DEFAULTS,
    speaking.cosyvoice3,
    COSYVOICE3_SILENT_TOKENS,
    speaking.causal_noise,
)

#: By the `model_type` of converted models.
FAMILIES: dict[str, Family] = {"cosyvoice2": COSYVOICE2, "cosyvoice3": COSYVOICE3}
