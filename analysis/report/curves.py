"""What training did: losses, accuracies, progress measures, sparsity and norms over the steps. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.report import over_time, style
from analysis.report.blocks import Block, Figure, Section, Text
from analysis.report.over_time import Band, Line, Rows
from analysis.report.style import BLACK, BLUE, DASHED, DOTTED, GREEN, ORANGE, PINK, RED, SKY
from grok_sweep.measures.table import FINAL, HINDSIGHT, MEASURES

LOSSES = (
    Line("train_loss", BLUE),
    Line("test_loss", RED),
    Line("novel_loss", PINK),
    Line("swap_loss", ORANGE),
    Line("zero_loss", GREEN),
    Line("noisy_loss", SKY),
)
ACCURACIES = (
    Line("train_acc", BLUE),
    Line("test_acc", RED),
    Line("novel_acc", PINK),
    Line("swap_acc", ORANGE),
    Line("zero_acc", GREEN),
    Line("noisy_acc", SKY),
    Line("restored_acc", BLACK),
)
ONLINE = (
    Line("train_loss", BLUE, DOTTED),
    Line("restricted_loss", GREEN),
    Line("excluded_loss", PINK),
    Line("excluded_loss_max", ORANGE),
    Line("fit_loss", SKY),
)
FINAL_LOSSES = tuple(
    Line(f"{name}{FINAL}", colour, DASHED)
    for name, colour in (("restricted_loss", GREEN), ("excluded_loss", PINK), ("fit_loss", SKY))
)
SPARSITY = (Line("gini_W_E", BLUE), Line("gini_W_L", RED))
SHARES = (
    Line("fve_logits", GREEN),
    Line("W_L_residual", RED),
    Line("frac_neurons_85", BLUE),
    Line("frac_neurons_85_weighted", SKY),
    Line("logit_energy", ORANGE),
    Line("attn_to_equals", BLACK),
)
FINAL_SHARES = tuple(
    Line(f"{name}{FINAL}", colour, DASHED) for name, colour in (("fve_logits", GREEN), ("W_L_residual", RED))
)
SETS = (
    "swap: test pairs (a, b) whose swap (b, a) was trained on, which symmetry alone may answer; novel: the other "
    "test pairs."
)
KINDS = (
    "Solid lines use each step's own key frequencies and break where there are none (gap below 1.5 decades); those "
    "of the final network, known only in hindsight, are dashed and end in _final."
)
NO_HINDSIGHT = (
    "Measures with the final key frequencies (_final) are not drawn: .venv/bin/python -m grok_sweep measure takes "
    "them, from snapshots or by training the run once more."
)


def section(
    rows: Rows, final_rows: Rows, bands: Sequence[Band], marks: Sequence[tuple[str, int]], has_group: bool
) -> Section:
    """Every figure of a run over its steps.

    Args:
        final_rows: of final_keys.jsonl.
        marks: t_train, t_test and their steps, where reached.
        has_group: whether the task has a group, so that measures with the final key frequencies could be had.
    """
    if len(rows) < 2:
        return Section(
            "Curves", [Text("Fewer than two rows are logged so far: there is nothing to draw.", quiet=True)]
        )
    last = rows[-1]["step"]
    made = [
        _losses(rows, last, bands),
        _accuracies(rows, last, bands, marks),
        _progress(rows, final_rows, last, bands),
        _shares(rows, final_rows, last, bands),
        _sparsity(rows, last, bands),
        _norm(rows, last, bands),
        _parameters(rows, last, bands),
    ]
    blocks: list[Block] = [figure for figure in made if figure is not None]
    if not final_rows and has_group and any(name in rows[-1] for name in HINDSIGHT.values()):
        blocks.append(Text(NO_HINDSIGHT, quiet=True))
    if len(rows) > over_time.MOST_ROWS:
        blocks.append(Text(f"Of {len(rows):,} rows at most {over_time.MOST_ROWS} are drawn a line.", quiet=True))
    return Section("Curves", blocks)


def _losses(rows: Rows, last: int, bands: Sequence[Band]) -> Figure | None:
    caption = (
        "Mean cross-entropy (nats, float64, over the p answers) on each set of pairs. "
        + SETS
        + " Step 0 is left out "
        "of logarithmic axes."
    )
    return _figure("losses", rows, LOSSES, "loss (nats)", last, bands, caption, log=True)


def _accuracies(rows: Rows, last: int, bands: Sequence[Band], marks: Sequence[tuple[str, int]]) -> Figure | None:
    lines = over_time.present(rows, ACCURACIES)
    if not lines:
        return None
    data = over_time.points(rows, lines, log=False)
    chart = over_time.curves(data, lines, style.share_axis("accuracy"), last, bands, marks)
    caption = "Share of pairs answered right. Dotted uprights: first logged step with accuracy above the threshold."
    return Figure("accuracies", style.styled(chart), caption, "Accuracies over the steps")


def _progress(rows: Rows, final_rows: Rows, last: int, bands: Sequence[Band]) -> Figure | None:
    lines = [*over_time.present(rows, ONLINE), *over_time.present(final_rows, FINAL_LOSSES)]
    if not any(line.column in MEASURES or line.column in HINDSIGHT for line in lines):
        return None
    caption = (
        "Nanda et al. 2023, section 5. restricted: loss of the logits' key-frequency part alone, over all pairs; "
        "it falls as the circuit suffices by itself. excluded: train loss without that part; it rises as the "
        "network comes to rely on the circuit. excluded_loss_max: the largest train loss without a single "
        "frequency, which needs no key frequencies. fit_loss: of the least-squares sum of cos w_k(a+b-c) in the "
        f"place of the logits. {KINDS}"
    )
    data = over_time.points(rows, over_time.present(rows, ONLINE), log=True)
    data += over_time.points(final_rows, over_time.present(final_rows, FINAL_LOSSES), log=True)
    return _of("progress", data, lines, "loss (nats)", last, bands, caption, log=True)


def _shares(rows: Rows, final_rows: Rows, last: int, bands: Sequence[Band]) -> Figure | None:
    lines = [*over_time.present(rows, SHARES), *over_time.present(final_rows, FINAL_SHARES)]
    if not lines:
        return None
    data = over_time.points(rows, over_time.present(rows, SHARES), log=False)
    data += over_time.points(final_rows, over_time.present(final_rows, FINAL_SHARES), log=False)
    chart = over_time.curves(data, lines, style.share_axis("share"), last, bands)
    meanings = [f"{line.column}: {MEASURES[line.column].meaning}." for line in lines if line.column in MEASURES]
    return Figure("shares", style.styled(chart), " ".join([*meanings, KINDS]), "Shares explained, over the steps")


def _sparsity(rows: Rows, last: int, bands: Sequence[Band]) -> Figure | None:
    caption = (
        "Gini coefficient of the Fourier component norms of the embedding W_E and of the neuron-logit map W_L, the "
        "constant left out: 0 where all are equal, towards 1 where few frequencies hold all (Nanda et al. 2023, "
        "appendix C.2)."
    )
    return _figure("sparsity", rows, SPARSITY, "Gini coefficient", last, bands, caption, log=False, height=170)


def _norm(rows: Rows, last: int, bands: Sequence[Band]) -> Figure | None:
    caption = "Sum of squares of all parameters, biases included (Nanda et al. 2023, figure 7)."
    lines = (Line("sum_sq_weights", BLACK),)
    return _figure("norm", rows, lines, "sum of squares", last, bands, caption, log=False, height=170)


def _parameters(rows: Rows, last: int, bands: Sequence[Band]) -> Figure | None:
    """Sum of squares by parameter; more parameters than colours differ in dashes too."""
    columns = [name for name in rows[-1] if name.startswith("sum_sq.")][: style.MOST_DISTINCT]
    lines = [
        Line(name, style.COLOURS[i % len(style.COLOURS)], style.DASHES[i // len(style.COLOURS)], name[7:])
        for i, name in enumerate(columns)
    ]
    caption = "Sum of squares of each parameter."
    if {"sum_sq.W_Q", "sum_sq.W_K", "sum_sq.W_V", "sum_sq.W_O"} <= set(columns):
        caption += " Under weight decay balanced pairs end equal: W_K and W_Q, W_V and W_O, W_in and W_out."
    return _figure("parameters", rows, lines, "sum of squares", last, bands, caption, log=True)


def _figure(
    name: str,
    rows: Rows,
    lines: Sequence[Line],
    title: str,
    last: int,
    bands: Sequence[Band],
    caption: str,
    **how: Any,
) -> Figure | None:
    """A figure of lines of these rows; None where no row has one of them."""
    there = over_time.present(rows, lines)
    return _of(name, over_time.points(rows, there, how["log"]), there, title, last, bands, caption, **how)


def _of(
    name: str,
    data: Sequence[Mapping[str, Any]],
    lines: Sequence[Line],
    title: str,
    last: int,
    bands: Sequence[Band],
    caption: str,
    log: bool,
    height: int = style.HEIGHT,
) -> Figure | None:
    if not data:
        return None
    y = style.value_axis(title, [point["value"] for point in data], log)
    chart = over_time.curves(data, lines, y, last, bands, height=height)
    return Figure(name, style.styled(chart), caption, f"{style_title(title)} over the steps")


def style_title(title: str) -> str:
    return title[:1].upper() + title[1:]
