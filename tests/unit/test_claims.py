"""Who trains which run: two living processes never hold one, and the dead hold none. With real processes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from grok_sweep.store import PlannedRun, RunDir, State, SweepDir
from grok_sweep.sweep import claims as claims_module
from grok_sweep.sweep.claims import Claim, ClaimLost, Claims, Holder, describe, process_start, this_machine
from grok_sweep.sweep.status import needs_work

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300.0

TAKE_ALL = """
import sys
from grok_sweep.store import SweepDir
from grok_sweep.sweep.claims import Claims
claims = Claims(SweepDir(sys.argv[1]), 300.0)
names = sys.argv[2:]
print("ready", flush=True)
sys.stdin.readline()
print(" ".join(name for name in names if claims.take(name) is not None), flush=True)
sys.stdin.readline()  # alive until told, so that no other process may take over
"""

TAKE_AND_RELEASE = """
import os, sys, time
from grok_sweep.store import SweepDir
from grok_sweep.sweep.claims import Claims
claims, inside = Claims(SweepDir(sys.argv[1]), 300.0), sys.argv[1] + "/inside"
print("ready", flush=True)
sys.stdin.readline()
n_held = n_met = 0
until = time.monotonic() + 30
while n_held < 15 and time.monotonic() < until:
    claim = claims.take("run")
    if claim is None:
        time.sleep(0.0005)
        continue
    try:
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        n_met += 1
    claim.check()
    time.sleep(0.0005)
    os.unlink(inside)
    n_held += 1
    claim.release()
print(n_held, n_met, flush=True)
sys.stdin.readline()
"""

COUNT_ON = """
import sys
from pathlib import Path
from grok_sweep.store import SweepDir
from grok_sweep.sweep.claims import Claims
claims, counter = Claims(SweepDir(sys.argv[1]), 300.0), Path(sys.argv[1], "counter")
print("ready", flush=True)
sys.stdin.readline()
for _ in range(10):
    with claims.held("plan"):
        counter.write_text(str(int(counter.read_text()) + 1))
print("done", flush=True)
sys.stdin.readline()
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python process that says "ready"; whatever is left at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(code: str, *args: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *map(str, args)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def other_holder(start: Start, sweep: SweepDir, name: str = "run") -> subprocess.Popen[str]:
    """A living process that holds the run."""
    process = start(TAKE_ALL, sweep.path, name)
    assert line(process) == "ready"
    go_on(process)
    assert line(process) == name
    return process


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDir:
    return SweepDir(tmp_path)


@pytest.fixture
def claims(sweep: SweepDir) -> Claims:
    return Claims(sweep, TIMEOUT_S)


def record(sweep: SweepDir, name: str = "run") -> Path:
    """The file of the present claim."""
    return max((sweep.claims / name).glob("*.json"))


def rewrite(sweep: SweepDir, age_s: float = 0.0, **changes: Any) -> None:
    """As if the present holder of "run" were another: other facts, last sign so long ago."""
    file = record(sweep)
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    past = time.time() - age_s
    os.utime(file, (past, past))


def taken(claims: Claims, name: str = "run") -> Claim:
    claim = claims.take(name)
    assert claim is not None
    return claim


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


# --- one holder ---------------------------------------------------------------------------------------------


def test_no_two_processes_hold_one_run(start: Start, sweep: SweepDir):
    names = [f"run{i:02d}" for i in range(30)]
    processes = [start(TAKE_ALL, sweep.path, *names) for _ in range(6)]
    assert [line(process) for process in processes] == ["ready"] * 6
    for process in processes:
        go_on(process)
    held = [name for process in processes for name in line(process).split()]
    assert sorted(held) == names, "each exactly once"


def test_of_many_that_find_a_dead_holder_exactly_one_takes_over(start: Start, sweep: SweepDir):
    names = [f"run{i:02d}" for i in range(30)]
    dead = start(TAKE_ALL, sweep.path, *names)
    line(dead)
    go_on(dead)
    assert line(dead).split() == names
    dead.kill()
    dead.wait()
    processes = [start(TAKE_ALL, sweep.path, *names) for _ in range(4)]
    assert [line(process) for process in processes] == ["ready"] * 4
    for process in processes:
        go_on(process)
    assert sorted(name for process in processes for name in line(process).split()) == names


def test_processes_that_take_and_release_one_run_never_meet_in_it(start: Start, sweep: SweepDir):
    processes = [start(TAKE_AND_RELEASE, sweep.path) for _ in range(4)]
    assert [line(process) for process in processes] == ["ready"] * 4
    for process in processes:
        go_on(process)
    assert [line(process) for process in processes] == ["15 0"] * 4, "held, met somebody"


def test_what_is_held_for_a_moment_is_held_by_one_at_a_time(start: Start, sweep: SweepDir):
    (sweep.path / "counter").write_text("0")
    processes = [start(COUNT_ON, sweep.path) for _ in range(4)]
    assert [line(process) for process in processes] == ["ready"] * 4
    for process in processes:
        go_on(process)
    assert [line(process) for process in processes] == ["done"] * 4
    assert (sweep.path / "counter").read_text() == "40"


def test_what_was_held_is_let_go_of_after_an_error(claims: Claims):
    with pytest.raises(OSError, match="full"), claims.held("plan"):
        raise OSError("full")
    with claims.held("plan"):
        assert claims.take("plan") is None


def test_a_fence_lets_nobody_through_who_lost_the_run(claims: Claims, sweep: SweepDir):
    old = taken(claims)
    rewrite(sweep, age_s=TIMEOUT_S + 20)
    taken(claims)
    made_before = set((sweep.claims / "run").iterdir())
    with pytest.raises(ClaimLost):
        old.fence()
    assert set((sweep.claims / "run").iterdir()) == made_before, "nothing is left of it"


def test_a_fence_makes_a_file_in_the_folder(claims: Claims, monkeypatch: pytest.MonkeyPatch):
    made: list[str] = []
    touch = Path.touch
    monkeypatch.setattr(claims_module.Path, "touch", lambda self: made.append(str(self.parent.name)) or touch(self))
    claim = taken(claims)
    made.clear()
    claim.fence()
    assert made == ["run"]
    claim.check()
    assert made == ["run"]


def test_a_free_run_is_taken_once_and_runs_are_claimed_apart(claims: Claims):
    assert claims.holder("run") is None
    taken(claims).check()
    assert claims.take("run") is None, "this process holds it, and lives"
    taken(claims, "other").check()


def test_asking_who_holds_a_run_takes_nothing(claims: Claims, sweep: SweepDir):
    assert claims.holder("run") is None
    assert not sweep.claims.exists()


def test_a_living_holder_is_respected_and_named(start: Start, claims: Claims, sweep: SweepDir):
    process = other_holder(start, sweep)
    assert claims.take("run") is None
    holder = claims.holder("run")
    assert holder is not None
    assert (holder.pid, holder.machine) == (process.pid, this_machine())
    assert holder.is_here()
    assert holder.is_alive(TIMEOUT_S)
    assert -1 < holder.age_s < 60


def test_a_released_run_is_free_at_once(claims: Claims):
    for _ in range(3):
        claim = taken(claims)
        claim.release()
        assert claims.holder("run") is None
        with pytest.raises(ClaimLost):
            claim.check()


def test_on_a_full_disk_a_run_is_released_all_the_same(claims: Claims, monkeypatch: pytest.MonkeyPatch):
    claim = taken(claims)
    with monkeypatch.context() as full:

        def no_space(*given: object, **named: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        full.setattr(claims_module, "_make", no_space)
        claim.release()
    assert claims.holder("run") is None
    taken(claims).check()


def test_releasing_twice_does_no_harm_to_the_next_holder(claims: Claims):
    first = taken(claims)
    first.release()
    second = taken(claims)
    first.release()
    second.check()
    assert claims.take("run") is None


def test_nothing_but_records_is_left_in_the_folder(claims: Claims, sweep: SweepDir):
    taken(claims).release()
    taken(claims)
    claims.take("run")
    claims.holder("run")
    assert sorted(path.name for path in (sweep.claims / "run").iterdir()) == [
        "000001.json", "000002.json", "000003.json",
    ]  # fmt: skip


def test_the_tenth_claim_is_the_present_one(claims: Claims):
    for _ in range(10):
        claim = taken(claims)
        claim.check()
        claim.release()
    assert claims.holder("run") is None
    claim = taken(claims)
    holder = claims.holder("run")
    assert holder is not None
    assert holder.generation == 21
    claim.check()


# --- the dead -----------------------------------------------------------------------------------------------


def test_a_killed_holder_is_taken_over_at_once(start: Start, claims: Claims, sweep: SweepDir):
    process = other_holder(start, sweep)
    process.kill()
    process.wait()
    taken(claims).check()


def test_a_zombie_is_dead(start: Start, claims: Claims, sweep: SweepDir):
    """Killed, but its parent has not asked for it yet: the pid is still there."""
    process = other_holder(start, sweep)
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{process.pid}").exists()
    assert process_start(process.pid) is None
    taken(claims).check()


def test_a_pid_that_was_given_to_another_process_is_no_sign_of_life(claims: Claims, sweep: SweepDir):
    taken(claims)
    rewrite(sweep, started="1")
    taken(claims).check()


def test_a_holder_on_this_machine_that_gives_no_sign_is_taken_over(claims: Claims, sweep: SweepDir):
    old = taken(claims)
    rewrite(sweep, age_s=TIMEOUT_S - 20)
    assert claims.take("run") is None
    old.check()
    rewrite(sweep, age_s=TIMEOUT_S + 20)
    new = taken(claims)
    with pytest.raises(ClaimLost, match="another worker took over"):
        old.check()
    new.check()


def test_a_loser_that_releases_has_no_effect_on_the_winner(claims: Claims, sweep: SweepDir):
    old = taken(claims)
    rewrite(sweep, age_s=TIMEOUT_S + 20)
    new = taken(claims)
    token = claims.holder("run")
    old.release()
    new.check()
    assert claims.take("run") is None
    holder = claims.holder("run")
    assert holder is not None
    assert token is not None
    assert holder.token == token.token


def test_a_holder_on_another_machine_is_judged_by_its_last_sign_alone(claims: Claims, sweep: SweepDir):
    taken(claims)
    rewrite(sweep, age_s=TIMEOUT_S - 20, machine="another", pid=dead_pid())
    assert claims.take("run") is None, "that there is no such process here says nothing"
    rewrite(sweep, age_s=TIMEOUT_S + 20, machine="another", pid=os.getpid())
    taken(claims).check()


def test_the_claims_of_a_container_are_judged_by_their_last_sign_alone(claims: Claims, sweep: SweepDir):
    """The same kernel, another process namespace: its pids are not ours."""
    kernel, _, namespace = this_machine().rpartition("/")
    taken(claims)
    rewrite(sweep, machine=f"{kernel}/{int(namespace) + 1}", pid=dead_pid())
    assert claims.take("run") is None


def test_an_old_claim_that_still_beats_is_alive(claims: Claims, sweep: SweepDir, monkeypatch: pytest.MonkeyPatch):
    claim = taken(claims)
    rewrite(sweep, age_s=TIMEOUT_S + 20)
    claim.check()
    assert time.time() - record(sweep).stat().st_mtime > TIMEOUT_S, "not at every check"
    now = time.monotonic() + TIMEOUT_S / 10 + 1
    monkeypatch.setattr(claims_module.time, "monotonic", lambda: now)
    claim.check()
    assert abs(time.time() - record(sweep).stat().st_mtime) < 60
    assert claims.take("run") is None


def test_a_record_that_a_crash_of_the_machine_left_empty_does_not_block_its_run(claims: Claims, sweep: SweepDir):
    taken(claims)
    record(sweep).write_text("")
    assert claims.holder("run") is None
    taken(claims).check()


def test_tokens_and_start_times_tell_claims_apart(claims: Claims, sweep: SweepDir):
    tokens = set()
    for name in ("a", "b", "c"):
        taken(claims, name)
        written = json.loads(record(sweep, name).read_text())
        assert written["started"] == process_start(os.getpid())
        tokens.add(written["token"])
    assert len(tokens) == 3


# --- processes ----------------------------------------------------------------------------------------------


def test_processes_have_start_times_and_the_dead_have_none(start: Start, sweep: SweepDir):
    first, second = other_holder(start, sweep, "a"), other_holder(start, sweep, "b")
    assert process_start(first.pid) == process_start(first.pid)
    assert len({process_start(os.getpid()), process_start(first.pid), process_start(second.pid)}) == 3
    assert process_start(dead_pid()) is None


def test_a_name_with_parentheses_and_blanks_does_not_shift_the_start_time(monkeypatch: pytest.MonkeyPatch):
    fields = ["S", *(f"field{number}" for number in range(4, 53))]  # proc(5): state is field 3, starttime 22
    text = f"4711 (a) S 1 (b) ) {' '.join(fields)}\n"
    monkeypatch.setattr(claims_module.Path, "read_text", lambda self: text)
    assert process_start(4711) == "field22"


@pytest.mark.parametrize("age_s, shown", [(13.4, "13 s ago"), (-2.0, "0 s ago"), (3599.6, "3600 s ago")])
def test_a_holder_is_described_by_where_it_runs_and_its_last_sign(age_s: float, shown: str):
    holder = Holder("node7", "kernel/1", 4711, "99", "token", 3, age_s)
    assert describe(holder) == f"process 4711 on node7 (last sign {shown})"


# --- what is left to do -------------------------------------------------------------------------------------

NOW = 1_000_000.0


@pytest.mark.parametrize(
    "status, retry_failed_before, expected",
    [
        (None, None, True),
        ({"state": "planned"}, None, True),
        ({"state": "running", "step": 3}, None, True),  # its claim says whether somebody is at it
        ({"state": "interrupted", "step": 3}, None, True),
        ({"state": "done", "end": "n_steps", "step": 101}, None, False),
        ({"state": "done", "end": "n_steps", "step": 100}, None, True),  # more steps are asked for now
        ({"state": "done", "end": "n_steps", "step": 103}, None, False),
        ({"state": "done", "end": "stop_rule", "step": 17}, None, False),
        ({"state": "diverged", "step": 5}, None, False),
        ({"state": "diverged", "step": 5, "updated": NOW}, NOW + 1, False),
        ({"state": "failed", "updated": NOW}, None, False),
        ({"state": "failed", "updated": NOW}, NOW + 1, True),
        ({"state": "failed", "updated": NOW}, NOW, False),  # it failed in this attempt: no second time
    ],
)
def test_what_needs_work(
    tmp_path: Path, status: dict[str, Any] | None, retry_failed_before: float | None, expected: bool
):
    run = PlannedRun("run", {"n_steps": 101}, {})
    run_dir = RunDir(tmp_path)
    if status is not None:
        run_dir.status_file.write_text(json.dumps(status))
    assert needs_work(run, run_dir, retry_failed_before) is expected


def test_every_state_is_decided(tmp_path: Path):
    for state in State:
        RunDir(tmp_path).write_status(state, step=101, end="n_steps")
        needed = needs_work(PlannedRun("run", {"n_steps": 101}, {}), RunDir(tmp_path))
        assert needed is (state in (State.planned, State.running, State.interrupted)), state
