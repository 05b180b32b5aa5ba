"""The report on one run: its record and network in, sections out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from analysis.report import circles, curves, frequencies, neurons, pairs, stages_of_run, stamp, tables
from analysis.report.blocks import Report, Section, Text
from analysis.report.over_time import Band
from analysis.report.record import Opened, Record
from analysis.report.words import steps
from analysis.stages_of import stages_of_rows
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.tasks import Task

NO_GROUP = (
    "Not defined: no cyclic group of this operation is known (addition and subtraction have one, multiplication "
    "and division mod a prime), and without one, frequencies mean nothing."
)


def report(record: Record, opened: Opened) -> Report:
    """Everything that can be said of this run."""
    stages = stages_of_rows(record.run_id, record.rows, record.final_rows, record.settings) if record.rows else None
    bands = stages_of_run.bands(stages)
    keys, _ = tables.key_frequencies(record, opened)
    has_group = opened.task is not None and opened.task.group is not None
    marks = [(name, record.facts[name]) for name in ("t_train", "t_test") if record.facts.get(name)]
    sections = [
        tables.state(record),
        tables.method(record, opened),
        tables.times(record),
        stages_of_run.section(stages),
        curves.section(record.rows, record.final_rows, bands, marks, has_group),
        _excluded(record, opened.task, keys, bands),
        *_network(record, opened, keys, bands),
        tables.finals(record) if record.rows else None,
        tables.settings(record),
        tables.provenance(record, opened),
        tables.files(record),
    ]
    return Report(
        tables.title(record),
        tables.subtitle(record),
        tables.facts(record, opened),
        [s for s in sections if s is not None],
        stamp.of_run(record),
    )


def _excluded(record: Record, task: Task | None, keys: Sequence[int], bands: Sequence[Band]) -> Section:
    if task is not None and task.group is None:
        return Section(frequencies.EXCLUDED_TITLE, [Text(NO_GROUP, quiet=True)])
    return frequencies.excluded(record.rows, keys, bands)


def _network(record: Record, opened: Opened, keys: Sequence[int], bands: Sequence[Band]) -> Iterator[Section]:
    """What is read off the weights; where there are none, why, in one section."""
    evaluation, step = opened.evaluation, opened.step
    if evaluation is None or step is None:
        yield Section("Network", [Text(opened.missing, quiet=True)])
        return
    when = f"at step {steps(step)}"
    if evaluation.task.group is None:
        titles = (frequencies.NORMS_TITLE, frequencies.LOGITS_TITLE, neurons.TITLE, circles.TITLE)
        yield Section(
            ", ".join(title if i == 0 else title.lower() for i, title in enumerate(titles)), [Text(NO_GROUP, True)]
        )
    else:
        order = order_of(evaluation)
        yield frequencies.norms(evaluation, when, _norms_over_time(opened, evaluation), keys, bands, order)
        yield frequencies.logits(evaluation, when, keys, order)
        yield neurons.section(evaluation, when)
        yield circles.section(evaluation, when, keys)
    yield pairs.losses(_moments(record, opened, evaluation, step))
    yield pairs.attention(evaluation, when)


def order_of(evaluation: Evaluation) -> str:
    """What frequencies are of, where that is not the residues themselves."""
    root = evaluation.group.primitive_root
    return (
        ""
        if root is None
        else f" Frequencies are those of the discrete logarithm to {root}; pairs with a 0 are left out."
    )


def _norms_over_time(opened: Opened, evaluation: Evaluation) -> frequencies.Norms:
    """Norms of every frequency in W_E and W_L at each stored step; {} where only the end is stored."""
    found: dict[str, dict[int, Sequence[float]]] = {}
    if len(opened.run.stored_steps) < 2:
        return found
    for step in opened.run.stored_steps:
        norms = frequencies.norms_at(evaluation.network, opened.run.weights(step), evaluation.group)
        for name, values in norms.items():
            found.setdefault(name, {})[step] = values
    return found


def _moments(record: Record, opened: Opened, evaluation: Evaluation, step: int) -> list[tuple[str, Evaluation]]:
    """When it had fitted, halfway to generalising, when it had generalised, and the last step: where stored."""
    wanted = moments(opened.run.stored_steps, record.facts.get("t_train"), record.facts.get("t_test"))
    return [
        (f"step {steps(at)}: {word}" if word else f"step {steps(at)}", opened.run.evaluation(at))
        for at, word in wanted
        if at != step
    ] + [(f"step {steps(step)}", evaluation)]


def moments(stored: Sequence[int], t_train: int | None, t_test: int | None) -> list[tuple[int, str]]:
    """Stored steps worth a picture, in order, each once, and what they are.

    The first at or after t_train; the one nearest to halfway, in the log, to t_test; the first at or after t_test.
    """
    wanted: list[tuple[int | None, str]] = []
    if t_train is not None:
        wanted.append((_first_from(stored, t_train), "fitted"))
    if t_train is not None and t_test is not None and t_test > t_train:
        middle = math.sqrt(max(t_train, 1) * t_test)
        between = [step for step in stored if t_train < step < t_test]
        wanted.append((min(between, key=lambda step: abs(math.log(step / middle)), default=None), "in between"))
    if t_test is not None:
        wanted.append((_first_from(stored, t_test), "generalised"))
    found: dict[int, str] = {}
    for step, word in wanted:
        if step is not None:
            found.setdefault(step, word)
    return sorted(found.items())


def _first_from(stored: Sequence[int], step: int) -> int | None:
    return next((at for at in stored if at >= step), None)
