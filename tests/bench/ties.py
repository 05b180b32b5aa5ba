"""How far ours and the plain float32 reference are apart in the first ten steps of the mainline, seed by seed.

    python tests/bench/ties.py

Largest relative difference of a weight tensor after each step; ours in float32, and in float64, which is exact as far
as a ReLU's side goes. Where even that departs, it is the reference that rounded to the wrong side.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from reference import ReferenceTraining, pairs_and_labels  # noqa: E402

from grok_sweep import train  # noqa: E402
from grok_sweep.config import DataConfig, Dtype, ModelConfig, RunConfig, resolved  # noqa: E402
from grok_sweep.models.parameters import unflatten  # noqa: E402
from grok_sweep.tasks import make_task  # noqa: E402


def differences(seed: int, dtype: Dtype) -> list[float]:
    """After each of ten steps."""
    config = resolved(RunConfig(data=DataConfig(split_seed=seed), model=ModelConfig(init_seed=seed)))
    task = make_task(config.data)
    in_float32 = train.setup(config, task)
    tokens, labels = pairs_and_labels(config.data.p)
    weights = unflatten(train.initial_state(in_float32).weights, in_float32.shapes)
    reference = ReferenceTraining(weights, tokens[task.train_mask], labels[task.train_mask])
    fixed = train.setup(replace(config, dtype=dtype), task)
    states, found = train.training(train.initial_state(fixed), fixed), []
    for _ in range(10):
        ours = unflatten(next(states).weights, fixed.shapes)
        reference.step()
        plain = {name: w.detach() for name, w in reference.weights.items()}
        found.append(max(float((ours[name] - w).norm() / w.norm()) for name, w in plain.items() if w.any()))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    for seed in range(6):
        for dtype in Dtype:
            print(f"seed {seed} {dtype.name}", *(f"{d:.0e}" for d in differences(seed, dtype)), flush=True)
