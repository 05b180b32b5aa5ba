"""The circuit's page: tables and figures of what was found. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analysis.circuit import figures, tables
from analysis.circuit.circuit import Circuit
from analysis.report import circles, frequencies, neurons, pairs, spectra
from analysis.report.blocks import Block, Listing, Report, Section, Table, Text
from analysis.report.one import order_of
from analysis.report.words import listed, number


def page(circuit: Circuit, title: str, subtitle: str, when: str, source: Section, stamp: str = "") -> Report:
    """The whole page.

    Args:
        when: which weights these are, as in "at step 40,000" or "in this file".
        source: where they come from.
        stamp: stands above each figure.
    """
    sections = [*_sections(circuit, when), source]
    return Report(title, subtitle, facts(circuit), sections, stamp)


def facts(circuit: Circuit) -> list[tuple[str, str]]:
    """At a glance."""
    logits, subject = circuit.logits, circuit.subject
    found = [("p", str(subject.task.p)), ("loss, all pairs (nats)", number(logits.losses["all"]))]
    found.append((f"right, {subject.unseen} pairs", f"{logits.accuracies[subject.unseen]:.1%}"))
    if circuit.judged is not None:
        found.insert(0, ("verdict", circuit.judged.verdict.value))
    if circuit.keys is not None:
        found.append(("key frequencies", listed(circuit.keys.used) or "none"))
        found.append(("gap (decades)", number(circuit.keys.gap)))
    if circuit.logits.fve is not None:
        found.append(("logits' variance explained", f"{circuit.logits.fve:.1%}"))
    trained = circuit.subject.trained
    for name, over in (("restricted", "all"), ("excluded", trained)):
        if name in circuit.ablation:
            found.append((f"{name} loss, {over} pairs", number(circuit.ablation[name][over])))
    return found


def _sections(circuit: Circuit, when: str) -> Iterator[Section]:
    """Those of `tables`, each with its figures, and between them those that are figures alone."""
    evaluation, keys = circuit.subject.evaluation, circuit.keys
    yield _with(tables.verdict(circuit), [figures.verdict(circuit.judged)] if circuit.judged else [])
    yield _with(tables.losses(circuit), pairs.losses([(f"loss {when}", evaluation)]).blocks)
    if keys is not None:
        base = circuit.logits.losses[circuit.subject.trained]
        yield _with(tables.keys(circuit), [figures.frequencies(keys, base)])
        if keys.used:
            yield tables.by_frequency(circuit)
        yield from _spectra(circuit, when)
    if circuit.attention is not None:
        yield _with(tables.attention(circuit), pairs.attention(evaluation, when).blocks[:1])
    if circuit.ablations:
        yield _with(tables.ablations(circuit), [figures.ablations(circuit)])
    if keys is not None:
        yield tables.placed(circuit)
    yield tables.weights(circuit)


def _with(section: Section, drawn: Sequence[Block]) -> Section:
    return Section(section.title, [*section.blocks, *drawn])


def _spectra(circuit: Circuit, when: str) -> Iterator[Section]:
    """From the embedding to the logits, frequency by frequency, as pictures."""
    evaluation, keys = circuit.subject.evaluation, circuit.subject.key_freqs
    assert evaluation.task.group is not None, "asked for where there is a group"
    order = order_of(evaluation)
    maps = spectra.rows_of(evaluation.network, evaluation.weights, evaluation.group)
    if maps:
        yield Section(frequencies.NORMS_TITLE, [frequencies.bars(maps, when, keys, order)])
    yield circles.section(evaluation, when, keys)
    yield neurons.section(evaluation, when)
    yield frequencies.logits(evaluation, when, keys, order)


def source(notes: Sequence[str], rows: Sequence[tuple[str, str]], command: str) -> Section:
    """Where the weights come from, what was assumed, and the command that made the page."""
    blocks: list[Block] = [Table(("what", "value"), rows)]
    blocks += [Text(note) for note in notes]
    blocks += [Text("This page is made by:"), Listing(command)]
    return Section("Source", blocks)
