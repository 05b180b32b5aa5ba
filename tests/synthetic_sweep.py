"""A sweep's folder as workers leave it, of any size and in every state, without a step of training.

    python tests/synthetic_sweep.py /tmp/runs/many --runs 10000 --rows 400

Names, keys and forms of every file are those of real runs (a test holds both side by side); rows hold random numbers
of the size that real ones have.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grok_sweep.config import RunConfig, flat, from_flat, resolved, run_id_of
from grok_sweep.store import PlannedRun, SweepDir
from grok_sweep.summary import summarise
from grok_sweep.sweep.claims import process_start, this_machine

P, D_MODEL = 97, 64
N_STEPS = 15_000
SCALARS = (
    "restricted_loss", "excluded_loss", "excluded_loss_max", "key_gap", "n_key_freqs", "key_freqs", "fve_logits",
    "fit_loss", "W_L_residual", "frac_neurons_85", "frac_neurons_85_weighted", "gini_W_E", "gini_W_L",
    "sum_sq_weights", "sum_sq.W_E", "sum_sq.W_pos", "sum_sq.W_Q", "sum_sq.W_K", "sum_sq.W_V", "sum_sq.W_O",
    "sum_sq.W_in", "sum_sq.b_in", "sum_sq.W_out", "sum_sq.b_out", "sum_sq.W_U",
)  # fmt: skip
"""What conf/measures/nanda.yaml adds to a full row, in its order."""
VECTORS = ("excluded_loss_k", "cos_sim_k")
MEASURES = (*dict.fromkeys(name.partition(".")[0] for name in SCALARS), *VECTORS)

FAILURES = (
    "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "OSError: [Errno 122] Disk quota exceeded",
    "RuntimeError: cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
)


@dataclass(frozen=True)
class Counts:
    """How many runs are in each state; the rest is done. `dead`: running by their status, their worker gone."""

    running: int = 16
    dead: int = 4
    failed: int = 100
    diverged: int = 60
    interrupted: int = 200
    planned: int = 300

    def states(self, n_runs: int) -> list[str]:
        """A state a run, in the plan's order: what is running or waits comes last, as in a real sweep."""
        odd = [*["failed"] * self.failed, *["diverged"] * self.diverged]
        last = ["running"] * self.running + ["dead"] * self.dead
        last += ["interrupted"] * self.interrupted + ["planned"] * self.planned
        first = ["done"] * (n_runs - len(odd) - len(last)) + odd
        random.Random(0).shuffle(first)
        return first + last


def synthetic_sweep(
    path: Path, n_runs: int, n_rows: int, counts: Counts | None = None, n_processes: int = 1
) -> SweepDir:
    """Make the sweep; the running ones are held by the present process, so that they count as alive as long as it.

    Args:
        n_rows: logged rows of a run that is done; others have half of them.
    """
    sweep, runs = SweepDir(path), list(_planned(path, n_runs))
    sweep.add(runs)
    jobs = list(zip(runs, (counts or Counts()).states(n_runs), strict=True))
    if n_processes == 1:
        _write_runs(path, jobs, n_rows, os.getpid())
        return sweep
    parts = [jobs[i :: n_processes * 8] for i in range(n_processes * 8)]
    with ProcessPoolExecutor(n_processes) as pool:
        for done in [pool.submit(_write_runs, path, part, n_rows, os.getpid()) for part in parts]:
            done.result()
    return sweep


def _planned(path: Path, n_runs: int) -> Iterator[PlannedRun]:
    """A grid over weight decay, train fraction and seeds, ten of each cell."""
    base = {
        "data.p": P, "model.d_model": D_MODEL, "optimizer.lr": 1e-2, "n_steps": N_STEPS, "logger.kind": "none",
        "measures.names": list(MEASURES), "sweep": path.name, "root": str(path.parent),
    }  # fmt: skip
    settings = flat(resolved(from_flat(flat(RunConfig()) | base)))
    for i in range(n_runs):
        cell, seed = divmod(i, 10)
        axes = {
            "optimizer.weight_decay": round(0.01 * 1.05 ** (cell % 100), 6),
            "data.frac_train": round(0.2 + 0.006 * (cell // 100), 6),
            "data.split_seed": seed,
            "model.init_seed": seed,
        }
        own = settings | axes
        yield PlannedRun(run_id_of(own), own, axes)


# --- one run's files ----------------------------------------------------------------------------------------


def _write_runs(path: Path, jobs: Sequence[tuple[PlannedRun, str]], n_rows: int, living: int) -> None:
    sweep = SweepDir(path)
    for run, state in jobs:
        if state != "planned":
            _write_run(sweep, run, state, n_rows, living)


def _write_run(sweep: SweepDir, run: PlannedRun, state: str, n_rows: int, living: int) -> None:
    chance = random.Random(run.run_id)
    run_dir, config = sweep.run(run.run_id), from_flat(run.settings)
    run_dir.path.mkdir(parents=True)
    run_dir.settings_file.write_text(json.dumps(run.settings, indent=1) + "\n")
    n = n_rows if state == "done" else max(1, n_rows // 2)
    rows = list(_rows(n, config.n_steps if state == "done" else config.n_steps // 2, chance))
    run_dir.metrics_file.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    step, error = rows[-1]["step"], None
    run_dir.log_file.write_text(f"2026-11-28T00:00:00Z started: run {run.run_id}, {config.n_steps} steps\n")
    run_dir.provenance_file.write_text(json.dumps({"attempts": [_attempt()]}, indent=1) + "\n")
    if state in ("done", "diverged"):
        summary = summarise(config, rows, step, "n_steps", bitwise=True) | {"n_train": 1881}
        if state == "diverged":
            summary |= {"diverged_at": step, "end": "diverged", "phase": None, "phase_scale_free": None}
        run_dir.summary_file.write_text(json.dumps(summary, indent=1) + "\n")
    if state == "failed":
        error = chance.choice(FAILURES)
        with run_dir.log_file.open("a") as log:
            log.write(_traceback(error))
    status = {
        "state": "running" if state == "dead" else state, "step": step, "n_steps": config.n_steps,
        "end": "n_steps" if state == "done" else None, "error": error,
        "updated": time.time() - (0 if state == "running" else chance.uniform(60, 20_000)),
    }  # fmt: skip
    run_dir.status_file.write_text(json.dumps(status, indent=1) + "\n")
    _write_claims(sweep, run, living if state == "running" else 2**22 + 1, state in ("running", "dead"))


def _write_claims(sweep: SweepDir, run: PlannedRun, pid: int, held: bool) -> None:
    folder = sweep.claims / run.run_id
    folder.mkdir(parents=True)
    record = {
        "host": socket.gethostname(), "machine": this_machine(), "pid": pid, "started": process_start(pid) or "1",
        "token": run.run_id,
    }  # fmt: skip
    (folder / "000001.json").write_text(json.dumps(record))
    if not held:
        (folder / "000002.json").write_text(json.dumps({"released": True}))


def _rows(n: int, last_step: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    t_train, t_test = 0.2 + 0.1 * chance.random(), 0.4 + 0.8 * chance.random()
    for i in range(n):
        done = i / max(1, n - 1)
        train, test = (0.99 if done > t else chance.random() * 0.5 for t in (t_train, t_test))
        row: dict[str, Any] = {"step": round(last_step * done), "objective": chance.expovariate(1)}
        row |= {f"{side}_loss": chance.expovariate(1) for side in ("train", "test", "swap", "novel", "all")}
        row |= {"train_acc": train, "test_acc": test, "swap_acc": test, "novel_acc": test}
        if i > 0:
            row |= {"grad_norm": chance.random(), "update_norm": chance.random()}
        row["weights_hash"] = format(chance.getrandbits(64), "016x")
        row |= {name: chance.random() * 100 for name in SCALARS}
        row |= (
            {"n_key_freqs": 5, "key_freqs": [3, 6, 23, 39, 41]} if i % 3 else {"n_key_freqs": None, "key_freqs": None}
        )
        if i % 10 == 0 or i == n - 1:
            row |= {name: [chance.random() for _ in range((P - 1) // 2)] for name in VECTORS}
        row["seconds"] = round(0.004 * (row["step"] + 1), 3)
        yield row


def _attempt() -> dict[str, Any]:
    words = ["/home/u/grok_sweep/launch.py", "-m", "experiment=quick", "wd=geomspace(0.01,1,100)", "seed=range(0,10)"]
    return {
        "started": "2026-11-28T00:00:00Z", "from_step": 0, "host": socket.gethostname(), "pid": 1, "command": words,
        "python": "3.11.7", "commit": "0" * 40, "changed": False, "device": "cpu AVX512", "machine": "x86_64",
        "n_threads": 1, "torch": "2.13.0+cpu", "gradient": "by hand, 2048 pairs at a time",
    }  # fmt: skip


def _traceback(error: str) -> str:
    lines = ["failed:", "Traceback (most recent call last):"]
    lines += ['  File "/home/u/grok_sweep/grok_sweep/sweep/worker.py", line 223, in _train_alone']
    lines += ["    driven(self._attempt(run, hooks))", error]
    return "".join(f"2026-11-28T00:10:00Z {line}\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--n-processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    began = time.perf_counter()
    synthetic_sweep(given.path, given.runs, given.rows, n_processes=given.n_processes)
    print(f"{given.runs} runs of {given.rows} rows in {time.perf_counter() - began:.0f} s: {given.path}")


if __name__ == "__main__":
    main()
