"""`python -m parity.nano`: what a recogniser hears when the nano model speaks strings that its training never saw."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from mlx_cosyvoice import CosyVoice2
from mlx_cosyvoice.cli.interrupts import INTERRUPTED
from mlx_cosyvoice.voices.voice import Voice
from reference.nano.export import PROMPTS, TRANSCRIPTS
from reference.nano.recogniser import Recogniser, word_errors
from reference.nano.words import held_out_strings, written


def main(argv: list[str] | None = None) -> int:
    """Print errors and words of every prompt and decoding; exit status 1 where more than `--most` are wrong in all."""
    parser = argparse.ArgumentParser(prog="python -m parity.nano", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("assets/nano"), metavar="DIR", help="has the prompts")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="what was converted from it")
    parser.add_argument("--dtype", default="float32", help="float32 (default), float16 or bfloat16")
    parser.add_argument("--decodings", nargs="+", default=["offline"], help="offline, official, incremental")
    parser.add_argument("--strings", type=int, default=100, help="a prompt and decoding (default: all 100)")
    parser.add_argument("--prompts", nargs="+", metavar="NAME", help="recordings to clone (default: all)")
    parser.add_argument("--most", type=float, default=1.0, help="share of wrong words that is accepted")
    arguments = parser.parse_args(argv)
    try:
        recogniser, tts = Recogniser(), CosyVoice2.load(arguments.model, dtype=arguments.dtype)
        transcripts = json.loads((arguments.checkpoint / PROMPTS / TRANSCRIPTS).read_text(encoding="utf-8"))
        worst = 0.0
        for decoding in arguments.decodings:
            errors = words = 0
            for name in arguments.prompts or transcripts:
                voice = tts.clone(arguments.checkpoint / PROMPTS / name, transcripts[name])
                wrong = [
                    word_errors(recogniser.words(_spoken(tts, said, voice, decoding, seed), tts.sample_rate), said)
                    for seed, said in enumerate(held_out_strings()[: arguments.strings])
                    if written(said) != transcripts[name]
                ]
                print(f"{decoding}, {name}: {sum(wrong)} of {5 * len(wrong)} words wrong", flush=True)
                errors, words = errors + sum(wrong), words + 5 * len(wrong)
            print(f"{decoding}, {arguments.dtype}: word error rate {errors / words:.1%} ({errors} of {words})")
            worst = max(worst, errors / words)
    except (OSError, LookupError, ValueError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    return int(worst > arguments.most)


def _spoken(tts: CosyVoice2, said: tuple[str, ...], voice: Voice, decoding: str, seed: int) -> np.ndarray:
    return tts.synthesize(written(said), voice, decoding=decoding, seed=seed)


if __name__ == "__main__":
    sys.exit(main())
