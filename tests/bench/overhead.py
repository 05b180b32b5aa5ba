"""What a sweep costs beside the training: a run in a warm worker, a thousand one-step runs, a scan of ten thousand.

    python tests/bench/overhead.py               # all of it, some three minutes; prints, and writes overhead.json
    python tests/bench/overhead.py warm scan     # these alone

Cores are fought for while anything else runs: on a shared machine take the least of several.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

OUT = ROOT / "overhead.json"
TINY = ["p=5", "frac=0.5", "model.d_model=8", "model.d_mlp=8", "model.n_heads=1", "model.d_head=8"]
TINY += ["measures=off", "logger=none", "steps=1"]
Figures = dict[str, Any]


def warm(n: int = 200) -> Figures:
    """ms: a one-step run in a worker that has trained before, beside its training alone; and what is written."""
    import cProfile
    import pstats

    import torch

    from grok_sweep import train
    from grok_sweep.config import run_id
    from grok_sweep.run import choose_device
    from grok_sweep.store import SweepDir
    from grok_sweep.sweep.worker import work
    from grok_sweep.tasks import make_task

    torch.set_num_threads(1)
    configs = [_tiny(seed) for seed in range(2 * n + 5)]
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        sweep = SweepDir(folder)
        sweep.add(_planned(configs))
        ids = [run_id(config) for config in configs]
        work(folder, ids[:5])
        began = time.perf_counter()
        work(folder, ids[5 : 5 + n])
        whole = (time.perf_counter() - began) / n
        profile = cProfile.Profile()
        profile.runcall(work, folder, ids[5 + n :])
    began = time.perf_counter()
    for config in configs[:n]:
        fixed = train.setup(config, make_task(config.data), choose_device("cpu"))
        next(train.training(train.initial_state(fixed), fixed))
    bare = (time.perf_counter() - began) / n
    stats = pstats.Stats(profile)
    calls: dict[Any, Any] = stats.stats  # type: ignore[attr-defined]
    inside = {name: sum(v[3] for k, v in calls.items() if name in k[2]) / n * 1e3 for name in _PARTS}
    return {"run_ms": whole * 1e3, "bare_ms": bare * 1e3, "overhead_ms": (whole - bare) * 1e3, "profiled_ms": inside}


_PARTS = ("posix.fsync", "posix.replace", "posix.link", "posix.unlink", "add_attempt", "summarise", "dumps")


def thousand(n: int = 1000) -> Figures:
    """s: the command, with two workers, from the shell to its end; and once more, when nothing is left."""
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        words = [*TINY, f"seed=range(0,{n})", f"root={folder}", "hydra.launcher.n_threads=1"]
        seconds, peak_mb, said = _launch(words)
        assert f"{n} done" in said, said[-2000:]
        size = int(subprocess.run(["du", "-sb", folder], capture_output=True, text=True).stdout.split()[0])
        again, _, _ = _launch(words)
    return {"n": n, "seconds": seconds, "nothing_left_s": again, "kb_per_run": size / n / 1e3, "launch_mb": peak_mb}


def plan(n: int = 10_000, left: int = 20) -> Figures:
    """Ten thousand runs: to plan them (dry_run=true), and to launch twenty that are left: s, and MB of the launch."""
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        words = [*TINY, "wd=range(0,100)", f"seed=range(0,{n // 100})", f"root={folder}"]
        dry_s, dry_mb, said = _launch([*words, "dry_run=true"])
        assert f"{n} to train" in said, said
        # The whole plan, without training it: a launch that is told to stop as soon as it has written it.
        planning = subprocess.Popen([sys.executable, "launch.py", "-m", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
        sweep = _sweep(folder)
        while not sweep.launches():
            time.sleep(0.2)
        planning.terminate()
        planning.wait()
        _pretend_done(sweep, left)
        launch_s, launch_mb, said = _launch(words)
        assert f"{n} done" in said, said
    return {
        "n": n, "dry_run_s": dry_s, "dry_run_mb": dry_mb, "left": left, "launch_s": launch_s, "launch_mb": launch_mb,
    }  # fmt: skip


def _launch(words: list[str]) -> tuple[float, float, str]:
    """Seconds, peak MB of the launching process alone, and what it said."""
    began = time.perf_counter()
    command = [sys.executable, "launch.py", "-m", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, _, used = os.wait4(process.pid, 0)
    return time.perf_counter() - began, used.ru_maxrss / 1024, said


def _sweep(folder: str) -> Any:
    from grok_sweep.store import SweepDir

    return SweepDir(Path(folder) / "default")


def _pretend_done(sweep: Any, left: int) -> None:
    """All but so many runs of the plan, spread over it, have a status that says done."""
    runs = sweep.plan()
    status = {"state": "done", "step": 1, "n_steps": 1, "end": "n_steps", "updated": 0.0}
    for i, run in enumerate(runs):
        run_dir = sweep.run(run.run_id)
        if i % (len(runs) // left):
            run_dir.path.mkdir(exist_ok=True)
            run_dir.status_file.write_text(json.dumps(status))


def scan(n: int = 10_000, left: int = 100, n_workers: int = 8) -> Figures:
    """Eight workers over a plan of which all but a hundred runs are done: seconds, memory; the training is faked."""
    from grok_sweep.store import SweepDir

    configs = [_tiny(seed) for seed in range(n)]
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        sweep = SweepDir(folder)
        sweep.add(_planned(configs))
        _pretend_done(sweep, left)
        (Path(folder) / "ids.json").write_text(json.dumps([run.run_id for run in sweep.plan()]))
        command = [sys.executable, __file__, "--one-worker", folder]
        began = time.perf_counter()
        started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(n_workers)]
        said = [json.loads(process.communicate()[0]) for process in started]
        seconds = time.perf_counter() - began
    assert sum(each["trained"] for each in said) == left, said
    return {"n": n, "left": left, "n_workers": n_workers, "seconds": seconds, "workers": said}


def _one_worker(folder: str) -> None:
    from grok_sweep.store import State, SweepDir
    from grok_sweep.sweep import worker

    trained = 0

    def train_nothing(config: Any, path: Any, hooks: Any) -> Generator[Any, Any, State]:
        nonlocal trained
        trained += 1
        time.sleep(0.05)
        SweepDir(folder).run(Path(path).name).write_status(State.done, step=1, n_steps=1, end="n_steps", error=None)
        return State.done
        yield

    worker.attempt = train_nothing
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, cpu = time.perf_counter(), time.process_time()
    worker.work(folder, json.loads((Path(folder) / "ids.json").read_text()), failures_allowed=3)
    print(
        json.dumps(
            {
                "trained": trained,
                "seconds": time.perf_counter() - began,
                "cpu_seconds": time.process_time() - cpu,
                "mb_before": before,
                "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def _tiny(seed: int) -> Any:
    from grok_sweep.config import LoggerConfig, LoggerKind, MeasuresConfig, ModelConfig, RunConfig, resolved

    config = RunConfig(n_steps=1, logger=LoggerConfig(kind=LoggerKind.none), measures=MeasuresConfig(names=[]))
    config.data.p, config.data.frac_train = 5, 0.5
    config.model = ModelConfig(d_model=8, d_mlp=8, n_heads=1, d_head=8, init_seed=seed)
    return resolved(config)


def _planned(configs: Any) -> Any:
    from grok_sweep.config import flat, run_id
    from grok_sweep.store import PlannedRun

    return [PlannedRun(run_id(c), flat(c), {"model.init_seed": c.model.init_seed}) for c in configs]


def _folder() -> str:
    """On the disk that holds the project, as runs do: a folder of temporary files may lie in memory."""
    return str(ROOT)


ALL: dict[str, Callable[[], Figures]] = {"warm": warm, "thousand": thousand, "plan": plan, "scan": scan}


def main(words: list[str]) -> None:
    if words[:1] == ["--one-worker"]:
        _one_worker(words[1])
        return
    figures = json.loads(OUT.read_text()) if OUT.exists() else {}
    for name in words or ALL:
        figures[name] = ALL[name]()
        print(name, json.dumps(figures[name], indent=1), flush=True)
    OUT.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
