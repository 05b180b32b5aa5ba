"""What a report says in words and tables: a run at a glance, times, final values, settings, provenance. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from analysis.measured import described
from analysis.outcomes import words
from analysis.report.blocks import Block, Listing, Section, Table, Text
from analysis.report.methods import Outcome, methods, task
from analysis.report.record import Opened, Record
from analysis.report.words import counted, listed, number, sentence, setting, steps
from grok_sweep.config import RunConfig, flat, resolved
from grok_sweep.measures.table import TAKEN
from grok_sweep.phases import SCALE_FREE_RATIO
from grok_sweep.run_table import TIMES

TIME_MEANINGS = {
    "t_train": "train accuracy above the threshold",
    "t_test": "test accuracy above it",
    "t_novel": "accuracy above it on novel test pairs, whose swap was not trained on",
}
FILE_MEANINGS = {
    "settings.json": "every setting",
    "metrics.jsonl": "a row a logged step: the truth",
    "summary.json": "times, phases, final values",
    "status.json": "how far it has got",
    "log.txt": "what happened, with the traceback where it failed",
    "provenance.json": "every attempt: when, where, by which command and code",
    "checkpoint.safetensors": "weights and optimizer of the last checkpoint",
    "snapshots/": "weights along the way",
    "final_keys.jsonl": "measures with the final key frequencies",
    "measured.jsonl": "measures taken afterwards",
    "wandb/": "the mirror for Weights & Biases",
}
OUTSIDE = ("sweep", "root", "device", "claim_timeout_s", "ensemble.size")
"""Settings that say where and how a run was trained and not what it computes."""


# --- at a glance --------------------------------------------------------------------------------------------


def title(record: Record) -> str:
    return f"{sentence(task(record.settings))}: {_verdict(record)}"


def _verdict(record: Record) -> str:
    """grokking; memorization so far; running, memorization so far."""
    state, phase = record.state, record.facts.get("phase")
    if state == "done":
        return words(phase or state)
    return f"{state}, {words(phase)} by its rows" if phase and state != "diverged" else state


def subtitle(record: Record) -> str:
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(record.read_at))
    return f"Run {record.run_id} of the sweep {record.sweep}, at step {steps(record.steps)}; read {made}."


def facts(record: Record, opened: Opened) -> list[tuple[str, str]]:
    """What one looks for first."""
    row = record.last_row
    keys, gap = key_frequencies(record, opened)
    found = [
        ("phase", _verdict(record)),
        ("t_train", bracket(record.facts, "t_train", record.steps)),
        ("t_test", bracket(record.facts, "t_test", record.steps)),
        ("train loss", _nats(row.get("train_loss"))),
        ("test loss", _nats(row.get("test_loss"))),
        ("test accuracy", number(row.get("test_acc"), 4)),
    ]
    if gap is not None:
        found.append(("key frequencies", listed(keys) if keys else "none"))
        found.append(("gap", f"{gap:.1f} decades"))
    return found


def _nats(value: Any) -> str:
    return "–" if value is None else f"{number(value)} nats"


def key_frequencies(record: Record, opened: Opened) -> tuple[list[int], float | None]:
    """Of the network that is looked at, else of the last row; the gap is None where there is no group."""
    evaluation = opened.evaluation
    if evaluation is not None and "group" in evaluation.has:
        return evaluation.key_freqs.freqs or [], evaluation.key_freqs.gap
    return record.last_row.get("key_freqs") or [], record.last_row.get("key_gap")


def bracket(facts: Mapping[str, Any], name: str, last: int) -> str:
    """7,079 (after 6,813); not reached by step 1,500."""
    if facts.get(name) is None:
        return f"not by step {steps(last)}"
    below = facts.get(f"{name}_below")
    return steps(facts[name]) + ("" if below is None else f" (after {steps(below)})")


def outcome(record: Record, opened: Opened) -> Outcome:
    row, task = record.last_row, opened.task
    return Outcome(
        n_pairs=None if task is None else task.n_pairs,
        n_train=record.summary.get("n_train") if task is None else task.n_train,
        step=record.facts.get("steps") or 0,
        state=record.state,
        train_loss=row.get("train_loss"),
        test_loss=row.get("test_loss"),
        logged_step=row.get("step"),
    )


# --- sections -----------------------------------------------------------------------------------------------


def state(record: Record) -> Section | None:
    """Why a run is not what one expects; None where it is done."""
    if record.state == "done":
        return None
    at = steps(record.steps)
    told = {
        "running": f"This run is being trained, or its worker died: what follows is its state at step {at}.",
        "interrupted": f"This run was interrupted at step {at}; the command at the end goes on with it.",
        "diverged": f"This run diverged: at step {steps(record.facts.get('diverged_at') or record.steps)} its loss "
        "was no longer finite.",
        "failed": f"This run failed after step {at}: {record.facts.get('error')}",
        "planned": "This run has begun, but nothing is logged yet.",
    }
    blocks: list[Block] = [Text(told[record.state])]
    if record.state in ("failed", "diverged") and record.log:
        blocks.append(Listing("\n".join(record.log)))
    return Section("State", blocks)


def method(record: Record, opened: Opened) -> Section:
    return Section("Methods", [Text(methods(record.settings, outcome(record, opened)))])


def times(record: Record) -> Section:
    """Times with their brackets, and both phases."""
    last, facts = record.steps, record.facts
    rows = [
        (
            name,
            bracket(facts, name, last),
            "–" if facts.get(f"{name}_sustained") is None else steps(facts[f"{name}_sustained"]),
            TIME_MEANINGS[name],
        )
        for name in TIMES
        if name != "t_novel" or facts.get("has_novel") or "novel_acc" in record.last_row
    ]
    rule = record.settings
    caption = (
        f"Steps: the first logged one above {setting(rule['phases.accuracy'])}, after the last one below it; "
        "sustained: the first of two such rows in a row."
    )
    table = Table(("", "step", "sustained", "first logged step with"), rows, caption)
    return Section("Times and phase", [table, Text(_phases(record))])


def _phases(record: Record) -> str:
    facts, rule = record.facts, record.settings
    if facts.get("phase") is None:
        return "A run that diverged has no phase." if record.state == "diverged" else "There is no phase yet."
    delay = facts.get("grok_delay")
    text = f"Phase (Liu et al. 2022): {words(facts['phase'])}. "
    text += f"The delay t_test - t_train is {steps(delay)} steps. " if delay is not None else ""
    text += (
        f"Grokking asks for a delay of at least {setting(rule['phases.gap'])} / lr = "
        f"{steps(round(rule['phases.gap'] / rule['optimizer.lr']))} steps; of a run that has not generalised the "
        f"verdict comes at {steps(rule['phases.budget'])} steps. "
    )
    free = facts.get("phase_scale_free")
    if free is not None:
        text += f"Free of a scale (grokking: t_test ≥ {SCALE_FREE_RATIO:g} t_train): {words(free)}."
    return text.strip()


def finals(record: Record) -> Section:
    """The last row beside the extremes of all."""
    rows = [
        (name, *(number(value, 4) for value in _final_and_extremes(record, name)), _meaning(name))
        for name in record.last_row
        if name not in TAKEN and _is_scalar(record, name)
    ]
    wd, eps = record.settings["optimizer.weight_decay"], record.settings["optimizer.eps"]
    beside = "" if record.settings["optimizer.name"] == "sgd" else f", eps {setting(eps)}"
    caption = (
        f"Final: at step {steps(record.steps)}. Final losses are set by weight decay and eps: here weight decay "
        f"{setting(wd)} ({record.settings['optimizer.decay']}){beside}, {record.settings['dtype']}. Losses in nats; "
        "– is not defined there."
    )
    return Section("Final values", [Table(("measure", "final", "least", "largest", ""), rows, caption, (1, 2, 3))])


def _is_scalar(record: Record, name: str) -> bool:
    return not any(isinstance(row.get(name), list) for row in record.rows)


def _final_and_extremes(record: Record, name: str) -> tuple[Any, Any, Any]:
    values = [row[name] for row in record.rows if row.get(name) is not None]
    return record.last_row[name], min(values, default=None), max(values, default=None)


def _meaning(name: str) -> str:
    measure = described(name)
    return "" if measure is None else measure.meaning


def settings(record: Record) -> Section:
    """All settings; those that are not the defaults first."""
    usual = {**flat(RunConfig()), **flat(resolved(RunConfig()))}
    given = {name: value for name, value in record.settings.items() if name not in OUTSIDE}
    own = [(name, setting(value)) for name, value in given.items() if value != usual.get(name)]
    rest = [(name, setting(value)) for name, value in given.items() if value == usual.get(name)]
    beside = [(*left, *right) for left, right in zip_longest(*_halves(rest), fillvalue=("", ""))]
    blocks: list[Block] = []
    if own:
        blocks.append(Table(("setting", "value"), own, "Those that are not the defaults (the paper's mainline)."))
    blocks.append(Table(("setting", "value", "setting", "value"), beside, "Those that are the defaults."))
    return Section("Settings", blocks)


def _halves(rows: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    half = (len(rows) + 1) // 2
    return rows[:half], rows[half:]


def provenance(record: Record, opened: Opened) -> Section:
    """Attempts, the command that trains the run alone, the weights that were looked at."""
    head = ("started", "from step", "machine", "device", "threads", "torch", "python", "commit")
    rows = [
        (
            str(attempt.get("started", "–")), number(attempt.get("from_step")), str(attempt.get("host", "–")),
            str(attempt.get("device", "–")), number(attempt.get("n_threads")), str(attempt.get("torch", "–")),
            str(attempt.get("python", "–")), _commit(attempt),
        )
        for attempt in record.attempts
    ]  # fmt: skip
    blocks: list[Block] = []
    if rows:
        blocks.append(Table(head, rows, f"Trained in {counted(len(rows), 'attempt')}.", (1, 4)))
    else:
        blocks.append(Text("No attempt is noted.", quiet=True))
    if "bitwise" in record.summary:
        same = "all attempts ran under the same conditions, so that a repetition there has the same bits"
        other = "it was continued under other conditions: a repetition may differ in its last digits"
        blocks.append(Text(f"Bitwise: {same if record.summary['bitwise'] else other}."))
    if opened.step is not None:
        blocks.append(Text(f"The network in this report is that of the checkpoint, step {steps(opened.step)}."))
    blocks += [Text("This trains the run alone, in its folder:"), Listing(record.command)]
    return Section("Provenance", blocks)


def _commit(attempt: Mapping[str, Any]) -> str:
    commit = attempt.get("commit")
    return "–" if not commit else str(commit)[:10] + (", with changes" if attempt.get("changed") else "")


def files(record: Record) -> Section:
    """What lies in the run's folder, but for reports."""
    rows = [(name, size(n_bytes), FILE_MEANINGS[name]) for name, n_bytes in record.files if name in FILE_MEANINGS]
    return Section("Files", [Table(("file", "size", ""), rows, str(record.folder), (1,))])


def size(n_bytes: int) -> str:
    """110 B, 12 KB, 3.4 MB."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    return f"{n_bytes / 2**20:.1f} MB" if n_bytes >= 2**20 else f"{n_bytes / 2**10:.0f} KB"
