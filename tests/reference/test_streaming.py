"""The reference's streaming loop against the official numbers."""

import copy

import numpy as np
import torch

from reference.streaming import Cache, cross_fade, hops, stream, vocode
from tests.support import stream as support
from tests.support.golden import golden


@support.GOLDEN_RUNS
def test_official_numbers(name, size, count):
    support.assert_official(name, size, support.reference_run(name, size, count), count)


def test_the_golden_run_is_worth_checking():
    """Streamed audio differs from the audio made at once, so that a loop that does not stream would be seen."""
    file = golden("stream.tiny")
    assert np.abs(file["stream/wav"] - file["offline/wav"]).max() > 0.1
    assert 0.05 < file["stream/wav"].std() < 0.5


def test_float64():
    models = support.reference_models("tiny")
    flow, hift = copy.deepcopy(models[0]).double(), copy.deepcopy(models[1]).double()
    token, prompt = torch.tensor([support.tokens()[:45]]), support.torch_prompt(torch.float64)
    pieces = list(stream(flow, hift, token, prompt, support.torch_draws(torch.float64), n_timesteps=1))
    assert [piece.wav.shape[1] for piece in pieces] == [32640, 7 * 960 + 3840]
    assert {piece.wav.dtype for piece in pieces} == {torch.float64}


def test_what_a_piece_leaves_behind():
    _, hift = support.reference_models("tiny")
    first = vocode(hift, torch.zeros(1, 80, 20) - 5, None, support.torch_draws(), final=False)
    assert first.cache is not None
    assert first.wav.shape == (1, 12 * 480)
    shapes = [tuple(part.shape) for part in (first.cache.mel, first.cache.source, first.cache.speech)]
    assert shapes == [(1, 80, 8), (1, 1, 3840), (1, 3840)]
    last = vocode(hift, torch.zeros(1, 80, 2) - 5, first.cache, support.torch_draws(), final=True)
    assert last.wav.shape == (1, 10 * 480)
    assert last.cache is None


def test_cross_fade():
    window = np.hamming(8)
    faded = cross_fade(torch.ones(1, 6), torch.full((1, 4), 10.0))
    assert torch.allclose(faded[0, :4].double(), torch.from_numpy(window[:4] + 10 * window[4:]))
    assert torch.equal(faded[0, 4:], torch.ones(2))


def test_the_rest_may_be_the_lookahead_alone():
    assert hops(41, 37, 3) == [38, 3]
    assert hops(40, 37, 3) == [40]


def test_cache_is_used():
    """The source goes on where it ended, and the old speech fades out."""
    _, hift = support.reference_models("tiny")
    mel, noise = torch.zeros(1, 80, 4) - 5, support.torch_draws
    old = Cache(mel.repeat(1, 1, 2), torch.zeros(1, 1, 3840), torch.zeros(1, 3840))
    plain = vocode(hift, mel, old, noise(), final=True).wav
    loud = vocode(hift, mel, Cache(old.mel, old.source, old.speech + 1), noise(), final=True).wav
    other = vocode(hift, mel, Cache(old.mel, old.source + 0.5, old.speech), noise(), final=True).wav
    falling = torch.from_numpy(np.hamming(7680)[3840:]).float()
    assert torch.allclose((loud - plain)[0, :3840], falling, atol=1e-6)
    assert torch.equal(loud[:, 3840:], plain[:, 3840:])
    assert float((other - plain).abs().max()) > 1e-3
