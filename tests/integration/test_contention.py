"""Eight workers that fight for many tiny runs, and machines that share a folder: none is trained twice, none lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import assert_equal_runs, plan_of, small_config

from grok_sweep.config import MeasuresConfig, ModelConfig
from grok_sweep.store import State, SweepDir
from grok_sweep.sweep.worker import work

ROOT = Path(__file__).parents[2]
TINY = [
    "p=5", "frac=0.5", "model.d_model=8", "model.d_mlp=8", "model.n_heads=1", "model.d_head=8", "measures=off",
    "logger=none", "steps=1",
]  # fmt: skip
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def attempts(sweep: SweepDir, run_id: str) -> list[dict[str, object]]:
    return json.loads(sweep.run(run_id).provenance_file.read_text())["attempts"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("n", [120, pytest.param(1000, marks=pytest.mark.slow)])
def test_eight_workers_over_tiny_runs(tmp_path: Path, n: int):
    words = ["-m", *TINY, f"seed=range(0,{n})", f"root={tmp_path}", "hydra.launcher.n_workers=8"]
    done = subprocess.run(
        [sys.executable, "launch.py", *words], cwd=ROOT, env=ONE_THREAD, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{n} runs in {tmp_path / 'default'}: {n} done" in done.stdout
    sweep = SweepDir(tmp_path / "default")
    assert len(sweep.plan()) == n
    workers: Counter[object] = Counter()
    for run in sweep.plan():
        (attempt,) = attempts(sweep, run.run_id)
        workers[attempt["pid"]] += 1
        assert [row["step"] for row in sweep.run(run.run_id).rows()] == [0, 1]
    assert len(workers) >= 4, workers


# --- machines -----------------------------------------------------------------------------------------------

OTHER_MACHINE = """
mount --bind {boot} /proc/sys/kernel/random/boot_id 2>/dev/null
exec {python} -c 'from grok_sweep.sweep.worker import work; print(work("{sweep}", {ids}))'
"""


def _can_unshare() -> bool:
    """Whether namespaces can be made here: as root, with util-linux."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-p", "-m", "-f", "--mount-proc", "true"], capture_output=True).returncode == 0


needs_namespaces = pytest.mark.skipif(not _can_unshare(), reason="a second machine is a namespace: root, unshare")


@pytest.fixture
def other_machine(tmp_path: Path) -> Callable[[SweepDir, list[str]], subprocess.Popen[str]]:
    """Starts a worker that has process ids, and a boot id, of its own."""
    boot = tmp_path / "boot_id"
    boot.write_text("00000000-1111-2222-3333-444444444444\n")

    def start(sweep: SweepDir, ids: list[str]) -> subprocess.Popen[str]:
        script = OTHER_MACHINE.format(boot=boot, python=sys.executable, sweep=sweep.path, ids=json.dumps(ids))
        command = ["unshare", "-p", "-m", "-f", "--mount-proc", "sh", "-c", script]
        return subprocess.Popen(
            command, cwd=ROOT, env=ONE_THREAD, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    return start


def holder(sweep: SweepDir, run_id: str) -> dict[str, object] | None:
    records = sorted((sweep.claims / run_id).glob("*.json"))
    found = json.loads(records[-1].read_text() or "{}") if records else {}
    return found if "machine" in found else None


def wait_until(true: Callable[[], object], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
@needs_namespaces
def test_a_worker_on_another_machine_joins_and_its_death_there_is_known_by_silence_alone(
    tmp_path: Path, other_machine: Callable[[SweepDir, list[str]], subprocess.Popen[str]]
):
    configs = [
        small_config(n_steps=1200, claim_timeout_s=3.0, model=ModelConfig(d_model=16, init_seed=i)) for i in range(3)
    ]
    whole, ids = plan_of(tmp_path / "whole", *configs)
    work(whole.path, ids)
    sweep, _ = plan_of(tmp_path / "shared", *configs)
    there = other_machine(sweep, ids)
    try:
        wait_until(lambda: holder(sweep, ids[0]) is not None and len(sweep.run(ids[0]).rows()) > 3)
        other = holder(sweep, ids[0])
        assert other is not None
        assert str(other["machine"]).startswith("00000000-1111-2222-3333-444444444444/")
        os.killpg(there.pid, signal.SIGKILL)
        there.wait()
        began = time.monotonic()
        # Its pid, seen from here, may be anybody's: while the claim is fresh the run is left alone, others are not.
        assert work(sweep.path, ids[:1]) == {ids[0]: None}
        assert work(sweep.path, ids[1:]) == {ids[1]: State.done, ids[2]: State.done}
        wait_until(lambda: work(sweep.path, ids[:1]) == {ids[0]: State.done})
        assert time.monotonic() - began > 1.5
    finally:
        there.kill()
        there.communicate()
    for run_id in ids:
        assert_equal_runs(sweep.run(run_id), whole.run(run_id))


@needs_namespaces
def test_two_machines_share_out_a_sweep(
    tmp_path: Path, other_machine: Callable[[SweepDir, list[str]], subprocess.Popen[str]]
):
    quick = MeasuresConfig(names=[])
    models = [ModelConfig(d_model=16, init_seed=i) for i in range(24)]
    configs = [small_config(n_steps=60, measures=quick, model=model) for model in models]
    sweep, ids = plan_of(tmp_path / "shared", *configs)
    there = other_machine(sweep, ids)
    wait_until(lambda: holder(sweep, ids[0]) is not None)
    here = work(sweep.path, ids)
    said, errors = there.communicate(timeout=60)
    assert there.returncode == 0, errors
    assert said.count("State.done") >= 23, said
    assert sum(state is State.done for state in here.values()) >= 23
    machines = Counter()
    for run_id in ids:
        assert sweep.run(run_id).state() is State.done
        assert len(attempts(sweep, run_id)) == 1
        record = json.loads((sweep.claims / run_id / "000001.json").read_text())
        machines[record["machine"]] += 1
    assert len(machines) == 2, machines
