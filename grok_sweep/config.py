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


class Split(Enum):
    ordered = "ordered"
    unordered = "unordered"


class SplitBy(Enum):
    paper = "paper"
    torch = "torch"


class Norm(Enum):
    none = "none"
    layer = "layer"


class Decay(Enum):
    decoupled = "decoupled"
    l2 = "l2"


class Loss(Enum):
    cross_entropy = "cross_entropy"
    mse = "mse"


class Activation(Enum):
    relu = "relu"
    gelu = "gelu"
    square = "square"


class OptimizerName(Enum):
    adamw = "adamw"
    adam = "adam"
    sgd = "sgd"


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


OPERATIONS = ("add", "subtract", "multiply", "divide", "quadratic", "cubic", "random")
"""The operations of grok_sweep/tasks.py; another one is named by its dotted path."""

ARCHITECTURES = ("transformer", "mlp", "quadratic")
"""The networks of grok_sweep/models/; another one is named by its dotted path."""

MAX_P = 10_000
"""The largest modulus: a hundred million pairs, each with a row of p logits."""


@dataclass
class DataConfig:
    operation: str = "add"
    """What is learnt, mod p: add a+b, subtract a-b, multiply ab, divide a/b (b from 1), quadratic a²+ab+b²,
    cubic a³+ab, random (labels drawn once); or a dotted path to an operation of your own (docs/extending.md)."""
    p: int = 113
    """Modulus; the operands are 0..p-1."""
    frac_train: float = 0.3
    """Share of all pairs that is trained on; the first int(frac_train * n) of the shuffled list."""
    split: Split = Split.ordered
    """ordered: (a, b) and (b, a) are drawn apart; unordered: both lie on one side of the split."""
    split_by: SplitBy = SplitBy.paper
    """paper: random.shuffle of the lexicographic list; torch: torch.randperm on the CPU (Chughtai et al. 2023)."""
    split_seed: int = 0
    """Seed of the shuffle; random labels and label noise are drawn from it too."""
    label_noise: float = 0.0
    """Share of the train pairs that are trained on a wrong label, drawn evenly from the other p - 1."""

    def problems(self) -> list[str]:
        found = []
        if self.p < 3:
            found.append(f"data.p must be at least 3 (one frequency needs three residues), got {self.p}")
        if self.p > MAX_P:
            found.append(f"data.p must be at most {MAX_P} (all p^2 pairs are held at once), got {self.p}")
        if not 0 < self.frac_train < 1:
            found.append(f"data.frac_train must lie in (0, 1): both sides need pairs, got {self.frac_train}")
        elif 3 <= self.p <= MAX_P:
            n_pairs = self.n_pairs
            if int(self.frac_train * n_pairs) < 1:
                found.append(
                    f"data.frac_train={self.frac_train} of {n_pairs} pairs (data.p={self.p}) "
                    "leaves no pair to train on; raise it"
                )
        if not 0 <= self.split_seed < 2**63:
            found.append(f"data.split_seed must lie in 0..2^63-1, got {self.split_seed}")
        if not 0 <= self.label_noise <= 1:
            found.append(f"data.label_noise must lie in [0, 1], got {self.label_noise}")
        return found + self._operation_problems()

    @property
    def n_pairs(self) -> int:
        """Pairs that the split draws from: ordered ones, or unordered ones."""
        if self.operation == "divide":
            return self.p * (self.p - 1)
        return self.p**2 if self.split is Split.ordered else self.p * (self.p + 1) // 2

    def _operation_problems(self) -> list[str]:
        if self.operation not in OPERATIONS and "." not in self.operation:
            return [f"unknown data.operation {self.operation!r}. Known: {', '.join(OPERATIONS)}; or a dotted path"]
        found = []
        if self.operation == "divide":
            if self.p <= MAX_P and (divisor := smallest_divisor(self.p)) < self.p:
                found.append(
                    f"data.operation=divide needs a prime data.p (mod {self.p} nothing can be divided by {divisor}), "
                    f"got {self.p}"
                )
            if self.split is Split.unordered:
                found.append("data.split=unordered has no meaning for divide: of (0, b) the swap (b, 0) is no pair")
        return found


@dataclass
class ModelConfig:
    architecture: str = "transformer"
    """transformer: the paper's by default, one layer, no LayerNorm, biases in the MLP only; mlp: embeddings of a and
    b straight into the neurons, no attention; quadratic: Gromov's 2023, one-hot inputs; or a dotted path to one of
    your own (docs/extending.md)."""
    n_layers: int = 1
    """Layers of the transformer."""
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
    """Seed of the initial weights (each parameter has a generator of its own), of batches and of dropout."""
    norm: Norm = Norm.none
    """none: as in the paper; layer: LayerNorm before attention, before the MLP and before W_U."""
    mlp_biases: bool = True
    """b_in and b_out, trained as in the paper's code; False: none."""
    tied: bool = False
    """True: W_U is the transpose of W_E, one parameter for both."""
    dropout: float = 0.0
    """Share of the neurons (mlp_post) set to 0 at each step of training, the others scaled by 1 / (1 - share)."""
    init_scale: float = 1.0
    """Factor on every initial weight (alpha of Liu et al. 2022, Omnigrok)."""
    output_scale: float = 1.0
    """Factor on the logits (alpha of Kumar et al. 2023: large is lazy)."""
    attention_rate: float = 1.0
    """Attention weights are rate * learned + (1 - rate) * 1: from uniform (0) to learned (1), Zhong et al. 2023."""

    def problems(self) -> list[str]:
        if self.architecture not in ARCHITECTURES and "." not in self.architecture:
            known = ", ".join(ARCHITECTURES)
            return [f"unknown model.architecture {self.architecture!r}. Known: {known}; or a dotted path"]
        found = [
            f"model.{name} must be at least 1, got {value}"
            for name in ("d_model", "n_heads", "d_head", "d_mlp", "n_layers")
            if (value := getattr(self, name)) is not None and value < 1
        ]
        found += [
            f"model.{name} must be positive and finite, got {getattr(self, name)}"
            for name in ("init_scale", "output_scale")
            if not 0 < getattr(self, name) < math.inf
        ]
        if not 0 <= self.dropout < 1:
            found.append(f"model.dropout must lie in [0, 1), got {self.dropout}")
        if not 0 <= self.attention_rate <= 1:
            found.append(f"model.attention_rate must lie in [0, 1], got {self.attention_rate}")
        found += self._not_of_this_architecture()
        if self.d_head is None and self.n_heads >= 1 and self.d_model % self.n_heads:
            found.append(
                f"model.d_model={self.d_model} is not a multiple of model.n_heads={self.n_heads}; "
                "change one, or give model.d_head"
            )
        if not 0 <= self.init_seed < 2**63:
            found.append(f"model.init_seed must lie in 0..2^63-1, got {self.init_seed}")
        return found

    def _not_of_this_architecture(self) -> list[str]:
        """Settings that the chosen network does not have, and that say something else than their default."""
        if self.architecture not in ("mlp", "quadratic"):
            return []
        default = ModelConfig()
        found = [
            f"model.{name} has no meaning for model.architecture={self.architecture}; leave it at {_shown(usual)}"
            for name in ("n_layers", "norm", "tied", "attention_rate")
            if getattr(self, name) != (usual := getattr(default, name))
        ]
        if self.architecture == "quadratic" and self.mlp_biases:
            found.append(
                "model.architecture=quadratic has no biases: give model.mlp_biases=false (model=quadratic does)"
            )
        if self.equals_logit:
            found.append(
                f'model.architecture={self.architecture} has no "=": give model.equals_logit=false '
                f"(model={self.architecture} does)"
            )
        return found


FOLDED = {"architecture": "transformer", "n_layers": 1, "norm": Norm.none}
"""Of a model's settings, those with which it is computed by its folded weights (models/folded.py)."""


@dataclass
class OptimizerConfig:
    name: OptimizerName = OptimizerName.adamw
    """adamw, adam or sgd, each as torch.optim's."""
    decay: Decay | None = None
    """What weight_decay is. decoupled: weights shrink by lr * weight_decay a step (Loshchilov and Hutter 2019);
    l2: weight_decay * weights is added to the gradient. null: decoupled in adamw, l2 in adam and sgd, as in torch."""
    lr: float = 1e-3
    """Learning rate after warm-up."""
    weight_decay: float = 1.0
    """Strength of the decay that `decay` names: not one axis across the two."""
    beta1: float = 0.9
    """Decay of the mean of the gradient (adamw, adam)."""
    beta2: float = 0.98
    """Decay of the mean of its square (adamw, adam)."""
    momentum: float = 0.0
    """Share of the last update's direction that the next one keeps (sgd)."""
    eps: float = 1e-8
    """Added to the root of the mean square; final losses are set by it: state it beside them."""
    warmup_steps: int = 10
    """Update i (from 0) has lr * min(i / warmup_steps, 1): the first update changes nothing. 0: no warm-up."""
    decay_target: DecayTarget = DecayTarget.all
    """all: every parameter, as in the paper's code; matrices: not biases and LayerNorms."""
    batch_size: int | None = None
    """Train pairs a step, in an order shuffled anew once all were seen; null: all of them, a step is an epoch."""

    def problems(self) -> list[str]:
        found = []
        if not (self.lr > 0 and math.isfinite(self.lr)):
            found.append(f"optimizer.lr must be positive and finite, got {self.lr}")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            found.append(f"optimizer.weight_decay must be at least 0 and finite, got {self.weight_decay}")
        elif self.is_decoupled and self.lr * self.weight_decay >= 1:
            found.append(
                f"optimizer.lr * optimizer.weight_decay must be below 1 (each step multiplies the weights by "
                f"1 - lr * weight_decay), got {self.lr} * {self.weight_decay}"
            )
        found += [
            f"optimizer.{name} must lie in [0, 1), got {getattr(self, name)}"
            for name in ("beta1", "beta2", "momentum")
            if not 0 <= getattr(self, name) < 1
        ]
        if not (self.eps > 0 and math.isfinite(self.eps)):
            found.append(f"optimizer.eps must be positive and finite, got {self.eps}")
        if self.warmup_steps < 0:
            found.append(f"optimizer.warmup_steps must be at least 0, got {self.warmup_steps}")
        if self.batch_size is not None and self.batch_size < 1:
            found.append(
                f"optimizer.batch_size must be at least 1, or null for all train pairs, got {self.batch_size}"
            )
        if self.momentum and self.name is not OptimizerName.sgd:
            found.append(f"optimizer.momentum belongs to sgd ({self.name.name} has beta1), got {self.momentum}")
        if self.name is OptimizerName.adamw and self.decay is Decay.l2:
            found.append("optimizer.name=adamw with optimizer.decay=l2 is adam: give optimizer.name=adam")
        if self.name is OptimizerName.adam and self.decay is Decay.decoupled:
            found.append("optimizer.name=adam with optimizer.decay=decoupled is adamw: give optimizer.name=adamw")
        return found

    @property
    def is_decoupled(self) -> bool:
        """Whether weight_decay shrinks the weights, apart from the gradient."""
        return self.name is OptimizerName.adamw if self.decay is None else self.decay is Decay.decoupled


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
    """Per-frequency lists stand in every vector_every-th full row, and in the last."""

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
    """Tags of each W&B run."""
    timeout_s: float = 30.0
    """Seconds that a run waits for W&B's server, online, at its start and again at its end; then it does without."""

    def problems(self) -> list[str]:
        found = [] if self.project else ["logger.project must not be empty"]
        if len(self.project) > 128 or set(self.project) & set("/\\#?%:"):
            found.append(
                f"logger.project: W&B allows 128 characters and none of / \\ # ? % : in it, got {self.project!r}"
            )
        if not 0 < self.timeout_s < math.inf:
            found.append(f"logger.timeout_s must be positive and finite, got {self.timeout_s}")
        return found


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
    optimizer_state: bool = False
    """Keep the optimizer's state with them (three times the disk): a replay can then start from each."""

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
class EnsembleConfig:
    size: str = "1"
    """Runs that a worker trains together, at most: those that differ in numbers and pairs only (docs/ensembles.md);
    auto: as many as pays where it trains, which it times."""

    def problems(self) -> list[str]:
        if self.size == "auto" or re.fullmatch(r"[1-9][0-9]*", self.size):
            return []
        return [f"ensemble.size must be auto or a whole number of at least 1, got {self.size}"]

    @property
    def most(self) -> int | None:
        """None: auto."""
        return None if self.size == "auto" else int(self.size)


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
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    n_steps: int = 40_000
    """Updates; full batch, so a step is an epoch."""
    loss: Loss = Loss.cross_entropy
    """What training lowers: the mean over pairs of the cross-entropy over all outputs, or (mse) the mean over pairs
    and outputs of the squared difference from 1 at the label, 0 elsewhere. Rows hold cross-entropies beside it."""
    dtype: Dtype = Dtype.float32
    """Weights, forward and backward pass, optimizer state."""
    loss_dtype: Dtype = Dtype.float64
    """The log-softmax of the objective; float32 makes the paper's slingshots (its appendix D.2)."""
    allow_tf32: bool = False
    """Let a GPU round float32 products to TF32."""
    compile: bool = False
    """torch.compile the step: half a minute and a C++ compiler before the first one, other bits than without."""
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
        if self.loss is Loss.mse and self.stop.test_loss is not None:
            found.append("stop.test_loss is a cross-entropy, which loss=mse does not lower: give stop.test_loss=null")
        if self.compile and self.model.dropout > 0:
            found.append("compile=true has no use with model.dropout: it would compile anew at every step")
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
    if copy.optimizer.decay is None:
        copy.optimizer.decay = Decay.decoupled if copy.optimizer.is_decoupled else Decay.l2
    if copy.sweep is None:
        copy.sweep = "default"
    return copy


def require_valid(config: RunConfig) -> None:
    """Raise one ValueError that holds every problem of these settings."""
    if found := config.problems():
        raise ValueError("wrong settings:\n" + "\n".join(f"- {line}" for line in found))


def smallest_divisor(n: int) -> int:
    """The smallest divisor of n above 1: n itself where it is prime."""
    return next((d for d in range(2, math.isqrt(max(n, 0)) + 1) if n % d == 0), n)


# --- flat, dotted form: what files, W&B and the command line show -------------------------------------------


def flat(config: RunConfig) -> dict[str, Any]:
    """{"data.p": 113, …}: every setting under its command-line name, enums by name, ready for JSON."""
    return dict(_flatten(config, ""))


def _flatten(part: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, _, is_part in _schema(type(part)):
        value = getattr(part, name)
        if is_part:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value.name if isinstance(value, Enum) else value


@functools.cache
def _schema(cls: type) -> tuple[tuple[str, Any, bool], ...]:
    """Name, type, and whether it is a part with settings of its own, of each field: read once, asked for often."""
    hints = typing.get_type_hints(cls)
    return tuple((f.name, hints[f.name], is_dataclass(hints[f.name])) for f in fields(cls))


def from_flat(settings: Mapping[str, Any]) -> RunConfig:
    """The inverse of `flat`; settings that are missing take their default.

    Raises ValueError for unknown names and values of the wrong type, all at once.
    """
    found: list[str] = []
    known = set()

    def build(cls: type, prefix: str) -> Any:
        values = {}
        for field_name, hint, is_part in _schema(cls):
            name = prefix + field_name
            if is_part:
                values[field_name] = build(typing.cast(type, hint), name + ".")
            elif name in settings:
                known.add(name)
                try:
                    values[field_name] = _coerce(settings[name], hint)
                except (ValueError, KeyError, OverflowError):
                    found.append(f"{name}: {settings[name]!r} is no {_type_name(hint)}")
        return cls(**values)

    config = build(RunConfig, "")
    found += [f"unknown setting {name!r}" for name in settings if name not in known]
    if found:
        raise ValueError("wrong settings:\n" + "\n".join(f"- {line}" for line in found))
    return config


def _shown(value: Any) -> str:
    return value.name if isinstance(value, Enum) else str(value).lower() if isinstance(value, bool) else str(value)


_AS_THEY_ARE = (int, str, bool)


def _coerce(value: Any, hint: Any) -> Any:
    if type(value) is hint and hint in _AS_THEY_ARE:
        return value
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
IDENTITY_NAMES = ("loss", "dtype", "loss_dtype", "allow_tf32")

ADDED_LATER: dict[str, Any] = {
    "data.label_noise": 0.0,
    "model.n_layers": 1,
    "model.norm": "none",
    "model.mlp_biases": True,
    "model.tied": False,
    "model.dropout": 0.0,
    "model.init_scale": 1.0,
    "model.output_scale": 1.0,
    "model.attention_rate": 1.0,
    "optimizer.decay": "decoupled",
    "optimizer.momentum": 0.0,
    "optimizer.batch_size": None,
    "loss": "cross_entropy",
}
"""Settings that came after version 1, each with the value that reproduces what was computed before it existed:
they enter the identity only where they differ from it, so that old folders keep their names."""


def identity(config: RunConfig) -> dict[str, Any]:
    """The settings that change the numbers, flat: what `run_id` is the hash of."""
    return identity_of(flat(resolved(config)))


def identity_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`identity` of settings that are resolved and flat already."""
    return {
        name: value
        for name, value in settings.items()
        if (name.startswith(IDENTITY_PREFIXES) or name in IDENTITY_NAMES)
        and not (name in ADDED_LATER and value == ADDED_LATER[name])
    }


def run_id(config: RunConfig) -> str:
    """12 hex digits that name these settings: the same settings always mean the same folder.

    Steps, stop rule, cadences, logger, device and threads do not enter: asking for more steps continues
    the run.
    """
    return run_id_of(flat(resolved(config)))


def run_id_of(settings: Mapping[str, Any]) -> str:
    """`run_id` of settings that are resolved and flat already."""
    payload = json.dumps([IDENTITY_VERSION, identity_of(settings)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(payload.encode()).hexdigest()[:12]
