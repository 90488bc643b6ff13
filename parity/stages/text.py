"""Text to token ids: the MLX package's tokenizer against a plain-Python byte-level BPE on the official files."""

from __future__ import annotations

import numpy as np

from mlx_parity.sides import Side
from parity.stages.base import Given, Outputs, Stage

#: Beside the run's own texts: scripts, digits, contractions, white space, control tokens.
VARIED = (
    "It's 3.14 o'clock, isn't it?  Yes\n\nindeed.",
    "收到好友从远方寄来的生日礼物，那份意外的惊喜。",
    "[laughter] <strong>so</strong> <|endofprompt|> 안녕하세요 こんにちは",
    "naïve café 👩‍🚀 \t42,000.5%",
)


class TextTokenizer(Stage):
    name = "text_tokenizer"
    title = "Text tokenizer"
    component = "text_tokenizer"
    needs = ("text", "transcript")
    gives = ("text_token", "prompt_text_token")

    def call(self, side: Side, given: Given) -> Outputs:
        def ids(text: str) -> np.ndarray:
            return np.array([side.module.encode(text)], np.int64)

        tokens = {"text_token": ids(str(given["text"])), "prompt_text_token": ids(str(given["transcript"]))}
        tokens |= {f"varied_text_{index}": ids(text) for index, text in enumerate(VARIED)}
        return Outputs(tokens=tokens)
