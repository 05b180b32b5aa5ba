"""Ctrl-C and SIGTERM as a flag that is looked at between steps, so that a run stops with its checkpoint written."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Interrupt:
    """Inside `with`, the first SIGINT or SIGTERM sets the flag; after it a SIGINT raises KeyboardInterrupt, a SIGTERM
    does what it did before.

    Nothing is raised in a handler: an exception there could come up in the middle of a write.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._is_set = False
        self._old: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def __enter__(self) -> Interrupt:
        self._old = {number: signal.signal(number, self._caught) for number in self.SIGNALS}
        return self

    def __exit__(self, *raised: object) -> None:
        self._restore()

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.set()
        self._restore()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _restore(self) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)
        self._old = {}
