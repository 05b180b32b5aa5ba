"""A file that others saved, as a Checkpoint: which state dict of it, what it says of itself, what its weights are."""

from __future__ import annotations

from pathlib import Path

from analysis.checkpoints import nested
from analysis.checkpoints import said as said_by
from analysis.checkpoints.assembled import Assembly, assembly
from analysis.checkpoints.checkpoint import Checkpoint, Given
from analysis.checkpoints.chosen import chosen
from analysis.checkpoints.container import Contents
from analysis.checkpoints.fitted import misfits, modulus
from analysis.checkpoints.refusal import refusal
from analysis.checkpoints.turned import kind_of
from analysis.checkpoints.ways import the_right_way_round
from grok_sweep.config import DataConfig

PAPERS = "the paper's authors' .pth"


def read_foreign(path: Path, contents: Contents, given: Given) -> Checkpoint:
    """The network in a file that is none of a run's own.

    Raises ValueError with everything that does not fit, by name and shape.
    """
    inside = nested.find(contents.value)
    state, notes = chosen(path, inside, contents.value, given.step)
    beside = dict(inside.beside) | said_by.metadata_of(contents)
    said = said_by.settings_beside(path) | nested.settings_in(beside)
    made, problems = assembly(state.tensors, given, said_by.heads(said))
    if made is None:
        raise refusal(path, problems)
    p = modulus(made, given.p)
    if problems := [*DataConfig(operation=given.operation or "add", p=p).problems(), *misfits(made, p)]:
        raise refusal(path, problems)
    activation, assumed = said_by.activation(given, said)
    made, read = the_right_way_round(path, made, p, activation, given)
    losses = nested.losses_in(inside.beside, state.step)
    layout = _layout(made, contents.is_safetensors)
    step, about_step = said_by.step_of(state, beside, losses, layout.endswith(PAPERS))
    operation, about_operation = said_by.operation(read, p, given, said)
    data, about_split = said_by.split(given, said, operation, p)
    train_pairs, about_pairs = said_by.train_pairs(nested.train_pairs_in(inside.beside), operation, p)
    assumed += about_operation + about_split + about_pairs
    if data is not None and (problems := data.problems()):
        raise refusal(path, problems)
    return Checkpoint(
        weights=read.weights,
        p=p,
        model=read.model,
        operation=operation,
        data=data,
        step=step,
        losses=losses,
        layout=layout,
        path=path,
        train_pairs=train_pairs,
        frac_train=said_by.fraction(said),
        notes=(*notes, *made.notes, *_turned(made), *read.notes, *about_step, *assumed),
    )


def _turned(made: Assembly) -> list[str]:
    kinds = list(dict.fromkeys(kind_of(name) for name in made.turned))
    return [f"{', '.join(kinds)} stored transposed"] if kinds else []


def _layout(made: Assembly, is_safetensors: bool) -> str:
    """What a reader calls this way of naming and turning."""
    own = all(named.theirs in (name, name.partition(".")[2], f"blocks.{name}") for name, named in made.found.items())
    full = all("." in named.theirs and named.theirs.endswith(kind_of(n)) for n, named in made.found.items())
    turned = set(map(kind_of, made.turned))
    if own and not turned:
        found = "our names"
    elif full and not turned:
        found = "TransformerLens state dict"
    elif full and {"W_E", "W_Q", "W_K", "W_V"} <= turned and "W_U" not in turned:
        found = PAPERS
    else:
        found = "mapped by names and shapes"
    return f"safetensors, {found}" if is_safetensors else found
