"""A SLURM of one node, from Debian's packages and without systemd, for the tests; nothing under /etc is touched.

    python tests/slurm/cluster.py install          apt-get the packages (root)
    python tests/slurm/cluster.py start FOLDER     munged, slurmctld, slurmd; prints what to export
    python tests/slurm/cluster.py stop FOLDER

Settings that differ from a cluster's are there to be quick: AuthInfo=cred_expire lets a requeued job start after some
20 s instead of 121, KillWait is the time between SIGTERM and SIGKILL (30 s by default).
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "runuser")
CPUS = 4
"""Told to SLURM, whatever the machine has: several workers at a time are wanted, fast ones are not."""
START_S = 60

CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={socket},cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=5
SlurmdTimeout=20
MaxArraySize={max_array_size}
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES PriorityTier=5 MaxTime=INFINITE State=UP
PartitionName=requeued Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE MaxTime=INFINITE State=UP
PartitionName=cancelled Nodes=ALL PriorityTier=1 PreemptMode=CANCEL MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why no SLURM can be started here; None where one can."""
    if os.geteuid() != 0:
        return "no root: munged and slurmd are started by it"
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    if lacking:
        return f"no {', '.join(lacking)} (Debian's packages {' '.join(PACKAGES)}; `cluster.py install` gets them)"
    return None


def install() -> None:
    """The packages, and no service of theirs started."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    subprocess.run(["apt-get", "update", "-q"], check=True, env=env)
    subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES], check=True, env=env)


class Cluster:
    """The daemons of one folder. `environment` is what a process needs to speak to them."""

    def __init__(self, folder: Path, max_array_size: int = 1001) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self._max_array_size = max_array_size

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.conf)}

    def start(self) -> None:
        self.start_controller()
        self.start_node()

    def start_controller(self) -> None:
        """munged and slurmctld, from nothing or with the state that `stop` left."""
        if not self.conf.exists():
            self._make()
        munge = self.folder / "munge"
        # munged refuses to run as root; a socket left by one that was killed is in its way but for --force.
        self._run(
            "runuser", "-u", "munge", "--", "munged", "--force",
            f"--socket={munge}/socket", f"--key-file={munge}/key", f"--pid-file={munge}/pid",
            f"--log-file={munge}/log", f"--seed-file={munge}/seed",
        )  # fmt: skip
        self._run("slurmctld", "-f", str(self.conf))

    def start_node(self) -> None:
        self._run("slurmd", "-f", str(self.conf), "-N", _host())
        self.wait_for_node("idle", "mixed", "allocated")

    def stop(self) -> None:
        """All at once; the controller saves what it knows before it leaves.

        (Killed outright it forgets its last seconds, jobs that were submitted in them included.)
        """
        self._end([self._pid("slurmctld.pid")], signal.SIGTERM)
        self.kill_node()
        self._end([self._pid("munge/pid")], signal.SIGKILL)

    def kill_node(self) -> None:
        """slurmd and all jobs, without a word, as when the power goes."""
        slurmd = [self._pid("slurmd.pid")]
        self._end([*slurmd, *_tree_below(slurmd), *_steps_of(self.folder)], signal.SIGKILL)

    def wait_for_node(self, *states: str) -> None:
        """Until the controller says that the node is in one of these states."""
        deadline = time.monotonic() + START_S
        while (state := self.ask("sinfo", "-h", "-p", "main", "-o", "%T").strip()) not in states:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the node is {state!r} after {START_S} s; logs: {self.folder}")
            time.sleep(0.2)

    @staticmethod
    def _end(pids: list[int | None], number: signal.Signals) -> None:
        for pid in filter(None, pids):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        for pid in filter(None, pids):
            _wait_until_gone(pid)

    def ask(self, *words: str) -> str:
        """Standard output of one of SLURM's commands; empty where it fails."""
        done = subprocess.run(words, env={**os.environ, **self.environment}, capture_output=True, text=True)
        return done.stdout

    def _run(self, *words: str) -> None:
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL, env={**os.environ, **self.environment})

    def _pid(self, name: str) -> int | None:
        with suppress(FileNotFoundError, ValueError):
            return int((self.folder / name).read_text())
        return None

    def _make(self) -> None:
        munge = self.folder / "munge"
        for name in ("state", "spool", "munge"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (munge / "key").write_bytes(secrets.token_bytes(1024))
        (munge / "key").chmod(0o400)
        owner = pwd.getpwnam("munge")
        for path in (munge, munge / "key"):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        munge.chmod(0o755)
        ctld_port, slurmd_port = _free_ports()
        self.conf.write_text(
            CONF.format(
                folder=self.folder, host=_host(), socket=munge / "socket", cpus=CPUS,
                ctld_port=ctld_port, slurmd_port=slurmd_port, max_array_size=self._max_array_size,
            )
        )  # fmt: skip


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _free_ports() -> tuple[int, int]:
    with closing(socket.socket()) as one, closing(socket.socket()) as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _parents() -> dict[int, int]:
    """pid -> its parent's, of every process."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    return found


def _tree_below(roots: Sequence[int | None]) -> set[int]:
    parents, found, level = _parents(), set(), set(filter(None, roots))
    while level := {pid for pid, parent in parents.items() if parent in level} - found:
        found |= level
    return found


def _steps_of(folder: Path) -> set[int]:
    """slurmstepd are nobody's children: those of this cluster are known by its configuration in their environment."""
    wanted, steps = f"SLURM_CONF={folder}/slurm.conf".encode(), set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_step = (process / "comm").read_text().startswith("slurmstepd")
            if is_step and wanted in (process / "environ").read_bytes().split(b"\0"):
                steps.add(int(process.name))
    return steps | _tree_below(list(steps))


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def main() -> int:
    if sys.argv[1:] == ["install"]:
        if missing() is not None:
            install()
        return 0
    match sys.argv[1:]:
        case ["start", folder]:
            if (reason := missing()) is not None:
                print(f"no SLURM here: {reason}", file=sys.stderr)
                return 1
            cluster = Cluster(Path(folder).resolve())
            cluster.start()
            print(" ".join(f"export {name}={value}" for name, value in cluster.environment.items()))
        case ["stop", folder]:
            Cluster(Path(folder).resolve()).stop()
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
