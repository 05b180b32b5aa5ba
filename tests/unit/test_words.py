"""Commands as messages show them: to be pasted where the present one was typed."""

import sys
from pathlib import Path

import pytest

from grok_sweep.sweep.words import command


@pytest.mark.parametrize(
    "executable, here, on_path, shown",
    [
        ("/p/.venv/bin/python", "/p", None, ".venv/bin/python -m analysis sweep x"),
        ("/p/.venv/bin/python", "/q", "/usr/bin/python", "/p/.venv/bin/python -m analysis sweep x"),
        ("/my p/bin/python3", "/q", None, "'/my p/bin/python3' -m analysis sweep x"),
        ("/p/.venv/bin/python3", "/p", "/p/.venv/bin/python", "python -m analysis sweep x"),
    ],
)
def test_a_command_names_the_python_that_runs(monkeypatch, executable, here, on_path, shown):
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(Path, "cwd", lambda: Path(here))
    monkeypatch.setattr("shutil.which", lambda name: on_path)
    assert command("-m analysis sweep", "x") == shown
