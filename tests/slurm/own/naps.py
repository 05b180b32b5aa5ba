"""Measures of a user's own, found by PYTHONPATH: one takes its time where the test wants it, one fails."""

import os
import signal
import time


def nap(evaluation) -> float:
    """Sleeps NAP_S seconds a row; the value is the same however long."""
    time.sleep(float(os.environ.get("NAP_S", "0")))
    return 1.0


def touchy(evaluation) -> float:
    """Fails the runs of FAIL_AT training pairs, and kills the worker of those of KILL_AT."""
    if str(evaluation.task.n_train) == os.environ.get("KILL_AT"):
        os.kill(os.getpid(), signal.SIGKILL)
    if str(evaluation.task.n_train) == os.environ.get("FAIL_AT"):
        raise ArithmeticError(f"{evaluation.task.n_train} pairs are too many")
    return 2.0
