"""Runs side by side: what differs between them, their curves in one figure, spectra one under the other. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from analysis.axes import NUMERICAL, SEEDS, SHORTHANDS
from analysis.report import frequencies, over_time, spectra, stages_of_run, stamp, style, tables
from analysis.report.blocks import Block, Figure, Listing, Report, Section, Table, Text
from analysis.report.methods import methods, task
from analysis.report.over_time import Line
from analysis.report.record import Opened, Record
from analysis.report.words import counted, listed, number, setting, steps
from analysis.stages_of import stages_of_rows
from grok_sweep.measures.table import FINAL, TAKEN

CURVES = (
    ("train_loss", "log"),
    ("test_loss", "log"),
    ("train_acc", "share"),
    ("test_acc", "share"),
    ("novel_acc", "share"),
    ("restricted_loss", "log"),
    ("excluded_loss", "log"),
    ("excluded_loss_max", "log"),
    (f"restricted_loss{FINAL}", "log"),
    (f"excluded_loss{FINAL}", "log"),
    ("key_gap", "linear"),
    ("gini_W_E", "linear"),
    ("gini_W_L", "linear"),
    ("sum_sq_weights", "log"),
)
"""Measures that are drawn, a panel each, where some run has them, and on which axis."""
UNITS = {"log": "nats", "share": "share", "linear": ""}
OWN_UNITS = {"key_gap": "decades", "sum_sq_weights": "", "gini_W_E": "", "gini_W_L": ""}
PANEL = (272, 150)
MOST_IN_LABEL = 3
"""Settings in a run's label."""


def report(records: Sequence[Record], opened: Sequence[Opened]) -> Report:
    """The page of these runs; the first is the one that the others are put beside."""
    labels = names(records)
    shown = sorted({task(record.settings) for record in records})
    stages = _stages(records, labels)
    sections = [
        _overview(records, opened, labels),
        _settings(records, labels),
        _curves(records, labels),
        *([stages] if stages is not None else []),
        *_norms(opened, labels),
        _finals(records, labels),
        _methods(records, opened, labels),
        Section("Commands", _commands(records, labels)),
    ]
    title = f"{counted(len(records), 'run').capitalize()} side by side: {listed(shown)}"
    told = stamp.of_runs(labels, [record.sweep for record in records])
    return Report(title, f"{', '.join(f'{r.sweep}/{r.run_id}' for r in records)}", [], sections, told)


# --- what differs -------------------------------------------------------------------------------------------


def differing(records: Sequence[Record]) -> list[str]:
    """Settings that have more than one value among the runs: those that change numbers first."""
    found = [
        name
        for name in dict.fromkeys(name for record in records for name in record.settings)
        if name not in tables.OUTSIDE and len({repr(record.settings.get(name)) for record in records}) > 1
    ]
    return sorted(found, key=lambda name: not name.startswith(NUMERICAL))


def names(records: Sequence[Record]) -> list[str]:
    """A label a run: the first digits of its id, and the settings by which it differs, where they are few."""
    apart = [name for name in differing(records) if name.startswith(NUMERICAL)]
    ids = [record.run_id[:6] for record in records]
    if len(set(ids)) < len(ids):
        ids = [f"{record.sweep}/{record.run_id}" for record in records]
    if len(set(ids)) < len(ids):
        ids = [str(record.folder) for record in records]
    if not apart or len(_shortened(apart, records[0].settings)) > MOST_IN_LABEL:
        return ids
    return [
        f"{name}: {', '.join(_shortened(apart, record.settings))}" for name, record in zip(ids, records, strict=True)
    ]


def _shortened(settings: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """wd=0.1, seed=2: settings under their shorthands."""
    short = {full: name for name, full in SHORTHANDS.items()}
    left = list(settings)
    words = []
    if all(name in left for name in SEEDS) and len({values.get(name) for name in SEEDS}) == 1:
        words.append(f"seed={values.get(SEEDS[0])}")
        left = [name for name in left if name not in SEEDS]
    return [f"{short.get(name, name.rpartition('.')[2])}={setting(values.get(name))}" for name in left] + words


def _settings(records: Sequence[Record], labels: Sequence[str]) -> Section:
    rows = [(name, *_values([record.settings.get(name) for record in records])) for name in differing(records)]
    if not rows:
        return Section("Settings that differ", [Text("None: the runs have the same settings.", quiet=True)])
    return Section("Settings that differ", [Table(("setting", *labels), rows)])


def _values(values: Sequence[Any]) -> list[str]:
    """As one types them; of lists only what is not in all of them."""
    if not all(isinstance(value, list) for value in values):
        return [setting(value) for value in values]
    shared = set.intersection(*(set(value) for value in values))
    apart = [[item for item in value if item not in shared] for value in values]
    common = f"{len(shared)} in all" if shared else ""
    return [", ".join([common, *map(str, items)] if common else map(str, items)) or "none" for items in apart]


# --- at a glance --------------------------------------------------------------------------------------------


def _overview(records: Sequence[Record], opened: Sequence[Opened], labels: Sequence[str]) -> Section:
    rows: list[tuple[str, ...]] = []
    facts = [dict(tables.facts(record, network)) for record, network in zip(records, opened, strict=True)]
    for name in dict.fromkeys(name for each in facts for name in each):
        rows.append((name, *(each.get(name, "not defined") for each in facts)))
    rows.append(("delay t_test - t_train", *(_steps(record.facts.get("grok_delay")) for record in records)))
    rows.append(("at step", *(steps(record.steps) for record in records)))
    rows.append(("weight decay", *map(_decay, records)))
    rows.append(("eps", *map(_eps, records)))
    caption = "Times in steps, with the last row before them. Losses depend on weight decay and eps."
    return Section("At a glance", [Table(("", *labels), rows, caption)])


def _steps(value: int | None) -> str:
    return "–" if value is None else steps(value)


def _decay(record: Record) -> str:
    return f"{setting(record.settings['optimizer.weight_decay'])} ({record.settings['optimizer.decay']})"


def _eps(record: Record) -> str:
    is_adam = record.settings["optimizer.name"] != "sgd"
    return setting(record.settings["optimizer.eps"]) if is_adam else "none in sgd"


def _finals(records: Sequence[Record], labels: Sequence[str]) -> Section:
    known = dict.fromkeys(name for record in records for name in record.last_row)
    rows = [
        (name, *(number(record.last_row.get(name), 4) for record in records))
        for name in known
        if name not in TAKEN and not any(isinstance(row.get(name), list) for record in records for row in record.rows)
    ]
    columns = tuple(range(1, len(records) + 1))
    caption = "Of each run's last row; – is not defined there. Losses in nats."
    return Section("Final values", [Table(("measure", *labels), rows, caption, columns)])


# --- figures ------------------------------------------------------------------------------------------------


def _curves(records: Sequence[Record], labels: Sequence[str]) -> Section:
    panels = [panel for column, axis in CURVES if (panel := _panel(records, labels, column, axis)) is not None]
    if not panels:
        return Section("Curves", [Text("No run has logged two rows yet.", quiet=True)])
    chart = alt.concat(*panels, columns=2, spacing=18).resolve_scale(
        y="independent", x="independent", strokeDash="independent"
    )
    caption = (
        "Each measure against the step, a colour a run. restricted_loss and excluded_loss use each step's own key "
        "frequencies; those that end in _final, dashed, the final ones, known only in hindsight. Step 0 is left out "
        "of logarithmic axes."
    )
    return Section(
        "Curves", [Figure("curves", style.styled(chart), caption, "Curves of the runs, measure by measure")]
    )


def _panel(records: Sequence[Record], labels: Sequence[str], column: str, axis: str) -> Any:
    """One measure of every run; None where none has it."""
    looks = style.looks(len(records))
    is_hindsight = column.endswith(FINAL)
    lines = [
        Line(column, colour, style.DASHED if is_hindsight else dash, label)
        for (colour, dash), label in zip(looks, labels, strict=True)
    ]
    data: list[Mapping[str, Any]] = []
    for record, line in zip(records, lines, strict=True):
        rows = record.final_rows if is_hindsight else record.rows
        data += over_time.points(rows, [line], log=axis == "log")
    if not data:
        return None
    last = max(record.steps for record in records)
    unit = OWN_UNITS.get(column, UNITS[axis])
    values = [point["value"] for point in data]
    y = style.share_axis(unit) if axis == "share" else style.value_axis(unit, values, log=axis == "log")
    size: dict[str, Any] = {"width": PANEL[0], "height": PANEL[1]}
    chart = over_time.curves(data, lines, y, last, legend="top", pointer=column, dash_legend=False, **size)
    return chart.properties(title=alt.TitleParams(text=column))


def _stages(records: Sequence[Record], labels: Sequence[str]) -> Section | None:
    found = {
        label: stages_of_rows(record.run_id, record.rows, record.final_rows, record.settings)
        for record, label in zip(records, labels, strict=True)
        if record.rows
    }
    colours = {label: colour for label, (colour, _) in zip(labels, style.looks(len(labels)), strict=True)}
    return stages_of_run.side_by_side(found, colours)


def _norms(opened: Sequence[Opened], labels: Sequence[str]) -> list[Section]:
    """The spectra of W_E, and those of W_L, run by run."""
    return [
        Section(f"Fourier norms of the {frequencies.MAP_NAMES[name]}", [_norms_of(name, opened, labels)])
        for name in spectra.MAPS
    ]


def _norms_of(name: str, opened: Sequence[Opened], labels: Sequence[str]) -> Block:
    panels = []
    for network, label in zip(opened, labels, strict=True):
        evaluation = network.evaluation
        if evaluation is None or evaluation.task.group is None:
            continue
        rows = spectra.rows_of(evaluation.network, evaluation.weights, evaluation.group)
        if name in rows:
            keys = evaluation.key_freqs.freqs or []
            panels.append(frequencies.norm_bars(rows[name], f"{label}, step {network.step:,}", keys, height=100))
    if not panels:
        return Text(
            "No run has them: no weights are stored, no group is known, or the network has no such map.", quiet=True
        )
    missing = len(opened) - len(panels)
    caption = (
        "Norm of the cosine and of the sine component of each frequency, the constant left out; key frequencies "
        "bear their numbers. Across seeds a frequency has no identity: compare number and size."
    )
    if missing:
        caption += f" {counted(missing, 'run').capitalize()} without."
    chart = alt.vconcat(*panels, spacing=10)
    return Figure(f"fourier_{name}", style.styled(chart), caption, f"Fourier norms of {name}, run by run")


# --- words --------------------------------------------------------------------------------------------------


def _methods(records: Sequence[Record], opened: Sequence[Opened], labels: Sequence[str]) -> Section:
    blocks: list[Block] = []
    for record, network, label in zip(records, opened, labels, strict=True):
        blocks.append(Text(f"{label}. {methods(record.settings, tables.outcome(record, network))}"))
    return Section("Methods", blocks)


def _commands(records: Sequence[Record], labels: Sequence[str]) -> list[Block]:
    lines = [f"# {label}\n{record.command}" for record, label in zip(records, labels, strict=True)]
    return [Text("Each run alone, in its folder:"), Listing("\n".join(lines))]
