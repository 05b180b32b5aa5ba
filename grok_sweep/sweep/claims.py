"""Who trains which run: claims that are safe between processes and machines over one folder. No torch.

claims/<run_id>/ holds numbered records, each made by os.link, which either makes the whole file or fails.
The highest number is the present claim: its holder, or the word that it was released. To take a run, free or
left by the dead, is to make the next number: exactly one of several comers can. Nothing is ever removed,
so there is no moment at which two believe that they hold a run, and none at which a crash leaves it stuck.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from grok_sweep.store import NO_SPACE, SweepDir, naming

BEATS_PER_TIMEOUT = 10
WAIT_S = 0.02


class ClaimLost(Exception):
    """Another worker took this run over: leave it, without another write."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a run.

    Attributes:
        machine: which running kernel and process namespace: pids are compared only within one.
        started: start time of the process in the kernel's ticks, so that a reused pid is not mistaken for it.
        age_s: seconds since the last heartbeat, by the clock of the file system.
    """

    host: str
    machine: str
    pid: int
    started: str
    token: str
    generation: int
    age_s: float

    @property
    def process(self) -> tuple[str, int, str]:
        """Which process it is, of all machines; it may hold several runs."""
        return self.machine, self.pid, self.started

    def is_here(self) -> bool:
        return self.machine == this_machine()

    def is_alive(self, timeout_s: float) -> bool:
        """False where its process is gone (same machine), or its heartbeat is older than the timeout."""
        if self.is_here() and process_start(self.pid) != self.started:
            return False
        return self.age_s < timeout_s


class Claim:
    """A run held by this process."""

    def __init__(self, folder: Path, generation: int, timeout_s: float) -> None:
        self._folder = folder
        self._file = folder / _name(generation)
        self._next = folder / _name(generation + 1)
        self._every_s = timeout_s / BEATS_PER_TIMEOUT
        self._beaten = time.monotonic()

    def check(self) -> None:
        """Call before every write: raises ClaimLost where the run was taken over; beats now and then."""
        if os.path.lexists(self._next):
            raise ClaimLost(f"another worker took over: {self._next}")
        if time.monotonic() - self._beaten >= self._every_s:
            os.utime(self._file)
            self._beaten = time.monotonic()

    def fence(self) -> None:
        """Call between the making of a file and its taking the name: as `check`, but certain.

        An NFS client remembers for up to a minute which names there are not. Making a file in the folder tells it
        what the server has. Two calls of the file system more, so not before every row: a row goes into a file
        that whoever takes over has replaced.
        """
        _now(self._folder)
        self.check()

    def release(self) -> None:
        """Free the run for others; without effect where it was lost."""
        try:
            _make(self._next, {"released": True}, durable=False)  # an empty record means the same
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            os.truncate(self._file, 0)  # for which there is room on a full disk: nobody holds an empty record


class Claims:
    """The claims of one sweep."""

    def __init__(self, sweep: SweepDir, timeout_s: float) -> None:
        self._folder = sweep.claims
        self._timeout_s = timeout_s

    def take(self, run_id: str) -> Claim | None:
        """Claim a run that is free or whose holder is dead; None where somebody alive holds it."""
        folder = self._folder / run_id
        folder.mkdir(parents=True, exist_ok=True)
        generation = _latest(folder)
        holder = self._holder(folder, generation)
        if holder is not None and holder.is_alive(self._timeout_s):
            return None
        record = {
            "host": socket.gethostname(),
            "machine": this_machine(),
            "pid": os.getpid(),
            "started": process_start(os.getpid()),
            "token": secrets.token_hex(8),
        }
        if not _make(folder / _name(generation + 1), record):
            return None
        return Claim(folder, generation + 1, self._timeout_s)

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Hold a name for a moment, once whoever has it lets go or is dead."""
        while (claim := self.take(name)) is None:
            time.sleep(WAIT_S)
        try:
            yield
        except BaseException:
            with suppress(OSError):  # on a full disk the first error is the one to tell
                claim.release()
            raise
        claim.release()

    def free(self, run_id: str, holder: Holder) -> None:
        """Free a run whose holder is known to be gone, before its heartbeat tells; if it lives, it notices."""
        _make(self._folder / run_id / _name(holder.generation + 1), {"released": True, "died": True})

    def deaths(self, run_id: str, since: float) -> int:
        """How many processes died with this run, of those that gave a sign of life after `since` (Unix time)."""
        folder = self._folder / run_id
        n, latest = 0, _latest(folder)
        for generation in range(1, latest + 1):
            holder = self._holder(folder, generation)
            if holder is None or time.time() - holder.age_s < since:
                continue
            if generation == latest:
                n += not holder.is_alive(self._timeout_s)
            else:  # somebody took it over, or freed it in the dead one's stead; else it was released
                n += self._holder(folder, generation + 1) is not None or _says_died(folder / _name(generation + 1))
        return n

    def holder(self, run_id: str) -> Holder | None:
        """Who holds the run now, alive or not; None where it is free."""
        folder = self._folder / run_id
        return self._holder(folder, _latest(folder))

    def _holder(self, folder: Path, generation: int) -> Holder | None:
        if generation == 0:
            return None
        file = folder / _name(generation)
        try:
            record = json.loads(file.read_bytes())
            known = {name: record[name] for name in ("host", "machine", "pid", "started", "token")}
        except (ValueError, KeyError, TypeError):
            # Released; or cut: a record is linked whole, so a machine went down, holder and all.
            return None
        age_s = _now(folder) - file.stat().st_mtime
        return Holder(**known, generation=generation, age_s=age_s)


def describe(holder: Holder) -> str:
    """For a message: where the holder runs, and when it last gave a sign."""
    values = asdict(holder)
    return f"process {values['pid']} on {values['host']} (last sign {max(values['age_s'], 0):.0f} s ago)"


# --- records ------------------------------------------------------------------------------------------------


def _name(generation: int) -> str:
    return f"{generation:06d}.json"


def _latest(folder: Path) -> int:
    """The highest generation; 0 where there is none."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return 0
    return max((int(name[:6]) for name in names if name[:6].isdecimal() and name[6:] == ".json"), default=0)


def _make(file: Path, record: dict[str, object], durable: bool = True) -> bool:
    """Make a whole file that did not exist; False where it does."""
    temporary = file.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with naming(file), temporary.open("w") as text:
            json.dump(record, text)
            text.flush()
            if durable:
                os.fsync(text.fileno())
        os.link(temporary, file)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _says_died(file: Path) -> bool:
    try:
        return "died" in json.loads(file.read_bytes())
    except ValueError:
        return False


def _now(folder: Path) -> float:
    """The present time by the clock that stamps files here: another machine's clock may differ from ours.

    Ours where nothing can be written here: who may only read takes no claim, and looks at it all the same.
    """
    probe = folder / f".clock.{secrets.token_hex(8)}.tmp"
    try:
        probe.touch()
    except OSError:
        return time.time()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


# --- processes ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def this_machine() -> str:
    """Names the running kernel and the process namespace: within one, a pid is a pid."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def process_start(pid: int) -> str | None:
    """The start time of a living process as the kernel counts it; None where there is no such process."""
    try:
        # The name stands in parentheses and may hold anything; fields count from behind it.
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _alive_without_proc(pid)
    except ProcessLookupError:
        return None
    return None if after_name[0] in "ZX" else after_name[19]


def _alive_without_proc(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"
