"""What a user may get wrong, and what is said then: the tables that tests/e2e/test_wrong_inputs.py works through.

A line of a message that ends in "…" is compared up to there. Whoever adds a setting adds a row: one of the tests
asks for it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from small_runs import plan_of, small_config

from grok_sweep.config import MeasuresConfig, ModelConfig
from grok_sweep.store import RunDir, SweepDir
from grok_sweep.sweep.worker import work

# --- settings -----------------------------------------------------------------------------------------------

Row = tuple[str, list[str]]
"""The words after `python launch.py`, and the lines of the refusal."""

DOTTED = "; a dotted path is module.name, and modules are found in the folder of launch.py and in PYTHONPATH"
NO_MODULE = f"ModuleNotFoundError: No module named 'nowhere'{DOTTED}"
SEED = "must lie in 0..2^63-1, got"
NO_AXIS = "takes several values, but it does not change a run's numbers, so it names no run and cannot be an axis"

SETTINGS: list[Row] = [
    # Each field of each settings class.
    ("data.operation=plus", ["unknown data.operation 'plus'. Known: add, subtract, multiply, …"]),
    ("data.p=2", ["data.p must be at least 3 (one frequency needs three residues), got 2"]),
    ("p=10007", ["data.p must be at most 10000 (all p^2 pairs are held at once), got 10007"]),
    ("data.p=abc", ["data.p=abc: Value 'abc' of type 'str' could not be converted to Integer"]),
    ("data.p=null", ["data.p=null: must have a value, null is none"]),
    ("data.p=???", ["data.p: must have a value, ??? is none"]),
    ("frac=1", ["data.frac_train must lie in (0, 1): both sides need pairs, got 1.0"]),
    ("frac=nan", ["data.frac_train must lie in (0, 1): both sides need pairs, got nan"]),
    (
        "frac=1e-4 p=23",
        ["data.frac_train=0.0001 of 529 pairs (data.p=23) leaves no pair to train on; raise it"],
    ),
    ("data.split=sorted", ["data.split=sorted: Invalid value 'sorted', expected one of [ordered, unordered]"]),
    ("data.split_by=numpy", ["data.split_by=numpy: Invalid value 'numpy', expected one of [paper, torch]"]),
    ("data.split_seed=-1", [f"data.split_seed {SEED} -1"]),
    ("seed=-1", [f"data.split_seed {SEED} -1", f"model.init_seed {SEED} -1"]),
    ("data.label_noise=1.1", ["data.label_noise must lie in [0, 1], got 1.1"]),
    ("model.architecture=rnn", ["unknown model.architecture 'rnn'. Known: transformer, mlp, quadratic; or …"]),
    ("model.n_layers=0", ["model.n_layers must be at least 1, got 0"]),
    ("model.d_model=0", ["model.d_model must be at least 1, got 0"]),
    ("model.n_heads=0", ["model.n_heads must be at least 1, got 0"]),
    ("model.d_head=0", ["model.d_head must be at least 1, got 0"]),
    ("model.d_mlp=-1", ["model.d_mlp must be at least 1, got -1"]),
    ("model.activation=tanh", ["model.activation=tanh: Invalid value 'tanh', expected one of [relu, gelu, square]"]),
    ("model.equals_logit=perhaps", ["model.equals_logit=perhaps: Value 'perhaps' is not a valid bool (type str)"]),
    ("model.init_seed=-3", [f"model.init_seed {SEED} -3"]),
    ("model.norm=batch", ["model.norm=batch: Invalid value 'batch', expected one of [none, layer]"]),
    ("model.mlp_biases=2.5", ["model.mlp_biases=2.5: Value '2.5' is not a valid bool (type float)"]),
    ("model.tied=both", ["model.tied=both: Value 'both' is not a valid bool (type str)"]),
    ("model.dropout=1", ["model.dropout must lie in [0, 1), got 1.0"]),
    ("model.init_scale=0", ["model.init_scale must be positive and finite, got 0.0"]),
    ("model.output_scale=inf", ["model.output_scale must be positive and finite, got inf"]),
    ("model.attention_rate=1.5", ["model.attention_rate must lie in [0, 1], got 1.5"]),
    ("optimizer.name=lion", ["optimizer.name=lion: Invalid value 'lion', expected one of [adamw, adam, sgd]"]),
    ("optimizer.decay=l1", ["optimizer.decay=l1: Invalid value 'l1', expected one of [decoupled, l2]"]),
    ("lr=0", ["optimizer.lr must be positive and finite, got 0.0"]),
    ("wd=-1", ["optimizer.weight_decay must be at least 0 and finite, got -1.0"]),
    ("optimizer.beta1=1", ["optimizer.beta1 must lie in [0, 1), got 1.0"]),
    ("optimizer.beta2=-0.1", ["optimizer.beta2 must lie in [0, 1), got -0.1"]),
    ("optimizer=sgd optimizer.momentum=1", ["optimizer.momentum must lie in [0, 1), got 1.0"]),
    ("optimizer.eps=0", ["optimizer.eps must be positive and finite, got 0.0"]),
    ("optimizer.warmup_steps=-1", ["optimizer.warmup_steps must be at least 0, got -1"]),
    (
        "optimizer.decay_target=biases",
        ["optimizer.decay_target=biases: Invalid value 'biases', expected one of [all, matrices]"],
    ),
    (
        "wd=geomspace(0,1,5)",
        ["wd=geomspace(0,1,5): ValueError while evaluating 'geomspace(0,1,5)': both ends must …"],
    ),
    (
        "wd=geomspace(1,2,1)",
        ["wd=geomspace(1,2,1): ValueError while evaluating 'geomspace(1,2,1)': two values are …"],
    ),
    ("wd=geomspace(1,2)", ["wd=geomspace(1,2): TypeError while evaluating 'geomspace(1,2)': missing a required …"]),
    ("wd=geomspace(a,2,3)", ["wd=geomspace(a,2,3): TypeError while evaluating 'geomspace(a,2,3)': mismatch type …"]),
    ("optimizer.batch_size=0", ["optimizer.batch_size must be at least 1, or null for all train pairs, got 0"]),
    ("measures.names=gini_W_E", ["measures.names=gini_W_E: a list is asked for, [one,two], got a str"]),
    (
        "measures.names=[gini_we,gini_W_E,fourier]",
        ["unknown measures: fourier, gini_we (did you mean gini_W_E?). Known: W_L_residual, …"],
    ),
    ("measures.names=[gini_W_E,gini_W_E]", ["measures.names holds a name twice: gini_W_E"]),
    ("measures.every=0", ["measures.every must be at least 1, got 0"]),
    ("measures.loss_every=0", ["measures.loss_every must be at least 1, got 0"]),
    ("measures.dense_until=-1", ["measures.dense_until must be at least 0, got -1"]),
    ("measures.per_decade=0", ["measures.per_decade must be at least 1, got 0"]),
    ("measures.vector_every=0", ["measures.vector_every must be at least 1, got 0"]),
    ("logger.kind=tensorboard", ["logger.kind=tensorboard: Invalid value 'tensorboard', expected one of …"]),
    ("logger.mode=on", ["logger.mode=on: Invalid value 'on', expected one of [offline, online, disabled]"]),
    ("logger.project=", ["logger.project must not be empty"]),
    ("logger.entity={a:1}", ["logger.entity={a:1}: Cannot convert 'dict' to string: '{'a': 1}'"]),
    ("logger.tags=one", ["logger.tags=one: a list is asked for, [one,two], got a str"]),
    ("logger.timeout_s=0", ["logger.timeout_s must be positive and finite, got 0.0"]),
    ("stop.test_loss=0", ["stop.test_loss must be positive and finite, got 0.0"]),
    ("stop.more_steps=-1", ["stop.more_steps must be at least 0, got -1"]),
    ("phases.accuracy=1", ["phases.accuracy must lie in (0, 1), got 1.0"]),
    ("phases.gap=0", ["phases.gap must be positive and finite, got 0.0"]),
    ("phases.budget=0", ["phases.budget must be at least 1 step, got 0"]),
    ("snapshots.n=-1", ["snapshots.n must be at least 0, got -1"]),
    ("snapshots.optimizer_state=all", ["snapshots.optimizer_state=all: Value 'all' is not a valid bool (type str)"]),
    ("checkpoint.every_s=0", ["checkpoint.every_s must be positive and finite, got 0.0"]),
    ("ensemble.size=0", ["ensemble.size must be auto or a whole number of at least 1, got 0"]),
    ("ensemble.size=many", ["ensemble.size must be auto or a whole number of at least 1, got many"]),
    ("n_steps=0", ["n_steps must be at least 1, got 0"]),
    ("steps=1.5", ["steps=1.5: Value '1.5' of type 'float' could not be converted to Integer"]),
    ("steps=1e3", ["steps=1000.0: Value '1000.0' of type 'float' could not be converted to Integer; write 1000"]),
    ("loss=hinge", ["loss=hinge: Invalid value 'hinge', expected one of [cross_entropy, mse]"]),
    ("dtype=float16", ["dtype=float16: Invalid value 'float16', expected one of [float32, float64]"]),
    ("loss_dtype=half", ["loss_dtype=half: Invalid value 'half', expected one of [float32, float64]"]),
    (
        "compile=true model.dropout=0.1",
        ["compile=true has no use with model.dropout: it would compile anew at every step"],
    ),
    ("compile=perhaps", ["compile=perhaps: Value 'perhaps' is not a valid bool (type str)"]),
    ("allow_tf32=so", ["allow_tf32=so: Value 'so' is not a valid bool (type str)"]),
    ("device=gpu", ["device must be auto, cpu, cuda or cuda:N, got 'gpu'"]),
    ("root=", ["root must not be empty"]),
    ("root=${nowhere}", ["root: Interpolation key 'nowhere' not found"]),
    ("root=${oc.env:GROK_NOWHERE}", ["root: KeyError raised while resolving interpolation: …"]),
    ("sweep=a/b", ["sweep must be a folder's name (no slash, no leading dot), got 'a/b'"]),
    ("sweep=..", ["sweep must be a folder's name (no slash, no leading dot), got '..'"]),
    ("claim_timeout_s=0", ["claim_timeout_s must be positive and finite, got 0.0"]),
    # Settings that do not fit together.
    ("data=divide p=15", ["data.operation=divide needs a prime data.p (mod 15 nothing can be divided by 3), got 15"]),
    (
        "data=divide data.split=unordered",
        ["data.split=unordered has no meaning for divide: of (0, b) the swap (b, 0) is no pair"],
    ),
    (
        "model.d_model=30",
        ["model.d_model=30 is not a multiple of model.n_heads=4; change one, or give model.d_head"],
    ),
    ("model=mlp model.norm=layer", ["model.norm has no meaning for model.architecture=mlp; leave it at none"]),
    ("model.architecture=mlp", ['model.architecture=mlp has no "=": give model.equals_logit=false (model=mlp does)']),
    (
        "model=quadratic model.mlp_biases=true",
        ["model.architecture=quadratic has no biases: give model.mlp_biases=false (model=quadratic does)"],
    ),
    ("optimizer.momentum=0.9", ["optimizer.momentum belongs to sgd (adamw has beta1), got 0.9"]),
    ("optimizer.decay=l2", ["optimizer.name=adamw with optimizer.decay=l2 is adam: give optimizer.name=adam"]),
    (
        "optimizer=adam optimizer.decay=decoupled",
        ["optimizer.name=adam with optimizer.decay=decoupled is adamw: give optimizer.name=adamw"],
    ),
    ("lr=0.1 wd=10", ["optimizer.lr * optimizer.weight_decay must be below 1 (each step …"]),
    (
        "loss=mse stop.test_loss=0.1",
        ["stop.test_loss is a cross-entropy, which loss=mse does not lower: give stop.test_loss=null"],
    ),
    # Dotted paths that lead nowhere, or to something else.
    (
        "data.operation=math.nothing",
        ["data.operation=math.nothing: AttributeError: module 'math' has no attribute 'nothing'; a …"],
    ),
    ("data.operation=nowhere.f", [f"data.operation=nowhere.f: {NO_MODULE}"]),
    ("data.operation=math.pi", ["data.operation=math.pi …"]),
    ("model.architecture=math.pi", ["model.architecture=math.pi …"]),
    ("model.architecture=nowhere.N", [f"model.architecture=nowhere.N: {NO_MODULE}"]),
    ("measures.names=[math.pi]", ["measures.names=math.pi is no function of an Evaluation"]),
    ("measures.names=[nowhere.f]", [f"measures.names=nowhere.f: {NO_MODULE}"]),
    (
        "measures.names=[operator.gini_W_E]",
        [
            "measures.names=operator.gini_W_E: AttributeError: …",
        ],
    ),
    # Shorthands.
    ("p=59 data.p=31", ["p=59 and data.p=31 disagree: p stands for data.p; leave one out"]),
    (
        "seed=0 model.init_seed=3",
        ["seed=0 and model.init_seed=3 disagree: seed stands for data.split_seed and model.init_seed; leave one out"],
    ),
    # Options of the sweep.
    ("dry_run=perhaps", ["dry_run=perhaps: Value 'perhaps' is not a valid bool (type str)"]),
    ("retry=all", ["retry=all: Invalid value 'all', expected one of [failed]"]),
    ("order=random", ["order=random: Invalid value 'random', expected one of [given, shuffled, coarse]"]),
    ("fail_fast=maybe", ["fail_fast=maybe: Value 'maybe' is not a valid bool (type str)"]),
    ("fail_fast=true max_failures=2", ["fail_fast=true is max_failures=1, got max_failures=2 beside it"]),
    ("max_failures=0", ["max_failures must be at least 1, got 0"]),
    # Sweeps.
    (
        "frac=interval(0,1)",
        ["frac=interval(0,1): an interval has no meaning in a grid; name its points, as with range(start,stop,…"],
    ),
    ("device=cpu,cuda", [f"device {NO_AXIS}: give it one value"]),
    ("steps=10,20", [f"n_steps {NO_AXIS}: give it one value"]),
    ("logger.mode=offline,disabled", [f"logger.mode {NO_AXIS}: give it one value"]),
    ("sweep=a,b", ["sweep holds for the whole command: give it one value, not a, b"]),
    ("retry=failed,null", ["retry holds for the whole command: give it one value, not failed, null"]),
    (
        "experiment=quick,frac_slice",
        ["several experiments in one command need a folder's name: give sweep=NAME (2 of 2 runs)"],
    ),
    ("measures=glob(z*)", ["measures=glob(z*): matches nothing"]),
    ("data.p=31,abc", ["data.p: Value 'abc' of type 'str' could not be converted to Integer (1 of 2 runs)"]),
    ("p=31,37 data.p=37", ["p=31 and data.p=37 disagree: p stands for data.p; leave one out (1 of 2 runs)"]),
    ("model=transformer,rnn wd=1,2", ["unknown model=rnn. Known: mlp, quadratic, transformer (2 of 4 runs)"]),
    # All at once, each once, with the runs it hits.
    (
        "p=2,31 frac=0.3,1.5 measures.names=[gini_we] max_failures=0 lr=-1 data.pp=3 model=foo",
        [
            "data.pp=3: Key 'pp' not in 'DataConfig'; did you mean data.p? (4 of 4 runs)",
            "unknown model=foo. Known: mlp, quadratic, transformer (4 of 4 runs)",
            "data.p must be at least 3 (one frequency needs three residues), got 2 (2 of 4 runs)",
            "optimizer.lr must be positive and finite, got -1.0 (4 of 4 runs)",
            "unknown measures: gini_we (did you mean gini_W_E?). Known: …",
            "max_failures must be at least 1, got 0 (4 of 4 runs)",
            "data.frac_train must lie in (0, 1): both sides need pairs, got 1.5 (2 of 4 runs)",
        ],
    ),
]
"""Refused by the planner, where -m and a single run meet."""

P_IS_2 = "data.p must be at least 3 (one frequency needs three residues), got 2"
SEVERAL = "several values for one run. To sweep over it, add --multirun (-m); quote a value that holds commas"

COMMANDS: list[Row] = [
    # Names that there are not.
    ("data.pp=31", ["data.pp=31: Key 'pp' not in 'DataConfig'; did you mean data.p?"]),
    ("d_model=64", ["d_model=64: Key 'd_model' not in 'LaunchConfig'; did you mean model.d_model?"]),
    (
        "weigth_decay=1",
        ["weigth_decay=1: Key 'weigth_decay' not in 'LaunchConfig'; did you mean optimizer.weight_decay?"],
    ),
    ("ensemble=4", ["ensemble=4: it holds several settings, name one of them: ensemble.size"]),
    ("modle=mlp", ["modle=mlp: Key 'modle' not in 'LaunchConfig'; did you mean model?"]),
    ("nonsense=1", ["nonsense=1: Key 'nonsense' not in 'LaunchConfig'; all settings stand in grok_sweep/config.py"]),
    ("+nonsense=1", ["unknown setting 'nonsense'"]),
    ("data=mult", ["unknown data=mult. Known: add, cubic, divide, …"]),
    ("model=rnn", ["unknown model=rnn. Known: mlp, quadratic, transformer"]),
    ("optimizer=lion", ["unknown optimizer=lion. Known: adam, adamw, sgd"]),
    ("measures=fourier", ["unknown measures=fourier. Known: …"]),
    ("logger=tensorboard", ["unknown logger=tensorboard. Known: none, wandb"]),
    ("experiment=quik", ["unknown experiment=quik. Known: …"]),
    ("experiment=3", ["experiment=3: experiment takes the name of a file, got 3. Known: …"]),
    (
        "experiment=[quick,frac_slice]",
        ["experiment=[quick,frac_slice]: experiment takes the name of a file, got [quick,frac_slice]. Known: …"],
    ),
    # What is no override at all.
    ("p", ["p: a setting is given as name=value"]),
    ("=3", ["=3: a setting is given as name=value"]),
    ("wd=0.1,", ["wd=0.1,: it ends where a value should follow"]),
    ("p=[31", ["p=[31: no viable alternative at input '[31'; quote a value that holds brackets, braces or commas"]),
    (
        "31 frac=2",
        [
            "31: cannot be read; a setting is given as name=value, and a value with quotes is quoted",
            "data.frac_train must lie in (0, 1): both sides need pairs, got 2.0",
        ],
    ),
    ("~data.p", ["~data.p: DataConfig (DictConfig) does not support deletion"]),
    ("+data.p=31", ["+data.p=31: Could not append to config. An item is already at 'data.p'. …"]),
    ("root=${nowhere} steps=1", ["root: Interpolation key 'nowhere' not found"]),
    # One run or many.
    ("wd=1,2", [f"wd=1,2: {SEVERAL}"]),
    (
        "p=2,3 -m frac=0.3,5",
        [
            f"{P_IS_2} (2 of 4 runs)",
            "data.frac_train must lie in (0, 1): both sides need pairs, got 5.0 (2 of 4 runs)",
        ],
    ),
    (
        "-m --cfg job p=2",
        [
            "Only one of --run, --multirun, --cfg, --info and --shell_completion can be specified; the runs of a "
            "sweep are printed by dry_run=true"
        ],
    ),
    ("--config-name=mine", ["Cannot find primary config 'mine'. Check that it's in your config search path."]),
    # Launchers.
    ("-m hydra/launcher=slrum p=2", ["unknown hydra/launcher=slrum. Known: …", P_IS_2]),
    (
        "-m hydra/launcher=basic p=2,31",
        [
            "hydra/launcher=basic takes override strings, not a plan: use hydra/launcher=pool",
            f"{P_IS_2} (1 of 2 runs)",
        ],
    ),
    ("-m hydra/sweeper=foo p=31,37", ["unknown hydra/sweeper=foo. Known: basic, plan"]),
    (
        "-m hydra.launcher.n_workers=0 data.pp=3",
        [
            "hydra.launcher.n_workers must be a whole number of at least 1, or null, got 0",
            "data.pp=3: Key 'pp' not in 'DataConfig'; did you mean data.p?",
        ],
    ),
    (
        "-m hydra.launcher.n_threads=-2",
        ["hydra.launcher.n_threads must be a whole number of at least 1, or null, got -2"],
    ),
    (
        "-m hydra.launcher.partition=gpu p=2",
        [
            "hydra.launcher.partition=gpu: Key 'partition' is not in struct; it is a setting of "
            "hydra/launcher=slurm, which this command does not choose",
            P_IS_2,
        ],
    ),
    (
        "-m hydra/launcher=slurm hydra.launcher.clutser=local p=2",
        [
            "hydra.launcher.clutser=local: Key 'clutser' is not in struct; did you mean hydra.launcher.cluster?",
            P_IS_2,
        ],
    ),
    (
        "-m hydra.launcher.n_wrkers=3 p=2",
        [
            "hydra.launcher.n_wrkers=3: Key 'n_wrkers' is not in struct; did you mean hydra.launcher.n_workers?",
            P_IS_2,
        ],
    ),
    ("+hydra.launcher.nodes=3 -m", ["Error in call to target 'hydra_plugins.grok_sweep.PoolLauncher': …"]),
    # What is not to be had here.
    ("device=cuda:63", ["device=cuda:63: torch finds …"]),
    (f"sweep={'s' * 300}", ["sweep must be a folder's name of at most 255 bytes, got 'sss…"]),
    # Several at once, Hydra's and ours.
    (
        "p=59 data.p=31 data.pp=3 retry=yes frac=2 max_failures=0",
        [
            "data.pp=3: Key 'pp' not in 'DataConfig'; did you mean data.p?",
            "retry=yes: Invalid value 'yes', expected one of [failed]",
            "p=59 and data.p=31 disagree: p stands for data.p; leave one out",
            "data.frac_train must lie in (0, 1): both sides need pairs, got 2.0",
            "max_failures must be at least 1, got 0",
        ],
    ),
]
"""Refused on the way through Hydra's main, launch.py's own."""


HEAD = "# @package _global_\n"

EXPERIMENTS: list[tuple[str, str, str]] = [
    ("no YAML", HEAD + "data:\n  p: [31\n", "mine: while parsing a flow sequence in …"),
    ("an unknown setting", HEAD + "data:\n  pp: 31\n", "Key 'pp' not in 'DataConfig'; did you mean data.p?"),
    (
        "a wrong type",
        HEAD + "data:\n  p: many\n",
        "Value 'many' of type 'str' could not be converted to Integer",
    ),
    ("an unknown choice", HEAD + "defaults:\n  - override /model: rnn\n", "Could not find 'model/rnn' Available …"),
    (
        "a choice without override",
        HEAD + "defaults:\n  - model: mlp\n",
        "Could not find 'experiment/model/mlp'; an experiment's defaults list says override /model: mlp",
    ),
    (
        "no package",
        "data:\n  p: 31\n",
        "Key 'experiment' not in 'LaunchConfig'; is # @package _global_ the first line of the file?",
    ),
    ("a list", HEAD + "- a\n", "Cannot merge DictConfig with ListConfig"),
]
"""What is wrong with the user's own conf/experiment/mine.yaml, and the end of what is said of it."""


# --- files and folders --------------------------------------------------------------------------------------

SHORT, LONG = 20, 40
"""Steps of the run that is broken, and of the command that goes on from it."""


@dataclass(frozen=True)
class Broken:
    """A finished run of SHORT steps in which something is broken, and the command that asks for LONG.

    Attributes:
        spoil: breaks it.
        exit_code: of the command.
        said: parts of what the command prints, in order; "{run}" stands for its folder, "{sweep}" for the sweep's.
        mend: does what the message says; then `retry=failed` ends as the undisturbed run, bit for bit. None: the
            command itself did.
        words: what the command says beside the run's settings.
    """

    name: str
    spoil: Callable[[SweepDir, RunDir], object]
    exit_code: int
    said: tuple[str, ...] = ()
    mend: Callable[[SweepDir, RunDir], object] | None = None
    words: tuple[str, ...] = ()


def _cut(file: Path, n_bytes: int) -> None:
    file.write_bytes(file.read_bytes()[:n_bytes])


def _append(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


def _line(number: int, text: str) -> Callable[[SweepDir, RunDir], None]:
    """Puts another line in the place of a row; the row is kept beside the file."""

    def spoil(sweep: SweepDir, run: RunDir) -> None:
        shutil.copy(run.metrics_file, run.path / "kept")
        lines = run.metrics_file.read_text().split("\n")
        run.metrics_file.write_text("\n".join([*lines[: number - 1], text, *lines[number:]]))

    return spoil


def _put_back(sweep: SweepDir, run: RunDir) -> None:
    (run.path / "kept").replace(run.metrics_file)


def _another_models(sweep: SweepDir, run: RunDir) -> None:
    config = small_config(n_steps=1, model=ModelConfig(d_model=8), measures=MeasuresConfig())
    other, (run_id,) = plan_of(sweep.path.parent / "other", config)
    work(other.path, [run_id])
    shutil.copy(other.run(run_id).checkpoint_file, run.checkpoint_file)


def _only_tensors(sweep: SweepDir, run: RunDir) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"W_E": torch.zeros(3)}, run.checkpoint_file)


def _as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _as_file(folder: Path) -> None:
    if folder.exists():
        folder.rename(folder.with_name("kept"))
    folder.write_text("")


def _as_folder_again(folder: Path) -> None:
    folder.unlink()
    if (kept := folder.with_name("kept")).exists():
        kept.rename(folder)


def _claim(sweep: SweepDir, run: RunDir) -> Path:
    return max((sweep.claims / run.path.name).glob("*.json"))


ANEW = "; put this line right, or move the folder away to train the run anew"
DELETE_IT = "delete it, and the run starts anew with retry=failed"
GOES_ON = "; delete this file, and the run goes on from its checkpoint"
NOTHING = "wrong settings, nothing was started:"
MOVE = "is a file where a folder is needed: give another root=… or sweep=…, or move it away"

FILES: list[Broken] = [
    # What a kill or a full disk leaves: the command goes on as if nothing had been.
    Broken("rows beyond the checkpoint, the last one torn",
           lambda s, r: _append(r.metrics_file, '{"step": 21, "objective": 9}\n{"step": 22, "obj'), 0),
    Broken("rows torn that the checkpoint covers", lambda s, r: _cut(r.metrics_file, -10), 0),
    Broken("plan.jsonl torn", lambda s, r: _cut(s.plan_file, 700), 0),
    Broken("lines of others in plan.jsonl", lambda s, r: _append(s.plan_file, 'what is this\n{"a": 1}\n7\n'), 0),
    Broken("no checkpoint", lambda s, r: r.checkpoint_file.unlink(), 0),
    Broken("no metrics.jsonl", lambda s, r: r.metrics_file.unlink(), 0),
    Broken("no settings.json", lambda s, r: r.settings_file.unlink(), 0),
    Broken("no status.json", lambda s, r: r.status_file.unlink(), 0),
    Broken("status.json empty of facts", lambda s, r: r.status_file.write_text('{"state": "interrupted"}'), 0),
    Broken("half-written files", lambda s, r: (r.path / ".checkpoint.safetensors.1.tmp").write_bytes(b"x"), 0),
    Broken("a claim record cut", lambda s, r: _cut(_claim(s, r), 9), 0),
    Broken("a claim record of another form", lambda s, r: _claim(s, r).write_text('["host"]'), 0),
    Broken("a claim record with more in it", lambda s, r: _claim(s, r).write_text(
        '{"host": "h", "machine": "m", "pid": 1, "started": "0", "token": "t", "gpu": 3}'), 1,
        ("this run is being trained by process 1 on h (last sign ",),
        lambda s, r: _claim(s, r).write_text('{"released": true}')),
    Broken("foreign files among the claims", lambda s, r: (s.claims / r.path.name / "notes.json").write_text("x"), 0),
    Broken("a file in the place of W&B's folder", lambda s, r: r.wandb.write_text("mine"), 0,
           words=("logger=wandb",)),
    # Rows.
    Broken("a row that is no JSON", _line(3, '{"step": 2, "obj'), 1,
           ("failed at step 20: ValueError: {run}/metrics.jsonl, line 3: no JSON: b'{\"step\": 2, \"obj'" + ANEW,
            "Log: {run}/log.txt", "the same command with retry=failed trains it again"),
           _put_back),
    Broken("a row that is no object", _line(3, "7"), 1,
           ("{run}/metrics.jsonl, line 3: no JSON object: b'7'" + ANEW,), _put_back),
    Broken("a row without a step", _line(3, '{"a": 1}'), 1,
           ("{run}/metrics.jsonl, line 3: a row without a step" + ANEW,), _put_back),
    Broken("metrics.jsonl is a folder", lambda s, r: _as_folder(r.metrics_file), 1,
           ("IsADirectoryError: [Errno 21] Is a directory: '{run}/metrics.jsonl'",),
           lambda s, r: r.metrics_file.rmdir()),
    # The checkpoint.
    Broken("checkpoint cut", lambda s, r: _cut(r.checkpoint_file, 1000), 1,
           ("{run}/checkpoint.safetensors cannot be read (", DELETE_IT), lambda s, r: r.checkpoint_file.unlink()),
    Broken("checkpoint of zero bytes", lambda s, r: _cut(r.checkpoint_file, 0), 1,
           ("{run}/checkpoint.safetensors cannot be read (", DELETE_IT), lambda s, r: r.checkpoint_file.unlink()),
    Broken("checkpoint is a folder", lambda s, r: _as_folder(r.checkpoint_file), 1,
           ("{run}/checkpoint.safetensors cannot be read (", DELETE_IT), lambda s, r: r.checkpoint_file.rmdir()),
    Broken("checkpoint holds tensors alone", _only_tensors, 1,
           ("{run}/checkpoint.safetensors holds tensors, but is no checkpoint of a run", DELETE_IT),
           lambda s, r: r.checkpoint_file.unlink()),
    Broken("checkpoint of another model", _another_models, 1,
           ("{run}/checkpoint.safetensors: weights do not fit the model: W_E: expected [24, 16], found [24, 8]",
            DELETE_IT),
           lambda s, r: r.checkpoint_file.unlink()),
    # Settings and what else stands in the run's folder.
    Broken("another network's folder",
           lambda s, r: r.settings_file.write_text('{"data.p": 97, "model.d_model": 8}'), 1,
           ("{run} holds a run with other settings (data.p: 97 there, 23 asked, model.d_model: 8 there, 16 asked)",),
           lambda s, r: r.settings_file.unlink()),
    Broken("settings.json no JSON", lambda s, r: r.settings_file.write_text("{"), 1,
           ("{run}/settings.json: no JSON: b'{'; if this is the run's own folder, delete the file",),
           lambda s, r: r.settings_file.unlink()),
    Broken("provenance.json no JSON", lambda s, r: r.provenance_file.write_text("{"), 1,
           ("{run}/provenance.json: no JSON: b'{'",), lambda s, r: r.provenance_file.unlink()),
    Broken("log.txt is a folder", lambda s, r: _as_folder(r.log_file), 1,
           ("IsADirectoryError: [Errno 21] Is a directory: '{run}/log.txt'",), lambda s, r: r.log_file.rmdir()),
    Broken("status.json no JSON", lambda s, r: r.status_file.write_text('{"state": "do'), 2,
           (NOTHING, "- {run}/status.json: no JSON: b'{\"state\": \"do'" + GOES_ON),
           lambda s, r: r.status_file.unlink()),
    Broken("status.json no object", lambda s, r: r.status_file.write_text('"done"'), 2,
           (NOTHING, "- {run}/status.json: no JSON object: b'\"done\"'" + GOES_ON),
           lambda s, r: r.status_file.unlink()),
    Broken("status.json with an unknown state", lambda s, r: r.status_file.write_text('{"state": "paused"}'), 2,
           (NOTHING, "- {run}/status.json: unknown state 'paused'. Known: planned, running, interrupted, done, "
            "diverged, failed" + GOES_ON),
           lambda s, r: r.status_file.unlink()),
    Broken("status.json is a folder", lambda s, r: _as_folder(r.status_file), 2,
           (NOTHING, "- {run}/status.json: Is a directory"), lambda s, r: r.status_file.rmdir()),
    Broken("status.json no JSON, in a dry run", lambda s, r: r.status_file.write_text("{"), 2,
           (NOTHING, "- {run}/status.json: no JSON"), lambda s, r: r.status_file.unlink(), ("dry_run=true",)),
    Broken("summary.json no JSON", lambda s, r: r.summary_file.write_text("{"), 0,
           ("done at step 20, but {run}/summary.json: no JSON: b'{'; delete status.json, and",),
           lambda s, r: r.status_file.unlink(), (f"steps={SHORT}",)),
    Broken("no summary.json", lambda s, r: r.summary_file.unlink(), 0,
           ("done at step 20, but {run}/summary.json is gone; delete status.json, and",),
           lambda s, r: r.status_file.unlink(), (f"steps={SHORT}",)),
    # Files in the place of folders.
    Broken("the run's folder is a file", lambda s, r: _as_file(r.path), 2,
           (NOTHING, "- {run} is a file where the run's folder is needed: move it away"),
           lambda s, r: _as_folder_again(r.path)),
    Broken("the sweep's folder is a file", lambda s, r: _as_file(s.path), 2, (NOTHING, "- {sweep} " + MOVE),
           lambda s, r: _as_folder_again(s.path)),
    Broken("root is a file", lambda s, r: _as_file(s.path.parent), 2, (NOTHING, "- {root} " + MOVE),
           lambda s, r: _as_folder_again(s.path.parent)),
    Broken("claims is a file", lambda s, r: _as_file(s.claims), 2, (NOTHING, "- {sweep}/claims " + MOVE),
           lambda s, r: _as_folder_again(s.claims)),
    Broken("workers is a file", lambda s, r: _as_file(s.workers), 2, (NOTHING, "- {sweep}/workers " + MOVE),
           lambda s, r: _as_folder_again(s.workers)),
    Broken("plan.jsonl is a folder", lambda s, r: _as_folder(s.plan_file), 2,
           (NOTHING, "- root or sweep: {sweep}/plan.jsonl: Is a directory"), lambda s, r: s.plan_file.rmdir()),
]  # fmt: skip

# --- python -m analysis -------------------------------------------------------------------------------------

ANALYSIS: list[Row] = [
    ("sweep", ["no sweep was named; give one folder or several, runs/<sweep>"]),
    ("sweep runs/sweep runs/sweep", ["several sweeps belong to no one folder: say where to write, --out DIR"]),
    ("sweep runs/sweep --colour red", ["--colour: nothing to colour by is called red; Known: phase, …"]),
    ("sweep runs/sweep --at 100000", ["--at 100000: no run has a row yet; give a step that runs have reached"]),
    ("sweep runs/swep", ["no such folder: runs/swep; did you mean runs/sweep?"]),
    ("sweep nowhere/at/all", ["no such folder: nowhere/at/all"]),
    ("sweep empty", ["empty is no sweep: it holds no plan.jsonl; expected runs/<sweep>, as …"]),
    ("sweep runs", ["runs is no sweep: it holds no plan.jsonl; it holds sweeps: name one of them, …"]),
    ("sweep {run}", ["{run} is no sweep: it holds no plan.jsonl; it looks like one run's folder: its …"]),
    ("sweep file", ["file is a file; expected a sweep's folder, runs/<sweep>"]),
    (
        "sweep runs/sweep --x nonsense",
        ["--x: unknown setting nonsense; varied here: …"],
    ),
    (
        "sweep runs/sweep --y frac_trian",
        ["--y: unknown setting frac_trian; did you mean data.frac_train? varied here: …"],
    ),
    ("sweep runs/sweep --x final.test_loss", ["--x: unknown setting final.test_loss; varied here: …"]),
    ("sweep runs/sweep --x wd --y wd", ["--x and --y are both optimizer.weight_decay; choose two …"]),
    ("sweep runs/sweep --where p", ["--where takes name=value, for example data.p=59; got 'p'"]),
    ("sweep runs/sweep --where p=5", ["--where p=5: no run has it; data.p is one of 23"]),
    ("sweep runs/sweep --where wdd=1", ["--where: unknown setting wdd; did you mean wd? varied here: …"]),
    ("sweep runs/sweep --where wd=0.1", ["nothing to map: no setting has two values in 1 run; sweep one …"]),
    ("sweep runs/sweep --out file", ["cannot write to file: file is a file; give another folder with …"]),
    (
        "sweep runs/sweep --out file/in",
        ["cannot write to file/in: file is a file; give another folder with …"],
    ),
]
