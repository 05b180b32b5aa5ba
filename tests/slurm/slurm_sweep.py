"""A sweep on a real SLURM of one node, or on submitit's local executor, and what must be true of it at its end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster import Cluster
from small_runs import assert_equal_runs, ensembles_of

from grok_sweep.store import PlannedRun, State, SweepDir, read_json, read_jsonl

ROOT = Path(__file__).parents[2]
OWN = Path(__file__).parent / "own"
SETTINGS = [
    "p=23", "model.d_model=16", "lr=3e-3", "steps=200", "logger=none", "checkpoint.every_s=0.5",
    "measures.names=[gini_W_E,restricted_loss,naps.nap,naps.touchy]",
]  # fmt: skip
"""Some 120 rows of a run; what NAP_S makes of them is the run's length."""
TOGETHER = [
    "p=23", "model.d_model=16", "lr=3e-3", "steps=1500", "logger=none", "checkpoint.every_s=0.5",
    "measures.names=[gini_W_E]", "ensemble.size=4",
]  # fmt: skip
"""For four runs in one worker: as measures of one's own train alone, steps make their length."""
LONGEST_S = 180


@dataclass
class Sweep:
    """One sweep of a test, on a cluster or, with hydra.launcher.cluster=local, without one."""

    root: Path
    cluster: Cluster | None
    environment: dict[str, str] = field(default_factory=dict)
    project: Path = ROOT
    settings: Sequence[str] = tuple(SETTINGS)

    @property
    def folder(self) -> SweepDir:
        return SweepDir(self.root / "default")

    @property
    def runs(self) -> list[PlannedRun]:
        return self.folder.plan()

    def command(self, *words: str) -> list[str]:
        mine = ["hydra/launcher=slurm"] if self.cluster else ["hydra/launcher=slurm", "hydra.launcher.cluster=local"]
        return [sys.executable, "launch.py", "-m", *mine, *words, *self.settings, f"root={self.root}"]

    def surroundings(self, nap_s: float = 0.0) -> dict[str, str]:
        slurm = self.cluster.environment if self.cluster else {}
        return {
            **os.environ, **slurm, "PYTHONPATH": str(OWN), "NAP_S": str(nap_s), "OMP_NUM_THREADS": "1",
            **self.environment,
        }  # fmt: skip

    def launch(self, *words: str, nap_s: float = 0.0, exit_code: int = 0) -> str:
        """Submit; what the command said."""
        done = subprocess.run(
            self.command(*words), cwd=self.project, env=self.surroundings(nap_s), text=True, timeout=LONGEST_S,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == exit_code, done.stdout
        return done.stdout

    def slurm(self, *words: str) -> str:
        assert self.cluster is not None
        return self.cluster.ask(*words)

    # --- what is going on -----------------------------------------------------------------------------------

    def jobs(self) -> list[str]:
        """Every job of the sweep: 12_0, 12_1."""
        return [
            f"{line['job_id']}_{i}" if line["n_workers"] > 1 else line["job_id"]
            for line in read_jsonl(self.folder.jobs_file)
            for i in range(line["n_workers"])
        ]

    def job(self, name: str) -> dict[str, str]:
        """What SLURM says of one job."""
        return dict(re.findall(r"(\w+)=(\S+)", self.slurm("scontrol", "-o", "show", "job", name)))

    def pids(self) -> dict[str, int]:
        """Job -> pid of its worker, of those that began."""
        files = self.folder.submitit.glob("*/*_attempts.json")
        return {
            file.name.removesuffix("_attempts.json"): (read_json(file) or {})["attempts"][-1]["pid"] for file in files
        }

    def states(self) -> list[State]:
        return [self.folder.run(run.run_id).state() for run in self.runs]

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self.folder.submitit.glob("*/*log.out")))

    def is_training(self, n: int = 1) -> bool:
        return sum(len(self.folder.run(run.run_id).rows()) > 20 for run in self.runs) >= n

    def until(self, happened: Callable[[], bool], what: str, longest_s: float = LONGEST_S) -> None:
        deadline = time.monotonic() + longest_s
        while not happened():
            queue = self.slurm("squeue") if self.cluster else ""
            assert time.monotonic() < deadline, f"not in {longest_s} s: {what}\n{queue}\n{self.logs()}"
            time.sleep(0.1)

    def until_training(self, n: int = 1) -> None:
        self.until(lambda: self.is_training(n), f"{n} runs with rows")

    def until_checkpoints(self, n: int, step: int = 200) -> None:
        """Until n runs have checkpoints of this step or a later one."""
        runs = [self.folder.run(run.run_id) for run in self.runs]
        self.until(lambda: sum(run.status().get("step", 0) >= step for run in runs) >= n, f"{n} checkpoints")

    def until_over(self, longest_s: float = LONGEST_S) -> None:
        """Until no job is left in the queue."""
        self.until(lambda: not self.slurm("squeue", "-h").strip(), "an empty queue", longest_s)

    # --- what must be true at the end -----------------------------------------------------------------------

    def assert_as_undisturbed(self) -> None:
        """Every run done exactly once, each step once, numbers equal to an undisturbed sweep's, bit for bit."""
        assert self.states() == [State.done] * len(self.runs), self.logs()
        undisturbed = SweepDir(self.root / "undisturbed")
        undisturbed.add([replace(run, settings=run.settings | {"ensemble.size": "1"}) for run in self.runs])
        by_one_worker = (
            "import sys; from grok_sweep.sweep.worker import work; work(sys.argv[1], sys.argv[2:], n_threads=1)"
        )
        words = [sys.executable, "-c", by_one_worker, str(undisturbed.path), *(run.run_id for run in self.runs)]
        subprocess.run(words, cwd=self.project, env=self.surroundings(), check=True, timeout=LONGEST_S)
        for run in self.runs:
            ours, theirs = self.folder.run(run.run_id), undisturbed.run(run.run_id)
            assert ours.log_file.read_text().count(" done at step ") == 1, ours.log_file.read_text()
            assert_equal_runs(ours, theirs)
            mine, its = ours.summary(), theirs.summary()
            assert mine is not None
            assert its is not None
            assert mine["bitwise"] is True
            assert _repeated(mine) == _repeated(its)

    def began_at(self) -> dict[str, list[int]]:
        """Run -> the step from which each of its attempts went on."""
        files = {run.run_id: self.folder.run(run.run_id).provenance_file for run in self.runs}
        attempts = {run_id: (read_json(file) or {"attempts": []})["attempts"] for run_id, file in files.items()}
        return {run_id: [each["from_step"] for each in found] for run_id, found in attempts.items()}

    def n_attempts(self) -> int:
        return sum(map(len, self.began_at().values()))

    def groups(self, pid: int) -> list[dict[str, int]]:
        """Who was together in this worker, run -> step, each time that it changed."""
        return [line["steps"] for line in ensembles_of(self.folder, str(pid))]


def _repeated(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Of a summary, what does not depend on where, when and beside whom the run was trained."""
    kept = {n: v for n, v in summary.items() if n != "sweep" and "seconds" not in n}
    return kept | {"settings": {n: v for n, v in summary["settings"].items() if n != "ensemble.size"}}
