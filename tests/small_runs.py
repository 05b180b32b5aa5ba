"""Small runs for tests: settings that train in seconds, and what must be equal between two runs of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from grok_sweep.config import (
    CheckpointConfig,
    DataConfig,
    LoggerConfig,
    LoggerKind,
    MeasuresConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    SnapshotsConfig,
    flat,
    resolved,
    run_id,
)
from grok_sweep.measures.table import MEASURES
from grok_sweep.store import PlannedRun, RunDir, SweepDir, read_jsonl

NOT_REPEATED = ("seconds",)
"""What a row holds that no two runs share."""


def small_config(**changes: Any) -> RunConfig:
    """p = 23, width 16: about a millisecond a step; memorises, does not grok in the steps given."""
    defaults: dict[str, Any] = {
        "data": DataConfig(p=23, frac_train=0.4),
        "model": ModelConfig(d_model=16),
        "optimizer": OptimizerConfig(lr=3e-3),
        "measures": MeasuresConfig(names=list(MEASURES)),
        "logger": LoggerConfig(kind=LoggerKind.none),
        "checkpoint": CheckpointConfig(every_s=0.05),
        "n_steps": 200,
    }
    return resolved(RunConfig(**(defaults | changes)))


def grokking(**changes: Any) -> RunConfig:
    """p = 23, width 32: memorises by step 60, groks at 200, ends with two key frequencies."""
    defaults: dict[str, Any] = {
        "data": DataConfig(p=23, frac_train=0.7),
        "model": ModelConfig(d_model=32),
        "optimizer": OptimizerConfig(lr=1e-2),
        "measures": MeasuresConfig(names=list(MEASURES), every=20, vector_every=2),
        "snapshots": SnapshotsConfig(n=10),
        "n_steps": 400,
    }
    return small_config(**(defaults | changes))


def planned(*configs: RunConfig) -> list[PlannedRun]:
    return [PlannedRun(run_id(config), flat(config), {}) for config in configs]


def plan_of(path: Path, *configs: RunConfig) -> tuple[SweepDir, list[str]]:
    """A sweep's folder whose plan holds these runs, and their ids."""
    sweep, runs = SweepDir(path), planned(*configs)
    sweep.add(runs)
    return sweep, [run.run_id for run in runs]


def repeated_rows(run_dir: RunDir) -> list[dict[str, Any]]:
    return [{n: v for n, v in row.items() if n not in NOT_REPEATED} for row in run_dir.rows()]


def ensembles_of(sweep: SweepDir, worker: str = "*") -> list[dict[str, Any]]:
    """Who was together, a line each time that it changed: of a worker (its pid), or of all."""
    files = sorted(sweep.ensembles.glob(f"*-{worker}.jsonl"))
    return [line for file in files for line in read_jsonl(file) if "steps" in line]


def assert_equal_runs(one: RunDir, other: RunDir) -> None:
    """Rows (each step once), final weights and optimizer state equal, bit for bit."""
    rows = repeated_rows(one)
    steps = [row["step"] for row in rows]
    assert steps == sorted(set(steps))
    assert rows == repeated_rows(other)
    ours, theirs = one.load_checkpoint(), other.load_checkpoint()
    assert ours is not None
    assert theirs is not None
    assert ours[1]["step"] == theirs[1]["step"]
    assert ours[0].keys() == theirs[0].keys()
    for name, tensor in ours[0].items():
        assert torch.equal(tensor, theirs[0][name]), name
