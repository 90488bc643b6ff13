"""What each way of speaking gives to the networks beside the text (`cosyvoice.cli.frontend.CosyVoiceFrontEnd`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import mlx.core as mx

from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.voices import Voice

Mode = Literal["zero_shot", "cross_lingual", "instruct2", "sft"]

#: zero_shot continues the recording and its transcript; cross_lingual uses only the sound of the recording, so the
#: text may be in another language; instruct2 does too, and speaks as an instruction says; sft has a speaker embedding
#: and no recording.
MODES: tuple[Mode, ...] = get_args(Mode)

#: Ends an instruction; CosyVoice2 was trained with it.
END_OF_PROMPT = "<|endofprompt|>"


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
    encode: Callable[[str], list[int]],
    normalize: Callable[[str], str],
    instruction: str | None = None,
) -> Prompt:
    """The prompt of `mode`; see `choose_mode` for what each needs.

    Args:
        voice: whose voice.
        mode: one of `MODES`.
        encode: text to token ids.
        normalize: applied to the transcript, not to the instruction, as upstream.
        instruction: of instruct2. The end-of-prompt token is appended where it is missing (upstream leaves that to
            the caller).
    """
    prompt_text: tuple[int, ...] = ()
    prompt_speech: tuple[int, ...] = ()
    token, feat = voice.prompt_token, voice.prompt_feat
    if mode == "zero_shot":
        prompt_text = (
            tuple(encode(normalize(voice.transcript))) if voice.prompt_text is None else tuple(voice.prompt_text)
        )
        prompt_speech = tuple(token[0].tolist())
    elif mode == "instruct2":
        assert instruction is not None
        prompt_text = tuple(encode(instruction if END_OF_PROMPT in instruction else instruction + END_OF_PROMPT))
    elif mode == "sft":
        token, feat = token[:, :0], feat[:, :0]
    arrays = map(mx.array, (token, feat, voice.embedding))
    return Prompt(*arrays, prompt_text=prompt_text, llm_prompt_token=prompt_speech)


def flow_input(voice: Voice) -> Prompt:
    """The prompt of a voice conversion: there is nothing for the language model in it."""
    return Prompt(*map(mx.array, (voice.prompt_token, voice.prompt_feat, voice.embedding)))
