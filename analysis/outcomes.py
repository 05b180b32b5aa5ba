"""What became of a run, in one word: its phase where that is settled, else its state.

A *phase* is judged from accuracies (grok_sweep.phases), a *state* is how far the work has got
(grok_sweep.store.State). A map of a sweep that is still running, or that partly failed, needs both.
"""

from __future__ import annotations

from grok_sweep.phases import Phase
from grok_sweep.store import State

PHASES: tuple[str, ...] = tuple(phase.value for phase in Phase)
STATES: tuple[str, ...] = tuple(state.value for state in State)

MIXED = "mixed"
"""A cell whose runs have two or more equally frequent outcomes."""
NO_RUN = "no_run"
"""A combination of settings that the plan does not hold."""

UNFINISHED = (State.running.value, State.interrupted.value, State.planned.value)
BROKEN = (State.diverged.value, State.failed.value)
OUTCOMES: tuple[str, ...] = (*PHASES, MIXED, *UNFINISHED, *BROKEN, NO_RUN)
"""Every outcome a cell can have, in the order of legends."""

GENERALISED = (Phase.comprehension.value, Phase.grokking.value)
CENSORED = (Phase.memorization_so_far.value, Phase.confusion_so_far.value)


def outcome(state: str, phase: str | None) -> str:
    """The run's outcome: a phase, or a state where no phase is settled.

    A run that is still going is settled only once it has generalised: which of the two phases it is then can
    no longer change. A diverged or failed run is never given a phase, whatever it had reached before.
    """
    if state == State.done.value and phase is not None:
        return phase
    if state in (State.running.value, State.interrupted.value) and phase in GENERALISED:
        assert phase is not None
        return phase
    return state if state != State.done.value else State.failed.value


def words(outcome: str) -> str:
    """The outcome as prose: "memorization so far"."""
    return outcome.replace("_", " ")
