"""When a measure rings: by how much it has risen above its least value since t_train, at two logs in a row. Pure.

z(t) is the rise of the oriented measure above its running minimum since t_train; A(theta) the first log t at which z
was at theta or above at t and at the log before. An alarm at or after T is late: it counts neither as detection nor
as false, for the watch ends with the event.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.alarms.watched import Array, Watched, packed
from grok_sweep.measures.table import Measure

SHARE_ENDS = (1e-3, 1 - 1e-3)
"""Shares are held inside these before the logit: beyond, a few pairs decide."""
LEAST = 1e-30
"""Of a loss or norm, before the logarithm."""
FALSE_AFTER = 3.0
"""An alarm at A is false where the event does not come in (A, 3A]."""


@dataclass(frozen=True)
class Levels:
    """How high the threshold may be for a measure to have rung by each log.

    Attributes:
        times: [n_runs, n_logs - 1], steps of the second of two logs in a row; inf where there is none.
        reached: the same shape, ascending: A(theta) is the first of `times` at which this is theta or more.
        false: [n_runs], the alarm is a false one for every theta up to this, undecided alarms counted as false: with
            an event, it comes before T/3; without one, it comes at all.
        false_decided: the same with undecided alarms counted as not false: without an event, it comes by a third of
            the run.
    """

    times: Array
    reached: Array
    false: Array
    false_decided: Array

    def alarm(self, run: int, theta: Array) -> Array:
        """A(theta) of one run in steps, of any shape; inf where it never rings."""
        after = np.append(self.times[run], np.inf)
        return after[np.searchsorted(self.reached[run], theta, side="left")]


def oriented(values: Array, line: Measure) -> Array:
    """On the measure's scale, turned so that it rises as the network generalises; nan where it is not defined."""
    sign = -1.0 if line.direction == "down" else 1.0
    if line.scale == "log":
        return sign * np.log(np.where(values >= 0, np.maximum(values, LEAST), np.nan))
    if line.scale == "logit":
        share = np.clip(values, *SHARE_ENDS)
        return sign * np.log(share / (1 - share))
    return sign * values


def rises(values: Array, steps: Array, watched: Watched, line: Measure) -> Levels:
    """Levels of z, the rise above the running minimum since t_train.

    Args:
        values, steps: [n_runs, n_logs], as Logs has them.
    """
    since = np.where(steps >= watched.t_train[:, None], oriented(values, line), np.nan)
    height, at = packed(since, steps)
    # fmin: nan stands at the end of a row only, and has no minimum.
    return levels(height - np.fmin.accumulate(height, axis=1), at, watched)


def levels(z: Array, steps: Array, watched: Watched) -> Levels:
    """Levels of a quantity that rings when it is high: two successive logs of it, both at the threshold or above."""
    pairs = np.minimum(z[:, :-1], z[:, 1:])
    pairs = np.where(np.isnan(pairs), -np.inf, pairs)
    times = np.where(np.isfinite(pairs), steps[:, 1:], np.inf)
    with_event, until = watched.has_event[:, None], FALSE_AFTER * times
    too_early = until < watched.event[:, None]  # False beside nan
    decided = ~with_event & (until <= watched.end[:, None])
    false, false_decided = (
        np.where(too_early | which, pairs, -np.inf).max(axis=1, initial=-np.inf) for which in (~with_event, decided)
    )
    return Levels(times, np.maximum.accumulate(pairs, axis=1), false, false_decided)


@dataclass(frozen=True)
class Outcome:
    """What became of alarms; every array has the shape of the alarms, [..., n_runs].

    Attributes:
        detected: rang before T.
        lead: ln(T / A); 0 if late or never, and where there is no event.
        too_early: with an event, that came after 3A.
        rang_for_nothing: without an event: followed until 3A at least.
        undecided: without an event, and not followed until 3A.
    """

    detected: Array
    lead: Array
    too_early: Array
    rang_for_nothing: Array
    undecided: Array


def outcome(alarms: Array, watched: Watched) -> Outcome:
    """Of alarms in steps (inf: never)."""
    has_event, rang = watched.has_event, np.isfinite(alarms)
    detected = alarms < watched.event  # False beside nan
    # A is 1 at least: two logs make an alarm.
    lead = np.where(detected, np.log(np.where(detected, watched.event, 1.0) / np.where(detected, alarms, 1.0)), 0.0)
    followed = FALSE_AFTER * alarms <= watched.end
    return Outcome(
        detected,
        lead,
        FALSE_AFTER * alarms < watched.event,
        rang & ~has_event & followed,
        rang & ~has_event & ~followed,
    )
