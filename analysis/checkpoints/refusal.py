"""How a file is refused: its name, and everything that does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def refusal(path: Path, problems: Sequence[str]) -> ValueError:
    """One error that holds all problems, a line each."""
    if len(problems) == 1:
        return ValueError(f"{path}: {problems[0]}")
    return ValueError(f"{path}: {len(problems)} things do not fit:\n" + "\n".join(f"- {line}" for line in problems))


def shape_of(tensor: object) -> str:
    """A shape as users write it: [114, 128]."""
    return f"[{', '.join(str(n) for n in getattr(tensor, 'shape', ()))}]"
