"""Hold public ports against their originals: mlx-lm beside transformers, with tiny random weights.

    python examples/porting/mlx_lm_zoo.py                              # all of them
    python examples/porting/mlx_lm_zoo.py gemma2 llama --json FILE     # some, with a key an architecture in FILE

Both read a prompt that is longer than every window, and then 8 tokens one at a time with their cache. docs/zoo.md
explains what is found. Exit status: 0 if all agree, 1 if any diverges, 2 if any could not be built or observed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `examples`, also where this runs as a script

import transformers

from examples.porting.zoo.architectures import ARCHITECTURES, SAME_AS, UNAVAILABLE
from examples.porting.zoo.build import BuildError, build
from examples.porting.zoo.decode import MlxCaller, TorchCaller, token_ids
from mlx_parity import Culprit, RunReport, Verdict, check
from mlx_parity.compare import worst
from mlx_parity.report.culprits import alike, culprit_to_dict

VOCABULARY, STEPS = 128, 8

#: Verdicts of an architecture that a library refuses to build, and of one that the harness fails on.
UNBUILT, ERROR = "unbuilt", "error"


def read(side: Any, given: Any) -> dict[str, Any]:
    """Logits of the prompt, then of one token after another: what both sides are asked for."""
    caller = (TorchCaller if side.name == "pytorch" else MlxCaller)(side.module)
    start = given["ids"].size - STEPS
    pieces = {"prefill": given["ids"][:start]}
    pieces |= {f"step{step}": given["ids"][start + step : start + step + 1] for step in range(STEPS)}
    return {name: caller(ids) for name, ids in pieces.items()}


def examine(name: str) -> dict[str, Any]:
    """Hold an architecture against its original: verdict, floors, culprits and cause as plain data."""
    started = time.perf_counter()
    try:
        pair = build(name)
        report = check(pair.torch_model, pair.mlx_model, {"ids": token_ids(VOCABULARY)}, call=read, name=name)
    except Exception as error:  # one that fails is said to, and does not keep others from being seen
        verdict = UNBUILT if isinstance(error, BuildError) else ERROR
        traceback.print_exc()
        return {"verdict": verdict, "floors": None, "culprits": [], "cause": "", "reason": str(error)}
    groups = alike(report.culprits)
    return {
        "verdict": report.verdict.value,
        "floors": _floors(report),
        "culprits": [_culprit(group) for group in groups],
        "cause": next((culprit.cause for culprit in report.culprits if culprit.cause), ""),
        "reason": "; ".join(report.unobserved[:1]),
        "seconds": round(time.perf_counter() - started, 1),
    }


def _floors(report: RunReport) -> float | None:
    """The logits' error in noise floors: the prompt's or that of all steps together, whichever is more."""
    seen = [layer for layer in report.stages[0].outputs if layer.difference is not None]
    groups = [[layer for layer in seen if (layer.path == "prefill") is prompt] for prompt in (True, False)]
    ratios = [
        math.hypot(*(layer.error for layer in group)) / math.hypot(*(layer.floor for layer in group))
        for group in groups
        if group
    ]
    return round(max(ratios), 2) if ratios else None


def _culprit(group: list[Culprit]) -> dict[str, Any]:
    """Culprits that are alike but for the number of their layer, as one."""
    return {**culprit_to_dict(group[0]), "also": [other.module for other in group[1:]]}


def _rows(name: str, found: dict[str, Any]) -> list[str]:
    """An architecture in the table, and below it who is to blame."""
    floors = "-" if found["floors"] is None else f"{found['floors']:,.1f}"
    rows = [f"{name:<20} {found['verdict'].upper():<12} {floors:>12}  {found['cause']}".rstrip()]
    for culprit in found["culprits"]:
        also = f", and {len(culprit['also'])} like it" if culprit["also"] else ""
        rows.append(f"    {culprit['headline']}{also}")
    return [*rows, *([f"    {found['reason']}"] if found["reason"] else [])]


def _not_built(names: list[str]) -> list[str]:
    """What is said of those of mlx-lm's models that are not built here."""
    others = {name: f"runs the model of {', '.join(same)}" for name, same in SAME_AS.items()}
    return [f"{name:<20} {reason}" for name, reason in {**others, **UNAVAILABLE}.items() if name in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("architectures", nargs="*", metavar="ARCHITECTURE", help="default: all that can be built")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found here")
    args = parser.parse_args()
    every = [*ARCHITECTURES, *SAME_AS, *UNAVAILABLE]
    names = args.architectures or every
    unknown = [name for name in names if name not in every]
    if unknown:
        parser.error(f"no such architecture: {', '.join(unknown)}; there are {', '.join(every)}")
    transformers.utils.logging.disable_progress_bar()
    found: dict[str, dict[str, Any]] = {}
    print(f"{'architecture':<20} {'verdict':<12} {'floors':>12}  probable cause, and who is to blame")
    for name in names:
        if name in ARCHITECTURES:
            found[name] = examine(name)
            print("\n".join(_rows(name, found[name])), flush=True)
    counts = Counter(one["verdict"] for one in found.values())
    print("\nnot built here:", *(_not_built(names) or ["-"]), sep="\n")
    print(f"\n{', '.join(f'{count} {verdict}' for verdict, count in counts.items())}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    if counts.keys() & {UNBUILT, ERROR, Verdict.INCONCLUSIVE.value}:
        return Verdict.INCONCLUSIVE.exit_code
    return worst([Verdict(verdict) for verdict in counts]).exit_code if counts else 0


if __name__ == "__main__":
    sys.exit(main())
