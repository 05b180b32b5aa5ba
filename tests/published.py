"""The published files beside the repository; tests skip where they are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "reference"


def published(name: str) -> Path:
    """Path of a published file; skips the test where it does not lie beside the repository."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"published file {name} is not here (expected in ../shared/reference)")
    return path
