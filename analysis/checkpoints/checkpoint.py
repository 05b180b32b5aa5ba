"""What a checkpoint is once it is read, and what the command line may say about one. No torch at import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from grok_sweep.config import OPERATIONS, Activation, DataConfig, ModelConfig, SplitBy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SplitRule:
    """Which pairs are trained on, in the words of the settings `data.`; ordered pairs."""

    split_by: SplitBy
    frac_train: float
    split_seed: int

    @classmethod
    def parse(cls, text: str) -> SplitRule:
        """RULE:FRAC:SEED, for example paper:0.3:1. ValueError where it is none."""
        parts = text.split(":")
        try:
            rule, frac, seed = parts
            found = cls(SplitBy[rule], float(frac), int(seed))
        except (ValueError, KeyError):
            found = None
        if found is None or not 0 < found.frac_train < 1 or not 0 <= found.split_seed < 2**63:
            known = "|".join(SplitBy.__members__)
            raise ValueError(
                f"a split is {known}:FRACTION:SEED, for example paper:0.3:1 (fraction in (0, 1), seed from 0 on), "
                f"got {text!r}"
            )
        return found

    @classmethod
    def of(cls, data: DataConfig) -> SplitRule:
        return cls(data.split_by, data.frac_train, data.split_seed)

    def data(self, operation: str, p: int) -> DataConfig:
        return DataConfig(
            operation=operation,
            p=p,
            frac_train=self.frac_train,
            split_by=self.split_by,
            split_seed=self.split_seed,
        )

    def __str__(self) -> str:
        return f"{self.split_by.name}:{self.frac_train:g}:{self.split_seed}"


@dataclass(frozen=True)
class Given:
    """What the user says about a file; None and {}: nothing.

    Attributes:
        p: modulus.
        operation: what it answers; a name of `data.operation` or a dotted path.
        n_heads: heads, where shapes alone do not tell.
        d_head: width of a head, likewise.
        activation: of the neurons; a file of weights does not name it.
        split: pairs trained on.
        step: which of a run's steps, or of the checkpoints in a file.
        names: our name -> the file's, with ".T" behind it where the matrix is to be turned.
    """

    p: int | None = None
    operation: str | None = None
    n_heads: int | None = None
    d_head: int | None = None
    activation: Activation | None = None
    split: SplitRule | None = None
    step: int | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """What is wrong with these, whatever the file; one sentence each."""
        least = {"p": 3, "n_heads": 1, "d_head": 1, "step": 0}
        found = [
            f"{name} must be at least {low}, got {value}"
            for name, low in least.items()
            if (value := getattr(self, name)) is not None and value < low
        ]
        if self.operation is not None and self.operation not in OPERATIONS and "." not in self.operation:
            found.append(f"unknown operation {self.operation!r}. Known: {', '.join(OPERATIONS)}; or a dotted path")
        return found


@dataclass(frozen=True)
class Losses:
    """Losses that stand in the file itself, each by its authors' own definition.

    The authors' code saves the loss before the last update beside the weights after it.

    Attributes:
        train: the train loss nearest to the weights; None where the file has none.
        test: the test loss, likewise.
        n_train: train losses in the file; with one a step, the number of updates made.
    """

    train: float | None = None
    test: float | None = None
    n_train: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A network of this family, whoever saved it.

    Attributes:
        weights: our names and orientation, in the dtype stored, on the CPU.
        model: resolved settings; grok_sweep.models.build.network(model, p) computes the weights' function.
        operation: what it is taken to answer.
        data: operation and split; None where the split is not known.
        step: updates made, as the file counts them; None where it does not say.
        losses: the file's own; None where it has none.
        train_pairs: indices of the pairs trained on (a * p + b), where the file lists them.
        frac_train: share of pairs trained on, where the file names it and not the rest of the split.
        layout: how the file names and turns its weights.
        notes: what was turned, dropped, added or assumed; a sentence each.
    """

    weights: dict[str, Tensor]
    p: int
    model: ModelConfig
    operation: str
    data: DataConfig | None
    step: int | None
    losses: Losses | None
    layout: str
    path: Path
    train_pairs: frozenset[int] | None = None
    frac_train: float | None = None
    notes: tuple[str, ...] = ()
