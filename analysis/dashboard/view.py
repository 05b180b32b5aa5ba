"""A dashboard as wandb-workspaces says it: the view that W&B's server takes, and its file. Needs that package.

Our settings have flat names with dots ("optimizer.weight_decay"); at W&B their place is <name>.value. The package
takes a dot for a nested setting, so places are put right in the view that it makes.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from analysis.dashboard.panels import (
    ON_LOG_AXES,
    TIMES,
    Curves,
    Dashboard,
    Differences,
    Media,
    Panel,
    Parallel,
    Points,
    Words,
    word,
)
from grok_sweep.wandb_session import wandb_id

STEP = "step"
MOST_RUNS = 100
"""Curves in a panel; W&B shows the first ones of the list."""
MISSING = "needs wandb-workspaces, which is not installed: .venv/bin/pip install -e '.[dashboard]'"
PINNED = ("phase", *TIMES)


def view_of(board: Dashboard, entity: str, project: str) -> dict[str, Any]:
    """The view as the server takes it: entity, project, displayName, name and spec.

    The same dashboard gives the same view, ids included.

    Raises:
        ValueError: wandb-workspaces is not installed.
    """
    ws, wr = _packages()
    workspace = ws.Workspace(
        entity=entity,
        project=project,
        name=_as_title(f"{board.name}: phases and measures"),
        sections=[_section(ws, wr, section.name, section.panels, section.is_open) for section in board.sections],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=min(max(len(board.colours), 10), MOST_RUNS)),
        runset_settings=ws.RunsetSettings(
            order=[ws.Ordering(ws.Config(_place(name)), ascending=True) for name in board.order],
            run_settings={
                wandb_id_of(board.group, run_id): ws.RunSettings(color=colour)
                for run_id, colour in board.colours.items()
            },
            pinned_columns=[f"summary:{name}" for name in PINNED],
        ),
    )
    model = workspace._to_model()
    view = model.model_dump(by_alias=True, exclude_none=True, mode="json")
    view["name"] = view_name(project, board.group)
    _fill_in(view["spec"]["section"], board)
    return view


def view_name(project: str, group: str) -> str:
    """W&B's name of the view, always the same for a group: made again, it is the same view."""
    return f"nw-{_name(project, group, length=11)}-v"


def wandb_id_of(group: str, run_id: str) -> str:
    """W&B's id of a run; of one that another logger wrote, its run_id is that already (analysis.sources)."""
    return wandb_id(group, run_id) if re.fullmatch("[0-9a-f]{12}", run_id) else run_id


def _packages() -> tuple[Any, Any]:
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise ValueError(f"the dashboard {MISSING}") from error
    return ws, wr


def _name(*parts: str, length: int) -> str:
    """Letters and digits, the same for the same parts."""
    letters = string.ascii_lowercase + string.digits
    return "".join(
        letters[byte % len(letters)] for byte in hashlib.sha256("\0".join(parts).encode()).digest()[:length]
    )


def _as_title(name: str) -> str:
    """wandb-workspaces takes symbols (=, +, <) for emoji, and refuses them in a view's name."""
    return "".join("_" if unicodedata.category(c)[0] in "SC" else c for c in name)


# --- panels -------------------------------------------------------------------------------------------------


def _section(ws: Any, wr: Any, name: str, panels: tuple[Panel, ...], is_open: bool) -> Any:
    return ws.Section(
        name=name,
        panels=[PANELS[type(panel)](wr, panel) for panel in panels],
        is_open=is_open,
        layout_settings=ws.SectionLayoutSettings(columns=3, rows=2),
        panel_settings=ws.SectionPanelSettings(x_axis=STEP),
    )


def _curves(wr: Any, panel: Curves) -> Any:
    grouped = {} if panel.by is None else {
        "groupby": _place(panel.by), "groupby_aggfunc": "median", "groupby_rangefunc": "minmax",
    }  # fmt: skip
    return wr.LinePlot(
        title=panel.title, x=STEP, y=list(panel.y), log_x=True, log_y=panel.log_y, title_x="step",
        max_runs_to_show=MOST_RUNS, smoothing_type="none", ignore_outliers=False, **grouped,
    )  # fmt: skip


def _points(wr: Any, panel: Points) -> Any:
    return wr.ScatterPlot(
        title=panel.title, x=_quantity(wr, panel.x), y=_quantity(wr, panel.y), log_x=_is_log(panel.x), log_y=True,
        z=None if panel.colour is None else _quantity(wr, panel.colour), log_z=_is_log(panel.colour),
    )  # fmt: skip


def _parallel(wr: Any, panel: Parallel) -> Any:
    columns = [
        wr.ParallelCoordinatesPlotColumn(metric=_quantity(wr, name), display_name=word(name), log=is_log)
        for name, is_log in panel.columns
    ]
    return wr.ParallelCoordinatesPlot(title=panel.title, columns=columns)


def _quantity(wr: Any, name: str) -> Any:
    """A time, in a run's summary, or a setting."""
    return wr.SummaryMetric(name) if name in TIMES else wr.Config(name)


def _is_log(name: str | None) -> bool | None:
    return None if name is None else name in ON_LOG_AXES


PANELS: dict[type, Callable[[Any, Any], Any]] = {
    Curves: _curves,
    Points: _points,
    Parallel: _parallel,
    Media: lambda wr, panel: wr.MediaBrowser(title=panel.title, media_keys=[panel.key]),
    Words: lambda wr, panel: wr.MarkdownPanel(markdown=panel.text),
    Differences: lambda wr, panel: wr.RunComparer(diff_only="split"),
}

# --- what the package does not say --------------------------------------------------------------------------


def _place(setting: str) -> str:
    """Where W&B holds a setting with a flat name; the package leaves such a place as it is."""
    return f"{setting}.value"


def _fill_in(section: dict[str, Any], board: Dashboard) -> None:
    """Ids that do not change, the filter (the package would parse a name with quotes), and the places of settings."""
    (runset,) = section["runSets"]
    runset["id"] = _name("runs", board.group, length=9)
    runset["filters"] = {
        "filterFormat": "filterV2",
        "filters": [{"key": {"section": "run", "name": "group"}, "op": "=", "value": board.group, "disabled": False}],
    }
    for part in section["panelBankConfig"]["sections"]:
        for number, panel in enumerate(part["panels"]):
            panel["__id__"] = _name(part["name"], str(number), length=9)
            panel["config"] = json.loads(_with_places(json.dumps(panel["config"])))


def _with_places(text: str) -> str:
    """config:<group>.value.<name> -> config:<group>.<name>.value, for whole strings."""
    for wrong in dict.fromkeys(_strings(json.loads(text))):
        group, dot, name = wrong.removeprefix("config:").partition(".value.")
        if dot:
            text = text.replace(json.dumps(wrong), json.dumps(f"config:{group}.{name}.value"))
    return text


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith("config:"):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def checked(view: dict[str, Any]) -> Any:
    """The view as the package's own model.

    Raises:
        ValueError: the package refuses it, or is not installed; one line.
    """
    _packages()
    from pydantic import ValidationError
    from wandb_workspaces.workspaces.internal import View

    try:
        return View.model_validate({"id": "", **view})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"no view that the installed wandb-workspaces takes: {place}: {first['msg']}") from error
