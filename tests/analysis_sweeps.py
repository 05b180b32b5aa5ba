"""Folders of small sweeps as workers leave them, in every state, without a step of training."""

from grok_sweep.config import flat, from_flat, resolved, run_id
from grok_sweep.store import PlannedRun, State, write_json
from grok_sweep.summary import summarise

WD, FRAC, SPLIT, INIT = "optimizer.weight_decay", "data.frac_train", "data.split_seed", "model.init_seed"
SMALL = {"data.p": 59, "model.d_model": 64, "optimizer.lr": 3e-3, "n_steps": 3000}
HOSTILE = """a"'&<img src=x onerror=alert(1)> </script><script>alert(2)<\u202e\x1b]datum"""


def rows(t_train, t_test, last):
    """A run's rows, one every 25 steps; None: never."""

    def accuracy(step, t):
        return 0.99 if t is not None and step >= t else 0.1

    return [
        {"step": s, "train_acc": accuracy(s, t_train), "test_acc": (test := accuracy(s, t_test)), "novel_acc": test}
        | {"train_loss": 0.5, "test_loss": 2.0}
        for s in range(0, last + 1, 25)
    ]


def add(sweep, axes, state="done", t_train=300, t_test=None, last=3000, error=None, **over):
    """One run as a worker leaves it; returns its id."""
    settings = flat(resolved(from_flat(SMALL | {k.replace("__", "."): v for k, v in over.items()} | axes)))
    name = run_id(from_flat(settings))
    sweep.add([PlannedRun(name, settings, axes)])
    if state == "planned":
        return name
    run, logged = sweep.run(name), rows(t_train, t_test, last)
    run.path.mkdir()
    run.metrics_file.touch()
    run.open_metrics(logged).close()
    run.write_status(State(state), step=last, n_steps=settings["n_steps"], end=None, error=error)
    if state in ("done", "diverged"):
        diverged = last if state == "diverged" else None
        write_json(
            run.summary_file,
            summarise(from_flat(settings), logged, last, "n_steps", True) | {"diverged_at": diverged},
        )
    return name


def grid_of(sweep, seeds=(0,)):
    """wd 0.1, 1.0 by frac 0.2, 0.3, 0.5, as a first afternoon's sweep looks."""
    t_test = {(0.1, 0.5): 1875, (1.0, 0.2): 2450, (1.0, 0.3): 1025, (1.0, 0.5): 525}
    for wd in (0.1, 1.0):
        for frac in (0.2, 0.3, 0.5):
            for seed in seeds:
                axes = {WD: wd, FRAC: frac, SPLIT: seed, INIT: seed} if len(seeds) > 1 else {WD: wd, FRAC: frac}
                add(sweep, axes, t_test=t_test.get((wd, frac)))
    return sweep


def every_state(sweep):
    """A run in every state and phase, a tie of two seeds, and combinations that were never asked for."""
    cases = [
        ("done", 300, 900),
        ("done", 300, 525),
        ("done", 300, None),
        ("done", None, None),
        ("running", 300, None, 1200),
        ("interrupted", 300, None, 700),
        ("planned",),
        ("diverged", 300, None, 800),
        ("failed", 300, None, 100),
    ]
    for i, case in enumerate(cases):
        add(sweep, {WD: [0.01, 0.1, 1.0][i // 3], FRAC: [0.2, 0.3, 0.5][i % 3]}, *case)
    add(sweep, {WD: 5.0, FRAC: 0.2}, phases__budget=3000)
    add(sweep, {WD: 5.0, FRAC: 0.3}, t_train=None, phases__budget=3000)
    for seed, t_test in enumerate((900, None)):
        add(sweep, {WD: 5.0, FRAC: 0.5, INIT: seed}, t_test=t_test)
    add(sweep, {WD: 9.0, FRAC: 0.5}, "running", 200, 900, 1200)
    return sweep
