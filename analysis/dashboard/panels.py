"""What stands on a sweep's dashboard: sections of panels, by the names of our rows and settings. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from analysis.axes import FRAC_TRAIN, SEEDS, WEIGHT_DECAY
from analysis.captions import WORDS
from analysis.load import Sweep
from analysis.looks import LOOKS
from analysis.measured import described
from analysis.publish import group_of
from grok_sweep.measures.table import ALWAYS, MEASURES

LOG = "log"
MOST_GROUPS = 3
"""Swept settings by which curves are grouped; the first ones."""


@dataclass(frozen=True)
class Curves:
    """A panel of curves over steps, on a log axis.

    Attributes:
        y: measures, all on one scale.
        by: the setting whose values the runs are grouped by, their median with the least and largest; None: each run.
    """

    title: str
    y: tuple[str, ...]
    log_y: bool
    by: str | None = None


@dataclass(frozen=True)
class Points:
    """A point a run: a setting or time against a time. `colour` is a setting, or None."""

    title: str
    x: str
    y: str
    colour: str | None = None


@dataclass(frozen=True)
class Parallel:
    """A line a run through settings and times, each (name, on a log axis)."""

    title: str
    columns: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Media:
    """A picture of the sweep's report (analysis.publish)."""

    title: str
    key: str


@dataclass(frozen=True)
class Words:
    """Text, as Markdown."""

    text: str


@dataclass(frozen=True)
class Differences:
    """Settings and results of the runs side by side, those that differ."""


Panel = Curves | Points | Parallel | Media | Words | Differences


@dataclass(frozen=True)
class Section:
    name: str
    panels: tuple[Panel, ...]
    is_open: bool = True


@dataclass(frozen=True)
class Dashboard:
    """A sweep's dashboard.

    Attributes:
        group: of W&B's runs: the sweep.
        colours: run_id -> colour of its outcome.
        order: settings by which runs are listed.
    """

    name: str
    group: str
    sections: tuple[Section, ...]
    colours: dict[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()


CURVES: tuple[tuple[str, tuple[tuple[str, tuple[str, ...], str], ...]], ...] = (
    (
        "Losses",
        (
            ("train and test", ("train_loss", "test_loss"), "test_loss"),
            ("test pairs, novel and swapped", ("novel_loss", "swap_loss"), "novel_loss"),
            ("all pairs", ("all_loss",), ""),
            ("what training lowers", ("objective",), ""),
            ("noisy labels, pairs outside the group", ("noisy_loss", "zero_loss"), ""),
        ),
    ),
    (
        "Accuracies",
        (
            ("train and test", ("train_acc", "test_acc"), "test_acc"),
            ("test pairs, novel and swapped", ("novel_acc", "swap_acc"), "novel_acc"),
            ("noisy labels, pairs outside the group", ("noisy_acc", "restored_acc", "zero_acc"), ""),
        ),
    ),
    (
        "Progress measures",
        (
            ("restricted loss", ("restricted_loss",), "restricted_loss"),
            ("excluded loss", ("excluded_loss",), "excluded_loss"),
            ("excluded loss, largest over k", ("excluded_loss_max",), ""),
            ("Gini coefficients", ("gini_W_E", "gini_W_L"), "gini_W_E"),
            ("fit by cosines", ("fve_logits", "logit_energy"), ""),
            ("loss of the fit", ("fit_loss",), ""),
            ("W_L outside the key frequencies", ("W_L_residual",), ""),
            ("neurons of one frequency", ("frac_neurons_85", "frac_neurons_85_weighted"), ""),
            ("entropy of W_E's spectrum", ("spectral_entropy_W_E",), ""),
            ("directions that W_E uses", ("effective_rank_W_E",), ""),
            ("attention to =", ("attn_to_equals",), ""),
            ("losses rounded to 0", ("softmax_collapse",), ""),
        ),
    ),
    (
        "Norms",
        (
            ("sum of squares of the weights", ("sum_sq_weights",), "sum_sq_weights"),
            ("sum of squares by parameter", ("sum_sq.*",), ""),
            ("gradient and update", ("grad_norm", "update_norm"), ""),
        ),
    ),
    (
        "Key frequencies",
        (
            ("number of key frequencies", ("n_key_freqs",), ""),
            ("gap below the key frequencies (decades)", ("key_gap",), "key_gap"),
            ("inverse participation", ("ipr.*",), ""),
        ),
    ),
)
"""Section -> panels: title, measures, the one that has a panel for each swept setting too. `x.*`: entries of x."""

TIMES = ("t_train", "t_test", "grok_delay")
ON_LOG_AXES = (*TIMES, WEIGHT_DECAY, "optimizer.lr")
ABOUT = (
    "Runs of the group **{group}**; axes in steps are logarithmic (step 0 is not on them). Grouped curves: medians; "
    "bands reach from the least run to the largest. Colours of runs are those of their phases when this view "
    "was made: {legend}. A time that is missing was not reached within the run's steps: `python -m analysis sweep` "
    "shows those too, and fits the boundary."
)
LISTS = (
    "Which frequencies they are, and `excluded_loss_k`, are lists, one number a frequency, and W&B draws no lists: "
    "`python -m analysis run` does."
)


def dashboard(sweep: Sweep) -> Dashboard:
    """The dashboard of a sweep: panels of what its runs log, grouped by what it varies, runs coloured by phase."""
    logged, groups = logged_measures(sweep), grouped_by(sweep)
    sections = [
        Section(name, (*found, *([Words(LISTS)] if name == "Key frequencies" else [])))
        for name, panels in CURVES
        if (found := tuple(_curves(panels, logged, groups)))
    ]
    outcomes = dict(sweep.runs.select("run_id", "outcome").iter_rows())
    colours = {run_id: colour_of(outcome) for run_id, outcome in outcomes.items()}
    phases = Section("Phases", _phases(sweep, groups, sorted(set(outcomes.values()))))
    order = tuple(name for name in sweep.swept if "." in name)
    return Dashboard(sweep.name, group_of(sweep), (phases, *sections), colours, order)


def logged_measures(sweep: Sweep) -> list[str]:
    """Names that stand in rows of these runs; where none has a row yet, those that their settings ask for."""
    there = [name.removeprefix("final.") for name in sweep.runs.columns if name.startswith("final.")]
    if there:
        return there
    asked = sweep.runs["measures.names"].drop_nulls() if "measures.names" in sweep.runs.columns else []
    return [*ALWAYS, *dict.fromkeys(name for names in asked for name in str(names).split(",") if name in MEASURES)]


def grouped_by(sweep: Sweep) -> tuple[str, ...]:
    """Settings to group curves by: what the sweep varies, seeds apart; weight decay and train fraction first."""
    swept = [name for name in sweep.swept if name not in SEEDS and "." in name]
    usual = [name for name in (WEIGHT_DECAY, FRAC_TRAIN) if name in swept]
    return tuple(dict.fromkeys([*usual, *swept]))[:MOST_GROUPS]


def colour_of(outcome: str) -> str:
    """The colour of an outcome as a line: its frame's where the map hatches it."""
    look = LOOKS[outcome]
    return look.line or look.fill


def word(name: str) -> str:
    """A setting or time in words."""
    return {WEIGHT_DECAY: "weight decay", **WORDS}.get(name, name)


def _curves(
    panels: Iterable[tuple[str, tuple[str, ...], str]], logged: Sequence[str], groups: Sequence[str]
) -> Iterable[Curves]:
    for title, names, grouped in panels:
        y = tuple(name for pattern in names for name in _named(pattern, logged))
        if y:
            yield Curves(title, y, _is_log(y))
        if grouped in y:
            for by in groups:
                yield Curves(f"{grouped} by {word(by)}", (grouped,), _is_log([grouped]), by)


def _named(pattern: str, logged: Sequence[str]) -> list[str]:
    if pattern.endswith("*"):
        return [name for name in logged if name.startswith(pattern[:-1])]
    return [pattern] if pattern in logged else []


def _is_log(names: Sequence[str]) -> bool:
    lines = [described(name) for name in names]
    return all(line is not None and line.scale == LOG for line in lines)


def _phases(sweep: Sweep, groups: Sequence[str], outcomes: Sequence[str]) -> tuple[Panel, ...]:
    legend = ", ".join(f"{outcome.replace('_', ' ')} {colour_of(outcome)}" for outcome in outcomes)
    panels: list[Panel] = [
        Words(ABOUT.format(group=group_of(sweep), legend=legend)),
        Media("the map", "phase_diagram"),
    ]
    others = [next((other for other in groups if other != name), None) for name in groups]
    panels += [
        Points(f"t_test over {word(name)}", name, "t_test", other) for name, other in zip(groups, others, strict=True)
    ]
    panels.append(Points("t_test over t_train", "t_train", "t_test", groups[0] if groups else None))
    if groups:
        columns = tuple((name, name in ON_LOG_AXES) for name in (*groups, *TIMES))
        panels.append(Parallel("settings and times", columns))
    return (*panels, Differences())
