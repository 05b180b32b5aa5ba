"""A SLURM of one node for the session, and a sweep on it for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster import Cluster, missing
from slurm_sweep import OWN, Sweep


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running(max_array_size=1001) as cluster:
        yield cluster


@pytest.fixture
def cluster_of_small_arrays() -> Iterator[Cluster]:
    with running(max_array_size=3) as cluster:
        yield cluster


@contextmanager
def running(max_array_size: int) -> Iterator[Cluster]:
    """A cluster; where the tests pass, its logs go with it."""
    if (reason := missing()) is not None:
        pytest.skip(f"no SLURM can be started: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="grok_sweep_slurm_"))
    folder.chmod(0o755)  # munge is another user, and may not enter pytest's folders
    cluster = Cluster(folder, max_array_size)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


@pytest.fixture
def sweep(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    monkeypatch.syspath_prepend(str(OWN))
    made = Sweep(tmp_path / "runs", cluster)
    yield made
    made.slurm("scancel", "--user=root", "--state=PENDING")
    made.slurm("scancel", "--user=root", "--signal=KILL", "--full")
    made.slurm("scancel", "--user=root")
    made.until_over()


@pytest.fixture
def sweep_of_small_arrays(cluster_of_small_arrays: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.syspath_prepend(str(OWN))
    return Sweep(tmp_path / "runs", cluster_of_small_arrays)


@pytest.fixture
def local_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.syspath_prepend(str(OWN))
    return Sweep(tmp_path / "runs", None)
