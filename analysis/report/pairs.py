"""Pictures over all pairs (a, b): the loss, with train pairs marked, and where "=" looks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.report import pixels, style
from analysis.report.blocks import Block, Figure, Section, Table, Text
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.tasks import Task

LEAST_LOSS = 1e-8
"""Nats: what is lower has the darkest colour, however low."""
LOSS_TITLE, ATTENTION_TITLE = "Loss on every pair", "Attention"
MOST_HEADS = 8


def grid(task: Task, column: Tensor) -> Tensor:
    """A column over the pairs as a table [b, a], so that a runs to the right and b upwards."""
    return column.view(task.p, -1).T


# --- loss ---------------------------------------------------------------------------------------------------


def losses(moments: Sequence[tuple[str, Evaluation]]) -> Section:
    """The loss of each pair, at one or several steps in one scale.

    Args:
        moments: title and network of each picture, in order of steps.
    """
    all_losses = [evaluation.pair_losses for _, evaluation in moments]
    low = max(LEAST_LOSS, min(float(loss.min()) for loss in all_losses))
    high = max(max(float(loss.max()) for loss in all_losses), 10 * low)
    side = 260 if len(moments) > 1 else 400
    panels = [_loss_picture(title, evaluation, low, high, side) for title, evaluation in moments]
    keys = [pixels.key("test pairs (nats)", low, high), pixels.key("train pairs (nats)", low, high, is_grey=True)]
    chart = alt.hconcat(alt.concat(*panels, columns=2, spacing=24), alt.vconcat(*keys, spacing=30), spacing=20)
    caption = (
        "Cross-entropy (nats) of each pair by the label that it is trained or tested on, in one log scale: train "
        "pairs in greys, test pairs in colours, low is dark. A network that has memorised is dark on grey cells "
        "alone and, where a and b commute, on test pairs whose swap was trained on."
    )
    return Section(
        LOSS_TITLE, [Figure("pair_losses", style.styled(chart), caption, "The loss of every pair as a picture")]
    )


def _loss_picture(title: str, evaluation: Evaluation, low: float, high: float, side: int) -> Any:
    task = evaluation.task
    log_low, log_high = (float(torch.tensor(end).log10()) for end in (low, high))
    shades = pixels.levels(evaluation.pair_losses.clamp(min=low).log10(), log_low, log_high)
    shades = shades + task.train_mask.to(torch.uint8) * pixels.LEVELS
    first = (0, int(task.b[0]))
    return pixels.picture(grid(task, shades), side, ("a", "b"), first).properties(title=alt.TitleParams(text=title))


# --- attention ----------------------------------------------------------------------------------------------


def attention(evaluation: Evaluation, when: str) -> Section:
    """Attention from "=" to a over all pairs, a picture a head, and what each head gives a, b and "=" in the mean."""
    pattern = evaluation.activations.attn_pattern
    if pattern is None:
        return Section(ATTENTION_TITLE, [Text("This network has no attention.", quiet=True)])
    heads = min(pattern.shape[1], MOST_HEADS)
    panels = [_head(evaluation, pattern[:, head, 0], f"head {head}") for head in range(heads)]
    key = pixels.key("attention", 0.0, 1.0, log=False)
    chart = alt.hconcat(alt.concat(*panels, columns=2, spacing=20), key, spacing=20)
    layer = " in the last layer" if evaluation.network.config.n_layers > 1 else ""
    caption = (
        f'Attention from "=" to the first operand a{layer} {when}, for every pair; what is left goes to b '
        "and, "
        f'mostly little, to "=" itself.{_order(evaluation.task)}'
    )
    if pattern.shape[1] > heads:
        caption += f" The first {heads} of {pattern.shape[1]} heads."
    spoken = 'Attention from "=" to the first operand over all pairs, by head'
    blocks: list[Block] = [Figure("attention", style.styled(chart), caption, spoken), _means(pattern)]
    return Section(ATTENTION_TITLE, blocks)


def _root(task: Task) -> int | None:
    return None if task.group is None else task.group.primitive_root


def _order(task: Task) -> str:
    root = _root(task)
    return "" if root is None else f" Operands are ordered by their logarithm to {root}; pairs with a 0 are left out."


def _head(evaluation: Evaluation, to_a: Float[Tensor, " n_pairs"], title: str, side: int = 240) -> Any:
    task = evaluation.task
    if _root(task) is not None and task.group_pairs is not None:
        table, names, first = to_a[task.group_pairs].T, ("logarithm of a", "logarithm of b"), (0, 0)
    else:
        table, names, first = grid(task, to_a), ("a", "b"), (0, int(task.b[0]))
    picture = pixels.picture(pixels.levels(table, 0.0, 1.0), side, names, first)
    return picture.properties(title=alt.TitleParams(text=title))


def _means(pattern: Float[Tensor, "n_pairs n_heads 3"]) -> Table:
    means = pattern.double().mean(0).tolist()
    spreads = pattern[:, :, 0].double().std(0, correction=0).tolist()
    rows = [(f"{head}", *(f"{value:.3f}" for value in to), f"{spreads[head]:.3f}") for head, to in enumerate(means)]
    head = ("head", "to a", "to b", 'to "="', "standard deviation of the first")
    return Table(head, rows, "Mean over all pairs.", numbers=(0, 1, 2, 3, 4))
