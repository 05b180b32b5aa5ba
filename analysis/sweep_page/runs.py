"""The runs of a page: what is said of each, the command that trains it alone, its curves and its stages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from analysis import curves
from analysis.captions import printable
from analysis.cells import time_of
from analysis.labels import number, steps_text
from analysis.outcomes import words
from analysis.tooltips import bracket, seed_text

HEADS = (
    "run", "state", "phase", "t_test / t_train", "t_train", "t_test", "t_novel",
    "grok_delay", "last step", "key frequencies", "final test_loss",
)  # fmt: skip
NEEDED = (
    "run_id", "state", "outcome", "phase", "phase_scale_free", "steps", "has_novel", "error", "model.init_seed",
    "data.split_seed", "t_train", "t_test", "t_novel", "t_train_below", "t_test_below", "t_novel_below",
    "final.test_loss",
)  # fmt: skip


def described(
    runs: pl.DataFrame, key_freqs: Mapping[str, Sequence[int]], commands: Mapping[str, Sequence[str]],
    reports: Mapping[str, str],
) -> list[dict[str, Any]]:  # fmt: skip
    """A line of the table for each run.

    Args:
        key_freqs: run_id -> those of its last row, where it has any.
        commands: run_id -> the words of the command that trains it alone.
        reports: run_id -> address of its report, where there is one.
    """
    needed = runs.select([name for name in NEEDED if name in runs.columns]).to_dicts()
    return [
        {
            "id": run["run_id"],
            "label": label(run),
            "facts": facts(run, key_freqs.get(run["run_id"])),
            "command": list(commands.get(run["run_id"], [])),
            "is_logged": run["steps"] is not None,
            "report": reports.get(run["run_id"], ""),
        }
        for run in needed
    ]


def label(run: Mapping[str, Any]) -> str:
    """seed 1, or seed 1 split 0; the run's name where it has no seed. No comma: it stands in CSV."""
    text = seed_text(run).rstrip(", ").replace(",", "")
    return text or printable(run["run_id"]).replace(",", " ")


def facts(run: Mapping[str, Any], key_freqs: Sequence[int] | None) -> list[str]:
    """As HEADS has them, but for the name."""
    phase = words(run["phase"]) if run["phase"] is not None else "none"
    state = run["state"] + (f": {printable(str(run['error']))[:300]}" if run["error"] else "")
    return [
        state,
        phase,
        _ratio(run),
        *(_time(run, name) for name in ("t_train", "t_test", "t_novel")),
        _delay(run),
        "none" if run["steps"] is None else steps_text(run["steps"]),
        "none" if not key_freqs else ", ".join(map(str, key_freqs)),
        "none" if run.get("final.test_loss") is None else number(run["final.test_loss"]),
    ]


def _ratio(run: Mapping[str, Any]) -> str:
    if run["t_train"] is None or run["t_test"] is None:
        return "none"
    return number(run["t_test"] / max(run["t_train"], 1))


def _time(run: Mapping[str, Any], name: str) -> str:
    """900 (after 875): the bracket; > 1,500: not within the steps run."""
    if run[name] is not None:
        return bracket(run, name)
    time = time_of(run, name)
    return "none" if time is None else f"> {steps_text(time.step)}"


def _delay(run: Mapping[str, Any]) -> str:
    time = time_of(run, "grok_delay")
    return "none" if time is None else f"{'> ' if time.censored else ''}{steps_text(time.step)}"


# --- curves -------------------------------------------------------------------------------------------------


def last_key_freqs(rows: pl.DataFrame) -> dict[str, list[int]]:
    """run_id -> the key frequencies of its last row."""
    last = rows.group_by("run_id", maintain_order=True).agg(pl.col("key_freqs").last())
    if last.schema["key_freqs"].base_type() is not pl.List:  # no run has any
        return {}
    return {run_id: found for run_id, found in last.iter_rows() if found}


def content(rows: pl.DataFrame, stages: Mapping[str, Sequence[tuple[str, float, float]]]) -> dict[str, Any]:
    """Curves and stages as the script takes them."""
    panels = curves.shown(rows)
    names = [name for _, names in panels.values() for name in names]
    drawn = curves.csv(rows, names)
    kept = {run_id: [list(band) for band in bands] for run_id, bands in stages.items() if run_id in drawn}
    return {"curves": drawn, "curve_head": ",".join(["run", "step", *names]), "stages": kept}
