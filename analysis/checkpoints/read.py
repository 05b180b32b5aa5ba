"""The way in: a path, and what the user says about it, as a Checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

from analysis.checkpoints.checkpoint import Checkpoint, Given
from analysis.checkpoints.container import contents
from analysis.checkpoints.foreign import read_foreign
from analysis.checkpoints.ours import alone, read_run, read_stored, run_of
from analysis.checkpoints.refusal import refusal
from grok_sweep.store import RunDir, by_first_digits

WEIGHTS = ("*.pth", "*.pt", "*.safetensors", "*.ckpt", "*.bin")
"""Files of weights, by their usual endings."""


def read(path: str | os.PathLike[str], given: Given | None = None) -> Checkpoint:
    """A network of this family: a run's folder, one of its files of weights, or a file that others saved.

    Nothing in a file is executed.

    Args:
        given: what the user says about it; it decides before what the file says, and must not contradict a run's
            settings.

    Raises:
        ValueError: everything about the file, or about `given`, that does not fit; the message begins with the path.
        OSError: the file cannot be opened.
    """
    given = given or Given()
    place = by_first_digits(Path(path))
    if problems := given.problems():
        raise refusal(place, problems)
    if not place.exists():
        raise refusal(place, ["no such file or folder"])
    if place.is_dir():
        return _read_folder(place, given)
    if not place.is_file():
        raise refusal(place, ["is neither a file nor a folder"])
    held = contents(place)
    run = run_of(place) if held.is_safetensors else None
    return read_stored(place, held, run, given) if run else read_foreign(place, alone(held), given)


def _read_folder(folder: Path, given: Given) -> Checkpoint:
    """A run's folder, or one with a single file of weights."""
    if RunDir(folder).settings_file.exists():
        return read_run(folder, given)
    if folder.name == "snapshots" and RunDir(folder.parent).settings_file.exists():
        return read_run(folder.parent, given)
    found = sorted({file for pattern in WEIGHTS for file in folder.glob(pattern)})
    if len(found) == 1:
        return read(found[0], given)
    if found:
        names = ", ".join(file.name for file in found[:5]) + (", …" if len(found) > 5 else "")
        raise refusal(folder, [f"holds {len(found)} files of weights: name one of them ({names})"])
    runs = [item.name for item in sorted(folder.iterdir()) if item.is_dir() and RunDir(item).settings_file.exists()]
    if runs:
        shown = ", ".join(runs[:5]) + (", …" if len(runs) > 5 else "")
        raise refusal(folder, [f"is a sweep's folder: name one of its {len(runs)} runs ({shown})"])
    raise refusal(
        folder,
        ["is a folder without weights: neither a run's (settings.json) nor one with a .pth, .pt or .safetensors"],
    )
