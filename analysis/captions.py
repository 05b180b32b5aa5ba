"""Subtitle and axis titles of a sweep's map. Pure: text from the table of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from analysis.axes import FRAC_TRAIN, NUMERICAL, SEEDS, WEIGHT_DECAY, in_order, spacing, value_text
from analysis.labels import steps_text
from analysis.outcomes import STATES
from grok_sweep.config import RunConfig, flat, resolved

ALWAYS = {
    "data.p": "p",
    FRAC_TRAIN: "train fraction",
    WEIGHT_DECAY: "weight decay",
    "optimizer.lr": "lr",
    "optimizer.eps": "eps",
    "model.d_model": "d_model",
    "n_steps": "steps",
}
"""Settings that stand in every subtitle, with their names there."""
WORDS = {
    FRAC_TRAIN: "train fraction",
    "data.p": "modulus p",
    "optimizer.lr": "learning rate",
    "optimizer.eps": "Adam's eps",
    "model.d_model": "width (d_model)",
    "data.split_seed": "seed of the split",
    "model.init_seed": "seed",
}
DERIVED = ("model.d_head", "model.d_mlp")


def printable(text: str) -> str:
    """The text with what no figure can show (control characters, broken names) replaced."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def printable_lines(text: str) -> str:
    """The same, line by line."""
    return "\n".join(printable(line) for line in text.split("\n"))


def setting_title(name: str, runs: pl.DataFrame) -> str:
    """The setting in words; weight decay says which kind it is, for AdamW's is not Adam's."""
    if name == WEIGHT_DECAY:
        rules = set(runs["optimizer.name"].to_list()) if "optimizer.name" in runs.columns else set()
        return "weight decay (AdamW, decoupled)" if rules == {"adamw"} else "weight decay"
    return WORDS.get(name, name)


def axis_title(name: str, runs: pl.DataFrame) -> str:
    """The setting in words, and that it is log-spaced where it is: cells are of one size, whatever lies between."""
    rule = spacing(runs[name].to_list())
    return setting_title(name, runs) + (", log-spaced" if rule == "log" else "")


def subtitle(runs: pl.DataFrame, on_axes: Sequence[str]) -> list[str]:
    """Two paragraphs: what is fixed and how far the sweep has got; how a phase is judged.

    Args:
        on_axes: settings that are left out of the first, as they stand on axes or are chosen.
    """
    return [f"{_fixed(runs, on_axes)}; {_progress(runs)}", _rule(runs)]


def _fixed(runs: pl.DataFrame, on_axes: Sequence[str]) -> str:
    """Settings off the axes: the ones that always stand there, and those that are not the paper's."""
    usual, filled_in = flat(RunConfig()), flat(resolved(RunConfig()))
    names = [name for name in ALWAYS if name not in on_axes and name in runs.columns]
    names += [
        name
        for name in runs.columns
        if name.startswith(NUMERICAL)
        and name not in (*ALWAYS, *SEEDS, *DERIVED, *on_axes)
        and not set(runs[name].to_list()) <= {usual.get(name), filled_in.get(name)}
    ]
    parts = [_part(name, in_order(runs[name].to_list())) for name in names]
    seeds = [name for name in reversed(SEEDS) if name in runs.columns and name not in on_axes]
    if seeds:
        most = max(seeds, key=lambda name: runs[name].n_unique())
        values = in_order(runs[most].to_list())
        parts.append(f"seed{'s' if len(values) > 1 else ''} {_listed(values)}")
    return printable(", ".join(parts))


def _part(name: str, values: Sequence[Any]) -> str:
    """A setting with its values; the number of steps as a length of time: 4,000 steps."""
    if name == "n_steps":
        return f"{_listed(values, steps_text, ' and ')} steps"
    return f"{ALWAYS.get(name, name)} = {_listed(values)}"


def listed(runs: pl.DataFrame, name: str) -> str:
    """The values that the runs have of a setting: 0, 1, 2."""
    return _listed(in_order(runs[name].to_list()))


def _listed(values: Sequence[Any], text: Callable[[Any], str] = value_text, between: str = ", ") -> str:
    """0, 1, 2; a long list by its ends and its length."""
    if len(values) <= 4:
        return between.join(map(text, values))
    return f"{text(values[0])} … {text(values[-1])} ({len(values)})"


def rule_parts(runs: pl.DataFrame) -> dict[str, str]:
    """accuracy, formula, gap (in steps, where all runs share it) and budget of the rule that judged the runs."""

    def one(name: str) -> Any:
        values = set(runs[name].to_list()) if name in runs.columns else {None}
        return values.pop() if len(values) == 1 else None

    accuracy, gap = one("phases.accuracy"), one("phases.gap")
    budget, lr = one("phases.budget"), one("optimizer.lr")
    formula = "gap / lr" if gap is None else f"{gap:g} / lr"
    return {
        "accuracy": "its threshold" if accuracy is None else f"{accuracy:g}",
        "formula": formula,
        "gap": formula if gap is None or lr is None else steps_text(round(gap / lr)),
        "budget": "its phases.budget" if budget is None else f"{steps_text(budget)} steps",
    }


def _rule(runs: pl.DataFrame) -> str:
    rule = rule_parts(runs)
    equals = "" if rule["gap"] == rule["formula"] else f" = {rule['gap']}"
    return (
        f"t_train, t_test: first logged step with accuracy > {rule['accuracy']}. Grokking: t_test - t_train ≥ "
        f"{rule['formula']}{equals} steps. A run that has not generalised is judged at {rule['budget']}."
    )


def _progress(runs: pl.DataFrame) -> str:
    states = runs["state"].to_list()
    counts = [f"{states.count(name):,} {name}" for name in STATES if name in states]
    all_in_one = f"all {states[0]}" if len(states) > 1 else states[0]
    told = all_in_one if len(counts) == 1 else ", ".join(counts)
    return f"{len(states):,} run{'s' if len(states) > 1 else ''}, {told}"
