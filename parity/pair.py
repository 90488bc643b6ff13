"""The two models under comparison: the reference on the official checkpoint, and the converted MLX model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from converters.checkpoint import find_checkpoint, require_files
from converters.qwen import BLANK_EN
from mlx_cosyvoice.hub import find_model
from mlx_cosyvoice.model import SpeechModel, load
from mlx_cosyvoice.weights import CONFIG, ModelFolderError, StoredModel, read_config
from mlx_parity.sides.pytorch import DTYPES
from parity.mixed import in_half
from reference.families import FAMILIES
from reference.official_config import official_config
from reference.text_tokenizer import TextTokenizer


class Reference:
    """The official checkpoint in PyTorch, a component at a time.

    Files are found as the converters find them, and read by the reference's own readers.
    """

    def __init__(
        self,
        checkpoint: Path,
        replaced: Callable[[str], Mapping[str, np.ndarray]] = lambda component: {},
        llm: str | Path | None = None,
        kept: Iterable[str] = (),
    ) -> None:
        """
        Args:
            checkpoint: the official folder.
            replaced: gives, for a component, tensors by official key that stand in for those of the checkpoint.
            llm: another file for the language model's weights, as for `convert`.
            kept: "COMPONENT.official.path" of modules that stay float32 in half precision.
        """
        self.checkpoint, self._replaced, self._kept = checkpoint, replaced, list(kept)
        self.files = require_files(checkpoint, llm=llm)
        self.family = FAMILIES[self.files.official.family.model_type]
        self.config = official_config(self.family, self.files.paths)
        self._loaded: dict[str, Any] = {}

    def file(self, name: str) -> Path | None:
        """The official file of a component; None for what has none of its own."""
        return self.files.weights(name) if name in self.family.networks else None

    def component(self, name: str, dtype: str) -> Any:
        """The component's module in `dtype`.

        The last one asked for is kept, so that memory holds one at a time; beside one in float64, which has twice the
        size, none is.
        """
        if name == "text_tokenizer":
            return self._tokenizer
        if dtype == "float64":
            self._loaded = {}
            return self._with_replaced(name, self._load(name)).double()
        if name not in self._loaded:
            self._loaded = {name: self._with_replaced(name, self._load(name))}
        module = self._loaded[name]
        if dtype == "float32":
            return module
        kept = (path.removeprefix(f"{name}.") for path in self._kept if path.startswith(f"{name}."))
        return in_half(module, DTYPES[dtype], kept)

    @cached_property
    def _tokenizer(self) -> TextTokenizer:
        return TextTokenizer(self.checkpoint / BLANK_EN, self.family.tokens)

    def _load(self, name: str) -> torch.nn.Module:
        return self.family.networks[name].load(self.files.weights(name), self.config[name])

    def _with_replaced(self, name: str, module: torch.nn.Module) -> torch.nn.Module:
        state = module.state_dict()
        for key, array in self._replaced(name).items():
            state[key].copy_(torch.from_numpy(array))  # state dicts share memory with their module
        return module

    def official_tensors(self, name: str) -> tuple[set[str], Callable[[str], np.ndarray]]:
        """The official keys of a component; and what gives its tensor, in float32, for one of them.

        That is as the checkpoint holds it, as the official class draws it, or its replacement.
        """
        network, config = self.family.networks[name], self.config[name]
        tensors, replaced = network.tensors(self.files.weights(name), config), self._replaced(name)
        drawn = {key: draw(config) for key, draw in network.drawn.items()}

        def fetch(key: str) -> np.ndarray:
            if key in replaced:
                return replaced[key]
            array: np.ndarray = (drawn[key] if key in drawn else tensors[key]).float().numpy()
            return array

        return {*tensors, *drawn}, fetch


@dataclass
class Pair:
    """Both sides. `model` is live: change it before a run to see what the harness says.

    `original` is the reference on the official weights; `reference` is the same one unless the model is quantized: then
    it has the model's weights, unpacked, so that what differs is our code and not the packing. `folder` is the MLX
    model's.
    """

    reference: Reference
    model: SpeechModel
    original: Reference
    folder: Path

    def dtype(self, component: str) -> str:
        """The working dtype of a component of the MLX model; the reference is run in the same."""
        return self.model.dtypes.get(component, "float32")

    def unread(self) -> set[str]:
        """The components of the MLX model that nobody has used or changed: their weights are still in the folder."""
        return set(self.model._unread)

    def let_go(self, component: str) -> None:
        """Free the weights of one that was `unread` before. Whoever asks the MLX model for it next reads it again."""
        stored, network = StoredModel.open(self.folder), self.model._networks[component]
        fresh = stored.fill(stored.family[component].build(stored.config), component)
        mx.eval(mx.random.state)  # layers are made with draws, which the weights replace
        network.update(fresh.parameters())
        self.model._unread.add(component)


def load_pair(checkpoint: str | Path, model: str | Path, llm: str | Path | None = None) -> Pair:
    """Load the official checkpoint and the MLX model converted from it, in the dtypes that it holds.

    Args:
        checkpoint: its folder, or a hub id.
        model: its folder, or a hub id.
        llm: the file that the model's language model was converted from, if it is another one than the checkpoint's.

    Raises:
        ModelFolderError: it cannot be loaded; the fields of config.json that are not the checkpoint's are named.
    """
    folder, official = find_model(model), find_checkpoint(checkpoint, llm=llm)
    config, meta = read_config(folder)
    original = Reference(official, llm=llm, kept=meta["layer_dtypes"])
    try:
        loaded = load(folder, dtype=None)
    except ModelFolderError as error:
        from parity.audit.config import unlike

        wrong = [
            f"{field} is {mine!r}, the checkpoint has {right!r}" for field, mine, right in unlike(config, original)
        ]
        raise ModelFolderError(f"{error} {folder / CONFIG}: {', '.join(wrong[:3])}" if wrong else str(error)) from error
    if meta["quantization"] is None:
        return Pair(original, loaded, original, folder)
    packed = Reference(official, lambda component: unpacked_weights(folder, component), llm, meta["layer_dtypes"])
    return Pair(packed, loaded, original, folder)


def unpacked_weights(folder: Path, component: str) -> dict[str, np.ndarray]:
    """Official key -> float32 weight, of the packed layers of one component of a model folder."""
    stored = StoredModel.open(folder)
    weights, dtype = stored.component(component), getattr(mx, stored.meta["dtypes"].get(component, "float32"))
    unpacked = {}
    for path, quantization in stored.packed(component).items():
        scales, biases = (weights[f"{path}.{part}"].astype(dtype) for part in ("scales", "biases"))
        unpacked[f"{path}.weight"] = np.array(quantization.unpack(weights[f"{path}.weight"], scales, biases))
    return unpacked
