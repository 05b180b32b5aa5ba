"""Train one run, or with -m a sweep: settings -> plan -> worker -> runs/<sweep>/<run_id>/.

    python launch.py experiment=quick wd=1.0
    python launch.py -m experiment=quick wd=0.1,1.0 frac=0.2,0.3,0.5

The settings: conf/config.yaml. Exit codes: 0 all done, 1 some run failed, 2 wrong settings, 130 interrupted.
"""

import signal
from pathlib import Path

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until a run begins there is nothing to save; and an exception amid an import breaks what is imported.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import hydra
from omegaconf import DictConfig

from grok_sweep.launchers.here import Here
from grok_sweep.sweep.plan import carry_out, plan_of_one, wrong_settings_exit_2


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(_: DictConfig) -> None:
    """Without -m: a plan of one, trained in this process. With -m Hydra calls PlanSweeper.sweep instead."""
    carry_out(plan_of_one(), Here())


if __name__ == "__main__":
    with wrong_settings_exit_2(Path(__file__).parent / "conf"):
        main()
