"""The commit and the patch that say which code a run was computed by."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from grok_sweep import commit
from grok_sweep.commit import MOST_BYTES, Code, code_at


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one file of code."""
    root = tmp_path / "checkout"
    (root / "pkg").mkdir(parents=True)
    git(root, "init", "-q")
    (root / "pkg" / "code.py").write_text("x = 1\n")
    (root / ".gitignore").write_text("ignored.py\n.venv/\n")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


def at(checkout: Path) -> Code:
    return code_at(checkout / "pkg" / "code.py")


def test_of_a_clean_checkout_the_commit_is_all(checkout: Path, tmp_path: Path):
    (checkout / "notes.txt").write_text("no code")
    (checkout / "ignored.py").write_text("y = 2\n")
    found = at(checkout)
    assert found == Code(git(checkout, "rev-parse", "HEAD"))
    assert found.facts(tmp_path / "s") == {"commit": found.commit, "changed": False, "diff": None}
    assert not (tmp_path / "s").exists()


def test_commit_and_patch_give_back_what_was_there(checkout: Path, tmp_path: Path):
    """Edits, staged or not, new files, and such that are gone."""
    (checkout / "pkg" / "gone.py").write_text("z = 1\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "second")
    (checkout / "pkg" / "gone.py").unlink()
    (checkout / "pkg" / "code.py").write_text("x = 2\n")
    (checkout / "pkg" / "staged.py").write_text("s = 1\n")
    git(checkout, "add", "pkg/staged.py")
    (checkout / "pkg" / "new one.py").write_text("n = 1\n")
    (checkout / "conf.yaml").write_text("a: 1\n")
    found = at(checkout)
    facts = found.facts(tmp_path / "s")
    assert facts["changed"] is True
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(checkout), "copy")
    git(copy, "checkout", "-q", facts["commit"])
    git(copy, "apply", str(tmp_path / "s" / facts["diff"]))
    there, here = (
        {str(f.relative_to(root)): f.read_text() for f in root.rglob("*") if f.is_file() and ".git" not in f.parts}
        for root in (checkout, copy)
    )
    assert there == here


def test_one_patch_is_kept_once_and_another_beside_it(checkout: Path, tmp_path: Path):
    (checkout / "pkg" / "code.py").write_text("x = 2\n")
    first = at(checkout).facts(tmp_path)
    file = tmp_path / first["diff"]
    stamp = file.stat().st_mtime_ns
    assert at(checkout).facts(tmp_path) == first
    assert file.stat().st_mtime_ns == stamp
    (checkout / "pkg" / "code.py").write_text("x = 3\n")
    assert at(checkout).facts(tmp_path)["diff"] != first["diff"]
    assert len(list(file.parent.iterdir())) == 2


def test_a_patch_without_end_is_cut_and_said_to_be(checkout: Path, tmp_path: Path):
    (checkout / "pkg" / "big.py").write_text("x = 1\n" * MOST_BYTES)
    facts = at(checkout).facts(tmp_path)
    assert facts["diff_is_cut"] is True
    kept = (tmp_path / facts["diff"]).read_bytes()
    assert len(kept) < MOST_BYTES + 100
    assert kept.endswith(b"# cut: a patch is kept to 1000000 bytes\n")


def test_a_foreign_checkout_around_a_virtual_environment_is_not_ours(checkout: Path):
    installed = checkout / ".venv" / "lib" / "code.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("x = 1\n")
    assert code_at(installed) == Code(None)


@pytest.mark.parametrize("why", ["no repository", "no git", "slow git", "no commit"])
def test_without_git_nothing_fails(checkout: Path, tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "code.py").write_text("")
    if why == "no git":
        monkeypatch.setenv("PATH", "")
    if why == "slow git":
        monkeypatch.setattr(commit, "GIT_S", 0.0)
    if why == "no commit":
        git(tmp_path, "init", "-q")
        git(tmp_path, "add", "code.py")
    found = code_at(tmp_path / "code.py")
    assert found.facts(tmp_path / "s") == {"commit": None, "changed": None, "diff": None}


def test_a_patch_that_cannot_be_written_fails_nothing(tmp_path: Path):
    (tmp_path / "provenance").write_text("a file where the folder goes")
    assert Code("abc", b"diff").facts(tmp_path) == {"commit": "abc", "changed": True, "diff": None}


def test_a_hook_that_names_another_repository_does_not_mislead(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    found = at(checkout)
    monkeypatch.delenv("GIT_DIR")
    assert found.commit == git(checkout, "rev-parse", "HEAD")
