"""What the ids of CosyVoice3 mean."""

from __future__ import annotations

from mlx_cosyvoice.families.declaration import FramingSpeechIds

#: The others have no use.
SPEECH_IDS = FramingSpeechIds(count=200, sos=0, end=1, task=2, fill=3)
