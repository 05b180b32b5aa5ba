"""Every wrong setting, file, folder and environment of tests/wrong_inputs.py: what is said, and that nothing is lost.

launch.py is run in this process, from its first line on; for broken folders its last step alone, with a plan made
once. A few commands in processes of their own show that this is the same.
"""

from __future__ import annotations

import functools
import os
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, chdir, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from small_runs import assert_equal_runs, planned, small_config
from wrong_inputs import ANALYSIS, COMMANDS, EXPERIMENTS, FILES, LONG, NOTHING, SETTINGS, SHORT, Broken, Row

from analysis.__main__ import main as analysis
from grok_sweep.commit import code
from grok_sweep.config import MeasuresConfig, RunConfig, flat
from grok_sweep.launchers.here import Here
from grok_sweep.store import PlannedRun, RunDir, State, SweepDir
from grok_sweep.sweep.command_line import SHORTHANDS, SettingsError
from grok_sweep.sweep.grid import Plan
from grok_sweep.sweep.plan import carry_out, plan
from grok_sweep.sweep.progress import Watch
from grok_sweep.sweep.worker import work

ROOT = Path(__file__).parents[2]
SMALL = ["p=23", "frac=0.4", "lr=3e-3", "model.d_model=16", "measures=off", "logger=none", "sweep=sweep"]


@dataclass(frozen=True)
class Done:
    exit_code: int
    out: str
    err: str


Launch = Callable[..., Done]


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Launch:
    """Runs launch.py in this process, from an empty folder."""
    monkeypatch.chdir(tmp_path)

    def launch(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["launch.py", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / "launch.py"), run_name="__main__")
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Done(left.value.code, said.out, said.err)

    return launch


def launched(folder: Path, *words: str, **variables: str) -> Done:
    """Runs launch.py in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *words], cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def assert_refused(message: str, expected: Sequence[str]) -> None:
    """The head, and these problems, each in a line, in this order."""
    head, *lines = message.rstrip("\n").split("\n- ")
    assert head == NOTHING
    shown = [line[: len(wanted) - 1] + "…" if wanted.endswith("…") else line
             for line, wanted in zip(lines, expected, strict=False)]  # fmt: skip
    assert [*shown, *lines[len(shown) :]] == list(expected)


def files(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def names(rows: Sequence[Row]) -> list[str]:
    return [words[:60] for words, _ in rows]


# --- settings -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan_of() -> Callable[..., Plan]:
    """What launch.py makes of these words; the files of conf/ are read once."""
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    return functools.cache(lambda *words: plan(words, loader, master))


@pytest.mark.parametrize("words, lines", SETTINGS, ids=names(SETTINGS))
def test_wrong_settings(plan_of: Callable[..., Plan], words: str, lines: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        plan_of(*words.split())
    assert_refused(str(caught.value), lines)


def test_every_setting_has_a_row() -> None:
    given = {word.partition("=")[0] for words, _ in SETTINGS for word in words.split()}
    given |= {target for name in given for target in SHORTHANDS.get(name, ())}
    assert set(flat(RunConfig())) - given == set(), (
        "a wrong value of each of these is missing in tests/wrong_inputs.py"
    )


@pytest.mark.parametrize("words, lines", COMMANDS, ids=names(COMMANDS))
def test_wrong_commands_leave_with_2_and_nothing_done(
    launch: Launch, tmp_path: Path, words: str, lines: list[str]
) -> None:
    done = launch(*words.split())
    assert (done.exit_code, done.out) == (2, "")
    assert_refused(done.err, lines)
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    "words",
    [
        "data.pp=31 p=2",
        "-m p=2,23 frac=0.3,1.5 measures.names=[gini_we]",
        "-m hydra.launcher.n_wrkers=3 frac=interval(0,1)",
        "experiment=3",
        "wd=1,2 -m p=2",
        "device=cuda:63",
    ],
)
def test_the_command_itself_says_the_same(launch: Launch, tmp_path: Path, words: str) -> None:
    here = launch(*words.split())
    assert here.exit_code == 2
    assert launched(tmp_path, *words.split()) == here
    assert files(tmp_path) == {}


@pytest.mark.parametrize("name, text, said", EXPERIMENTS, ids=[name for name, _, _ in EXPERIMENTS])
def test_an_experiments_file_that_is_wrong_is_named(
    launch: Launch, tmp_path: Path, name: str, text: str, said: str
) -> None:
    file = tmp_path / "conf" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    before = files(tmp_path)
    done = launch(f"hydra.searchpath=[file://{tmp_path}/conf]", "experiment=mine", "frac=2")
    assert done.exit_code == 2
    head, first, second = done.err.rstrip("\n").split("\n")
    assert (head, second.partition(":")[0]) == (NOTHING, "- data.frac_train must lie in (0, 1)")
    assert first.startswith("- experiment=mine: ")
    assert said.removesuffix("…") in first if said.endswith("…") else first.endswith(said)
    assert files(tmp_path) == before


# --- files and folders --------------------------------------------------------------------------------------


@pytest.fixture
def train(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    plan_of: Callable[..., Plan],
) -> Launch:
    """Does what launch.py does once it has its plan."""
    monkeypatch.chdir(tmp_path)

    def train(*words: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            carry_out(plan_of(*words), Here())
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Done(left.value.code, said.out, said.err)

    return train


@dataclass(frozen=True)
class Undisturbed:
    """The same run, ended after SHORT steps and, in another folder, after LONG."""

    short: Path
    long: RunDir


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, plan_of: Callable[..., Plan]) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    for steps in (SHORT, LONG):
        (folder / str(steps)).mkdir()
        with chdir(folder / str(steps)):
            made = plan_of(*SMALL, f"steps={steps}")
            made.add()
            (run,) = made.runs
            assert work(made.sweep.path, [run.run_id]) == {run.run_id: State.done}
            made.sweep.workers.mkdir()
    return Undisturbed(folder / str(SHORT) / "runs", the_run(SweepDir(folder / str(LONG) / "runs" / "sweep")))


def the_run(sweep: SweepDir) -> RunDir:
    (run_id,) = [run.run_id for run in sweep.plan()]
    return sweep.run(run_id)


@pytest.fixture
def sweep(undisturbed: Undisturbed, tmp_path: Path) -> SweepDir:
    """A sweep with a run of SHORT steps, as runs/sweep in the folder that launch.py is run from."""
    shutil.copytree(undisturbed.short, tmp_path / "runs")
    return SweepDir(Path("runs/sweep"))


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.name)
def test_broken_files_and_folders(train: Launch, sweep: SweepDir, undisturbed: Undisturbed, case: Broken) -> None:
    run = the_run(sweep)
    case.spoil(sweep, run)
    before = files(Path("runs")) if case.exit_code == 2 else None
    done = train(*SMALL, f"steps={LONG}", *case.words)
    assert done.exit_code == case.exit_code, done
    for part in case.said:
        for name, path in (("{run}", run.path), ("{sweep}", sweep.path), ("{root}", sweep.path.parent)):
            part = part.replace(name, str(path))
        assert part in done.out + done.err
    if case.exit_code == 2:
        assert "Traceback" not in done.err
        assert files(Path("runs")) == before
    if case.mend is not None:
        case.mend(sweep, run)
        done = train(*SMALL, f"steps={LONG}", "retry=failed")
        assert done.exit_code == 0, done
    assert run.state() is State.done
    assert run.summary() is not None
    assert_equal_runs(run, undisturbed.long)


def test_a_broken_last_row_does_not_stop_the_watch_over_a_sweep(
    plan_of: Callable[..., Plan], sweep: SweepDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the claim and the first write of an attempt, the file is as the last attempt left it."""
    monkeypatch.chdir(tmp_path)
    run = the_run(sweep)
    watch = Watch(sweep, plan_of(*SMALL, f"steps={LONG}").runs, retry_failed=False)
    run.write_status(State.running, step=SHORT)
    for last_line in ("7", '{"step": 2, "obj'):
        with run.metrics_file.open("a") as file:
            file.write(last_line + "\n")
        assert [(view.step, view.row) for view in watch.look().running] == [(SHORT, {})]


def test_a_plan_of_a_newer_version_fails_the_run_alone(tmp_path: Path) -> None:
    ours, newer = planned(*(small_config(n_steps=n, measures=MeasuresConfig(), device="cpu") for n in (1, 2)))
    newer = PlannedRun("0123456789ab", {**newer.settings, "data.moon": 3, "data.p": "many"}, {})
    sweep = SweepDir(tmp_path)
    sweep.add([newer, ours])
    assert work(tmp_path, [newer.run_id, ours.run_id]) == {newer.run_id: State.failed, ours.run_id: State.done}
    assert sweep.run(newer.run_id).status()["error"] == (
        f"ValueError: {tmp_path}/plan.jsonl: wrong settings: - data.p: 'many' is no int - unknown setting "
        "'data.moon' (was it written by another version?)"
    )


# --- file systems -------------------------------------------------------------------------------------------


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """Something else mounted there; skips the test where this process may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, free_kb: int) -> Iterator[Path]:
    """A file system with this much room beside the file `ballast`."""
    with mounted(folder, "-t", "tmpfs", "-o", "size=2m", "tmpfs") as disk:
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        os.truncate(ballast, ballast.stat().st_size - free_kb * 1024)
        yield disk


def read_only(folder: Path) -> AbstractContextManager[Path]:
    return mounted(folder, "--bind", "-o", "ro", str(folder))


@pytest.mark.parametrize(
    "free_kb, words, file",
    [
        (44, ["model.d_model=4", "steps=100"], "metrics.jsonl"),
        (300, ["model.d_model=64", "steps=20"], "checkpoint.safetensors"),
    ],
)
def test_a_disk_that_fills_up_fails_the_run_which_then_goes_on(
    train: Launch, tmp_path: Path, free_kb: int, words: list[str], file: str
) -> None:
    assert train(*SMALL, *words, f"root={tmp_path / 'whole'}").exit_code == 0
    whole = the_run(SweepDir(tmp_path / "whole" / "sweep"))
    patch_kb = -(-len(code().patch) // 4096) * 4  # of a checkout with changes, which is written too
    with small_disk(tmp_path / "disk", free_kb + patch_kb) as disk:
        done = launched(tmp_path, *SMALL, *words, f"root={disk}")
        run = the_run(SweepDir(disk / "sweep"))
        said = f"OSError: [Errno 28] No space left on device: '{run.path / file}'"
        assert done.exit_code == 1, done
        assert f"failed at step 0: {said}" in done.out
        assert f"Log: {run.log_file}" in done.err
        assert done.err.endswith("the same command with retry=failed trains it again\n")
        assert (run.state(), run.status()["error"]) == (State.failed, said)
        (disk / "ballast").unlink()
        assert train(*SMALL, *words, f"root={disk}", "retry=failed").exit_code == 0
        assert_equal_runs(run, whole)


@pytest.mark.parametrize(
    "free_kb, exit_code, said",
    [
        (0, 2, "- root or sweep: {disk}/sweep/claims/plan/000001.json: No space left on device; give another root=…"),
        (4, 2, "- root or sweep: {disk}/sweep/plan.jsonl: No space left on device; give another root=… or sweep=…"),
        (8, 1, "stopped: [Errno 28] No space left on device: '{disk}/sweep/"),
    ],
)
def test_a_disk_that_is_full_at_once(train: Launch, tmp_path: Path, free_kb: int, exit_code: int, said: str) -> None:
    with small_disk(tmp_path / "disk", free_kb) as disk:
        done = train(*SMALL, "steps=3", f"root={disk}")
        assert done.exit_code == exit_code, done
        assert said.format(disk=disk) in done.err
        assert "Traceback" not in done.err
        assert [path for path in disk.rglob("*") if path.name.endswith(".tmp")] == []
        (disk / "ballast").unlink()
        assert train(*SMALL, "steps=3", f"root={disk}").exit_code == 0


def test_workers_on_a_full_disk_say_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", free_kb=12) as disk:
        done = launched(tmp_path, "-m", *SMALL, "steps=3", "seed=0,1", f"root={disk}", "hydra.launcher.n_workers=1")
    assert done.exit_code == 1, done
    assert "ended with exit code 28 (No space left on device)" in done.out
    assert "2 of 2 runs are left; the same command continues" in done.out
    assert "Traceback" not in done.err


def test_a_read_only_sweep_is_told_before_any_work(train: Launch, sweep: SweepDir, tmp_path: Path) -> None:
    before = files(tmp_path / "runs")
    with read_only(tmp_path / "runs"):
        done = train(*SMALL, f"steps={SHORT}")
        assert (done.exit_code, done.err) == (0, ""), "nothing is left to do: nothing to complain of"
        assert done.out.startswith("nothing left to do: done at step 20")
        for words in ([f"steps={LONG}"], ["steps=3", "sweep=another"]):
            done = train(*SMALL, *words)
            assert done.exit_code == 2
            assert_refused(done.err, [*_read_only_run(sweep, words), _read_only(words)])
        done = train(*SMALL, "steps=3", "sweep=another", "dry_run=true")
        assert done.exit_code == 2
    assert files(tmp_path / "runs") == before


def _read_only_run(sweep: SweepDir, words: Sequence[str]) -> list[str]:
    path = the_run(sweep).path
    return (
        [] if len(words) > 1 else [f"the run's folder {path} is read-only: make it writable, or give another root=…"]
    )


def _read_only(words: Sequence[str]) -> str:
    return f"runs{'' if len(words) > 1 else '/sweep'} is read-only: give another root=…"


def test_a_read_only_run_is_told_before_any_work(train: Launch, sweep: SweepDir, undisturbed: Undisturbed) -> None:
    run = the_run(sweep)
    with read_only(run.path.absolute()):
        done = train(*SMALL, f"steps={LONG}")
        assert done.exit_code == 2
        assert_refused(
            done.err, [f"the run's folder {run.path} is read-only: make it writable, or give another root=…"]
        )
    assert train(*SMALL, f"steps={LONG}").exit_code == 0
    assert_equal_runs(run, undisturbed.long)


# --- environments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["many", "0"])
def test_omp_num_threads_that_is_no_number(launch: Launch, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    line = f"OMP_NUM_THREADS must be a whole number of at least 1, or unset, got '{value}'"
    for many in ([], ["-m", "seed=0,1"]):
        done = launch(*many, *SMALL)
        assert done.exit_code == 2
        assert_refused(done.err, [line])


def test_no_cuda_here(launch: Launch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    done = launch(*SMALL, "device=cuda")
    assert done.exit_code == 2
    assert_refused(done.err, ["device=cuda: torch finds 0 CUDA devices here; use device=cpu or auto"])
    assert files(tmp_path) == {}


def test_a_module_of_the_users_own_that_cannot_be_imported(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "raises_at_import.py").write_text("x = 1\nraise RuntimeError('no licence')\n")
    done = launch(*SMALL, "measures.names=[raises_at_import.f]", "data.operation=raises_at_import.g", "lr=-1")
    assert done.exit_code == 2
    for part in ("measures.names=raises_at_import.f: RuntimeError: no licence", "optimizer.lr must be positive"):
        assert part in done.err
    done = launch(*SMALL, "data.operation=raises_at_import.g")
    assert done.exit_code == 2
    assert "- data.operation=raises_at_import.g: RuntimeError: no licence" in done.err
    assert not (tmp_path / "runs").exists()


def test_a_measure_that_raises_costs_its_run_alone(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "def picky(evaluation):\n"
        "    if evaluation.weights['W_E'].shape[1] == 8:\n"
        "        raise RuntimeError('eight is too narrow')\n"
        "    return 1.0\n"
    )
    words = [*SMALL, "steps=3", "measures.names=[own.picky]", "model.d_model=8,16"]
    done = launched(tmp_path, "-m", *words, "hydra.launcher.n_workers=1", PYTHONPATH=str(tmp_path))
    assert done.exit_code == 1, done
    sweep = SweepDir(tmp_path / "runs" / "sweep")
    bad, good = [sweep.run(run.run_id) for run in sweep.plan()]
    assert (bad.state(), good.state()) == (State.failed, State.done)
    log = f"runs/sweep/{bad.path.name}/log.txt"
    assert f"1 of 2 runs failed. First: {bad.path.name} (model.d_model=8), RuntimeError: " in done.out
    assert f"eight is too narrow. Log: {log}\n" in done.out
    assert "Traceback (most recent call last):" in bad.log_file.read_text()
    assert 'own.py", line 3, in picky' in bad.log_file.read_text()
    assert "Traceback" not in done.err


def test_sigterm_writes_a_checkpoint_and_leaves_with_130(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), *SMALL, "steps=1000000"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        sweep, ends = SweepDir(tmp_path / "runs" / "sweep"), time.monotonic() + 60
        while not (sweep.plan() and len(the_run(sweep).rows()) > 3):
            assert time.monotonic() < ends
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (130, "")
    assert out.splitlines()[-1].endswith("; the same command continues")
    assert the_run(sweep).checkpoint_file.exists()


# --- python -m analysis -------------------------------------------------------------------------------------


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with runs/sweep, two runs that nobody has trained; an empty folder; a file."""
    monkeypatch.chdir(tmp_path)
    config = small_config(measures=MeasuresConfig())
    runs = []
    for wd in (0.1, 1.0):
        config.optimizer.weight_decay = wd
        runs += planned(config)
    SweepDir("runs/sweep").add(
        PlannedRun(run.run_id, run.settings, {"optimizer.weight_decay": run.settings["optimizer.weight_decay"]})
        for run in runs
    )
    Path("empty").mkdir()
    Path("file").touch()
    (SweepDir("runs/sweep").run(runs[0].run_id).path).mkdir()
    return SweepDir("runs/sweep").run(runs[0].run_id).path


@pytest.mark.parametrize("words, lines", ANALYSIS, ids=names(ANALYSIS))
def test_what_analysis_cannot_do(
    mapped: Path, capsys: pytest.CaptureFixture[str], words: str, lines: list[str]
) -> None:
    before = files(Path())
    assert analysis(shlex.split(words.format(run=mapped))) == 2
    said = capsys.readouterr()
    assert said.out == "", "nothing is printed before the refusal"
    (wanted,) = [f"python -m analysis: {line.format(run=mapped)}" for line in lines]
    assert said.err.rstrip("\n").startswith(wanted.removesuffix("…"))
    assert wanted.endswith("…") or said.err.rstrip("\n") == wanted
    assert files(Path()) == before


def test_a_sweep_without_a_finished_run_is_drawn_as_it_is(mapped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analysis(["sweep", "runs/sweep"]) == 0
    assert "planned" in capsys.readouterr().out


def test_analysis_of_a_read_only_sweep_names_the_way_out(
    mapped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with read_only(tmp_path / "runs"):
        assert analysis(["sweep", "runs/sweep"]) == 2
        said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        "python -m analysis: cannot write to runs/sweep: runs/sweep is read-only; give another folder with --out\n",
    )


@pytest.mark.parametrize("words", ["", "swep runs/sweep", "sweep runs/sweep --kolour red"])
def test_a_command_of_analysis_that_there_is_not(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        analysis(words.split())
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("usage: python -m analysis")
