"""The name under which Hydra 1.3 accepts plugins: empty subclasses; what they do stands in grok_sweep."""

from grok_sweep.launchers import pool, slurm
from grok_sweep.sweep import plan


class PlanSweeper(plan.PlanSweeper):
    """conf/hydra/sweeper/plan.yaml"""


class PoolLauncher(pool.PoolLauncher):
    """conf/hydra/launcher/pool.yaml"""


class SlurmLauncher(slurm.SlurmLauncher):
    """conf/hydra/launcher/slurm.yaml"""
