"""Which settings a sweep varies, which two of them span its map, and which are left to choose a value of."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

FRAC_TRAIN, WEIGHT_DECAY = "data.frac_train", "optimizer.weight_decay"
SHORTHANDS = {
    "p": "data.p",
    "frac": FRAC_TRAIN,
    "wd": WEIGHT_DECAY,
    "lr": "optimizer.lr",
    "steps": "n_steps",
}
SEEDS = ("data.split_seed", "model.init_seed")
NUMERICAL = ("data.", "model.", "optimizer.", "dtype", "loss_dtype", "allow_tf32")
"""Prefixes of the settings that change a run's numbers: runs that differ in one never share a cell unseen."""

SWEEP = "sweep"
"""The column that tells several sweeps apart, where they are read as one."""
GROUPS = ("data", "model", "optimizer", "experiment")
"""Folders of conf/ that a command may sweep over as a whole."""

MEASURED = ("final.", "min.", "max.")
"""Prefixes of the table's columns that are results, not settings."""


def swept(rows: Sequence[Mapping[str, Any]], asked: Sequence[str]) -> tuple[str, ...]:
    """Settings with more than one value: those asked for on the command line first, then any other that differs.

    Others differ where two commands wrote into one sweep. Left out are sizes that only follow d_model, and what
    follows a group that was asked for (data=add,multiply: data.operation) or the sweep itself, of several.
    """
    others = sorted(name for row in rows for name in row if name.startswith(NUMERICAL))
    names = dict.fromkeys([*asked, *others])
    found = [name for name in names if len({_key(row.get(name)) for row in rows}) > 1]
    groups = [name for name in found if name in (*GROUPS, SWEEP)]
    return tuple(name for name in found if name in asked or not _follows(name, groups, rows))


def _key(value: Any) -> Any:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _follows(name: str, groups: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the setting has one value for each value of some group, or follows d_model."""
    for group in groups:
        values: dict[Any, set[Any]] = {}
        for row in rows:
            values.setdefault(row.get(group), set()).add(_key(row.get(name)))
        if all(len(found) == 1 for found in values.values()):
            return True
    return _follows_d_model(name, rows)


def _follows_d_model(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    def derived(row: Mapping[str, Any]) -> Any:
        width, heads = row.get("model.d_model") or 0, row.get("model.n_heads") or 1
        return {"model.d_head": width // heads, "model.d_mlp": 4 * width}[name]

    return name in ("model.d_head", "model.d_mlp") and all(row.get(name) in (None, derived(row)) for row in rows)


def full_names(name: str) -> tuple[str, ...]:
    """The settings that a name on the command line stands for; the shorthand seed stands for both seeds."""
    return SEEDS if name == "seed" else (SHORTHANDS.get(name, name),)


# --- --where ------------------------------------------------------------------------------------------------


def where(runs: pl.DataFrame, conditions: Sequence[str]) -> pl.DataFrame:
    """The runs that meet every condition "name=value".

    Raises ValueError for a condition that is no name=value, an unknown setting, or a value that no run has.
    """
    for condition in conditions:
        name, equals, wanted = condition.partition("=")
        if not equals:
            raise ValueError(f"--where takes name=value, for example data.p=59; got {condition!r}")
        for setting in full_names(name.strip()):
            _require_setting("--where", setting, runs, [name for name in runs.columns if _is_varied(name, runs)])
            values = runs[setting].to_list()
            kept = [value_text(value) == _canonical(wanted.strip()) for value in values]
            if not any(kept):
                known = ", ".join(map(value_text, in_order(values)))
                raise ValueError(f"--where {condition}: no run has it; {setting} is one of {known}")
            runs = runs.filter(pl.Series(kept))
    return runs


def _canonical(text: str) -> str:
    try:
        return value_text(float(text))
    except ValueError:
        return text


def _is_varied(name: str, runs: pl.DataFrame) -> bool:
    return (name in GROUPS or name.startswith(NUMERICAL)) and runs[name].n_unique() > 1


def _require_setting(flag: str, name: str, runs: pl.DataFrame, varied: Sequence[str]) -> None:
    is_dotted = "." in name and not name.startswith(MEASURED)
    is_setting = is_dotted or name in ("n_steps", "sweep", *GROUPS) or name.startswith(NUMERICAL)
    if name not in runs.columns or not is_setting:
        near = difflib.get_close_matches(
            name, [*SHORTHANDS, *(c for c in runs.columns if c.startswith(NUMERICAL) or c in GROUPS)], n=1
        )
        meant = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{flag}: unknown setting {name}; {meant}{_told(varied)}")


def _told(varied: Sequence[str]) -> str:
    """What varies, as one may name it: wd, frac, seed."""
    short = {full: name for name, full in SHORTHANDS.items()} | dict.fromkeys(SEEDS, "seed")
    words = dict.fromkeys(short.get(name, name) for name in varied)
    return f"varied here: {', '.join(words)}" if words else "settings have names such as data.frac_train or wd"


# --- --x, --y -----------------------------------------------------------------------------------------------


def choose(
    runs: pl.DataFrame, names: Sequence[str], x: str | None, y: str | None
) -> tuple[str, str | None, tuple[str, ...]]:
    """The settings of the horizontal and the vertical axis, and those that are swept beside them.

    y is None for a sweep of one setting. Runs that differ in seeds alone share a cell, unless a seed is an axis. Of
    several sweeps, which one it is comes last.

    Args:
        runs: a row a run, already narrowed by --where.
        names: the sweep's settings with more than one value, in the order of the command line.
        x, y: what the user chose, flat names or shorthands; None: take what the sweep varies.

    Raises:
        ValueError: nothing is varied, or a name that is no setting.
    """
    varied = [name for name in names if runs[name].n_unique() > 1]
    chosen = [_chosen(flag, name, runs, varied) for flag, name in (("--x", x), ("--y", y)) if name is not None]
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"--x and --y are both {chosen[0]}; choose two different settings")
    told = [name for name in varied if any(one.startswith(name + ".") for one in chosen)]  # data, by data.operation
    free = sorted((name for name in varied if name not in (*SEEDS, *chosen, *told)), key=lambda name: name == SWEEP)
    seeds = [name for name in reversed(varied) if name in SEEDS]
    if not varied and not chosen:
        raise ValueError(
            f"nothing to map: no setting has two values in {_count(runs)}; "
            "sweep one (for example wd=0.1,1.0), or look at the run itself"
        )
    rest = iter(free if free or chosen else seeds[:1])
    first = chosen[0] if x is not None else next(rest, None)
    second = chosen[-1] if y is not None else next(rest, None)
    return (first, second, tuple(rest)) if first is not None else (_must(second), None, ())


def _must(name: str | None) -> str:
    assert name is not None
    return name


def _chosen(flag: str, name: str, runs: pl.DataFrame, varied: Sequence[str]) -> str:
    if name == "seed":
        return next((seed for seed in reversed(SEEDS) if seed in varied), SEEDS[1])
    full = full_names(name)[0]
    _require_setting(flag, full, runs, varied)
    return full


def _count(runs: pl.DataFrame) -> str:
    return "1 run" if runs.height == 1 else f"{runs.height} runs"


# --- values -------------------------------------------------------------------------------------------------


def in_order(values: Sequence[Any]) -> list[Any]:
    """Distinct values, ascending: numbers first, then words, null last."""

    def rank(value: Any) -> tuple[int, float, str]:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return (0, float(value), "")
        return (2, 0.0, "") if value is None else (1, 0.0, str(value))

    return sorted(set(values), key=rank)


def spacing(values: Sequence[Any]) -> str:
    """How the distinct values of a setting follow one another: "linear", "log", or "" where neither or no number.

    Two values follow no rule. Log is a decade or more in nearly equal ratios, 1, 2, 5, 10 among them, also with a 0
    before it.
    """
    numbers = [v for v in in_order(values) if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < max(3, len(set(values))):
        return ""
    gaps = [b - a for a, b in itertools.pairwise(numbers)]
    if max(gaps) <= 1.01 * min(gaps):
        return "linear"
    positive = [v for v in numbers if v > 0]
    if len(positive) < max(3, len(numbers) - 1) or numbers[0] < 0:
        return ""
    decades = [math.log10(b / a) for a, b in itertools.pairwise(positive)]
    return "log" if sum(decades) >= 0.99 and max(decades) <= 1.4 * min(decades) else ""


def value_text(value: Any) -> str:
    """A setting's value as on the command line: 0.3, 59, 1e-8, true, null."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, int | float):
        return str(value)
    mantissa, _, power = format(value, ".12g").partition("e")
    return f"{mantissa}e{int(power)}" if power else mantissa
