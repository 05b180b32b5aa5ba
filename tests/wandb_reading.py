"""What W&B's public API (wandb 0.31, `wandb.Api`) asks of a server about runs that it holds; see wandb_server.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wandb_server import StoredRun

PAGE = 7
"""Most runs a page, whatever is asked for: so that tests turn pages."""


def state(run: StoredRun) -> str:
    if run.state is not None:
        return run.state
    if run.exit_code is None:
        return "running"
    if run.exit_code == 0:
        return "finished"
    return "preempted" if run.preempting else "failed"


def runs(stored: Mapping[str, StoredRun], variables: dict[str, Any], whole: bool) -> dict[str, Any]:
    """A page of runs. Filters are those that ours sends: group, and names."""
    project = [run for run in stored.values() if run.project == variables["project"]]
    if not project:
        return {"project": None}
    filters = json.loads(variables["filters"])
    known = {"group", "name"}
    assert filters.keys() <= known, f"filters that the stub does not know: {filters.keys() - known}"
    found = [run for run in project if _passes(run, filters)]
    if variables["order"].startswith("-"):
        found.reverse()
    first = int(variables.get("cursor") or 0)
    page = found[first : first + min(PAGE, variables["perPage"])]
    last = first + len(page)
    edges = [{"node": _node(run, whole), "cursor": str(first + i + 1)} for i, run in enumerate(page)]
    return {
        "project": {
            "internalId": "1", "runCount": len(found), "readOnly": False,
            "runs": {"edges": edges, "pageInfo": {"endCursor": str(last), "hasNextPage": last < len(found)}},
        }
    }  # fmt: skip


def _passes(run: StoredRun, filters: dict[str, Any]) -> bool:
    is_in_group = "group" not in filters or run.group == filters["group"]
    return is_in_group and ("name" not in filters or run.id in filters["name"]["$in"])


def _node(run: StoredRun, whole: bool) -> dict[str, Any]:
    node = {
        "projectId": "1", "id": f"id of {run.id}", "name": run.id, "displayName": run.name, "tags": run.tags,
        "sweepName": None, "state": state(run), "group": run.group, "jobType": run.job_type, "commit": None,
        "readOnly": False, "createdAt": "2026-11-28T00:00:00Z", "heartbeatAt": run.heartbeat_at, "description": None,
        "notes": None, "historyLineCount": len(run.lines), "user": {"name": "t", "username": "t"},
    }  # fmt: skip
    if whole:
        node |= {
            "config": json.dumps(run.raw_config), "summaryMetrics": json.dumps(run.summary), "systemMetrics": "{}",
            "historyKeys": {"lastStep": _last_step(run)},
        }  # fmt: skip
    return node


def _last_step(run: StoredRun) -> int:
    return max((row["_step"] for row in run.history), default=-1)


def history_keys(run: StoredRun) -> dict[str, Any]:
    return {"project": {"run": {"historyKeys": {"lastStep": _last_step(run)}}}}


def parquet_history(run: StoredRun, url: str) -> dict[str, Any]:
    """All rows live, or all of them in one Parquet file, as W&B has it some hours after the end."""
    steps = [{"_step": row["_step"]} for row in run.history]
    found = {"parquetUrls": [], "liveData": steps}
    if run.parquet is not None:
        found = {"parquetUrls": [f"{url}/parquet/{run.id}"], "liveData": []}
    return {"project": {"run": {"parquetHistory": found}}}


def history_page(run: StoredRun, variables: dict[str, Any]) -> dict[str, Any]:
    rows = [row for row in run.history if variables["minStep"] <= row["_step"] < variables["maxStep"]]
    return {"project": {"run": {"history": [json.dumps(row) for row in rows[: variables["pageSize"]]]}}}


def view(views: Mapping[str, dict[str, Any]], projects: set[str], variables: dict[str, Any]) -> dict[str, Any]:
    """A saved view of a project, by its name."""
    if variables["name"] not in projects:
        return {"project": None}
    found = views.get(variables["viewName"])
    return {"project": {"allViews": {"edges": [{"node": found}] if found else []}}}


def upsert_view(views: dict[str, dict[str, Any]], variables: dict[str, Any]) -> dict[str, Any]:
    """With an id the view of this id, else a new one; two of one name would be a mistake of ours."""
    known = {found["id"]: name for name, found in views.items()}
    name = known.get(variables.get("id"), variables["name"])
    inserted = name not in views
    assert inserted or "id" in variables, f"a second view of the name {name}"
    view_id = variables.get("id") or f"id {len(views)}"
    views[name] = {"id": view_id, "displayName": variables["displayName"], "spec": variables["spec"]}
    return {"upsertView": {"view": {"id": view_id, "name": name}, "inserted": inserted}}
