"""The official networks of a checkpoint, as upstream makes and fills them. The YAML is data: its tags are not run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from reference.families import Family
from reference.official.checkout import Checkout
from reference.official_config import QWEN_CONFIG
from reference.yaml_nodes import YamlNodes

_SHARED = {
    "llm.llm": "llm.llm.Qwen2Encoder",
    "llm.sampling": "utils.common.ras_sampling",
    "flow.decoder": "flow.flow_matching.CausalConditionalCFM",
    "flow.decoder.cfm_params": "",
}
#: Networks that are in memory together: those of a loop.
KEPT = 2
#: The YAML of a family -> what its code makes where, and what each is called in the package `cosyvoice`.
MADE = {
    "cosyvoice2.yaml": {
        **_SHARED,
        "llm": "llm.llm.Qwen2LM",
        "flow": "flow.flow.CausalMaskedDiffWithXvec",
        "flow.encoder": "transformer.upsample_encoder.UpsampleConformerEncoder",
        "flow.decoder.estimator": "flow.decoder.CausalConditionalDecoder",
        "hift": "hifigan.generator.HiFTGenerator",
        "hift.f0_predictor": "hifigan.f0_predictor.ConvRNNF0Predictor",
        "tokenizer": "tokenizer.tokenizer.CosyVoice2Tokenizer",
        "model": "cli.model.CosyVoice2Model",
    },
    "cosyvoice3.yaml": {
        **_SHARED,
        "llm": "llm.llm.CosyVoice3LM",
        "flow": "flow.flow.CausalMaskedDiffWithDiT",
        "flow.pre_lookahead_layer": "transformer.upsample_encoder.PreLookaheadLayer",
        "flow.decoder.estimator": "flow.DiT.dit.DiT",
        "hift": "hifigan.generator.CausalHiFTGenerator",
        "hift.f0_predictor": "hifigan.f0_predictor.CausalConvRNNF0Predictor",
        "tokenizer": "tokenizer.tokenizer.CosyVoice3Tokenizer",
        "model": "cli.model.CosyVoice3Model",
    },
}


class Official:
    """What the code of a checkout makes of a checkpoint.

    Attributes:
        network: name -> `llm`, `flow` or `hift`, filled as upstream fills it; of these the last `KEPT` are kept.
    """

    def __init__(self, checkout: Checkout, family: Family, paths: Mapping[str, Path]) -> None:
        """`paths` are those of the checkpoint: official name of a file -> where it is."""
        self.checkout, self._family, self._paths = checkout, family, paths
        self._made, self._yaml = MADE[family.yaml], YamlNodes(paths[family.yaml])
        self.network = lru_cache(KEPT)(self._network)

    def named(self, name: str) -> Any:
        """A class or function of their code."""
        module, _, attribute = self._made[name].rpartition(".")
        return getattr(self.checkout(module), attribute)

    @cached_property
    def _tokenizer(self) -> Any:
        return self.named("tokenizer")(str(self._paths[QWEN_CONFIG].parent))

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ids: list[int] = self._tokenizer.encode(text)
        return ids

    def features(self, wave16: torch.Tensor, wave24: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whisper's log mel [128, T] and Matcha's mel [80, T]. The filter bank is torchaudio's, and not here."""
        mel = self.checkout("utils.audio", "matcha").mel_spectrogram(wave24[None], **self._yaml.plain("feat_extractor"))
        return self.checkout("audio", "whisper").log_mel_spectrogram(wave16, n_mels=128), mel[0]

    def _network(self, name: str) -> torch.nn.Module:
        network: torch.nn.Module = self._make(name)
        path = self._paths[self._family.networks[name].file]
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        network.load_state_dict({key.replace("generator.", ""): value for key, value in weights.items()}, strict=True)
        return network.eval().requires_grad_(False)

    def _make(self, path: str) -> Any:
        parts = {
            inner.rpartition(".")[2]: self._make(inner) for inner in self._made if inner.rpartition(".")[0] == path
        }
        plain = self._yaml.plain(path)
        if path == "flow.decoder.cfm_params":
            return SimpleNamespace(**plain["content"])
        if path == "llm.sampling":
            return partial(self.named(path), **plain)
        if path == "llm.llm":
            return self._encoder()
        return self.named(path)(**plain, **parts)

    def _encoder(self) -> Any:
        """Qwen2 by its configuration alone: the weights that upstream reads first are those of `llm.pt` afterwards."""
        qwen = self.checkout("llm.llm").Qwen2ForCausalLM
        with mock.patch.object(qwen, "from_pretrained", lambda path: qwen(qwen.config_class.from_pretrained(path))):
            return self.named("llm.llm")(str(self._paths[QWEN_CONFIG].parent))
