"""A group of runs at W&B, read into a folder of this machine that is a sweep's folder like any other.

So everything that reads a sweep reads it: tables, curves, pages. Asked again, only runs that changed are fetched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from analysis.load import Sweep, load_sweep
from analysis.sources.wandb_api import Listed, Place, WandbGroup, Whole, place
from analysis.sources.wandb_run import Converted, axes_of, converted
from analysis.wandb_errors import server
from grok_sweep.store import RunDir, SweepDir, read_json, write_atomic, write_json

VERSION = 1
"""Another one fetches everything anew; raise it when what is written changes."""
FETCHED = "fetched.json"
"""In a run's folder, written last: what the run was at W&B when it was fetched."""


def load_group(
    path: str, cache: str | os.PathLike[str] | None = None, tell: Callable[[str], None] = lambda line: None
) -> Sweep:
    """The runs of a group at W&B as a sweep.

    Args:
        path: entity/project/group; our sweeps are groups of their name.
        cache: folder to keep runs in; None: ~/.cache/grok_sweep (XDG_CACHE_HOME).
        tell: hears lines about how far it is, and what is left out.

    Raises:
        ValueError: no such group, no key, no answer; one line with the way out, and where what was read before lies.
    """
    where = place(path)
    folder = folder_of(where, cache)
    try:
        fetch(where, folder, tell)
    except ValueError as error:
        if SweepDir(folder).plan_file.exists():
            raise ValueError(f"{error}; as it was last read, it lies in {folder}") from error
        raise
    return replace(load_sweep(folder), name=where.group)


def folder_of(where: Place, cache: str | os.PathLike[str] | None = None) -> Path:
    """Where this machine keeps the group: by server, entity, project and group."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "grok_sweep" / "wandb"
    parts = (urlsplit(server()).netloc, where.entity, where.project, where.group)
    return Path(cache or base).joinpath(*map(_as_folder, parts))


def _as_folder(name: str) -> str:
    """A name of a folder that no other name has."""
    safe = quote(name, safe=" ()+,=@")
    return "%2E" + safe[1:] if safe.startswith(".") else safe


def fetch(where: Place, folder: Path, tell: Callable[[str], None]) -> None:
    """Bring the folder up to the group: runs that are new or changed, and a plan of those that are there."""
    group = WandbGroup(where)
    listed = group.listed()
    sweep, kept = SweepDir(folder), _kept(folder)
    changed = [run for run in listed if kept.get(run.id, {}).get("stamp") != _stamp(run)]
    tell(f"{where}: {len(listed)} runs, {len(changed)} of them new or changed")
    for n_done, run in enumerate(group.whole(changed), 1):
        taken = {facts["run_id"] for wandb_id, facts in kept.items() if wandb_id != run.listed.id}
        kept[run.listed.id] = _write(sweep, run, taken)
        if n_done % 25 == 0 or n_done == len(changed):
            tell(f"fetched {n_done} of {len(changed)}")
    there = [kept[run.id] for run in listed if run.id in kept]
    foreign = sum(facts["run_id"] is None for facts in there)
    if foreign:
        tell(f"left out: {foreign} runs without the settings of a run of grok_sweep in their config")
    _write_plan(sweep, [facts["run_id"] for facts in there if facts["run_id"] is not None], where)


def _stamp(run: Listed) -> list[object]:
    return [VERSION, *run.stamp]


def _kept(folder: Path) -> dict[str, dict]:
    """What was fetched before, by W&B's id."""
    found = {}
    for file in sorted(folder.glob(f"*/{FETCHED}")):
        with suppress(ValueError, OSError, KeyError, TypeError):
            facts = read_json(file) or {}
            found[facts["wandb_id"]] = facts
    return found


def _write(sweep: SweepDir, run: Whole, taken: set[str | None]) -> dict:
    """One run's folder: what says that it is whole comes last.

    Args:
        taken: run_ids of other runs of the group; two of one run_id are told apart by their ids at W&B.
    """
    made = converted(run.listed.id, run.listed.state, run.config, run.summary, run.history, run.seen)
    name = _as_folder(run.listed.id) if made is None or made.run_id in taken else made.run_id
    run_dir = sweep.run(name)
    run_dir.path.mkdir(parents=True, exist_ok=True)
    (run_dir.path / FETCHED).unlink(missing_ok=True)
    if made is not None:
        _write_run(run_dir, made)
    is_settled = made is None or made.is_settled
    facts = {
        "wandb_id": run.listed.id,
        "stamp": _stamp(run.listed) if is_settled else None,
        "run_id": name if made else None,
    }
    write_json(run_dir.path / FETCHED, facts)
    return facts


def _write_run(run_dir: RunDir, made: Converted) -> None:
    write_json(run_dir.settings_file, made.settings)
    write_atomic(run_dir.metrics_file, "".join(json.dumps(row) + "\n" for row in made.rows).encode())
    if made.summary is None:
        run_dir.summary_file.unlink(missing_ok=True)
    else:
        write_json(run_dir.summary_file, made.summary)
    write_json(run_dir.status_file, made.status)


def _write_plan(sweep: SweepDir, run_ids: Sequence[str], where: Place) -> None:
    """plan.jsonl with these runs and no other, in W&B's order."""
    settings = {run_id: sweep.run(run_id).settings() or {} for run_id in run_ids}
    if not settings:
        raise ValueError(f"no run in {where} has the settings of a run of grok_sweep in its config")
    varied = axes_of(list(settings.values()))
    lines = [
        {"run_id": run_id, "settings": own, "axes": {name: own.get(name) for name in varied}}
        for run_id, own in settings.items()
    ]
    write_atomic(sweep.plan_file, "".join(json.dumps(line) + "\n" for line in lines).encode())
