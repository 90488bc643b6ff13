"""CosyVoice3's speech-token language model."""

from __future__ import annotations

import mlx.core as mx

from mlx_cosyvoice.config import LLMConfig
from mlx_cosyvoice.families import cosyvoice3_tokens
from mlx_cosyvoice.families.declaration import FramingSpeechIds
from mlx_cosyvoice.llm.lm import SpeechLM


class CosyVoice3LM(SpeechLM):
    """As `Qwen2LM`, but sos and task id are rows of `speech_embedding`."""

    ids: FramingSpeechIds

    def __init__(self, config: LLMConfig, ids: FramingSpeechIds = cosyvoice3_tokens.SPEECH_IDS) -> None:
        super().__init__(config, ids, bias=False)

    @property
    def sos(self) -> mx.array:
        return self.embed_speech([self.config.speech_token_size + self.ids.sos])

    @property
    def task_id(self) -> mx.array:
        return self.embed_speech([self.config.speech_token_size + self.ids.task])
