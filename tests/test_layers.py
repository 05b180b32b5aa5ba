"""Each module imports only what stands before it, and heavy or foreign libraries only where they belong.

The imports are read from the source, those inside functions and under TYPE_CHECKING included: a backward import
that is put off is still one. A module that no layer names fails too: its place is a decision to write down here.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = [
    # The experiment: pure, in the order in which it happens.
    "grok_sweep.config",
    "grok_sweep.companions",
    "grok_sweep.dotted",
    "grok_sweep.draws",
    "grok_sweep.lists",
    "grok_sweep.groups",
    "grok_sweep.operations",
    "grok_sweep.splits",
    "grok_sweep.tasks",
    "grok_sweep.fourier",
    "grok_sweep.models",
    "grok_sweep.optimizers",
    "grok_sweep.train",
    "grok_sweep.ensemble",
    "grok_sweep.measures",
    "grok_sweep.own",
    "grok_sweep.phases",
    "grok_sweep.summary",
    # The same settings as words of a command line.
    "grok_sweep.sweep.command_line",
    "grok_sweep.sweep.retype",
    # One run: its files, its mirror, the order of its writes, the main path.
    "grok_sweep.store",
    "grok_sweep.wandb_session",
    "grok_sweep.run_table",
    "grok_sweep.collected",
    "grok_sweep.machine",
    "grok_sweep.process_state",
    "grok_sweep.commit",
    "grok_sweep.provenance",
    "grok_sweep.loggers",
    "grok_sweep.recorder",
    "grok_sweep.run",
    # A run that has ended: its weights at any step, what is measured afterwards, a notebook's view of it.
    "grok_sweep.replay",
    "grok_sweep.second_pass",
    "grok_sweep.loaded",
    # Many runs, as files: who trains what, and what is left. Nothing here trains or needs torch.
    "grok_sweep.sweep.claims",
    "grok_sweep.sweep.status",
    "grok_sweep.sweep.failures",
    "grok_sweep.sweep.survey",
    "grok_sweep.sweep.reopen",
    "grok_sweep.sweep.interrupt",
    "grok_sweep.sweep.cancel",
    "grok_sweep.settings_list",
    "grok_sweep.sweep.words",
    "grok_sweep.sweep.alone",
    "grok_sweep.sweep.progress",
    "grok_sweep.sweep.grid",
    "grok_sweep.sweep.display",
    "grok_sweep.sweep.dry_run",
    # Many runs, carried out.
    "grok_sweep.sweep.together",
    "grok_sweep.sweep.sizes",
    "grok_sweep.sweep.worker",
    "grok_sweep.sweep.estimate",
    "grok_sweep.launchers",
    "grok_sweep.sweep.overrides",
    "grok_sweep.sweep.plan",
    "hydra_plugins",
    "launch",
    "grok_sweep.commands",
    "grok_sweep.__main__",
]
"""A module may import what stands above it, and its neighbours inside a package that is one layer."""

ANALYSIS = "analysis"
ANALYSIS_READS_UP_TO = "grok_sweep.collected"
ANALYSIS_READS_TOO = ("grok_sweep.loaded", "grok_sweep.sweep.alone", "grok_sweep.commands.paths")
"""Above that: a run as a notebook opens it, the command that trains it alone, and PATH on a command line."""

PURE_UP_TO = "grok_sweep.summary"
EFFECTS = {"os", "io", "pathlib", "shutil", "subprocess", "socket", "tempfile", "logging", "rich", "wandb", "time"}
"""What a pure module has no use for: files, processes, terminals, clocks."""

HYDRA = {"hydra", "omegaconf"}
HYDRA_ONLY_IN = [
    "hydra_plugins",
    "grok_sweep.launchers",
    "grok_sweep.sweep.overrides",
    "grok_sweep.sweep.plan",
    "launch",
]

WITHOUT_TORCH = [
    "grok_sweep.commands",
    "grok_sweep.__main__",
    "grok_sweep.config",
    "grok_sweep.companions",
    "grok_sweep.phases",
    "grok_sweep.summary",
    "grok_sweep.measures.table",
    "grok_sweep.measures.schedule",
    "grok_sweep.dotted",
    "grok_sweep.own",
    "grok_sweep.store",
    "grok_sweep.wandb_session",
    "grok_sweep.run_table",
    "grok_sweep.collected",
    "grok_sweep.machine",
    "grok_sweep.commit",
    "grok_sweep.sweep.claims",
    "grok_sweep.sweep.status",
    "grok_sweep.sweep.failures",
    "grok_sweep.sweep.survey",
    "grok_sweep.sweep.reopen",
    "grok_sweep.sweep.interrupt",
    "grok_sweep.sweep.cancel",
    "grok_sweep.sweep.command_line",
    "grok_sweep.sweep.words",
    "grok_sweep.sweep.alone",
    "grok_sweep.sweep.progress",
    "grok_sweep.sweep.grid",
    "grok_sweep.sweep.display",
    "grok_sweep.sweep.dry_run",
    "grok_sweep.sweep.overrides",
    "grok_sweep.sweep.plan",
    "grok_sweep.launchers",
    "hydra_plugins",
    "launch",
    "analysis.load",
    "analysis.sources",
]
"""Importing these brings no torch along, whatever they import in turn: a plan of thousands of runs is made, and a
sweep is watched and drawn, without its two seconds."""
HEAVY = {"torch", "jaxtyping", "safetensors", "numpy"}


# --- reading imports ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    """`module` imports `target` in line `line`; `at_once`: on being imported itself."""

    module: str
    target: str
    line: int
    at_once: bool

    def __str__(self) -> str:
        return f"{self.module} (line {self.line}) imports {self.target}"


def sources(root: Path) -> dict[str, Path]:
    """Module name -> file, of everything the order is about."""
    files = [root / "launch.py"]
    for package in ("grok_sweep", "analysis", "hydra_plugins"):
        files += sorted((root / package).rglob("*.py"))
    return {module_name(file.relative_to(root)): file for file in files if file.exists()}


def module_name(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(root: Path) -> list[Import]:
    files = sources(root)
    return [found for module, file in files.items() for found in _imports_of(module, file, files)]


def _imports_of(module: str, file: Path, known: Iterable[str]) -> Iterable[Import]:
    tree = ast.parse(file.read_text(), filename=str(file))
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]

    def visit(node: ast.AST, at_once: bool) -> Iterable[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, at_once)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{source}.{alias.name}"  # a module of ours, or a name inside one
                yield Import(module, name if name in known else source, node.lineno, at_once)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for child in ast.iter_child_nodes(node):
                yield from visit(child, at_once=False)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.body:
                yield from visit(child, at_once=False)
            for child in node.orelse:
                yield from visit(child, at_once)
        else:
            for child in ast.iter_child_nodes(node):
                yield from visit(child, at_once)

    return visit(tree, at_once=True)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def is_ours(module: str) -> bool:
    return any(within(module, name) for name in ("grok_sweep", "analysis", "hydra_plugins", "launch"))


def is_bare_package(module: str, files: dict[str, Path]) -> bool:
    """A package whose __init__ imports nothing: it stands for a folder."""
    return files[module].name == "__init__.py" and not list(_imports_of(module, files[module], files))


# --- the laws: each returns what breaks it ------------------------------------------------------------------


def place(module: str) -> int | None:
    if module == "grok_sweep":  # its __init__ holds load(), which opens a run
        return LAYERS.index("grok_sweep.loaded")
    return next((i for i, layer in enumerate(LAYERS) if within(module, layer)), None)


def without_a_place(root: Path) -> list[str]:
    files = sources(root)
    return [
        f"{module} stands in no layer"
        for module in files
        if not within(module, ANALYSIS) and place(module) is None and not is_bare_package(module, files)
    ]


def backward(root: Path) -> list[str]:
    found = []
    for i in imports(root):
        if not is_ours(i.target):
            continue
        here, there = place(i.module), place(i.target)
        if within(i.module, ANALYSIS):
            last = LAYERS.index(ANALYSIS_READS_UP_TO)
            may = within(i.target, ANALYSIS) or i.target in ANALYSIS_READS_TOO
            wrong = not may and (there is None or there > last)
        else:
            wrong = here is None or there is None or there > here
        if wrong:
            found.append(f"{i}, which does not stand before it")
    return found


def cycles(root: Path) -> list[str]:
    """A cycle of imports, also inside one layer; by taking away modules that import nothing that is left."""
    files = sources(root)
    needs: dict[str, set[str]] = {module: set() for module in files}
    for i in imports(root):
        needs[i.module] |= {i.target} & set(files)
    while free := [module for module, targets in needs.items() if not targets & set(needs)]:
        for module in free:
            del needs[module]
    return [f"{module} imports, in the end, itself" for module in needs]


def foreign(root: Path) -> list[str]:
    """Hydra outside its places; files, clocks and terminals in pure modules."""
    found = []
    for i in imports(root):
        library = i.target.partition(".")[0]
        if library in HYDRA and not any(within(i.module, name) for name in HYDRA_ONLY_IN):
            found.append(f"{i}: Hydra ends at the launchers, sweep.plan and launch.py")
        here = place(i.module)
        if library in EFFECTS and here is not None and here <= LAYERS.index(PURE_UP_TO):
            found.append(f"{i}: a pure module opens no file, prints nothing and reads no clock")
    return found


def brings_torch(root: Path) -> list[str]:
    """Modules of WITHOUT_TORCH that import it at once, by themselves or through others; with the way there."""
    files = sources(root)
    at_once: dict[str, list[Import]] = {module: [] for module in files}
    for i in imports(root):
        if i.at_once:
            at_once[i.module].append(i)

    def way(module: str, seen: set[str]) -> str | None:
        for i in at_once[module]:
            if i.target.partition(".")[0] in HEAVY:
                return str(i)
            # Importing a.b.c runs a and a.b too.
            parts = i.target.split(".")
            for target in [".".join(parts[:n]) for n in range(1, len(parts) + 1)]:
                if target in files and target not in seen:
                    seen.add(target)
                    if rest := way(target, seen):
                        return f"{i}; {rest}"
        return None

    wanted = [module for module in files if any(within(module, name) for name in WITHOUT_TORCH)]
    return [found for module in wanted if (found := way(module, {module}))]


LAWS = [without_a_place, backward, cycles, foreign, brings_torch]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_layers(law):
    assert "\n".join(law(ROOT)) == ""


def test_every_file_of_the_program_is_read():
    names = set(sources(ROOT))
    assert {
        "launch",
        "grok_sweep.config",
        "grok_sweep.companions",
        "grok_sweep.sweep.claims",
        "hydra_plugins.grok_sweep",
        "analysis.load",
    } <= names
    targets = {(i.module, i.target) for i in imports(ROOT)}
    assert ("grok_sweep.run", "grok_sweep.train") in targets  # from grok_sweep import train
    assert ("grok_sweep.run", "grok_sweep.config") in targets  # from grok_sweep.config import ...
    assert ("grok_sweep.store", "safetensors") in targets  # inside a function


def test_the_order_names_modules_that_exist():
    planned = {"grok_sweep.ensemble"}
    assert not [layer for layer in LAYERS if not any(within(name, layer) for name in {*sources(ROOT), *planned})]
    assert not [name for name in WITHOUT_TORCH if not any(within(module, name) for module in sources(ROOT))]


# --- the laws can be broken ---------------------------------------------------------------------------------

OFFENCES = [
    (backward, "grok_sweep/tasks.py", "from grok_sweep.train import step", "tasks (line 1) imports grok_sweep.train"),
    (backward, "grok_sweep/tasks.py", "from grok_sweep import config, train", "imports grok_sweep.train"),
    (backward, "grok_sweep/tasks.py", "from . import train", "imports grok_sweep.train"),
    (backward, "grok_sweep/models/build.py", "from ..train import step", "imports grok_sweep.train"),
    (backward, "grok_sweep/tasks.py", "import grok_sweep.train as t", "imports grok_sweep.train"),
    (backward, "grok_sweep/tasks.py", "def f():\n    from grok_sweep.train import step", "(line 2)"),
    (backward, "grok_sweep/tasks.py", "if TYPE_CHECKING:\n    from grok_sweep.train import step", "(line 2)"),
    (backward, "grok_sweep/tasks.py", "from analysis.load import load_sweep", "imports analysis.load"),
    (backward, "grok_sweep/run.py", "from grok_sweep.sweep.claims import Claim", "imports grok_sweep.sweep.claims"),
    (backward, "analysis/load.py", "from grok_sweep.run import run_one", "load (line 1) imports grok_sweep.run"),
    (without_a_place, "grok_sweep/helpers.py", "import math", "grok_sweep.helpers stands in no layer"),
    (without_a_place, "grok_sweep/sweep/more.py", "", "grok_sweep.sweep.more stands in no layer"),
    (backward, "grok_sweep/__init__.py", "from grok_sweep.launchers.pool import f", "grok_sweep (line 1) imports"),
    (brings_torch, "grok_sweep/__init__.py", "import torch", "grok_sweep (line 1) imports torch"),
    (cycles, "grok_sweep/models/build.py", "from grok_sweep.models import other", "grok_sweep.models.build imports"),
    (foreign, "grok_sweep/run.py", "import hydra.utils", "imports hydra.utils"),
    (foreign, "analysis/load.py", "def f():\n    from omegaconf import OmegaConf", "analysis.load (line 2)"),
    (foreign, "grok_sweep/sweep/grid.py", "from omegaconf import OmegaConf", "imports omegaconf"),
    (foreign, "grok_sweep/measures/losses.py", "from pathlib import Path", "imports pathlib"),
    (brings_torch, "grok_sweep/config.py", "import torch.nn", "grok_sweep.config (line 1) imports torch.nn"),
    (brings_torch, "grok_sweep/phases.py", "try:\n    import torch\nexcept ImportError:\n    pass", "(line 2)"),
    (brings_torch, "grok_sweep/sweep/claims.py", "from grok_sweep.train import step", "; grok_sweep.train (line 1)"),
    (brings_torch, "grok_sweep/launchers/pool.py", "class A:\n    import torch", "(line 2)"),
]  # fmt: skip

ALLOWED = [
    ("grok_sweep/store.py", "if TYPE_CHECKING:\n    import torch\nelse:\n    import math"),
    ("grok_sweep/store.py", "def f():\n    import torch, safetensors"),
    ("grok_sweep/train.py", "import torch\nfrom grok_sweep.models import other\nfrom .config import RunConfig"),
    ("grok_sweep/models/build.py", "from . import parameters"),
    ("grok_sweep/launchers/pool.py", "def f():\n    from grok_sweep.sweep.worker import work\nimport hydra, os"),
    ("grok_sweep/sweep/plan.py", "from hydra.core import plugins\nfrom grok_sweep.launchers.pool import f"),
    ("analysis/load.py", "from grok_sweep.models import other\nfrom grok_sweep.store import RunDir\nimport analysis"),
]


def program(root: Path, file: str, text: str) -> Path:
    """A small program that keeps every law, with one file replaced."""
    innocent = {
        "launch.py": "import hydra",
        "grok_sweep/__init__.py": '"""A package."""',
        "grok_sweep/config.py": "import math",
        "grok_sweep/models/__init__.py": "",
        "grok_sweep/models/parameters.py": "",
        "grok_sweep/models/other.py": "def f():\n    from grok_sweep.models.build import g",
        "grok_sweep/train.py": "import torch",
        "grok_sweep/store.py": "import os",
        "grok_sweep/run.py": "import torch\nfrom grok_sweep import train",
        "grok_sweep/sweep/__init__.py": "",
        "grok_sweep/sweep/claims.py": "from grok_sweep.store import SweepDir",
        "grok_sweep/sweep/worker.py": "from grok_sweep.run import run_one",
        "grok_sweep/launchers/pool.py": "",
        "analysis/__init__.py": "",
        "analysis/load.py": "from grok_sweep.store import RunDir",
    }
    for name, content in {**innocent, file: text}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(textwrap.dedent(content))
    return root


@pytest.mark.parametrize(
    "law, file, text, named", OFFENCES, ids=[f"{law.__name__} {text}" for law, _, text, _ in OFFENCES]
)
def test_an_offence_is_found_and_named(tmp_path: Path, law, file: str, text: str, named: str):
    found = law(program(tmp_path, file, text))
    assert len(found) >= 1
    assert any(named in line for line in found), found


@pytest.mark.parametrize("file, text", ALLOWED, ids=[text for _, text in ALLOWED])
def test_what_is_allowed_is_no_offence(tmp_path: Path, file: str, text: str):
    root = program(tmp_path, file, text)
    assert [line for law in LAWS for line in law(root)] == []
