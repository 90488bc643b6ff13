"""Mistakes around CosyVoice3's networks: in the system prompt, unspoken silence, and the vocoder's fixed noise."""

from __future__ import annotations

import numpy as np

from mlx_cosyvoice.speech import fixed_noise, modes
from mlx_cosyvoice.speech.silence import cut_short
from parity.faults.base import Mistakes, at

READ, NOISE, SILENCE = at("speech.model_input"), at("speech.source_noise"), at("speech.silence").of(cut_short)
INPUT, WAVES = READ.of(modes.model_input), NOISE.of(fixed_noise.sine_waves)

MISTAKES: Mistakes = {
    "system-prompt-missing: Nothing but an instruction stands before the transcript, as in CosyVoice2.": READ.wraps(
        modes, "opening", lambda original, said, prompt: original(said, "")
    ),
    "system-prompt-twice: The system prompt is put before one that is there already.": READ.wraps(
        modes, "opening", lambda original, said, prompt: f"{prompt} {original(said, prompt)}"
    ),
    "system-prompt-without-instruction: The instruction is lost beside the system prompt.": READ.wraps(
        modes, "opening", lambda original, said, prompt: original("", prompt)
    ),
    "instruction-without-space: No space stands between the system prompt and an instruction.": READ.wraps(
        modes, "opening", lambda original, said, prompt: original(said, prompt).replace(f"{prompt} ", prompt)
    ),
    "end-of-prompt-missing: The system prompt is not ended by a token.": READ.wraps(
        modes, "opening", lambda original, said, prompt: original(said, prompt).removesuffix(modes.END_OF_PROMPT)
    ),
    "system-prompt-behind: The system prompt stands behind the transcript, before the text.": READ.edits(
        "opening(said, system_prompt), words", '"", words + opening(said, system_prompt)', of=modes._prompt_text
    ),
    "speech-without-its-text: The language model goes on from the prompt's speech in every mode.": INPUT.edits(
        ' if mode == "zero_shot" else ()', ""
    ),
    "opening-in-blocks: The opening is not run at once.": INPUT.edits("len(opened) if system_prompt else 0", "0"),
    "silence-kept: Silence is spoken as long as it is, as in CosyVoice2.": SILENCE.edits("run <= silence.most", "True"),
    "silence-of-four: Four tokens of silence are spoken.": SILENCE.edits("silence.most:", "4:"),
    "silence-of-six: Six tokens of silence are spoken.": SILENCE.edits("silence.most:", "6:"),
    "silence-counted-on: The count of silence goes on after words.": SILENCE.edits(
        "else 0", "else run", "if run", "if token not in silence.tokens or run"
    ),
    "silence-without-breath: The tokens of breath are not among those of silence.": SILENCE.edits(
        "in silence.tokens", "in silence.tokens - {2241, 2242, 2322, 2323}"
    ),
    "silence-of-one-kind: Only the same token over and over counts as silence.": SILENCE.edits(
        "run = 0", "run, before = 0, None", "run = run", "run, before = run", "else 0", "else 1, token"
    ),
    "noise-of-32-bits: All 32 bits of an output make a number, as in PyTorch's double precision, not the low 24.": (
        NOISE.edits("(raw & 0xFFFFFF)", "raw", "2**-24", "2**-32", of=fixed_noise._rows)
    ),
    "noise-of-another-seed: The noise is drawn by the seed at once, not after all that upstream draws before.": (
        NOISE.patches(fixed_noise, "_state", lambda place: np.random.RandomState(max(place, 0)).get_state(legacy=False))
    ),
    "noise-from-the-start: The noise of a piece is that of the beginning.": WAVES.edits(
        "divmod(start, STRIDE)", "0, 0"
    ),
    "noise-normal: The noise is standard normal, where it is uniform in 0..1.": WAVES.edits(
        "mx.array(_rows(generator, count)[None])", "mx.random.normal((1, count, HARMONICS), key=mx.random.key(start))"
    ),
    "noise-by-harmonic: Numbers are laid out harmonic by harmonic, not sample by sample.": WAVES.edits(
        "count)[None]", "count).reshape(HARMONICS, count).T[None]"
    ),
    "phase-of-the-fundamental: The fundamental begins at a random phase too.": NOISE.edits(
        "phases[:, 0] = 0", "phases[:, 0] = 0.5", of=fixed_noise.rand_ini
    ),
}
