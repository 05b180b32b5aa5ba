"""The settings of one run: schema, defaults, checks and identity.

The dataclasses here are the schema that Hydra composes into, and what every other part reads. They hold the
paper's mainline as defaults (Nanda et al. 2023). No torch, no Hydra: a plan of ten thousand runs is checked
and named without either.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any


class Operation(Enum):
    add = "add"


class Split(Enum):
    ordered = "ordered"
    unordered = "unordered"


class SplitBy(Enum):
    paper = "paper"
    torch = "torch"


class Architecture(Enum):
    transformer = "transformer"


class Activation(Enum):
    relu = "relu"
    gelu = "gelu"
    square = "square"


class OptimizerName(Enum):
    adamw = "adamw"


class DecayTarget(Enum):
    all = "all"
    matrices = "matrices"


class Dtype(Enum):
    float32 = "float32"
    float64 = "float64"


class LoggerKind(Enum):
    none = "none"
    wandb = "wandb"


class LoggerMode(Enum):
    offline = "offline"
    online = "online"
    disabled = "disabled"


@dataclass
class DataConfig:
    operation: Operation = Operation.add
    """What is learnt: the answer c as a function of the operands a and b."""
    p: int = 113
    """Modulus; the operands are 0..p-1."""
    frac_train: float = 0.3
    """Share of all pairs that is trained on; the first int(frac_train * n) of the shuffled list."""
    split: Split = Split.ordered
    """ordered: (a, b) and (b, a) are drawn apart; unordered: both lie on one side of the split."""
    split_by: SplitBy = SplitBy.paper
    """paper: random.shuffle of the lexicographic list; torch: torch.randperm on the CPU (Chughtai et al. 2023)."""
    split_seed: int = 0
    """Seed of the shuffle alone."""

    def problems(self) -> list[str]:
        found = []
        if self.p < 3:
            found.append(f"data.p must be at least 3 (one frequency needs three residues), got {self.p}")
        if not 0 < self.frac_train < 1:
            found.append(f"data.frac_train must lie in (0, 1): both sides need pairs, got {self.frac_train}")
        elif self.p >= 3:
            n_pairs = self.p**2 if self.split is Split.ordered else self.p * (self.p + 1) // 2
            if int(self.frac_train * n_pairs) < 1:
                found.append(
                    f"data.frac_train={self.frac_train} of {n_pairs} pairs (data.p={self.p}) "
                    "leaves no pair to train on; raise it"
                )
        if not 0 <= self.split_seed < 2**63:
            found.append(f"data.split_seed must lie in 0..2^63-1, got {self.split_seed}")
        return found


@dataclass
class ModelConfig:
    architecture: Architecture = Architecture.transformer
    """transformer: the paper's, one layer, no LayerNorm, biases in the MLP only."""
    d_model: int = 128
    """Width of the residual stream."""
    n_heads: int = 4
    """Attention heads."""
    d_head: int | None = None
    """Width of a head; null: d_model / n_heads."""
    d_mlp: int | None = None
    """Neurons; null: 4 * d_model."""
    activation: Activation = Activation.relu
    """The neurons' non-linearity; gelu is the exact one (erf), square is x^2."""
    equals_logit: bool = True
    """True: "=" is an output class beside the p answers, as in the paper's code; False: p outputs."""
    init_seed: int = 0
    """Seed of the initial weights alone; each parameter has a generator of its own."""

    def problems(self) -> list[str]:
        found = [
            f"model.{name} must be at least 1, got {value}"
            for name in ("d_model", "n_heads", "d_head", "d_mlp")
            if (value := getattr(self, name)) is not None and value < 1
        ]
        if self.d_head is None and self.n_heads >= 1 and self.d_model % self.n_heads:
            found.append(
                f"model.d_model={self.d_model} is not a multiple of model.n_heads={self.n_heads}; "
                "change one, or give model.d_head"
            )
        if not 0 <= self.init_seed < 2**63:
            found.append(f"model.init_seed must lie in 0..2^63-1, got {self.init_seed}")
        return found


@dataclass
class OptimizerConfig:
    name: OptimizerName = OptimizerName.adamw
    """adamw: decoupled decay, weights shrink by lr * weight_decay a step (Loshchilov and Hutter 2019)."""
    lr: float = 1e-3
    """Learning rate after warm-up."""
    weight_decay: float = 1.0
    """Decoupled weight decay."""
    beta1: float = 0.9
    """Decay of the mean of the gradient."""
    beta2: float = 0.98
    """Decay of the mean of its square."""
    eps: float = 1e-8
    """Added to the root of the mean square; final losses are set by it: state it beside them."""
    warmup_steps: int = 10
    """Update i (from 0) has lr * min(i / warmup_steps, 1): the first update changes nothing. 0: no warm-up."""
    decay_target: DecayTarget = DecayTarget.all
    """all: every parameter, as in the paper's code; matrices: not the biases."""

    def problems(self) -> list[str]:
        found = []
        if not (self.lr > 0 and math.isfinite(self.lr)):
            found.append(f"optimizer.lr must be positive and finite, got {self.lr}")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            found.append(f"optimizer.weight_decay must be at least 0 and finite, got {self.weight_decay}")
        elif self.lr * self.weight_decay >= 1:
            found.append(
                f"optimizer.lr * optimizer.weight_decay must be below 1 (each step multiplies the weights by "
                f"1 - lr * weight_decay), got {self.lr} * {self.weight_decay}"
            )
        found += [
            f"optimizer.{name} must lie in [0, 1), got {getattr(self, name)}"
            for name in ("beta1", "beta2")
            if not 0 <= getattr(self, name) < 1
        ]
        if not (self.eps > 0 and math.isfinite(self.eps)):
            found.append(f"optimizer.eps must be positive and finite, got {self.eps}")
        if self.warmup_steps < 0:
            found.append(f"optimizer.warmup_steps must be at least 0, got {self.warmup_steps}")
        return found


@dataclass
class MeasuresConfig:
    names: list[str] = field(default_factory=list)
    """Measures logged beside losses and accuracies, by their names in grok_sweep/measures/table.py."""
    every: int | None = None
    """Steps between rows; null: every step to dense_until, then per_decade rows a decade of steps."""
    loss_every: int | None = None
    """Rows of losses and accuracies alone, every so many steps, between the full rows; null: none."""
    dense_until: int = 100
    """Every step up to here has a row (where `every` is null)."""
    per_decade: int = 60
    """Rows a factor 10 in steps after dense_until (where `every` is null)."""
    vector_every: int = 10
    """Per-frequency lists stand in every so-manieth full row."""

    def problems(self) -> list[str]:
        found = [
            f"measures.{name} must be at least {least}, got {value}"
            for name, least in (
                ("every", 1), ("loss_every", 1), ("dense_until", 0), ("per_decade", 1), ("vector_every", 1)
            )
            if (value := getattr(self, name)) is not None and value < least
        ]  # fmt: skip
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            found.append(f"measures.names holds a name twice: {', '.join(twice)}")
        return found


@dataclass
class LoggerConfig:
    kind: LoggerKind = LoggerKind.wandb
    """wandb: mirror each run to Weights & Biases; none: the run's folder alone."""
    mode: LoggerMode = LoggerMode.offline
    """offline: to the run's folder, to be synced; online: to the server; disabled: nowhere."""
    project: str = "grok_sweep"
    """W&B project."""
    entity: str | None = None
    """W&B user or team; null: the account's own."""
    tags: list[str] = field(default_factory=list)
    """W&B tags."""

    def problems(self) -> list[str]:
        return [] if self.project else ["logger.project must not be empty"]


@dataclass
class StopConfig:
    test_loss: float | None = None
    """Stop once a row's test loss (nats) is below this; null: run all steps. Final losses depend on eps and wd."""
    more_steps: int = 0
    """Go on for so many steps after the row that fired the rule."""

    def problems(self) -> list[str]:
        found = []
        if self.test_loss is not None and not 0 < self.test_loss < math.inf:
            found.append(f"stop.test_loss must be positive and finite, got {self.test_loss}")
        if self.more_steps < 0:
            found.append(f"stop.more_steps must be at least 0, got {self.more_steps}")
        return found


@dataclass
class PhasesConfig:
    accuracy: float = 0.9
    """t_train, t_test and t_novel are the first steps with accuracy above this."""
    gap: float = 1.0
    """grokking where t_test - t_train >= gap / lr steps (1.0: Liu's 1,000 steps at lr 1e-3)."""
    budget: int = 100_000
    """Steps after which a run that has not generalised counts as memorization (Liu et al. 2022)."""

    def problems(self) -> list[str]:
        found = []
        if not 0 < self.accuracy < 1:
            found.append(f"phases.accuracy must lie in (0, 1), got {self.accuracy}")
        if not 0 < self.gap < math.inf:
            found.append(f"phases.gap must be positive and finite, got {self.gap}")
        if self.budget < 1:
            found.append(f"phases.budget must be at least 1 step, got {self.budget}")
        return found


@dataclass
class SnapshotsConfig:
    n: int = 0
    """Weights kept under snapshots/, this many, evenly spaced over n_steps; 0: none."""

    def problems(self) -> list[str]:
        return [] if self.n >= 0 else [f"snapshots.n must be at least 0, got {self.n}"]


@dataclass
class CheckpointConfig:
    every_s: float = 30.0
    """Seconds between checkpoints: what a killed run loses at most."""

    def problems(self) -> list[str]:
        if 0 < self.every_s < math.inf:
            return []
        return [f"checkpoint.every_s must be positive and finite, got {self.every_s}"]


@dataclass
class RunConfig:
    """Everything one run needs. `sweep`, `root` and `claim_timeout_s` say where it lives, not what it computes."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    measures: MeasuresConfig = field(default_factory=MeasuresConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    phases: PhasesConfig = field(default_factory=PhasesConfig)
    snapshots: SnapshotsConfig = field(default_factory=SnapshotsConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    n_steps: int = 40_000
    """Updates; full batch, so a step is an epoch."""
    dtype: Dtype = Dtype.float32
    """Weights, forward and backward pass, optimizer state."""
    loss_dtype: Dtype = Dtype.float64
    """The log-softmax of the objective; float32 makes the paper's slingshots (its appendix D.2)."""
    allow_tf32: bool = False
    """Let a GPU round float32 products to TF32."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: cuda where there is one."""
    root: str = "runs"
    """Folder that holds the sweeps."""
    sweep: str | None = None
    """Name of the sweep's folder; null: the experiment's name, else "default"."""
    claim_timeout_s: float = 300.0
    """A claim from another machine without a heartbeat for so long is taken over."""

    def problems(self) -> list[str]:
        """Everything wrong with these settings, one sentence each; empty where all is well."""
        found = [line for part in _parts(self) for line in part.problems()]
        if self.n_steps < 1:
            found.append(f"n_steps must be at least 1, got {self.n_steps}")
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", self.device):
            found.append(f"device must be auto, cpu, cuda or cuda:N, got {self.device!r}")
        if self.sweep is not None and (not self.sweep or set(self.sweep) & set("/\\\0") or self.sweep[0] == "."):
            found.append(f"sweep must be a folder's name (no slash, no leading dot), got {self.sweep!r}")
        if not self.root:
            found.append("root must not be empty")
        if not 0 < self.claim_timeout_s < math.inf:
            found.append(f"claim_timeout_s must be positive and finite, got {self.claim_timeout_s}")
        return found


def _parts(config: RunConfig) -> list[Any]:
    return [value for f in fields(config) if is_dataclass(value := getattr(config, f.name))]


def resolved(config: RunConfig) -> RunConfig:
    """A copy with every derived default filled in and every number in its canonical form.

    Floats become float(format(x, ".12g")), so that 0.1 + 0.2 and 0.3 are one setting; whole numbers
    given for a float setting become floats.
    """
    copy = from_flat(flat(config))
    if copy.model.d_head is None and copy.model.n_heads >= 1 and copy.model.d_model % copy.model.n_heads == 0:
        copy.model.d_head = copy.model.d_model // copy.model.n_heads  # else left null, for problems() to name
    if copy.model.d_mlp is None:
        copy.model.d_mlp = 4 * copy.model.d_model
    if copy.sweep is None:
        copy.sweep = "default"
    return copy


def require_valid(config: RunConfig) -> None:
    """Raise one ValueError that holds every problem of these settings."""
    if found := config.problems():
        raise ValueError("wrong settings:\n" + "\n".join(f"- {line}" for line in found))


# --- flat, dotted form: what files, W&B and the command line show -------------------------------------------


def flat(config: RunConfig) -> dict[str, Any]:
    """{"data.p": 113, …}: every setting under its command-line name, enums by name, ready for JSON."""
    return dict(_flatten(config, ""))


def _flatten(part: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for f in fields(part):
        value = getattr(part, f.name)
        if is_dataclass(value):
            yield from _flatten(value, f"{prefix}{f.name}.")
        else:
            yield f"{prefix}{f.name}", value.name if isinstance(value, Enum) else value


def from_flat(settings: Mapping[str, Any]) -> RunConfig:
    """The inverse of `flat`; settings that are missing take their default.

    Raises ValueError for unknown names and values of the wrong type, all at once.
    """
    found: list[str] = []
    known = set()

    def build(cls: type, prefix: str) -> Any:
        hints = _type_hints(cls)
        values = {}
        for f in fields(cls):
            name, hint = prefix + f.name, hints[f.name]
            if is_dataclass(hint):
                values[f.name] = build(typing.cast(type, hint), name + ".")
            elif name in settings:
                known.add(name)
                try:
                    values[f.name] = _coerce(settings[name], hint)
                except (ValueError, KeyError, OverflowError):
                    found.append(f"{name}: {settings[name]!r} is no {_type_name(hint)}")
        return cls(**values)

    config = build(RunConfig, "")
    found += [f"unknown setting {name!r}" for name in settings if name not in known]
    if found:
        raise ValueError("wrong settings:\n" + "\n".join(f"- {line}" for line in found))
    return config


_type_hints = functools.cache(typing.get_type_hints)


def _coerce(value: Any, hint: Any) -> Any:
    if typing.get_origin(hint) is types.UnionType:
        hint, _ = typing.get_args(hint)
        if value is None:
            return None
    if typing.get_origin(hint) is list:
        if not isinstance(value, list):
            raise ValueError
        return [_coerce(item, typing.get_args(hint)[0]) for item in value]
    if issubclass(hint, Enum):
        return value if isinstance(value, hint) else hint[str(value)]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and is_number:
        return float(format(value, ".12g")) + 0.0  # -0.0 becomes 0.0: one setting, one run_id
    if hint is int and is_number and value == int(value):
        return int(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    raise ValueError


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is types.UnionType:
        return _type_name(typing.get_args(hint)[0]) + " or null"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "|".join(hint.__members__)
    return getattr(hint, "__name__", str(hint))


# --- identity -----------------------------------------------------------------------------------------------

IDENTITY_VERSION = 1

IDENTITY_PREFIXES = ("data.", "model.", "optimizer.")
IDENTITY_NAMES = ("dtype", "loss_dtype", "allow_tf32")

ADDED_LATER: dict[str, Any] = {}
"""Settings that came after version 1, each with the value that reproduces what was computed before it existed:
they enter the identity only where they differ from it, so that old folders keep their names."""


def identity(config: RunConfig) -> dict[str, Any]:
    """The settings that change the numbers, flat: what `run_id` is the hash of."""
    return {
        name: value
        for name, value in flat(resolved(config)).items()
        if (name.startswith(IDENTITY_PREFIXES) or name in IDENTITY_NAMES)
        and not (name in ADDED_LATER and value == ADDED_LATER[name])
    }


def run_id(config: RunConfig) -> str:
    """12 hex digits that name these settings: the same settings always mean the same folder.

    Steps, stop rule, cadences, logger, device and threads do not enter: asking for more steps continues
    the run.
    """
    payload = json.dumps([IDENTITY_VERSION, identity(config)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(payload.encode()).hexdigest()[:12]
