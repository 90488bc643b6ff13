"""The exported folder: everything else takes it for a checkpoint of CosyVoice2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from converters.convert import convert
from mlx_cosyvoice import CosyVoice2
from reference.families import COSYVOICE2
from reference.nano import campplus, flow, hift, llm
from reference.nano.corpus import Corpus, Utterance
from reference.nano.export import DTYPE, export
from reference.nano.sizes import NANO
from reference.nano.speech_tokenizer import DIGITS_IN_USE, Supervised
from reference.nano.stages import Workplace
from reference.nano.training import save
from reference.nano.voices import VARIANTS

PHONES = 5


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    torch.manual_seed(3)
    made: dict[str, nn.Module] = {
        "speech_tokenizer": Supervised(NANO["speech_tokenizer"], PHONES),
        "llm": llm.Taught(NANO["llm"], torch.tensor([3280, 3281])),
        "campplus": campplus.Classifier(NANO["campplus"]),
        "flow": flow.new_network(NANO["flow"]),
        "hift": hift.new_network(NANO["hift"]),
    }
    return {name: network.eval().requires_grad_(False) for name, network in made.items()}


@pytest.fixture(scope="module")
def folder(networks: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a workplace whose stages were all trained for no time."""
    work = Workplace(tmp_path_factory.mktemp("work"))
    for name, network in networks.items():
        state = {"network": network.state_dict(), "step": 7, "history": {"loss": [[7.0, 0.25]]}}
        save(work.checkpoint(name), state)
    said = [Utterance(("one",), number, 0, 1, ["w"], [0.1]) for number in range(len(VARIANTS))]
    work.__dict__["train"] = Corpus(said, {})
    held = next(number for number, variant in enumerate(VARIANTS) if variant.held_out)
    wave = (np.random.default_rng(5).standard_normal((25 * 960, 1)) * 3000).astype(np.int16)
    work.__dict__["held_out"] = {"held": Corpus([Utterance(("one", "two"), held, 0, 25, [], [])], {"wave": wave})}
    work.__dict__["embeddings"] = {"train": torch.randn(len(said), 192)}
    return export(work, work.folder / "out")


def halves(network: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.to(DTYPE).float() for key, tensor in network.state_dict().items()}


@pytest.mark.parametrize("name", ["llm", "flow", "hift"])
def test_the_official_loader_reads_what_was_trained(name: str, folder: Path, networks: dict[str, nn.Module]) -> None:
    network = COSYVOICE2.networks[name]
    loaded = network.load(folder / network.file, NANO[name])
    wanted = halves(networks[name].get_submodule("lm" if name == "llm" else ""))
    assert all(torch.equal(loaded.state_dict()[key], wanted[key]) for key in wanted)


def test_the_onnx_files_compute_what_was_trained(folder: Path, networks: dict[str, nn.Module]) -> None:
    feats = np.random.default_rng(1).standard_normal((1, 128, 90)).astype(np.float32)
    session = onnxruntime.InferenceSession(folder / "speech_tokenizer_v2.onnx")
    (tokens,) = session.run(None, {"feats": feats, "feats_length": np.array([90], np.int32)})
    wanted = networks["speech_tokenizer"].tokenizer(torch.from_numpy(feats))  # type: ignore[operator]
    np.testing.assert_array_equal(tokens, wanted.numpy())
    unused = tokens // 3**DIGITS_IN_USE
    assert set(unused.ravel()) == {sum(3**place for place in range(8 - DIGITS_IN_USE))}
    fbank = np.random.default_rng(2).standard_normal((1, 80, 80)).astype(np.float32)
    (embedding,) = onnxruntime.InferenceSession(folder / "campplus.onnx").run(None, {"input": fbank})
    wanted = networks["campplus"].encoder(torch.from_numpy(fbank))  # type: ignore[operator]
    np.testing.assert_allclose(embedding, wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_it_converts_and_speaks(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "model")
    tts = CosyVoice2.load(tmp_path / "model")
    (recording,) = (folder / "prompts").glob("*.flac")
    transcripts = json.loads((folder / "prompts/transcripts.json").read_text())
    voice = tts.clone(recording, transcripts[recording.name])
    samples = tts.synthesize("Seven.", voice, seed=1)
    assert np.isfinite(samples).all()
