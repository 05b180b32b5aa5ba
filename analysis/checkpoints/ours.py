"""Checkpoints of our own: a run's folder at any step, and the files of weights in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from analysis.checkpoints.checkpoint import Checkpoint, Given, Losses, SplitRule
from analysis.checkpoints.container import Contents
from analysis.checkpoints.refusal import refusal
from grok_sweep.config import RunConfig, Split, from_flat, resolved
from grok_sweep.loaded import LoadedRun, ReplayDiffers
from grok_sweep.models import build
from grok_sweep.models.parameters import Weights, flatten, weights_hash
from grok_sweep.store import RunDir
from grok_sweep.train import weights_in


def read_run(path: Path, given: Given) -> Checkpoint:
    """A run at a step (default: its last), stored or trained once more; ValueError for one that it did not reach."""
    run = LoadedRun(path)
    _require_agreement(run.path, run.config, given)
    step = run.last_step if given.step is None else given.step
    is_stored = step in run.stored_steps
    try:
        weights = run.weights(step)
    except ReplayDiffers as error:  # the message names the run
        raise ValueError(str(error)) from error
    notes = () if is_stored else (f"step {step} was not stored: trained once more up to there",)
    return _checkpoint(weights, run.config, step, RunDir(run.path), "a run's folder", run.path, notes)


def run_of(path: Path) -> RunDir | None:
    """The run whose checkpoint or snapshot this file is; None where it lies in no run's folder."""
    folder = path.resolve().parent
    is_snapshot = folder.name == "snapshots" and path.name.startswith("step_")
    if not is_snapshot and path.name != "checkpoint.safetensors":
        return None
    run = RunDir(folder.parent if is_snapshot else folder)
    return run if run.settings_file.exists() else None


def alone(contents: Contents) -> Contents:
    """A checkpoint of ours away from its run's folder: its weights, without the optimizer's means, and its step."""
    if "facts" not in (contents.metadata or {}):
        return contents
    return replace(contents, value=weights_in(contents.value), metadata={"step": str(_step(contents))})


def read_stored(path: Path, contents: Contents, run: RunDir, given: Given) -> Checkpoint:
    """A file of weights that lies in its run's folder, with that run's settings.

    Raises ValueError where names or shapes do not fit them, or the weights are not those of the step's row.
    """
    settings = run.settings()
    assert settings is not None, "run_of gives runs that have settings"
    config = resolved(from_flat(settings))
    _require_agreement(path, config, given)
    network = build.network(config.model, config.data.p)
    weights = weights_in(contents.value)
    try:
        vector = flatten(weights, network.shapes())
    except ValueError as error:
        raise refusal(path, [f"{error} (the settings are those of {run.settings_file})"]) from error
    if not vector.isfinite().all():
        raise refusal(path, [_not_finite(weights)])
    step = _step(contents)
    rows = {row["step"]: row for row in run.rows()}
    if step in rows and rows[step]["weights_hash"] != weights_hash(vector):
        raise refusal(
            path, [f"its weights are not those of step {step} of the run in {run.path}: another run's file?"]
        )
    if given.step not in (None, step):
        raise refusal(path, [f"holds step {step}, not step {given.step}: give the run's folder, {run.path}"])
    return _checkpoint(weights, config, step, run, "a snapshot of ours", path)


def _checkpoint(
    weights: Weights,
    config: RunConfig,
    step: int | None,
    run: RunDir,
    layout: str,
    path: Path,
    notes: tuple[str, ...] = (),
) -> Checkpoint:
    row = next((row for row in run.rows() if row["step"] == step), None)
    losses = Losses(row.get("train_loss"), row.get("test_loss")) if row else None
    data, model = config.data, config.model
    in_order = {name: weights[name] for name in build.network(model, data.p).shapes()}
    return Checkpoint(in_order, data.p, model, data.operation, data, step, losses, layout, path, notes=notes)


def _step(contents: Contents) -> int | None:
    """The step in a snapshot's metadata, or among a checkpoint's facts."""
    metadata = contents.metadata or {}
    if "step" in metadata:
        return int(metadata["step"])
    return json.loads(metadata["facts"])["step"] if "facts" in metadata else None


def _not_finite(weights: Weights) -> str:
    wrong = [name for name, w in weights.items() if not w.isfinite().all()]
    return f"{', '.join(wrong)} hold numbers that are not finite: the run diverged"


def _require_agreement(path: Path, config: RunConfig, given: Given) -> None:
    """What is given besides must be what the run's settings say."""
    model, data = config.model, config.data
    own = {"p": data.p, "operation": data.operation, "n_heads": model.n_heads, "d_head": model.d_head,
           "activation": model.activation}  # fmt: skip
    wrong = [
        f"{name}={_text(value)} was given, but the run's settings say {_text(own[name])}: leave it out"
        for name in own
        if (value := getattr(given, name)) is not None and value != own[name]
    ]
    if given.split is not None and (data.split is not Split.ordered or given.split != SplitRule.of(data)):
        wrong.append(
            f"the split {given.split} was given, but the run's settings say {SplitRule.of(data)}: leave it out"
        )
    if given.names:
        wrong.append("names of weights were given, but a run's own files need none: leave them out")
    if wrong:
        raise refusal(path, wrong)


def _text(value: object) -> str:
    return str(getattr(value, "name", value))
