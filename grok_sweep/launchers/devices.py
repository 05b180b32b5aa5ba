"""Whether the devices that a plan names are on this machine."""

from __future__ import annotations

from grok_sweep.sweep.grid import Plan


def missing_devices(plan: Plan) -> list[str]:
    """One line for each named device that torch does not find here; torch is imported only where one is named."""
    named = dict.fromkeys(run.settings["device"] for run in plan.runs)
    explicit = [name for name in named if name not in ("auto", "cpu")]
    if not explicit:
        return []
    from grok_sweep.run import choose_device

    found = []
    for name in explicit:
        try:
            choose_device(name)
        except ValueError as error:
            found.append(str(error))
    return found
