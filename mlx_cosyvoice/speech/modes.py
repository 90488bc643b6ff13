"""What each way of speaking gives to the networks beside the text (`cosyvoice.cli.frontend.CosyVoiceFrontEnd`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import mlx.core as mx

from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.speech.opening import END_OF_PROMPT, cut, opening
from mlx_cosyvoice.voices import Voice

Mode = Literal["zero_shot", "cross_lingual", "instruct2", "sft"]

#: zero_shot continues the recording and its transcript; cross_lingual uses only the sound of the recording, so the
#: text may be in another language; instruct2 does too, and speaks as an instruction says; sft has a speaker embedding
#: and no recording.
MODES: tuple[Mode, ...] = get_args(Mode)

Encode = Callable[[str], list[int]]


def choose_mode(voice: Voice, mode: str | None = None, instruction: str | None = None) -> Mode:
    """The mode to speak in: `mode` unless it is None, else the richest that voice and instruction allow.

    Raises:
        ValueError: an unknown mode, or one that lacks what it needs.
    """
    has_recording = voice.prompt_token.shape[1] > 0
    has_transcript = bool(voice.transcript.strip()) or voice.prompt_text is not None
    if mode is None:
        if instruction is not None:
            mode = "instruct2"
        elif not has_recording:
            mode = "sft"
        else:
            mode = "zero_shot" if has_transcript else "cross_lingual"
    for known in MODES:
        if mode == known:
            break
    else:
        raise ValueError(f"mode is {mode!r}, must be one of {', '.join(MODES)}")
    if mode in ("zero_shot", "cross_lingual") and not has_recording:
        raise ValueError(f"mode {mode} needs a voice with a recording, this one has a speaker embedding only: use sft")
    if mode == "zero_shot" and not has_transcript:
        raise ValueError("mode zero_shot needs the transcript of the recording: give it, or use cross_lingual")
    if mode == "instruct2" and not (instruction or "").strip():
        raise ValueError("mode instruct2 needs an instruction, such as 'Speak slowly and softly.'")
    if mode != "instruct2" and instruction is not None:
        raise ValueError(f"an instruction has a meaning in mode instruct2 only, not in {mode}")
    return known


def model_input(
    voice: Voice,
    mode: Mode,
    *,
    encode: Encode,
    normalize: Callable[[str], str],
    instruction: str | None = None,
    system_prompt: str = "",
) -> Prompt:
    """The prompt of `mode`; see `choose_mode` for what each needs.

    Args:
        voice: whose voice.
        mode: one of `MODES`.
        encode: text to token ids.
        normalize: applied to the transcript, not to the instruction, as upstream.
        instruction: of instruct2. The end-of-prompt token is appended where it is missing (upstream leaves that to
            the caller).
        system_prompt: the family's; see `speech.opening`.
    """
    if mode == "zero_shot" and voice.prompt_text is not None:
        opened, words = _stored(voice.prompt_text, encode, system_prompt)
    else:
        texts = _prompt_text(voice, mode, normalize, instruction or "", system_prompt)
        opened, words = map(encode, texts)
    token, feat = voice.prompt_token, voice.prompt_feat
    speech = tuple(token[0].tolist()) if mode == "zero_shot" else ()
    if mode == "sft":
        token, feat = token[:, :0], feat[:, :0]
    arrays = map(mx.array, (token, feat, voice.embedding))
    at_once = len(opened) if system_prompt else 0
    return Prompt(*arrays, prompt_text=(*opened, *words), llm_prompt_token=speech, opening=at_once)


def _prompt_text(
    voice: Voice, mode: Mode, normalize: Callable[[str], str], instruction: str, system_prompt: str
) -> tuple[str, str]:
    """The opening, and what follows it."""
    said, words = "", ""
    if mode == "instruct2":
        said, _, words = instruction.partition(END_OF_PROMPT)
    elif mode == "zero_shot":
        said, words = cut(voice.transcript, system_prompt)
        words = normalize(words)
    return opening(said, system_prompt), words


def _stored(ids: Sequence[int], encode: Encode, system_prompt: str) -> tuple[Sequence[int], Sequence[int]]:
    """The same of a transcript that was stored as ids, maybe with an opening."""
    if not system_prompt:
        return (), ids
    (end,) = encode(END_OF_PROMPT)
    length = list(ids).index(end) + 1 if end in ids else 0
    return (ids[:length], ids[length:]) if length else (encode(opening("", system_prompt)), ids)


def flow_input(voice: Voice) -> Prompt:
    """The prompt of a voice conversion: there is nothing for the language model in it."""
    return Prompt(*map(mx.array, (voice.prompt_token, voice.prompt_feat, voice.embedding)))
