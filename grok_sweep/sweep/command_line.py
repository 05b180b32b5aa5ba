"""What the command line holds beside a run's settings: shorthands, and options of the sweep. No Hydra, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Optional

from grok_sweep.config import RunConfig

EXIT_DONE = 0
EXIT_RUN_FAILED = 1
EXIT_WRONG_SETTINGS = 2
EXIT_INTERRUPTED = 130

SHORTHANDS: dict[str, tuple[str, ...]] = {
    "p": ("data.p",),
    "frac": ("data.frac_train",),
    "wd": ("optimizer.weight_decay",),
    "lr": ("optimizer.lr",),
    "seed": ("data.split_seed", "model.init_seed"),
    "steps": ("n_steps",),
}
"""Shorthand -> the settings it gives."""


class SettingsError(ValueError):
    """Wrong settings, all of them in one message: launch.py prints it and leaves with exit code 2."""


class Retry(Enum):
    failed = "failed"


class Order(Enum):
    given = "given"
    shuffled = "shuffled"
    coarse = "coarse"


@dataclass
class SweepOptions:
    """How a command works through its runs; no part of a run's settings."""

    dry_run: bool = False
    """Print the runs and what would become of each; do nothing."""
    retry: Optional[Retry] = None  # noqa: UP045 (OmegaConf 2.3 reads Optional)
    """failed: runs that failed are trained again, from their last checkpoint."""
    order: Order = Order.given
    """given: as Hydra has it, the last axis of the command line varies fastest, a seed like any other; shuffled: one
    fixed random order; coarse: the ends of every axis first, then the middles, so that a map fills evenly. The last
    two take the seeds last: all of one seed before the next."""
    fail_fast: bool = False
    """Stop at the first failed run; the others are checkpointed. The same as max_failures=1."""
    max_failures: Optional[int] = None  # noqa: UP045
    """Stop after so many failed runs; the others are checkpointed. null: never."""
    zip: Any = None
    """Lists of axes that go in step, first value with first: 'zip=[[p,model.d_model]]'."""

    def problems(self) -> list[str]:
        found = []
        if self.max_failures is not None and self.max_failures < 1:
            found.append(f"max_failures must be at least 1, got {self.max_failures}")
        if self.fail_fast and self.max_failures not in (None, 1):
            found.append(f"fail_fast=true is max_failures=1, got max_failures={self.max_failures} beside it")
        return found

    @property
    def failures_allowed(self) -> int | None:
        """The number of failed runs at which the sweep stops; None: it does not."""
        return 1 if self.fail_fast else self.max_failures


@dataclass
class LaunchConfig(SweepOptions, RunConfig):
    """What Hydra composes: a run's settings, the shorthands (null unless given) and the sweep's options."""

    p: Optional[int] = None  # noqa: UP045
    frac: Optional[float] = None  # noqa: UP045
    wd: Optional[float] = None  # noqa: UP045
    lr: Optional[float] = None  # noqa: UP045
    seed: Optional[int] = None  # noqa: UP045
    steps: Optional[int] = None  # noqa: UP045


OPTION_NAMES = tuple(f.name for f in fields(SweepOptions))


def options(settings: Mapping[str, Any]) -> SweepOptions:
    """The sweep's options out of flat settings, enums by name."""
    given = {name: settings[name] for name in OPTION_NAMES}
    retry = given["retry"]
    return SweepOptions(**{**given, "retry": None if retry is None else Retry[retry], "order": Order[given["order"]]})


def disagreements(given: Mapping[str, Any]) -> list[str]:
    """Shorthands that say something else than their own setting beside them.

    Args:
        given: what one run's command line gives, flat name or shorthand -> value, canonical.
    """
    return [
        f"{short}={given[short]} and {target}={given[target]} disagree: {short} stands for "
        f"{' and '.join(targets)}; leave one out"
        for short, targets in SHORTHANDS.items()
        if given.get(short) is not None
        for target in targets
        if target in given and not _same(given[short], given[target])
    ]


def _same(a: Any, b: Any) -> bool:
    try:
        return format(float(a), ".12g") == format(float(b), ".12g")
    except (TypeError, ValueError):
        return a == b
