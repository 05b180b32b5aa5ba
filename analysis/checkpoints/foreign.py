"""A file that others saved, as a Checkpoint: which state dict of it, what it says of itself, what its weights are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from analysis.checkpoints import answers, nested
from analysis.checkpoints.assembled import Assembly, assembly
from analysis.checkpoints.checkpoint import Checkpoint, Given, Losses, SplitRule
from analysis.checkpoints.container import Contents
from analysis.checkpoints.fitted import misfits, modulus, settings_of, weights_of
from analysis.checkpoints.nested import Nested, StateDict
from analysis.checkpoints.refusal import refusal, shape_of
from analysis.checkpoints.turned import flipped, kind_of
from grok_sweep.config import Activation, DataConfig, ModelConfig, SplitBy
from grok_sweep.models import build
from grok_sweep.store import read_json

PAPERS = "the paper's authors' .pth"
HEADS = ("n_heads", "num_heads", "n_head", "nhead", "heads")
FRACTIONS = ("frac_train", "train_frac", "train_fraction", "train_ratio")
ACTIVATIONS = {
    "relu": Activation.relu,
    "gelu": Activation.gelu,
    "square": Activation.square,
    "quad": Activation.square,
}
OPERATIONS = {"add": "add", "addition": "add", "+": "add", "cyclicgroup": "add", "sub": "subtract",
    "subtract": "subtract", "subtraction": "subtract", "-": "subtract", "x2xyy2": "quadratic", "mul": "multiply",
    "multiply": "multiply", "multiplication": "multiply", "*": "multiply", "div": "divide", "divide": "divide",
    "division": "divide", "/": "divide"}  # fmt: skip
"""The operation in words that others use (in small letters) -> ours."""


@dataclass(frozen=True)
class _Read:
    """One way of reading the file's weights."""

    weights: dict[str, Tensor]
    model: ModelConfig
    notes: list[str]


def read_foreign(path: Path, contents: Contents, given: Given) -> Checkpoint:
    """The network in a file that is none of a run's own.

    Raises ValueError with everything that does not fit, by name and shape.
    """
    inside = nested.find(contents.value)
    state, notes = _chosen(path, inside, given.step, contents)
    beside = dict(inside.beside) | _metadata(contents)
    said = _settings_beside(path) | nested.settings_in(beside)
    made, problems = assembly(state.tensors, given.n_heads or _number(said, HEADS), given.d_head, given.names)
    if made is None:
        raise refusal(path, problems)
    p = modulus(made, given.p)
    problems += [f"p: {problem}" for problem in DataConfig(p=p).problems()]
    if problems := problems + misfits(made, p):
        raise refusal(path, problems)
    activation, assumed = _activation(given, said)
    read = _the_right_way_round(path, made, p, activation, given, said)
    losses = nested.losses_in(inside.beside, state.step)
    layout = _layout(made, contents.is_safetensors)
    step, about_step = _step(state, beside, losses, layout)
    operation, about_operation = _operation(read, p, given, said)
    data, about_split = _split(given, said, operation, p)
    assumed += about_operation + about_split
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
        train_pairs=nested.train_pairs_in(inside.beside),
        frac_train=_share(said),
        notes=(*notes, *made.notes, *_turned(made), *read.notes, *about_step, *assumed),
    )


# --- which weights ------------------------------------------------------------------------------------------


def _chosen(path: Path, inside: Nested, step: int | None, contents: Contents) -> tuple[StateDict, list[str]]:
    """The state dict that is meant, and what else there was."""
    if not inside.alone and not inside.series:
        raise refusal(path, [_no_weights(contents)])
    if step is not None and inside.series:
        return _at_step(path, inside, step), []
    if inside.alone:
        return _of_several(path, inside, step)
    last = inside.series[-1]
    return last, [f"of the {_steps(inside.series)} in the file, the last"]


def _at_step(path: Path, inside: Nested, step: int) -> StateDict:
    at = [state for state in inside.series if state.step == step]
    if len(at) != 1:
        reason = f"has no checkpoint of step {step}" if not at else f"has several checkpoints of step {step}"
        raise refusal(path, [f"{reason}: it holds {_steps(inside.series)}"])
    return at[0]


def _of_several(path: Path, inside: Nested, step: int | None) -> tuple[StateDict, list[str]]:
    """The one state dict, or the one under the usual key."""
    notes = [f"it also holds {_steps(inside.series)}; a step chooses one"] if inside.series else []
    if step is not None and (known := nested.step_in(inside.beside)) != step:
        raise refusal(
            path, [f"holds one checkpoint{f', of step {known}' if known is not None else ''}: give no step"]
        )
    by_key = {state.where: state for state in inside.alone}
    usual = next((by_key[key] for key in ("", *nested.USUAL) if key in by_key), None)
    if usual is None and len(by_key) > 1:
        raise refusal(path, [f"holds several networks ({', '.join(by_key)}); save the one that is meant by itself"])
    chosen = usual or inside.alone[0]
    others = [key for key in by_key if key != chosen.where]
    return chosen, [
        *notes,
        *([f"{', '.join(others)} left out: {chosen.where or 'the top'} is read"] if others else []),
    ]


def _steps(series: list[StateDict]) -> str:
    steps = [str(state.step) for state in series]
    shown = ", ".join(steps) if len(steps) <= 6 else f"{', '.join(steps[:3])}, … {steps[-1]}"
    return f"{len(steps)} checkpoints (step {shown})"


def _no_weights(contents: Contents) -> str:
    """What a file without weights holds instead."""
    value = contents.value
    if isinstance(value, dict):
        keys = [str(key) for key in value]
        shown = ", ".join(keys[:6]) + (", …" if len(keys) > 6 else "")
        if any(key in ("param_groups", "state") for key in keys) or any(key.startswith("optim") for key in keys):
            return f"holds an optimizer's state ({shown}) and no weights; save model.state_dict()"
        return f"holds no weights of a network: only {shown or 'an empty mapping'}"
    if isinstance(value, Tensor):
        return f"holds one tensor {shape_of(value)}, no named weights; save model.state_dict()"
    if isinstance(value, list | tuple):
        return f"holds a {type(value).__name__} of {len(value)}, no named weights"
    return f"holds a {type(value).__name__}, no named weights"


# --- what it says of itself ---------------------------------------------------------------------------------


def _settings_beside(path: Path) -> dict[str, Any]:
    """Settings in a file of JSON beside the weights; {} where there is none, or none that can be read."""
    for name in (f"{path.stem}.cfg.json", "cfg.json", "config.json"):
        try:
            if (found := read_json(path.parent / name)) is not None:
                return {key: v for key, v in found.items() if isinstance(v, str | int | float)}
        except (ValueError, OSError):
            continue
    return {}


def _metadata(contents: Contents) -> dict[str, Any]:
    """What the header of a safetensors file says: numbers, words, and what stands in objects of JSON."""
    found: dict[str, Any] = {}
    for key, text in (contents.metadata or {}).items():
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found |= value if isinstance(value, dict) else {key: value}
    return {key: v for key, v in found.items() if isinstance(v, str | int | float)}


def _number(said: dict[str, Any], names: tuple[str, ...]) -> int | None:
    found = next((said[name] for name in names if name in said), None)
    return int(found) if isinstance(found, int | float) and found == int(found) and found > 0 else None


def _activation(given: Given, said: dict[str, Any]) -> tuple[Activation, list[str]]:
    if given.activation is not None:
        return given.activation, []
    for name in ("act_fn", "act_type", "activation"):
        word = str(said.get(name, "")).lower()
        if word in ACTIVATIONS:
            return ACTIVATIONS[word], [f"activation {word}, as its settings say"]
    return Activation.relu, ["activation taken to be ReLU: the file does not name it"]


def _operation(read: _Read, p: int, given: Given, said: dict[str, Any]) -> tuple[str, list[str]]:
    """As given, as its settings say, or as its answers show: add where nothing does."""
    if given.operation is not None:
        return given.operation, []
    for name in ("operation", "fn_name", "group", "task", "op"):
        word = str(said.get(name, "")).lower()
        if word in OPERATIONS:
            return OPERATIONS[word], [f"operation {OPERATIONS[word]}, as its settings say ({name}: {said[name]})"]
    shares = answers.right(read.weights, read.model, p, answers.named_operations())
    best = max(shares, key=lambda name: shares[name])
    if shares[best] > answers.KNOWS:
        return best, [f"operation {best}, as its answers show: {shares[best]:.1%} of the pairs are right"]
    return "add", [f"operation taken to be add; {shares['add']:.1%} of the pairs are answered so"]


def _share(said: dict[str, Any]) -> float | None:
    found = next((said[name] for name in FRACTIONS if name in said), None)
    return float(found) if isinstance(found, float) and 0 < found < 1 else None


def _step(
    state: StateDict, beside: dict[str, Any], losses: Losses | None, layout: str
) -> tuple[int | None, list[str]]:
    """The step that the file names; the paper's code keeps one train loss an update and no number beside them."""
    step = nested.step_in(beside) if state.step is None else state.step
    if step is None and losses is not None and losses.n_train > 1 and layout == PAPERS:
        return losses.n_train, [f"step {losses.n_train}: one train loss is kept for each update"]
    return step, []


def _split(given: Given, said: dict[str, Any], operation: str, p: int) -> tuple[DataConfig | None, list[str]]:
    """As given; as the settings of Chughtai's code say, whose seed is that of torch.randperm; else unknown."""
    if given.split is not None:
        return given.split.data(operation, p), []
    frac, seed = said.get("frac_train"), said.get("seed")
    if isinstance(said.get("split"), str):
        rule = SplitRule.parse(said["split"])
        return rule.data(operation, p), [f"split {rule}, as the file says"]
    theirs = str(said.get("group", "")).lower() == "cyclicgroup"
    if theirs and isinstance(frac, float) and isinstance(seed, int) and 0 < frac < 1 and seed >= 0:
        rule = SplitRule(SplitBy.torch, frac, seed)
        return rule.data(operation, p), [f"split {rule}, as cfg.json says and its authors' code draws it"]
    return None, []


# --- which way round ----------------------------------------------------------------------------------------


def _read_as(made: Assembly, turn: dict[str, Any], p: int, activation: Activation) -> tuple[_Read, list[str]]:
    weights, notes, problems = weights_of(made, turn)
    model = settings_of(made, p, weights, activation)
    in_order = {name: weights[name] for name in build.network(model, p).shapes()} if not problems else {}
    return _Read(in_order, model, notes), problems


def _the_right_way_round(
    path: Path, made: Assembly, p: int, activation: Activation, given: Given, said: dict[str, Any]
) -> _Read:
    """The weights; square matrices the way round in which the network answers, or else by the file's habit."""
    read, problems = _read_as(made, made.turn, p, activation)
    if problems:
        raise refusal(path, problems)
    if not made.square:
        return read
    other, _ = _read_as(made, flipped(made.turn, made.by_shape), p, activation)
    names = ", ".join(made.square)
    operations = [given.operation] if given.operation else answers.named_operations()
    ours, theirs = (max(answers.right(r.weights, r.model, p, operations).values()) for r in (read, other))
    if theirs > answers.KNOWS > ours:
        read, ours, theirs = other, theirs, ours
    elif ours <= answers.KNOWS and not made.is_clear:
        raise refusal(
            path,
            [
                f"{names}: square, so that its shape does not tell whether it is stored turned, and neither does the "
                f"network (right answers: {ours:.1%} or {theirs:.1%}). Say it by names: W_in={made.square[0]} as it "
                f"stands, W_in={made.square[0]}.T turned"
            ],
        )
    how = f"{ours:.1%} of the pairs answered rightly, {theirs:.1%} the other way round"
    return _Read(
        read.weights, read.model, [f"{names}: square, turned as the others of the file ({how})", *read.notes]
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
