"""A copy of the code that queued jobs run, so that edits while they wait change nothing. No torch.

runs/<sweep>/code/<hash>/ is named after what it holds: launches of the same code share one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import grok_sweep
from grok_sweep.commit import RECORD, code_at, git
from grok_sweep.store import PlannedRun, SweepDir

SUFFIXES = (".py", ".yaml", ".toml")
INSTALLED = ("site-packages", "dist-packages")
"""Folders of libraries: these are no code of the user's, and are left where they are."""
PACKAGE = Path(grok_sweep.__file__).parent


def copy_code(sweep: SweepDir, project: Path, runs: Iterable[PlannedRun]) -> Path:
    """The folder of the copy; made where there is none of this code yet.

    Args:
        project: the folder of launch.py.
        runs: what their settings name by a dotted path is copied too.
    """
    files = dict(_project_files(project, sweep.path.resolve()))
    if not PACKAGE.is_relative_to(project):
        files |= {file.relative_to(PACKAGE.parent): file for file in sorted(PACKAGE.rglob("*.py"))}
    for module in sorted(own_modules(runs)):
        files |= {name: file for name, file in _module_files(module) if name not in files}
    contents = {name: file.read_bytes() for name, file in sorted(files.items())}
    contents[Path(RECORD)] = json.dumps(code_at(project / "launch.py").facts(sweep.path)).encode()
    copy = sweep.code / _hash(contents)
    if not copy.exists():
        _write(copy, contents)
    return copy


def own_modules(runs: Iterable[PlannedRun]) -> set[str]:
    """The modules (a package: its first name) of tasks, networks and measures that settings name by a dotted path."""
    paths: set[str] = set()
    for run in runs:
        one = (run.settings["data.operation"], run.settings["model.architecture"], *run.settings["measures.names"])
        paths.update(path for path in one if "." in path)
    return {path.partition(".")[0] for path in paths}


def _project_files(project: Path, sweep: Path) -> Iterator[tuple[Path, Path]]:
    """(name inside the project, file): what git tracks or would, as it is now; else what is beside launch.py."""
    names = git(project, "ls-files", "-z", "--cached", "--others", "--exclude-standard", seconds=60.0)
    if names is not None:
        found = [project / os.fsdecode(name) for name in names.split(b"\0") if name]
    else:
        folders = ("grok_sweep", "hydra_plugins", "analysis", "conf")
        found = [*project.glob("*"), *(file for folder in folders for file in (project / folder).rglob("*"))]
    # Runs inside the project, where git does not ignore them, would bring along copies of copies.
    runs = sweep.parent if project in sweep.parent.parents else sweep
    for file in found:
        if file.suffix in SUFFIXES and file.is_file() and not file.is_relative_to(runs):
            yield file.relative_to(project), file


def _module_files(module: str) -> Iterator[tuple[Path, Path]]:
    """(name on sys.path, file) of a module or package of the user's own."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not set(INSTALLED).isdisjoint(Path(spec.origin).parts):
        return
    origin = Path(spec.origin)
    if spec.submodule_search_locations is None:
        yield Path(origin.name), origin
    else:
        folder = origin.parent
        yield from ((file.relative_to(folder.parent), file) for file in folder.rglob("*.py"))


def _hash(contents: Mapping[Path, bytes]) -> str:
    found = hashlib.sha256()
    for name, content in contents.items():
        found.update(f"{name}\0{len(content)}\0".encode() + content)
    return found.hexdigest()[:12]


def _write(copy: Path, contents: Mapping[Path, bytes]) -> None:
    """Beside its place, then there in one act: a job never meets half of it."""
    temporary = copy.with_name(f".{copy.name}.{secrets.token_hex(4)}.tmp")
    for name, content in contents.items():
        (temporary / name).parent.mkdir(parents=True, exist_ok=True)
        (temporary / name).write_bytes(content)
    try:
        os.rename(temporary, copy)
    except OSError:
        shutil.rmtree(temporary)
        if not copy.exists():  # or another launch was first
            raise
