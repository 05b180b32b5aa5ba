"""W&B's public API, read: the runs of a group, and each one's settings, summary and whole history. Effects only."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from analysis.wandb_errors import TIMEOUT_S, told
from grok_sweep.wandb_session import REPORT_JOB, environment, quiet_wandb

LISTED = 500
"""Runs a page where they are only listed."""
WHOLE = 50
"""Runs a page with settings and summary: some 10 KB each."""
AT_ONCE = 4
"""Histories that are read at a time: each takes three requests or more, and W&B limits them."""


@dataclass(frozen=True)
class Place:
    """A group of runs at W&B."""

    entity: str
    project: str
    group: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.group}"


@dataclass(frozen=True)
class Listed:
    """A run as a list of runs has it.

    Attributes:
        id: W&B's.
        stamp: what changes when the run does: state, last heartbeat, rows.
    """

    id: str
    state: str
    stamp: tuple[Any, ...]


@dataclass(frozen=True)
class Whole:
    """A run with all that W&B holds of it.

    Attributes:
        config, summary: as they were logged, W&B's own entries taken out of the config.
        history: every row, W&B's own `_step` and the like among its entries.
        seen: when W&B last heard of the run; None where it does not say.
    """

    listed: Listed
    name: str | None
    config: dict[str, Any]
    summary: dict[str, Any]
    history: list[dict[str, Any]]
    seen: str | None


def place(text: str) -> Place:
    """entity/project/group. Raises ValueError for anything else."""
    parts = text.split("/", 2)
    if len(parts) < 3 or not all(part.strip() for part in parts):
        raise ValueError(f"--wandb takes entity/project/group, for example me/grok_sweep/phase_diagram; got {text!r}")
    return Place(*parts)


class WandbGroup:
    """A group at W&B. Every method raises ValueError, in one line with the way out, where W&B does not answer."""

    def __init__(self, where: Place) -> None:
        self._where, self._reading = where, f"cannot read {where} from W&B"
        wandb, _ = quiet_wandb(TIMEOUT_S)
        with told(self._reading):
            timeout = int(float(os.environ.get("WANDB_HTTP_TIMEOUT", TIMEOUT_S)))
            self._api = wandb.Api(overrides={"entity": where.entity}, timeout=timeout)

    def listed(self) -> list[Listed]:
        """The runs of the group, oldest first, without those that hold a report."""
        with told(self._reading), _scratch():
            found = [run for run in self._runs({"group": self._where.group}, lazy=True) if run.job_type != REPORT_JOB]
        if not found:
            raise ValueError(self._no_run())
        return [_listed(run) for run in found]

    def whole(self, runs: Sequence[Listed]) -> Iterator[Whole]:
        """These runs, each as it is when it comes; one that is gone meanwhile is left out."""
        for i in range(0, len(runs), WHOLE):
            ids = [run.id for run in runs[i : i + WHOLE]]
            with told(self._reading), _scratch(), ThreadPoolExecutor(AT_ONCE) as pool:
                page = list(self._runs({"group": self._where.group, "name": {"$in": ids}}, lazy=False))
                for run, history in zip(page, pool.map(_history, page), strict=True):
                    yield Whole(_listed(run), run.name, run.config, dict(run.summary_metrics), history, _seen(run))

    def _runs(self, filters: dict[str, Any], lazy: bool) -> Any:
        path = f"{self._where.entity}/{self._where.project}"
        return self._api.runs(path, filters, order="+created_at", per_page=LISTED if lazy else WHOLE, lazy=lazy)

    def _no_run(self) -> str:
        with told(self._reading), _scratch():
            newest = self._api.runs(
                f"{self._where.entity}/{self._where.project}", order="-created_at", per_page=LISTED
            )
            groups = list(dict.fromkeys(run.group for run in newest[:LISTED] if run.group))
        near = difflib.get_close_matches(self._where.group, groups, n=1)
        way_out = f"did you mean {near[0]}?" if near else f"newest groups there: {', '.join(groups[:5]) or 'none'}"
        project = f"{self._where.entity}/{self._where.project}"
        return f"no training run in the group {self._where.group} of {project} at W&B; {way_out}"


def _listed(run: Any) -> Listed:
    return Listed(run.id, run.state, (run.state, _seen(run), getattr(run, "history_line_count", None)))


def _history(run: Any) -> list[dict[str, Any]]:
    """Every row. wandb's own cache knows a file by its place in a list: it would not see what was exported anew."""
    return list(run.scan_history(use_cache=False))


def _seen(run: Any) -> str | None:
    return getattr(run, "heartbeat_at", None)


@contextmanager
def _scratch() -> Iterator[None]:
    """wandb makes a folder for each run that it lists: in a place that goes away."""
    with tempfile.TemporaryDirectory() as folder, environment("WANDB_DIR", folder):
        yield
