"""The loop that all stages share: seeded, resumable to the bit, with progress lines and a picture of the losses."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reference.nano.curve import draw_curves


@dataclass(frozen=True)
class Schedule:
    """How a stage is optimised.

    Attributes:
        steps: in all.
        rate: the highest learning rate; it falls to zero along a cosine.
        warmup: steps until it is reached.
        decay: AdamW's, of matrices alone.
        betas: AdamW's.
        clip: largest norm of the gradient.
        report: steps between two progress lines.
        save_seconds: between two checkpoints.
    """

    steps: int
    rate: float = 2e-3
    warmup: int = 50
    decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    report: int = 25
    save_seconds: float = 60.0


#: (network, generator of this step, step) -> losses by name; "loss" is what is minimised.
Losses = Callable[[Any, np.random.Generator, int], Mapping[str, Tensor]]
#: network -> figures by name, on what is not trained on.
Check = Callable[[Any], Mapping[str, float]]


def learning_rate(schedule: Schedule, step: int) -> float:
    rising = min(1.0, (step + 1) / max(1, schedule.warmup))
    return schedule.rate * rising * 0.5 * (1 + math.cos(math.pi * min(1.0, step / schedule.steps)))


def _optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.AdamW:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": schedule.decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.rate, betas=schedule.betas)


def save(path: Path, content: Any) -> None:
    """`torch.save`, whole or not at all."""
    unfinished = path.with_suffix(".part")
    torch.save(content, unfinished)
    os.replace(unfinished, path)


def train(
    network: nn.Module,
    losses: Losses,
    schedule: Schedule,
    path: Path,
    *,
    seed: int,
    check: Check | None = None,
    check_every: int = 500,
    stop: int | None = None,
) -> nn.Module:
    """Train `network` to the end of the schedule, or from where the checkpoint `path` stands; its curve lies beside it.

    Step N draws from generators that are seeded by (seed, N), so it is the same whether or not training was stopped
    before it.

    Args:
        network: in its initial state.
        losses: of one step.
        schedule: how to optimise.
        path: the checkpoint, a `.pt` file, written now and then.
        seed: of all draws.
        check: figures to report every `check_every` steps and at the end.
        check_every: steps.
        stop: end before this step, as if interrupted.
    """
    optimizer, done = _optimizer(network, schedule), 0
    history: dict[str, list[list[float]]] = {}
    if path.exists():
        state = torch.load(path, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        done, history = state["step"], state["history"]

    def keep(step: int) -> None:
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "history": history}
        save(path, state)
        draw_curves(path.with_suffix(".png"), history)

    last = schedule.steps if stop is None else min(stop, schedule.steps)
    sums: dict[str, list[float]] = {}
    started = saved = time.monotonic()
    first = done
    network.train()
    for step in range(done, last):
        torch.manual_seed(seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, step)
        found = losses(network, np.random.default_rng((seed, step)), step)
        optimizer.zero_grad(set_to_none=True)
        found["loss"].backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), schedule.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"{path.stem}: the gradient of step {step} is not finite; lower the rate")
        optimizer.step()
        for name, value in found.items():
            sums.setdefault(name, []).append(float(value.detach()))
        if (step + 1) % schedule.report == 0 or step + 1 == last:
            means = {name: sum(values) / len(values) for name, values in sums.items()}
            sums = {}
            for name, mean in means.items():
                history.setdefault(name, []).append([float(step + 1), mean])
            speed = (step + 1 - first) / (time.monotonic() - started)
            _say(path.stem, step + 1, schedule.steps, means, f"{speed:.2f} steps/s")
        if check is not None and ((step + 1) % check_every == 0 or step + 1 == last):
            network.eval()
            figures = check(network)
            network.train()
            for name, figure in figures.items():
                history.setdefault(name, []).append([float(step + 1), float(figure)])
            _say(path.stem, step + 1, schedule.steps, figures, "held out")
        if time.monotonic() - saved > schedule.save_seconds or step + 1 == last:
            keep(step + 1)
            saved = time.monotonic()
    return network.eval()


def _say(stage: str, step: int, steps: int, figures: Mapping[str, float], more: str) -> None:
    values = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    print(f"{time.strftime('%H:%M:%S')} {stage} {step}/{steps}: {values} ({more})", file=sys.stderr, flush=True)
