"""Which code runs: the commit of this checkout, and what was changed since, as a patch. Fails nothing. No torch."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from grok_sweep.store import SweepDir, read_json, write_atomic

MOST_BYTES = 1_000_000
"""Of a patch; the rest is cut off, and said to be."""
OF_CODE = (".py", ".yaml", ".yml", ".toml")
"""Untracked files that belong to the code."""
GIT_S = 10.0
RECORD = "code.json"
"""In a copy of the code: what Code.facts says of the checkout."""


@dataclass(frozen=True)
class Code:
    """The checkout that this process imported.

    Attributes:
        commit: None outside git.
        patch: from the commit to what was there, untracked files of code included; b"" where nothing was changed.
        record: of a copy of a checkout, what was noted when it was made.
    """

    commit: str | None
    patch: bytes = b""
    record: dict[str, Any] | None = None

    def facts(self, folder: Path) -> dict[str, Any]:
        """For provenance.json and sweep.json: the commit, whether it was changed, and by which patch.

        The patch is written into the folder (a sweep's), once: its hash is its name. Null where it cannot be written.
        """
        if self.record is not None:
            return self.record
        if self.commit is None:
            return {"commit": None, "changed": None, "diff": None}
        facts: dict[str, Any] = {"commit": self.commit, "changed": bool(self.patch), "diff": None}
        if self.patch:
            file = SweepDir(folder).provenance / f"{hashlib.sha256(self.patch).hexdigest()[:12]}.diff"
            with suppress(OSError):
                if not file.exists():
                    write_atomic(file, self.patch)
                facts["diff"] = f"{file.parent.name}/{file.name}"
            facts |= {"diff_is_cut": True} if self.patch.endswith(_CUT) else {}
        return facts


_CUT = f"\n# cut: a patch is kept to {MOST_BYTES} bytes\n".encode()


@lru_cache(maxsize=1)
def code() -> Code:
    """The checkout as it is when this is first asked: close to the imports, as edits may follow.

    A copy of the code, as queued jobs run it, lies inside another checkout, and says itself of which it is.
    """
    here = Path(__file__).resolve()
    record = read_json(here.parent.parent / RECORD)
    return code_at(here) if record is None else Code(record["commit"], record=record)


def code_at(file: Path) -> Code:
    """The checkout that tracks this file; Code(None) where git tracks it nowhere."""
    # In one call: that it is tracked (a virtual environment may lie in a foreign checkout), and where.
    if git(file.parent, "ls-files", "--error-unmatch", "--", file.name) is None:
        return Code(None)
    found = git(file.parent, "rev-parse", "HEAD", "--show-toplevel")
    if found is None:
        return Code(None)
    commit, root = found.decode(errors="replace").split("\n")[:2]
    patch = b""
    for part in _patches(Path(root)):
        patch += part
        if len(patch) > MOST_BYTES:
            return Code(commit, patch[:MOST_BYTES] + _CUT)
    return Code(commit, patch)


def _patches(root: Path) -> Iterator[bytes]:
    as_it_is = ("--no-color", "--no-ext-diff", "--no-textconv")
    yield git(root, "diff", *as_it_is, "HEAD") or b""
    untracked = git(root, "ls-files", "--others", "--exclude-standard", "-z") or b""
    for name in untracked.split(b"\0"):
        if name.endswith(tuple(suffix.encode() for suffix in OF_CODE)):
            yield git(root, "diff", *as_it_is, "--no-index", "--", os.devnull, os.fsdecode(name)) or b""


def git(folder: Path, *words: str, seconds: float = GIT_S) -> bytes | None:
    """What git says; None where it fails, takes too long or is not there."""
    # Not the repository that a hook names; and no lock, over which a user's own git would stumble.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], env=env, capture_output=True, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired):
        return None
    fine = (0, 1) if "--no-index" in words else (0,)  # 1: they differ
    return done.stdout if done.returncode in fine else None
