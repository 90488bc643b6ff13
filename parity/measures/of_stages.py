"""Which speech-aware measures are taken of which stage of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from mlx_parity.compare import as_json
from mlx_parity.stage import Given, Observed
from parity.measures import voice, wave
from parity.measures.caches import cache_diff
from parity.measures.mel import band_bias, band_variance_ratio, euler_step_errors
from parity.measures.seams import MEL_WINDOW, WAVE_WINDOW, Seams, chunk_boundaries, seam_errors
from parity.measures.tokens import first_flip
from parity.stages.llm import log_prob_noise


def measure(observed: Observed) -> dict[str, Any]:
    """The measures of a stage by name, as plain data; an infinity is spelled "inf".

    What cannot be measured (shapes that differ, an output that is missing) is named under `not_measured`.
    """
    function = MEASURES.get(observed.stage.name)
    try:
        return dict(as_json(function(observed))) if function else {}
    except ValueError as error:
        return {"not_measured": str(error)}


def _llm(observed: Observed) -> dict[str, Any]:
    name, sides = "speech_token", observed.outputs
    mine, theirs = sides.actual.tokens[name], sides.expected.tokens[name]
    ties = None
    if mine.shape == theirs.shape:
        ties = observed.stage.near_ties(name, sides, observed.given, observed.dtype, observed.factor)
    flip = first_flip(mine, theirs, log_probs=sides.expected.tensors["log_probs"], near_ties=ties)
    return {
        "tokens": theirs.size,
        "first_flip": asdict(flip) if flip else None,
        "sampler_draws": sides.expected.tokens["sampler"].size,
        "log_prob_noise": log_prob_noise(sides, observed.dtype),
    }


def _flow_decoder(observed: Observed) -> dict[str, Any]:
    mel = observed.sides("mel")
    steps = [
        [array for path, array in layers.items() if path.split("#")[0] == "flow.decoder.estimator"]
        for layers in (observed.actual_layers, observed.expected_layers)
    ]
    found: dict[str, Any] = {
        "band_bias": band_bias(*mel),
        "band_variance_ratio": band_variance_ratio(*mel),
        "euler_step_error": euler_step_errors(*steps),
    }
    if observed.given.settings.streaming:
        found["streaming"] = _mel_seams(observed)
    return found


def _mel_seams(observed: Observed) -> dict[str, Any]:
    """The mel made chunk by chunk, as streaming synthesis makes it, against the mel made in one piece.

    `seam_error` is against the reference's mel with the same chunk masks, which a right model meets up to rounding.
    `offline_seam_error` is against the reference's mel with full attention: streaming costs that much on either side.
    """
    (mel, expected), stage, given = observed.sides("mel"), observed.stage, observed.given
    prompt, frames = given["prompt_feat"].shape[1], mel.shape[2]
    chunk = observed.pair.reference.config["flow"]["decoder"]["estimator"]["static_chunk_size"]
    boundaries = chunk_boundaries(frames, chunk, offset=prompt)
    streamed = mel.copy()
    for start, end in zip([0, *boundaries], boundaries, strict=False):
        heard = given.adding({name: given[name][:, :, : prompt + end] for name in ("mu", "cond")})
        piece = stage.call(stage.model(observed.pair), heard).tensors["mel"]
        streamed[:, :, start:end] = piece[:, :, start:]
    seams = seam_errors(streamed, expected, boundaries, MEL_WINDOW)
    reference = stage.reference(observed.pair, observed.dtype)
    with reference.running():
        offline = stage.call(reference, Given(given, replace(given.settings, streaming=None))).tensors["mel"]
    return _seams_by("frames", seams, MEL_WINDOW) | {
        "offline_seam_error": {
            side: seam_errors(array, offline, boundaries, MEL_WINDOW).error
            for side, array in (("mlx", streamed), ("reference", expected))
        },
    }


def _seams_by(unit: str, seams: Seams, window: int) -> dict[str, Any]:
    """Seams whose boundaries are counted in a unit."""
    places = {f"boundaries_{unit}": seams.boundaries, f"window_{unit}": window}
    return {**places, "seam_error": seams.error, "elsewhere_error": seams.elsewhere, "worst_ratio": seams.worst}


def _vocoder(observed: Observed) -> dict[str, Any]:
    f0, wav = observed.sides("f0"), observed.sides("wav")
    snr, lag = wave.aligned_snr(wav[0].reshape(-1), wav[1].reshape(-1))
    return {
        "f0_error_hz": voice.f0_error(*f0),
        "voicing_agreement": voice.voicing_agreement(*f0),
        "log_spectral_distance_db": wave.log_spectral_distance(*wav),
        "snr_db": snr,
        "lag_samples": lag,
    }


def _streaming(observed: Observed) -> dict[str, Any]:
    """Whether the pieces of the waveform join as the reference's do, and what differs in what is carried between."""
    sides = observed.outputs
    hops, expected, exact = (
        side.details.hops if side.details else [] for side in (sides.actual, sides.expected, sides.exact)
    )
    waves = [np.concatenate([hop.wav for hop in side], axis=1) for side in (hops, expected)]
    boundaries = np.cumsum([hop.wav.shape[1] for hop in expected])[:-1].tolist()
    seams = seam_errors(waves[0], waves[1], boundaries, WAVE_WINDOW)
    caches, expected_caches, exact_caches = (
        [dict(zip(("mel", "source", "speech"), hop.cache, strict=False)) for hop in side]
        for side in (hops, expected, exact)
    )
    lost = max((difference.error for difference in cache_diff(expected_caches, exact_caches)), default=0.0)
    differences = cache_diff(caches, expected_caches, observed.factor * lost)
    return {
        "streaming": _seams_by("samples", seams, WAVE_WINDOW),
        "piece_snr_db": [wave.snr_db(a.wav, b.wav) for a, b in zip(hops, expected, strict=True)],
        "cache_differences": [f"{difference.path} {difference.reason}" for difference in differences],
    }


#: Stage name -> its measures. Stages that are not here have none beside their outputs' errors.
MEASURES: dict[str, Callable[[Observed], dict[str, Any]]] = {
    "speaker_encoder": lambda observed: {"speaker_cosine": voice.speaker_cosine(*observed.sides("embedding"))},
    "llm": _llm,
    "flow_decoder": _flow_decoder,
    "vocoder": _vocoder,
    "streaming": _streaming,
}
