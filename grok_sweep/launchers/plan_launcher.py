"""What a launcher is here: something that trains the runs of a plan."""

from __future__ import annotations

from grok_sweep.sweep.grid import Plan


class PlanLauncher:
    """Takes a plan of checked, named runs; never override strings, as Hydra's own launchers do."""

    def problems(self) -> list[str]:
        """What is wrong with the launcher's own settings."""
        return []

    def plan_problems(self, plan: Plan) -> list[str]:
        """What these runs ask for that is not to be had where they would train; asked before anything is written."""
        return []

    def shares(self, plan: Plan) -> tuple[int, int]:
        """Workers that will train these runs at a time, and torch threads of each; for the dry run's reckoning."""
        return 1, 1

    def train(self, plan: Plan) -> int:
        """Train every run of the plan that has work left; returns the command's exit code."""
        raise NotImplementedError
