"""What hydra.launcher.* holds for hydra/launcher=slurm: meanings, checks, and the same in sbatch's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from grok_sweep.machine import usable_cores

DEFAULT_WORKERS = 16
"""On a cluster. A worker trains many runs: more of them are sooner done, and pay for more imports (some 5 s each)."""
OURS = ("array", "output", "error", "open-mode")
"""Options of sbatch that say where a worker is found again."""
ONLY_SLURM = ("partition", "account", "qos", "mem_gb", "constraint", "array_parallelism", "additional_parameters")
SIGNAL_DELAY_S = 90
"""Seconds before its time limit at which a worker is told, to write its checkpoint."""


@dataclass
class SlurmSettings:
    """hydra.launcher.*"""

    cluster: str = "slurm"
    """slurm, or local: processes on this machine."""
    n_workers: int | None = None
    """Jobs; None: 16 (local: one for every cpus_per_task cores), but no more than runs to do."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gpus_per_node: int | None = None
    """GPUs of each worker."""
    cpus_per_task: int = 1
    """Cores of each worker, and its torch threads."""
    mem_gb: float | None = None
    """Memory of each worker."""
    timeout_min: float | None = None
    """Time limit of each worker (minutes); None: the partition's."""
    constraint: str | None = None
    setup: Sequence[str] = ()
    """Shell lines before each worker."""
    array_parallelism: int | None = None
    """Workers that may run at the same time; None: all."""
    wait: bool = False
    """Stay, and show the runs, until all workers have left."""
    snapshot: bool = True
    """Workers run a copy of the code, taken at the launch."""
    additional_parameters: Mapping[str, Any] = field(default_factory=dict)
    """Any other option of sbatch, by its long name."""

    def problems(self) -> list[str]:
        return [f"hydra.launcher.{name} must be {rule}, got {value!r}" for name, rule, value in self._broken()]

    def n_workers_for(self, n_left: int) -> int:
        default = max(1, usable_cores() // self.cpus_per_task) if self.cluster == "local" else DEFAULT_WORKERS
        return min(self.n_workers or default, n_left)

    def unused(self) -> list[str]:
        """Settings given, which local workers have no use for."""
        if self.cluster != "local":
            return []
        defaults = {f.name: f.default for f in fields(self)} | {"additional_parameters": {}}
        return [name for name in ONLY_SLURM if getattr(self, name) != defaults[name]]

    def asks_for_gpus(self) -> bool:
        return bool(self.gpus_per_node) or any(
            name.startswith(("gpu", "gres")) for name in self.additional_parameters
        )

    def sbatch_parameters(self, sweep: str, n: int) -> dict[str, Any]:
        """For submitit: an array of n workers.

        srun is told its cores again: since SLURM 22.05 it no longer takes them over from sbatch.
        """
        cpus = self.cpus_per_task
        more = {str(name).replace("_", "-"): value for name, value in self.additional_parameters.items()}
        if "no-requeue" not in more:
            more = {"requeue": True} | more  # also where the cluster's default is another
        return {
            "job_name": sweep,
            "time": self.timeout_min if self.timeout_min is None else _whole_minutes(self.timeout_min),
            "signal_delay_s": self.signal_delay_s,
            "partition": self.partition, "account": self.account, "qos": self.qos, "constraint": self.constraint,
            "gpus_per_node": self.gpus_per_node or None,
            "cpus_per_task": cpus, "srun_args": [f"--cpus-per-task={cpus}"],
            "mem": None if self.mem_gb is None else f"{round(self.mem_gb * 1024)}M",
            "ntasks_per_node": 1,
            "array_parallelism": n,
            "stderr_to_stdout": True,
            "wckey": None,
            "additional_parameters": more,
        }  # fmt: skip

    @property
    def signal_delay_s(self) -> int:
        """A quarter of the time at most."""
        return SIGNAL_DELAY_S if self.timeout_min is None else min(SIGNAL_DELAY_S, round(15 * self.timeout_min))

    def _broken(self) -> Iterator[tuple[str, str, Any]]:
        if self.cluster not in ("slurm", "local"):
            yield "cluster", "slurm or local", self.cluster
        for name, rule, is_right in RULES:
            value = getattr(self, name)
            if not is_right(value):
                yield name, rule, value
        for name in self.additional_parameters if isinstance(self.additional_parameters, Mapping) else ():
            if str(name).replace("_", "-") in OURS:
                yield "additional_parameters", f"without {', '.join(OURS)}, which are given here", str(name)


def _whole_minutes(minutes: float) -> int:
    return max(1, round(minutes))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_name(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and str(value) != ""


def _or_null(is_right: Any) -> Any:
    return lambda value: value is None or is_right(value)


_COUNT = "a whole number of at least 1"
RULES = [
    *((name, f"{_COUNT}, or null", _or_null(_is_count)) for name in ("n_workers", "array_parallelism")),
    ("cpus_per_task", _COUNT, _is_count),
    ("gpus_per_node", "a whole number of at least 0, or null", _or_null(lambda gpus: gpus == 0 or _is_count(gpus))),
    *((name, "a number above 0, or null", _or_null(_is_amount)) for name in ("mem_gb", "timeout_min")),
    *((name, "a name, or null", _or_null(_is_name)) for name in ("partition", "account", "qos", "constraint")),
    *((name, "true or false", lambda value: isinstance(value, bool)) for name in ("wait", "snapshot")),
    (
        "setup", "a list of shell lines", lambda value: isinstance(value, Sequence) and not isinstance(value, str)
        and all(isinstance(line, str) for line in value),
    ),
    ("additional_parameters", "options of sbatch with their values", lambda value: isinstance(value, Mapping)),
]  # fmt: skip
"""(setting, rule, whether a value keeps it)"""
