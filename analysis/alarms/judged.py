"""What a measure's alarms come to: detection, lead and false alarms of the runs watched, in every draw. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.alarms import alarm, resampling, settings_alone, threshold
from analysis.alarms.alarm import Levels
from analysis.alarms.resampling import mean
from analysis.alarms.threshold import Offsets
from analysis.alarms.watched import Array, Choice, Watched
from grok_sweep.measures.table import Measure

SETTINGS = "settings alone"
BASELINES = {"test_acc": "test accuracy", "test_loss": "test loss", SETTINGS: SETTINGS}
"""Under the same rule as every measure; the name in rows -> in words."""
LOGGED_BASELINES = ("test_acc", "test_loss")
LEADS = {
    "lead": "gain",
    "lead_lenient": "gain_lenient",
    "lead_in_time": "gain_in_time",
}
"""Mean lead as defined; with undecided alarms counted as not false; with no lead for alarms that come too early (they
are false). And the gain made from each."""
NUMBERS = ("detection", "too_early", "false_alarms", "false_alarms_decided", *LEADS)


@dataclass(frozen=True)
class Judged:
    """One measure under the rule.

    Attributes:
        theta: [n_runs], the threshold set for each run on others.
        alarms: [n_runs], A in steps; inf where it never rang.
        numbers: name of NUMBERS -> its value in each draw, [1 + n_draws]; the first is the sweep's own.
    """

    theta: Array
    alarms: Array
    numbers: dict[str, Array]


def judge(
    levels: Levels, watched: Watched, weights: Array, offsets: Offsets | None = None, floor: float = 0.0
) -> Judged:
    """Arguments as in threshold.held_out."""
    theta, alarms = threshold.held_out(levels, watched, weights, offsets, floor=floor)
    _, lenient = threshold.held_out(levels, watched, weights, offsets, floor=floor, strict=False)
    found, has_event = alarm.outcome(alarms, watched), watched.has_event
    # Detection, lead and "too early" are of runs with an event; false alarms of those without.
    events, others = weights * has_event, weights * ~has_event
    numbers = {
        "detection": mean(found.detected, events),
        "lead": mean(found.lead, events),
        "too_early": mean(found.too_early, events),
        "false_alarms": mean(found.rang_for_nothing | found.undecided, others),
        "false_alarms_decided": mean(found.rang_for_nothing, others),
        "lead_in_time": mean(found.lead * ~found.too_early, events),
        "lead_lenient": mean(alarm.outcome(lenient, watched).lead, events),
    }
    return Judged(theta[0], alarms[0], numbers)


def judge_all(
    choice: Choice, lines: Mapping[str, Measure], swept: Sequence[str], n_draws: int, rng: np.random.Generator
) -> dict[str, Judged]:
    """Each of these measures, and the settings alone, in the same draws of runs.

    Args:
        lines: measure -> direction and scale; the baselines test_acc and test_loss among them.
    """
    found, steps = choice.watched, choice.logs.steps
    weights = resampling.draws(found, n_draws, rng)
    judged = {
        name: judge(alarm.rises(choice.logs.values(name), steps, found, line), found, weights)
        for name, line in lines.items()
    }
    design = settings_alone.design_of(choice.runs, swept)
    foretold = settings_alone.foretell(design, found, weights)
    judged[SETTINGS] = judge(settings_alone.clock(steps, found), found, weights, foretold, -np.inf)
    return judged
