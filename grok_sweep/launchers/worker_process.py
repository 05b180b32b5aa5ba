"""A worker process of the pool: the server it is forked from, what it inherits, and what it does."""

from __future__ import annotations

import errno
import faulthandler
import os
import select
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from grok_sweep.store import NO_SPACE

PRELOAD = [
    "torch",
    "grok_sweep.sweep.worker",
    "grok_sweep.launchers.pool",
    "grok_sweep.sweep.plan",
    "grok_sweep.launchers.warm",
]
"""What every worker needs, launch.py's own imports included: multiprocessing imports that file in each."""
_FOR_AUTOGRAD = "torch.fx.experimental.symbolic_shapes"
"""The first torch.autograd.grad of a process imports it: 0.8 s."""
UNWRITABLE = (*NO_SPACE, errno.EROFS)
"""A worker that can write nothing, its log included, leaves with such an exit code."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def preload(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to import once for all workers of these runs."""
    by_hand = {"model.architecture": "transformer", "model.n_layers": 1, "model.norm": "none", "model.dropout": 0.0}
    by_hand |= {"compile": False}
    needs_autograd = any(run.get(name, value) != value for run in settings for name, value in by_hand.items())
    uses_wandb = any(run["logger.kind"] == "wandb" for run in settings)
    return [*PRELOAD, *([_FOR_AUTOGRAD] if needs_autograd else []), *(["wandb"] if uses_wandb else [])]


@contextmanager
def server_environment(n_threads: int) -> Iterator[None]:
    """What the server, and every worker forked from it, inherits: to be entered just while it is started.

    Threads as torch reads them at its import. sys.path, which Python 3.11's server does not take over: without it
    there may be nothing to preload. And signals ignored: they reach the whole process group, but the launch
    alone decides what they mean.
    """
    wanted = {name: str(n_threads) for name in _THREAD_VARIABLES}
    wanted["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    before = {name: os.environ.get(name) for name in wanted}
    handlers = {number: signal.getsignal(number) for number in _GROUP_SIGNALS}
    os.environ.update(wanted)
    for number in _GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def how_it_ended(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"was killed by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")
    why = f" ({os.strerror(exit_code)})" if exit_code in UNWRITABLE else ""
    return f"ended with exit code {exit_code}{why}"


def train_runs(
    sweep: str,
    run_ids: list[str],
    n_workers: int,
    n_threads: int,
    retry_failed_before: float | None,
    failures_allowed: int | None,
    asked: float,
    gpu: str | None,
    parent: Connection,
    log_file: str,
) -> None:
    """Train runs of the list until none is left, the launch says stop, or it has died.

    Args:
        gpu: the one that this worker is to see, as its only one; None: whatever there is.
    """
    _write_to(log_file)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read at the first use of CUDA: torch is imported, CUDA untouched
    faulthandler.enable()
    for number in _GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    from grok_sweep.sweep.worker import work

    gone = select.poll()
    gone.register(parent.fileno(), select.POLLIN | select.POLLHUP)
    try:
        work(
            sweep, run_ids, n_workers=n_workers, n_threads=n_threads, retry_failed_before=retry_failed_before,
            failures_allowed=failures_allowed, asked=asked,
            stop=lambda: bool(gone.poll(0)),
        )  # fmt: skip
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        sys.exit(error.errno)


def _write_to(log_file: str) -> None:
    """Send standard output and error, those of C code included, to a file."""
    fd = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
