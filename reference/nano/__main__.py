"""`python -m reference.nano STAGE --work DIR`: train one stage, or all of them in order; export; evaluate."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from reference.families import COSYVOICE2
from reference.nano.evaluate import WAYS, evaluate
from reference.nano.export import export
from reference.nano.stages import STAGES, Workplace


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m reference.nano", description=__doc__)
    parser.add_argument(
        "stage",
        choices=[*STAGES, "all", "export", "evaluate"],
        help="what to train, or go on with where it was stopped; `all` ends with the export",
    )
    parser.add_argument("--work", type=Path, default=Path("build/nano"), help="folder of corpus and checkpoints")
    parser.add_argument("--out", type=Path, default=Path("build/nano/checkpoint"), help="the folder that is exported")
    parser.add_argument("--components", nargs="+", choices=list(COSYVOICE2.networks), help="to export (default: all)")
    parser.add_argument("--cases", type=int, default=120, help="of a split to evaluate")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="what to listen to")
    parser.add_argument("--stop", type=int, help="end before this step, as if interrupted")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of the recipe, for less time or more")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default 1, with which results are fixed)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    work = Workplace(arguments.work, share=arguments.share)
    try:
        if arguments.stage == "evaluate":
            for name, rates in evaluate(arguments.out, work.held_out, arguments.ways, arguments.cases).items():
                print(f"{name}: " + ", ".join(f"{group} {rate:.1%}" for group, rate in rates.items()), flush=True)
            return 0
        stages = {"all": list(STAGES), "export": []}.get(arguments.stage, [arguments.stage])
        for stage in stages:
            STAGES[stage](work, arguments.stop)
        if arguments.stage in ("all", "export"):
            out = export(work, arguments.out, components=arguments.components, force=True)
            print(f"{out}: a nano checkpoint in the official layout")
    except (OSError, ArithmeticError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the last checkpoint is what the next run goes on from", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
