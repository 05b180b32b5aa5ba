"""The runs that a command names: a sweep's folder, several, or a group at W&B."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from analysis.load import Sweep
from analysis.sources.several import load_sweeps


def read(
    paths: Sequence[str | os.PathLike[str]], wandb: str | None = None, tell: Callable[[str], None] = lambda line: None
) -> Sweep:
    """One sweep, several as one, or the group `wandb` (entity/project/group).

    Args:
        tell: hears lines about how far the reading from W&B is.

    Raises:
        ValueError: both or neither were named, or what was named is not there; one line with the way out.
    """
    if wandb is None:
        return load_sweeps(paths)
    if paths:
        raise ValueError(f"runs are read from folders or from W&B, not both: {paths[0]} and --wandb {wandb}")
    # Imported here: folders need no client of W&B's.
    from analysis.sources.wandb_group import load_group

    return load_group(wandb, tell=tell)
