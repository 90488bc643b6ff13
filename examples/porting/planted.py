"""Plant faults into copies of public ports, and see whether they are found and named.

    pip install '.[zoo]' && pip install --no-deps mlx-whisper==0.4.3
    python examples/porting/planted.py                              # all, with and without faults
    python examples/porting/planted.py gqa-order phi --json FILE    # a fault and all of a port; more in FILE

The ports are mlx-lm's llama, gemma3_text, phi and mixtral, and mlx-whisper; examples/porting/faults/ says what is
planted, and where it must be named. Each original runs once; a port is compared with what was captured of it. Exit
status: 0 if no healthy port has a culprit, every fault is found, and nine of ten are named exactly; else 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `examples`, also where this runs as a script

import transformers

from examples.porting.bare_packages import pass_by_init
from examples.porting.faults import PORTS, Fault, Trial, accepted, counted, in_place_of
from examples.porting.mlx_lm_zoo import VOCABULARY, read
from examples.porting.zoo.build import build
from examples.porting.zoo.decode import token_ids
from mlx_parity import Pipeline, Port
from mlx_parity.port_file import load_port_file

PAGE = """# Planted faults

Made by `python examples/porting/planted.py --markdown docs/planted.md`. Each fault is an edit of one or two lines in a
copy of a public port, which `examples/porting/faults/` holds beside the module at which it must be named: the one that
computes something else or, where that has no twin, the smallest one around it. That was written down before the first
run. Two ports are not healthy as they come ([zoo.md](zoo.md), [peers.md](peers.md)); there the line is mended first.

{versions}

**{counts}.**
"""

LATER = """
## Thought of afterwards

When the thirty above were run first, 26 were named exactly. `window-one-short`, `keys-of-the-text` and
`strides-exchanged` led to changes of the harness, for which `no-window`, `audio-cut`, `padding-left-out` and `dilated`
were invented; `no-window` was named at its layers, and led to another change, made with `mask-not-made` in mind, for
which `window-of-16` and `mask-one-ahead` were invented. All but `no-window` were named exactly when first run.
"""


def stages_of(architecture: str) -> tuple[Pipeline, Mapping[str, Any]]:
    """The port as it is imported now, beside its original, and what both are called with."""
    if architecture == "whisper":
        file = load_port_file(Path(__file__).with_name("whisper.py"))
        return file.pipeline, file.inputs
    pair = build(architecture)
    stage = Port(architecture, pair.torch_model, pair.mlx_model, read, needs=("ids",))
    return Pipeline([stage]), {"ids": token_ids(VOCABULARY)}


def tried(architecture: str, faults: Sequence[Fault]) -> Iterator[Trial]:
    """A port without a fault, and then with each of them.

    Raises:
        ModuleNotFoundError: the port is not installed.
        EditError: its source is not the one that the faults are made for.
    """
    port = PORTS[architecture]
    if architecture == "whisper":
        pass_by_init("mlx_whisper", "pip install --no-deps mlx-whisper==0.4.3")
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        for fault in (None, *faults):
            with in_place_of(port.module, (*port.mended, *(fault.edits if fault else ()))):
                pipeline, inputs = stages_of(architecture)
                if fault is None:
                    pipeline.capture(Path(folder), inputs)
                yield Trial(architecture, fault, pipeline.compare(Path(folder)))


def chosen(names: Sequence[str]) -> dict[str, list[Fault]]:
    """Port -> those of its faults that are meant by their names or by the port's; no names: all.

    Raises:
        ValueError: a name that is neither.
    """
    every = {name: [*port.faults, *port.later] for name, port in PORTS.items()}
    known = {*every, *(fault.name for faults in every.values() for fault in faults)}
    if unknown := sorted(set(names) - known):
        raise ValueError(f"no such fault or port: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    wanted = {name: [one for one in every[name] if not names or {name, one.name} & set(names)] for name in every}
    return {name: faults for name, faults in wanted.items() if faults}


def row(one: Trial) -> str:
    """A line of the table on the terminal."""
    named = "; ".join(one.culprits) or "-"
    if one.fault is None:
        return f"{one.architecture:<12} {'-':<26} {one.report.verdict.value:<6} {'-':<6} {named}"
    cause = f"  ({one.cause})" if one.cause else ""
    return f"{one.architecture:<12} {one.name:<26} {'yes' if one.found else 'no':<6} {one.named:<6} {named}{cause}"


def page(trials: Sequence[Trial]) -> str:
    """What was found, as a page of the documentation."""
    later = [fault for port in PORTS.values() for fault in port.later]
    first, last = [one for one in trials if one.fault not in later], [one for one in trials if one.fault in later]
    ports = dict.fromkeys(PORTS[one.architecture].module.partition(".")[0].replace("_", "-") for one in trials)
    packages = (*ports, "transformers", "torch", "mlx")
    versions = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in packages)
    text = PAGE.format(versions=f"Of {versions} on a CPU, in float32.", counts=counted(first))
    for tried_now, head in ((first, ""), (last, LATER)):
        text += f"{head}\n| port | fault | | named | who is named | probable cause |\n|---|---|---|---|---|---|\n"
        for one in tried_now:
            if one.fault:
                cells = (one.name, one.fault.mistake, one.named, "; ".join(one.culprits), one.cause or "-")
                text += f"| {one.architecture} | {' | '.join(cells)} |\n"
    known = [f"- {one.name}: {one.fault.missed}" for one in trials if one.fault and one.fault.missed]
    return text + "\n## What is not named exactly, and why\n\n" + "\n".join(known) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a fault, or of a port; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here")
    args = parser.parse_args()
    try:
        wanted = chosen(args.names)
    except ValueError as error:
        parser.error(str(error))
    transformers.utils.logging.disable_progress_bar()
    trials: list[Trial] = []
    print(f"{'port':<12} {'fault':<26} {'found':<6} {'named':<6} who is named, and the probable cause")
    for architecture, faults in wanted.items():
        for one in tried(architecture, faults):
            trials.append(one)
            print(row(one), flush=True)
    print(f"\n{counted(trials)}")
    if args.json:
        args.json.write_text(json.dumps({one.name: one.to_dict() for one in trials}, indent=1) + "\n", encoding="utf-8")
    if args.markdown:
        args.markdown.write_text(page(trials), encoding="utf-8")
    return 0 if accepted(trials) else 1


if __name__ == "__main__":
    sys.exit(main())
