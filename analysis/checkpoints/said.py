"""What a file says of itself, in its own settings or beside it, and what has to be taken for granted without them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from analysis.checkpoints import answers, nested
from analysis.checkpoints.checkpoint import Given, Losses, SplitRule
from analysis.checkpoints.container import Contents
from analysis.checkpoints.nested import StateDict
from analysis.checkpoints.ways import Reading
from grok_sweep.config import Activation, DataConfig, SplitBy
from grok_sweep.store import read_json

HEADS = ("n_heads", "num_heads", "n_head", "nhead", "heads")
FRACTIONS = ("frac_train", "train_frac", "train_fraction", "train_ratio")
ACTIVATIONS = {
    "relu": Activation.relu,
    "gelu": Activation.gelu,
    "square": Activation.square,
    "quad": Activation.square,
}
OPERATIONS = {
    "add": "add", "addition": "add", "modular_addition": "add", "cyclicgroup": "add", "+": "add",
    "sub": "subtract", "subtract": "subtract", "subtraction": "subtract", "-": "subtract",
    "mul": "multiply", "multiply": "multiply", "multiplication": "multiply", "*": "multiply",
    "div": "divide", "divide": "divide", "division": "divide", "/": "divide", "x2xyy2": "quadratic",
}  # fmt: skip
"""The operation in words that others use (in small letters) -> ours."""


def settings_beside(path: Path) -> dict[str, Any]:
    """Settings in a file of JSON beside the weights; {} where there is none, or none that can be read."""
    for name in (f"{path.stem}.cfg.json", "cfg.json", "config.json"):
        try:
            if (found := read_json(path.parent / name)) is not None:
                return {key: v for key, v in found.items() if isinstance(v, str | int | float)}
        except (ValueError, OSError):
            continue
    return {}


def metadata_of(contents: Contents) -> dict[str, Any]:
    """What the header of a safetensors file says: numbers, words, and what stands in objects of JSON."""
    found: dict[str, Any] = {}
    for key, text in (contents.metadata or {}).items():
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found |= value if isinstance(value, dict) else {key: value}
    return {key: v for key, v in found.items() if isinstance(v, str | int | float)}


def heads(said: dict[str, Any]) -> int | None:
    """The number of heads that the settings name."""
    found = next((said[name] for name in HEADS if name in said), None)
    return int(found) if isinstance(found, int | float) and found == int(found) and found > 0 else None


def activation(given: Given, said: dict[str, Any]) -> tuple[Activation, list[str]]:
    if given.activation is not None:
        return given.activation, []
    for name in ("act_fn", "act_type", "activation"):
        word = str(said.get(name, "")).lower()
        if word in ACTIVATIONS:
            return ACTIVATIONS[word], [f"activation {word}, as its settings say"]
    return Activation.relu, ["activation taken to be ReLU: the file does not name it"]


def operation(read: Reading, p: int, given: Given, said: dict[str, Any]) -> tuple[str, list[str]]:
    """As given, as its settings say, or as its answers show: add where nothing does."""
    if given.operation is not None:
        return given.operation, _as_given(read, p, given.operation)
    for name in ("operation", "fn_name", "group", "task", "op"):
        word = str(said.get(name, "")).lower()
        if word in OPERATIONS:
            return OPERATIONS[word], [f"operation {OPERATIONS[word]}, as its settings say ({name}: {said[name]})"]
    shares = answers.right(read.weights, read.model, p, answers.named_operations())
    best = max(shares, key=lambda name: shares[name])
    if shares[best] > answers.KNOWS:
        return best, [f"operation {best}, as its answers show: {shares[best]:.1%} of the pairs are right"]
    return "add", [f"operation taken to be add; {shares['add']:.1%} of the pairs are answered so"]


def _as_given(read: Reading, p: int, operation: str) -> list[str]:
    """What the answers say of the operation that was given, and of another that they fit better."""
    shares = answers.right(read.weights, read.model, p, [*dict.fromkeys([operation, *answers.named_operations()])])
    if operation not in shares:
        return []
    best = max(shares, key=lambda name: shares[name])
    told = f"operation {operation}, as given: {shares[operation]:.1%} of the pairs are right"
    better = best != operation and shares[best] > answers.KNOWS
    return [f"{told}, by {best} {shares[best]:.1%}: leave --operation out?" if better else told]


def fraction(said: dict[str, Any]) -> float | None:
    """The train fraction that the settings name."""
    found = next((said[name] for name in FRACTIONS if name in said), None)
    return float(found) if isinstance(found, float) and 0 < found < 1 else None


def step_of(
    state: StateDict, beside: dict[str, Any], losses: Losses | None, is_papers: bool
) -> tuple[int | None, list[str]]:
    """The step that the file names; the paper's code keeps one train loss an update and no number beside them."""
    step = nested.step_in(beside) if state.step is None else state.step
    if step is None and losses is not None and losses.n_train > 1 and is_papers:
        return losses.n_train, [f"step {losses.n_train}: one train loss is kept for each update"]
    return step, []


def train_pairs(listed: frozenset[int] | None, operation: str, p: int) -> tuple[frozenset[int] | None, list[str]]:
    """The pairs that the file lists, where they can be indices a * p + b of some of the p² pairs."""
    if listed is None:
        return None, []
    if DataConfig(operation=operation, p=p).n_pairs == p * p and len(listed) < p * p and listed <= set(range(p * p)):
        return listed, []
    return None, [f"the {len(listed)} train pairs that the file lists are no indices of {p}² pairs: passed over"]


def split(given: Given, said: dict[str, Any], operation: str, p: int) -> tuple[DataConfig | None, list[str]]:
    """As given; as the settings of Chughtai's code say, whose seed is that of torch.randperm; else unknown."""
    if given.split is not None:
        return given.split.data(operation, p), []
    frac, seed = said.get("frac_train"), said.get("seed")
    with suppress(ValueError):  # what others call a split
        rule = SplitRule.parse(str(said.get("split")))
        return rule.data(operation, p), [f"split {rule}, as the file says"]
    theirs = str(said.get("group", "")).lower() == "cyclicgroup"
    if theirs and isinstance(frac, float) and isinstance(seed, int) and 0 < frac < 1 and seed >= 0:
        rule = SplitRule(SplitBy.torch, frac, seed)
        return rule.data(operation, p), [f"split {rule}, as cfg.json says and its authors' code draws it"]
    return None, []
