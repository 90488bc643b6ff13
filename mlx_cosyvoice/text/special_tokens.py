"""The special tokens that CosyVoice2 adds to Qwen2's, officially `CosyVoice2Tokenizer`."""

#: In the official order: a token that the tokenizer lacks gets the next free id, so the order is part of the model.
#: The first three are Qwen2's own and have ids already.
COSYVOICE2_SPECIAL_TOKENS: tuple[str, ...] = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|endofprompt|>",
    "[breath]",
    "<strong>",
    "</strong>",
    "[noise]",
    "[laughter]",
    "[cough]",
    "[clucking]",
    "[accent]",
    "[quick_breath]",
    "<laughter>",
    "</laughter>",
    "[hissing]",
    "[sigh]",
    "[vocalized-noise]",
    "[lipsmack]",
    "[mn]",
)
