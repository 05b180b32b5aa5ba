"""The ways in which a state dict can be read where matrices are square, and which of them the network answers in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from analysis.checkpoints import answers
from analysis.checkpoints.assembled import Assembly
from analysis.checkpoints.checkpoint import Given
from analysis.checkpoints.fitted import settings_of, weights_of
from analysis.checkpoints.refusal import refusal
from analysis.checkpoints.turned import Turn, flipped, kind_of
from grok_sweep.config import Activation, ModelConfig
from grok_sweep.models import build


@dataclass(frozen=True)
class Reading:
    """One way of reading the file's weights."""

    weights: dict[str, Tensor]
    model: ModelConfig
    notes: list[str]


def _read_as(made: Assembly, p: int, activation: Activation) -> tuple[Reading, list[str]]:
    weights, notes, problems = weights_of(made)
    model = settings_of(made, p, weights, activation)
    in_order = {name: weights[name] for name in build.network(model, p).shapes()} if not problems else {}
    return Reading(in_order, model, notes), problems


def the_right_way_round(
    path: Path, made: Assembly, p: int, activation: Activation, given: Given
) -> tuple[Assembly, Reading]:
    """The weights; square matrices the way round in which the network answers, or else by the file's habit."""
    read, problems = _read_as(made, p, activation)
    if problems:
        raise refusal(path, problems)
    if not made.square:
        return made, read
    turned = replace(made, turn=flipped(made.turn, made.by_shape))
    other, _ = _read_as(turned, p, activation)
    operations = [given.operation] if given.operation else answers.named_operations()
    right, wrong = (max(answers.right(r.weights, r.model, p, operations).values()) for r in (read, other))
    how = "as the others of the file"
    if wrong > answers.KNOWS > right:
        made, read, right, wrong, how = turned, other, wrong, right, "as its answers show"
    elif right <= answers.KNOWS and not made.is_clear:
        raise refusal(path, [_undecided(made, right, wrong)])
    note = (
        f"{', '.join(made.square)}: square, read {how} ({right:.1%} right answers; the other way round {wrong:.1%})"
    )
    return made, Reading(read.weights, read.model, [note, *read.notes])


def _undecided(made: Assembly, right: float, wrong: float) -> str:
    name = next(name for name, turn in made.by_shape.items() if turn is Turn.either)
    ours, theirs = kind_of(name), made.square[0]
    return (
        f"{', '.join(made.square)}: square, so that the shape does not tell whether it is stored turned. The other "
        f"matrices do not agree, and neither way does the network answer ({right:.1%} and {wrong:.1%} right). Say it "
        f"by --name: {ours}={theirs} as it stands, {ours}={theirs}.T turned"
    )
