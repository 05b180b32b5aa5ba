"""The pool's care for its workers, with workers that train nothing: deaths, giving up, stopping, sharing out."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from grok_sweep import machine
from grok_sweep.config import RunConfig, flat, resolved, run_id
from grok_sweep.launchers import devices
from grok_sweep.launchers.devices import shared_out
from grok_sweep.launchers.plan_launcher import PlanLauncher
from grok_sweep.launchers.pool import Pool, PoolLauncher
from grok_sweep.launchers.report import last_words
from grok_sweep.launchers.worker_process import PRELOAD, preload, train_runs
from grok_sweep.store import PlannedRun, State, SweepDir
from grok_sweep.sweep.claims import Claims
from grok_sweep.sweep.display import PlainLines
from grok_sweep.sweep.interrupt import Interrupt
from grok_sweep.sweep.progress import Watch
from grok_sweep.sweep.status import needs_work
from grok_sweep.sweep.words import command

PYTHON = command()
DEADLY = "deadly"
"""A file with this name in the sweep's folder holds the id of a run, and how many workers it kills."""


def a_worker(
    sweep: str,
    run_ids: list[str],
    n_workers: int,
    n_threads: int,
    retry_failed_before: float | None,
    failures_allowed: int | None,
    asked: float,
    gpu: str | None,
    parent: Connection,
    log: str,
) -> None:
    """Claims and ends each run as the real one does, but that one run kills it so and so often."""
    sweep_dir = SweepDir(sweep)
    planned = {run.run_id: run for run in sweep_dir.plan()}
    for name in run_ids:
        run_dir = sweep_dir.run(name)
        if not needs_work(planned[name], run_dir, retry_failed_before):
            continue
        claim = Claims(sweep_dir, 300.0).take(name)
        if claim is None:
            continue
        run_dir.path.mkdir(exist_ok=True)
        deadly, times = (sweep_dir.path / DEADLY).read_text().split()
        if name == deadly and int(times):
            (sweep_dir.path / DEADLY).write_text(f"{deadly} {int(times) - 1}")
            os.kill(os.getpid(), signal.SIGKILL)
        run_dir.write_status(State.done, step=planned[name].settings["n_steps"], end="n_steps")
        claim.release()


def a_worker_that_cannot_start(*arguments: object) -> None:
    Path(str(arguments[-1])).write_text("no module named so\n")
    os._exit(3)


def a_patient_worker(
    sweep: str,
    run_ids: list[str],
    n_workers: int,
    n_threads: int,
    retry_failed_before: float | None,
    failures_allowed: int | None,
    asked: float,
    gpu: str | None,
    parent: Connection,
    log: str,
) -> None:
    """Trains its run until it is told to stop."""
    run_dir = SweepDir(sweep).run(run_ids[0])
    claim = Claims(SweepDir(sweep), 300.0).take(run_ids[0])
    assert claim is not None
    run_dir.path.mkdir()
    run_dir.write_status(State.running, step=0)
    told = parent.poll(30)
    run_dir.write_status(State.interrupted if told else State.failed, step=1)
    claim.release()


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDir:
    configs = [resolved(RunConfig(n_steps=5)) for _ in range(4)]
    for seed, config in enumerate(configs):
        config.model.init_seed = seed
        config.logger.kind = type(config.logger.kind).none
    sweep = SweepDir(tmp_path / "s")
    sweep.add(PlannedRun(run_id(c), flat(c), {"model.init_seed": c.model.init_seed}) for c in configs)
    return sweep


def run_pool(sweep: SweepDir, target: Callable[..., None], stop: Interrupt | None = None) -> Watch:
    watch = Watch(sweep, sweep.plan(), retry_failed=False)
    Pool(watch, PlainLines(watch), 2, 1, target=target).run(stop or Interrupt(), None)
    return watch


def states(sweep: SweepDir) -> list[State]:
    return [sweep.run(run.run_id).state() for run in sweep.plan()]


def test_a_dead_worker_costs_its_run_one_attempt(sweep: SweepDir, capfd: pytest.CaptureFixture[str]) -> None:
    victim = sweep.plan()[1].run_id
    (sweep.path / DEADLY).write_text(f"{victim} 2")
    watch = run_pool(sweep, a_worker)
    assert states(sweep) == [State.done] * 4
    assert len(watch.ended) == 4
    log = sweep.run(victim).log_file.read_text()
    assert log.count("was killed by SIGKILL, as when memory runs out") == 2
    assert "(attempt 1 of 3 in this launch)" in log
    assert f"{victim} (model.init_seed=1): worker" in capfd.readouterr().out


def test_a_run_that_kills_three_workers_is_failed_and_stops_nothing_else(sweep: SweepDir) -> None:
    victim = sweep.plan()[0].run_id
    (sweep.path / DEADLY).write_text(f"{victim} 99")
    run_pool(sweep, a_worker)
    assert states(sweep) == [State.failed, State.done, State.done, State.done]
    error = sweep.run(victim).status()["error"]
    assert error.startswith("killed its worker 3 times, at last: worker ")
    assert error.endswith("was killed by SIGKILL, as when memory runs out")
    lines, exit_code = last_words(sweep, sweep.plan(), interrupted=False)
    assert exit_code == 1
    assert lines[0] == (
        f"1 of 4 runs failed. First: {victim} (model.init_seed=0), {error}. Log: {sweep.run(victim).log_file}"
    )


def test_workers_that_cannot_start_are_given_up(sweep: SweepDir, capfd: pytest.CaptureFixture[str]) -> None:
    run_pool(sweep, a_worker_that_cannot_start)
    said = capfd.readouterr().out
    assert "3 workers died without a run: giving up" in said
    assert "no module named so" in said
    assert states(sweep) == [State.planned] * 4


def test_stopping_reaches_the_workers(sweep: SweepDir) -> None:
    class Soon(Interrupt):
        def __call__(self) -> bool:
            return State.running in states(sweep)

    run_pool(sweep, a_patient_worker, Soon())
    assert State.interrupted in states(sweep)
    lines, exit_code = last_words(sweep, sweep.plan(), interrupted=True)
    assert "interrupted: 4 of 4 runs are left; the same command continues" in lines
    assert exit_code == 130


@pytest.mark.parametrize(
    "given, shared",
    [
        ((100, None, None), (8, 1)),
        ((3, None, None), (3, 2)),
        ((1, None, None), (1, 8)),
        ((100, 2, None), (2, 4)),
        ((100, None, 3), (2, 3)),
        ((100, 16, None), (16, 1)),
        ((100, 16, 2), (16, 2)),
    ],
)
def test_cores_are_shared_out(
    monkeypatch: pytest.MonkeyPatch, given: tuple[int, int | None, int | None], shared: tuple[int, int]
) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert shared_out(*given) == shared


@pytest.mark.parametrize(
    "places, given, shared",
    [
        (2, (100, None, None), (2, 4)),
        (6, (100, None, None), (6, 1)),
        (6, (3, None, None), (3, 2)),
        (2, (100, 5, None), (5, 1)),
        (2, (100, None, 3), (2, 3)),
        (16, (100, None, None), (16, 1)),
    ],
)
def test_gpus_say_how_many_workers_there_are(
    monkeypatch: pytest.MonkeyPatch, places: int, given: tuple[int, int | None, int | None], shared: tuple[int, int]
) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert shared_out(*given, places) == shared


@pytest.mark.parametrize(
    "visible, found",
    [
        ("0,1", ["0", "1"]),
        ("GPU-8f,MIG-3", ["GPU-8f", "MIG-3"]),
        ("", []),
        ("-1", []),
        ("2,-1,3", ["2"]),
        (None, ["0", "1", "2"]),
    ],
)
def test_the_gpus_that_are_dealt_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str | None, found: list[str]
) -> None:
    """Names as CUDA reads them; without any, those of the driver (here a folder with three)."""
    for bus in ("0000:1a:00.0", "0000:1b:00.0", "0000:3d:00.0"):
        (tmp_path / bus).mkdir()
    monkeypatch.setattr(devices, "_DRIVER", tmp_path)
    monkeypatch.setattr(devices, "_torch_has_cuda", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.gpus_for([{"device": "auto"}, {"device": "cuda"}]) == found
    assert devices.gpus_for([{"device": "auto"}, {"device": "cpu"}]) == []
    assert devices.gpus_for([{"device": "auto"}, {"device": "cuda:1"}]) == [], "these say themselves where they train"
    monkeypatch.setattr(devices, "_torch_has_cuda", lambda: False)
    assert devices.gpus_for([{"device": "auto"}]) == []


def test_whether_torch_was_built_for_gpus_is_known_without_its_import() -> None:
    assert devices._torch_has_cuda() is (torch.version.cuda is not None)


def a_worker_that_notes_its_gpu(sweep: str, run_ids: list[str], *arguments: object) -> None:
    """Once all four are there, the first one of the first GPU dies; the others stay until the fifth has come."""
    given, noted, died = arguments[-3], Path(sweep) / "gpus", Path(sweep) / "died"
    with noted.open("a") as file:
        file.write(f"{given} ")
    ends = time.monotonic() + 60

    def wait_for(n: int) -> None:
        while len(noted.read_text().split()) < n and time.monotonic() < ends:
            time.sleep(0.02)

    wait_for(4)
    if given == "0":
        with suppress(FileExistsError):
            died.touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
    wait_for(5)


def test_gpus_are_dealt_out_and_a_replaced_worker_takes_the_free_place(sweep: SweepDir) -> None:
    watch = Watch(sweep, sweep.plan(), retry_failed=False)
    Pool(watch, PlainLines(watch), 4, 1, ["0", "1"], a_worker_that_notes_its_gpu).run(Interrupt(), None)
    noted = (sweep.path / "gpus").read_text().split()
    assert sorted(noted[:4]) == ["0", "0", "1", "1"]
    assert noted[4] == "0"


def test_a_worker_sees_its_gpu_alone(sweep: SweepDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real worker's process, up to where it would train: nothing before has looked at CUDA."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_tell_what_is_visible, args=(str(sweep.path), writer))
    process.start()
    writer.close()  # so that a process that dies is met as an end, not waited for
    assert reader.recv() == ("3", False)
    process.join()


def _tell_what_is_visible(sweep: str, writer: Connection) -> None:
    from grok_sweep.sweep import worker

    worker.work = lambda *given, **named: writer.send(
        (os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.is_initialized())
    )
    reader, _ = multiprocessing.Pipe(duplex=False)
    train_runs(sweep, [], 1, 1, None, None, 0.0, "3", reader, f"{sweep}/log")


def test_threads_asked_for_in_the_environment_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert shared_out(100, None, None) == (4, 2)
    assert shared_out(1, None, None) == (1, 2)
    assert shared_out(100, None, 4) == (2, 4)


def test_workers_import_at_once_what_their_runs_need(sweep: SweepDir) -> None:
    (*_, run) = (run.settings for run in sweep.plan())
    assert preload([run]) == PRELOAD
    assert preload([run, run | {"logger.kind": "wandb"}]) == [*PRELOAD, "wandb"]
    for name, value in (
        ("model.n_layers", 2),
        ("model.dropout", 0.1),
        ("model.architecture", "mlp"),
        ("compile", True),
    ):
        assert preload([run, run | {name: value}])[len(PRELOAD) :] == ["torch.fx.experimental.symbolic_shapes"]
    by_hand = {"data.operation": "multiply", "model.activation": "gelu", "model.tied": True, "loss": "mse"}
    assert preload([run | by_hand]) == PRELOAD


def test_wrong_settings_of_the_pool() -> None:
    assert PoolLauncher(2, None).problems() == []
    assert PoolLauncher(0, None).problems() == [
        "hydra.launcher.n_workers must be a whole number of at least 1, or null, got 0"
    ]
    assert PoolLauncher(2, None, workers_per_gpu=0).problems() == [
        "hydra.launcher.workers_per_gpu must be a whole number of at least 1, got 0"
    ]
    assert issubclass(PoolLauncher, PlanLauncher)


def test_a_diverged_run_is_no_failure_and_what_others_hold_is_theirs(sweep: SweepDir) -> None:
    runs = sweep.plan()
    for run, state in zip(runs, [State.done, State.done, State.diverged], strict=False):
        sweep.run(run.run_id).write_status(state, step=5, end="n_steps")
    assert last_words(sweep, runs[:3], interrupted=False)[1] == 0
    claim = Claims(sweep, 300.0).take(runs[3].run_id)
    lines, exit_code = last_words(sweep, runs, interrupted=False)
    assert claim is not None
    assert exit_code == 1
    assert f"is held by process {os.getpid()} on" in "\n".join(lines)
    assert lines[-1] == f"next: {PYTHON} -m analysis sweep {sweep.path}"


def test_the_last_words_say_whose_mirror_failed_and_how_to_upload(sweep: SweepDir) -> None:
    runs = [replace(run, settings=run.settings | {"logger.kind": "wandb"}) for run in sweep.plan()]
    for run in runs:
        sweep.run(run.run_id).path.mkdir()
        sweep.run(run.run_id).write_status(State.done, step=5, end="n_steps")
    first, second = (sweep.run(run.run_id) for run in runs[:2])
    log = first.wandb / "offline-run-1" / "run-x.wandb"
    log.parent.mkdir(parents=True)
    log.touch()
    second.log("W&B failed (ConnectionError: gone): the run goes on without it")
    lines, _ = last_words(sweep, runs, interrupted=False)
    assert lines[1:] == [
        f"W&B failed in 1 of 4 runs, metrics.jsonl has every row; why: grep 'W&B failed' {sweep.path}/*/log.txt",
        f"upload to W&B: {PYTHON} -m wandb sync {sweep.path}/*/wandb",
        f"next: {PYTHON} -m analysis sweep {sweep.path}",
    ]
    log.with_suffix(".wandb.synced").touch()
    assert not any("wandb sync" in line for line in last_words(sweep, runs, interrupted=False)[0])
    assert not any("W&B" in line for line in last_words(sweep, sweep.plan(), interrupted=False)[0])


def test_the_watch_tells_starts_ends_and_speed(sweep: SweepDir) -> None:
    runs = sweep.plan()
    first = sweep.run(runs[0].run_id)
    watch = Watch(sweep, runs, retry_failed=False)
    assert watch.look().running == []
    claim = Claims(sweep, 300.0).take(runs[0].run_id)
    assert claim is not None
    first.path.mkdir()
    first.write_status(State.running, step=0)
    rows = [{"step": 0, "seconds": 1.0}, {"step": 2, "seconds": 2.0}]
    metrics = first.open_metrics(rows[:1])
    seen = watch.look()
    assert [view.run.run_id for view in seen.started] == [runs[0].run_id]
    metrics.append(rows[1])
    (view,) = watch.look().running
    assert (view.step, view.steps_per_s, view.seconds_left) == (2, 2.0, 1.5)
    assert watch.seconds_left([view]) == (3 + 3 * 5) / 2.0
    first.write_status(State.done, step=5, end="n_steps")
    assert watch.look().ended == [view]
    assert (len(watch.left), len(watch.ended)) == (3, 1)


def test_a_run_left_as_running_by_a_dead_launch_is_not_shown_as_running(sweep: SweepDir) -> None:
    run = sweep.plan()[0]
    sweep.run(run.run_id).path.mkdir()
    sweep.run(run.run_id).write_status(State.running, step=3)
    assert Claims(sweep, 300.0).take(run.run_id) is not None
    time.sleep(0.01)
    assert Watch(sweep, [run], retry_failed=False).look().running == []
