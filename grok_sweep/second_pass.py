"""What is measured after a run has ended: with the final network's key frequencies, or a measure thought of later."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grok_sweep.machine import keep_freed_memory, usable_cores
from grok_sweep.measures.frequencies import neighbours
from grok_sweep.measures.rows import entries
from grok_sweep.measures.table import HINDSIGHT, MEASURES, Measure, keys_of, measure, own_name
from grok_sweep.replay import Replay
from grok_sweep.store import RunDir, State, read_jsonl


@dataclass(frozen=True)
class Report:
    """What became of one run.

    Attributes:
        n_rows: rows written.
        note: why there are none, or what is wrong.
        error: whether something is wrong.
    """

    path: Path
    n_rows: int = 0
    note: str = ""
    error: bool = False


def measure_runs(
    paths: Sequence[Path],
    names: Sequence[str],
    by_replay: bool = False,
    again: bool = False,
    n_workers: int | None = None,
) -> Iterator[Report]:
    """`measure_run` on each, in their order; one that cannot be measured costs itself alone.

    Args:
        n_workers: processes; None: one a usable core.
    """
    n_workers = min(n_workers or usable_cores(), len(paths))
    task = partial(_measure_or_tell, names=names, by_replay=by_replay, again=again)
    if n_workers == 1:
        yield from map(task, paths)
        return
    # spawn: a process that has used torch must not be forked. A worker that is interrupted has nothing to save.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, context, signal.signal, (signal.SIGINT, signal.SIG_DFL)) as pool:
        futures = [pool.submit(task, path) for path in paths]
        try:
            for path, future in zip(paths, futures, strict=True):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    yield Report(path, note="a worker process was killed, as when memory runs out", error=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _measure_or_tell(path: Path, names: Sequence[str], by_replay: bool, again: bool) -> Report:
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        return measure_run(path, names, by_replay, again)
    except Exception as error:
        return Report(path, note=f"{type(error).__name__}: {error}", error=True)


def measure_run(path: str | Path, names: Sequence[str], by_replay: bool = False, again: bool = False) -> Report:
    """Take these measures of a finished run and write them beside its rows.

    Those with the final key frequencies go to final_keys.jsonl, the others to measured.jsonl, each under its step:
    that of every snapshot, or, where there are none or with by_replay, that of every row.

    Args:
        names: of the table, with the suffix _final, or dotted paths to functions of an Evaluation.
        again: take them anew where they stand already.

    Raises ValueError for a damaged folder, ReplayDiffers where the run cannot be repeated here.
    """
    run_dir = RunDir(path)
    if run_dir.state() is not State.done:
        return Report(run_dir.path, note=f"{run_dir.state().value}: only finished runs are measured")
    replay = Replay(run_dir)
    steps = run_dir.snapshot_steps()
    if by_replay or not steps:
        steps = sorted(replay.hashes)
    final_keys: dict[str, list[int]] = {}
    without_keys = ""
    if any(name in HINDSIGHT for name in names):
        final_keys, without_keys = _final_keys(replay)
    defined = [name for name in names if name not in HINDSIGHT or keys_of(name) in final_keys]
    wanted = [
        one for one in (_Wanted.of(name, final_keys) for name in defined) if again or not one.stands(run_dir, steps)
    ]
    if not wanted:
        return Report(run_dir.path, note=without_keys or "measured before")
    rows: dict[Path, list[dict[str, Any]]] = {}
    for step, weights in zip(steps, replay.all_weights(steps), strict=True):
        for file, values in _values(replay, weights, wanted):
            rows.setdefault(file, []).append({"step": step} | values)
    for file, found in rows.items():
        run_dir.merge_rows(file, found)
    n_rows = max((len(found) for found in rows.values()), default=0)
    return Report(run_dir.path, n_rows, without_keys or ("" if rows else "not defined for this task or network"))


@dataclass(frozen=True)
class _Wanted:
    """One measure to take: under which name, by which function, if defined.

    Attributes:
        key_freqs: the final ones; None for a measure that does not take them.
        taken: those that it takes, the final ones or a set beside them.
    """

    name: str
    line: Measure
    function: Callable[..., Any]
    key_freqs: list[int] | None
    taken: list[int] | None

    @staticmethod
    def of(name: str, final_keys: Mapping[str, list[int]]) -> _Wanted:
        line = measure(HINDSIGHT.get(name, name))
        keys, taken = (final_keys[""], final_keys[keys_of(name)]) if name in HINDSIGHT else (None, None)
        return _Wanted(own_name(name), line, line.load(), keys, taken)

    def file(self, run_dir: RunDir) -> Path:
        return run_dir.measured_file if self.key_freqs is None else run_dir.final_keys_file

    def stands(self, run_dir: RunDir, steps: Sequence[int]) -> bool:
        """Whether every one of these steps has it, taken with the same key frequencies."""
        having = {
            row["step"]
            for row in read_jsonl(self.file(run_dir))
            if any(name == self.name or name.startswith(self.name + ".") for name in row)
            and row.get("key_freqs_final", self.key_freqs) in (None, self.key_freqs)
        }
        return set(steps) <= having

    def values(self, evaluation: Any) -> dict[str, Any]:
        if self.key_freqs is None:
            return entries(self.name, self.function(evaluation))
        return {"key_freqs_final": self.key_freqs, self.name: self.function(evaluation, self.taken)}


def _values(
    replay: Replay, weights: dict[str, Tensor], wanted: Sequence[_Wanted]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """For each file what goes into its row of these weights; nothing where nothing is defined."""
    evaluation = replay.evaluate(weights)
    by_file: dict[Path, dict[str, Any]] = {}
    for one in wanted:
        if one.line.needs <= evaluation.has:
            by_file.setdefault(one.file(replay.run_dir), {}).update(one.values(evaluation))
    yield from by_file.items()


def _final_keys(replay: Replay) -> tuple[dict[str, list[int]], str]:
    """The final network's key frequencies under "", with the sets beside them under their names; or none, and why."""
    final = replay.evaluation(replay.last_step)
    if not MEASURES["key_freqs"].needs <= final.has:
        return {}, "no cyclic group is known for this operation: no key frequencies"
    found = final.key_freqs
    if found.freqs is None:
        return {}, f"the final network has no key frequencies (gap {found.gap:.1f} decades)"
    return {"": found.freqs} | neighbours(found.freqs, final.excluded_loss_k), ""
