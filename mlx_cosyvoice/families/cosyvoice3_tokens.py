"""What the ids of CosyVoice3 mean."""

from __future__ import annotations

from mlx_cosyvoice.families import cosyvoice2
from mlx_cosyvoice.families.declaration import FramingSpeechIds, Silence
from mlx_cosyvoice.families.pronunciation import PHONEMES, PINYIN

#: In the official order.
SPECIAL_TOKENS = (
    *cosyvoice2.SPECIAL_TOKENS,
    "<|endofsystem|>",
    *(f"[{part}]" for part in (*PHONEMES, *PINYIN)),
)

SYSTEM_PROMPT = "You are a helpful assistant."

#: The others have no use.
SPEECH_IDS = FramingSpeechIds(count=200, sos=0, end=1, task=2, fill=3)

SILENCE = Silence(frozenset((1, 2, 28, 29, 55, 248, 494, 2241, 2242, 2322, 2323)))
