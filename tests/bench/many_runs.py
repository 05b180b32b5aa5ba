"""What the commands cost over ten thousand runs: seconds, peak memory, disk.

    python tests/bench/many_runs.py --folder /tmp/many [--runs 10000 --rows 400] [--keep]

Makes a synthetic sweep (tests/synthetic_sweep.py; 5.4 GB at the defaults), then runs each command in a process of its
own, as a user does, and prints a line each. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from synthetic_sweep import synthetic_sweep  # noqa: E402

from grok_sweep.store import SweepDir  # noqa: E402


@dataclass(frozen=True)
class Cost:
    """Of one command: wall seconds, peak memory of its process (MB), exit code."""

    seconds: float
    peak_mb: float
    exit_code: int


def cost(*words: str) -> Cost:
    """Run `python -m …` from the project's root."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1):
            errors.seek(0)
            raise RuntimeError(f"{' '.join(words)} left with {process.returncode}: {errors.read().decode()[-2000:]}")
    return Cost(seconds, used.ru_maxrss / 1024, process.returncode)


def disk_mb(path: Path) -> float:
    """What the files under the path hold, in MB."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 2**20


def touch_one_run(sweep: SweepDir) -> None:
    """A row more in one run, as by a worker."""
    with sweep.run(sweep.plan()[-400].run_id).metrics_file.open("a") as file:
        file.write('{"step": 999999, "train_loss": 0.5}\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the sweep is made, unless it is there")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--keep", action="store_true", help="leave the sweep there")
    given = parser.parse_args()
    sweep = SweepDir(given.folder / "many")
    if not sweep.plan_file.exists():
        synthetic_sweep(sweep.path, given.runs, given.rows, n_processes=os.cpu_count() or 1)
    for cache in (sweep.runs_parquet, sweep.metrics_parquet):
        cache.unlink(missing_ok=True)
    print(f"{len(sweep.plan())} runs, {disk_mb(sweep.path):.0f} MB")
    path = str(sweep.path.resolve())
    try:
        report("status", cost("grok_sweep", "status", path))
        report("status, again", cost("grok_sweep", "status", path))
        report("info", cost("grok_sweep", "info", path))
        report("analysis sweep, no cache", cost("analysis", "sweep", path, "--x", "wd", "--y", "frac"))
        report("collect", cost("grok_sweep", "collect", path))
        report("collect, nothing new", cost("grok_sweep", "collect", path))
        touch_one_run(sweep)
        report("collect, one run new", cost("grok_sweep", "collect", path))
        report("analysis sweep, cached", cost("analysis", "sweep", path, "--x", "wd", "--y", "frac"))
        for file in (sweep.runs_parquet, sweep.metrics_parquet):
            print(f"{file.name}: {disk_mb(file):.0f} MB")
    finally:
        if not given.keep:
            shutil.rmtree(given.folder)


def report(name: str, found: Cost) -> None:
    print(f"{name}: {found.seconds:.2f} s, peak {found.peak_mb:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
