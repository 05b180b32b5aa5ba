"""ensemble.size=auto: how many runs like this one pay together where they train. Timed, as it cannot be told.

On a CPU what is saved is calls: a half of a tiny network's step, nothing of a larger one's. On a GPU it is idle
cores, up to the size that fills them or the memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from grok_sweep import train
from grok_sweep.config import RunConfig
from grok_sweep.ensemble import Ensemble
from grok_sweep.run import choose_device
from grok_sweep.tasks import make_task

SIZES = {"cpu": (4, 16), "cuda": (4, 16, 64, 256, 1024)}
"""By device: what is tried, as long as each is faster than the one before."""
GAIN = 0.1
"""A larger ensemble has to save so much of a run's time: less is lost again while members come and go."""
ROUND_S, ROUNDS = 0.05, 4
"""Alone and together are timed in turn for so long; of each the least time counts, as others only ever slow it. On a
CPU it is the time that this process computed."""
MEMORY = 0.8
"""Of a GPU's memory, so much is taken; the rest is for measures."""


@dataclass(frozen=True)
class Timed:
    """What was found: `size` is the best, `ms` of a run's step by the number of runs together, those tried."""

    size: int
    ms: dict[int, float]


def best_size(config: RunConfig) -> Timed:
    """The best number of runs with these settings, up to their seeds; 1 where it does not pay.

    Args:
        config: resolved, of a run that may train with others.
    """
    device = choose_device(config.device)
    fixed = train.setup(config, make_task(config.data), device)
    state = train.initial_state(fixed)
    states = train.training(state, fixed)
    ms: dict[int, float] = {}
    best = 1
    for n in SIZES[device.type]:
        try:
            together = Ensemble([fixed] * n, [state] * n)
            of_one, of_many = _least_ms(device, lambda: next(states), lambda together=together: together.train(1))
        except torch.OutOfMemoryError:
            break
        ms[1] = min(of_one, ms.get(1, of_one))
        ms[n] = of_many / n
        if ms[n] > (1 - GAIN) * ms[best]:
            break
        best = n
        if not _next_fits(device):
            break
    return Timed(best, ms)


def _least_ms(device: torch.device, *steps: Callable[[], object]) -> Iterator[float]:
    """The least time of each, in turn, after a step that does not count."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    best = [float("inf")] * len(steps)
    for step in steps:
        step()
    for _ in range(ROUNDS):
        for i, step in enumerate(steps):
            _wait_for(device)
            began, n = clock(), 0
            while n == 0 or clock() - began < ROUND_S:
                step()
                n += 1
            _wait_for(device)
            best[i] = min(best[i], 1000 * (clock() - began) / n)
    return iter(best)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _next_fits(device: torch.device) -> bool:
    """Whether four times as many would leave memory for the rest; a CPU's is not what is short."""
    if device.type != "cuda":
        return True
    free, total = torch.cuda.mem_get_info(device)
    return 4 * (total - free) < MEMORY * total
