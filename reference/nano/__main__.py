"""`python -m reference.nano STAGE --work DIR`: train one stage, or all of them in order."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from reference.nano.stages import STAGES, Workplace


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m reference.nano", description=__doc__)
    parser.add_argument("stage", choices=[*STAGES, "all"], help="what to train; it goes on where it was stopped")
    parser.add_argument("--work", type=Path, default=Path("build/nano"), help="folder of corpus and checkpoints")
    parser.add_argument("--stop", type=int, help="end before this step, as if interrupted")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default 1, with which results are fixed)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    work = Workplace(arguments.work)
    try:
        for stage in STAGES if arguments.stage == "all" else [arguments.stage]:
            STAGES[stage](work, arguments.stop)
    except (OSError, ArithmeticError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the last checkpoint is what the next run goes on from", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
