"""A W&B server for tests: what the real client (wandb 0.31) asks of one, kept in memory, and failing when told to.

The client's helper process, wandb-core, speaks HTTP itself: nothing inside Python can stand in for the server. The
stub answers GraphQL by the operation's name, takes the file stream (history, summary) by offset, as W&B's own mock
server does (its pull request 3933), and any upload. `alone` points this process's client at it and at nothing else.
"""

from __future__ import annotations

import json
import os
import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import wandb_reading as reading
from wandb_artifacts import Artifacts

from grok_sweep import loggers, run

KEY = "local-" + "0123456789" * 4
ENTITY = "tester"
HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"


class Fault(Enum):
    """none: all is well; error: every answer is 500; mute: the file stream's is, and what it brought is kept;
    silence: no answer at all, until it is over."""

    none = "none"
    error = "error"
    mute = "mute"
    silence = "silence"


@dataclass
class StoredRun:
    """One run as the server knows it.

    Attributes:
        lines: rows of the history by their offset; a row sent twice to one offset is there once.
        n_received: rows that came, those sent again included.
        exit_code: None until the client says that the run is over.
        preempting: the client said that it stops before the end.
        state: what W&B says of the run where that does not follow from the end: crashed, killed, pending.
        parquet: the history exported to a file; None: not yet.
        heartbeat_at: changes with whatever comes from the client.
    """

    id: str
    project: str
    name: str = ""
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    raw_config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, dict[str, Any]] = field(default_factory=dict)
    n_received: int = 0
    exit_code: int | None = None
    preempting: bool = False
    state: str | None = None
    parquet: bytes | None = None
    n_requests: int = 0
    uploads: dict[str, bytes] = field(default_factory=dict)

    @property
    def heartbeat_at(self) -> str:
        return f"2026-11-28T00:{self.n_requests // 60:02}:{self.n_requests % 60:02}Z"

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows in the order of their offsets, W&B's own `_step` and the like included."""
        return [self.lines[offset] for offset in sorted(self.lines)]

    @property
    def config(self) -> dict[str, Any]:
        return {name: entry["value"] for name, entry in self.raw_config.items() if name != "_wandb"}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history as it was logged, without W&B's own additions."""
        return [{name: value for name, value in row.items() if name[0] != "_"} for row in self.history]

    @property
    def step_axes(self) -> dict[str, str]:
        """Metric or pattern -> the metric that is its axis."""
        # Numbered fields of wandb_internal.MetricRecord: 1 name, 2 pattern, 5 place of the step metric, from 1.
        metrics = self.raw_config["_wandb"]["value"]["m"]
        return {m.get("1") or m["2"]: metrics[m["5"] - 1]["1"] for m in metrics if "5" in m}


class WandbServer:
    """Listens on a free port of this machine until `close`.

    Attributes:
        runs: by id.
        artifacts: every version.
        views: saved workspaces, by name.
        requests: path of each HTTP request that came.
        operations: name of each GraphQL request that came.
        unknown: what was asked that the stub has no answer to.
        fault: what is wrong with it; may change at any time.
        stale_after: None, or a number of rows: what the server says of its last row and of the summary is as old as
            that row, while the count of rows is up to date (wandb's pull request 12668: both come from a cache).
    """

    def __init__(self) -> None:
        self.runs: dict[str, StoredRun] = {}
        self.key = KEY
        self.views: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.operations: list[str] = []
        self.unknown: list[str] = []
        self.stale_after: int | None = None
        self._fault = Fault.none
        self._well = threading.Event()
        self._well.set()
        self.lock = threading.RLock()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.stub = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.artifacts = Artifacts(self.url)
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def fault(self) -> Fault:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault = fault
        (self._well.clear if fault is Fault.silence else self._well.set)()

    def wait_while_silent(self) -> None:
        self._well.wait()

    def close(self) -> None:
        """Die: the port refuses from here on, and answers that hung are dropped."""
        self._http.shutdown()
        self._http.server_close()
        self.fault = Fault.error

    # --- GraphQL ------------------------------------------------------------------------------------------

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The `data` of the answer to one GraphQL request."""
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        operation = found[1] if found else query
        with self.lock:
            self.operations.append(operation)
            answers = {
                "Viewer": self._viewer,
                "ServerFeaturesQuery": lambda v: {"serverInfo": {"features": []}},
                "RunResumeStatus": self._resume_status,
                "UpsertBucket": self._upsert,
                "CreateRunFiles": self._create_files,
                "GetDefaultEntity": self._viewer,
                "Runs": lambda v: reading.runs(self.runs, v, whole="summaryMetrics" in query),
                "RunHistoryKeys": lambda v: reading.history_keys(self.runs[v["name"]]),
                "RunParquetHistory": lambda v: reading.parquet_history(self.runs[v["runName"]], self.url),
                "HistoryPage": lambda v: reading.history_page(self.runs[v["run"]], v),
                "View": lambda v: reading.view(self.views, {run.project for run in self.runs.values()}, v),
                "UpsertView2": lambda v: reading.upsert_view(self.views, v),
                **self.artifacts.answers,
            }
            if operation not in answers:
                self.unknown.append(operation)
                return {}
            return answers[operation](variables)

    def _viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "viewer": {
                "id": "1", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": {"edges": []},
            }
        }  # fmt: skip

    def _resume_status(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(variables["name"])
        bucket = None
        if run is not None:
            known, summary = run.history, run.summary
            if self.stale_after is not None:
                known = known[: self.stale_after]
                summary = known[-1]
            tail = [json.dumps(row) for row in known[-1:]]
            bucket = {
                "id": run.id, "name": run.id, "displayName": run.name, "tags": run.tags, "notes": None,
                "summaryMetrics": json.dumps(summary), "config": json.dumps(run.raw_config),
                "historyLineCount": len(run.lines), "historyTail": json.dumps(tail),
                "logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]", "wandbConfig": '{"t": 1}',
            }  # fmt: skip
        return {"model": self._project(variables["project"]) | {"bucket": bucket}}

    def _upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        inserted = variables["name"] not in self.runs
        run = self.runs.setdefault(variables["name"], StoredRun(variables["name"], variables["project"]))
        run.name = variables.get("displayName") or run.name
        run.group = variables.get("groupName") or run.group
        run.job_type = variables.get("jobType") or run.job_type
        if variables.get("tags") is not None:
            run.tags = variables["tags"]
        if variables.get("config"):
            run.raw_config = json.loads(variables["config"])
        if variables.get("summaryMetrics"):
            run.summary = json.loads(variables["summaryMetrics"])
        bucket = {
            "id": run.id, "name": run.id, "displayName": run.name, "description": None, "sweepName": None,
            "config": json.dumps(run.raw_config), "project": self._project(run.project),
            "historyLineCount": len(run.lines),
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _create_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = quote(variables["run"])
        files = [{"name": name, "uploadUrl": f"{self.url}/uploads/{run}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}

    @staticmethod
    def _project(name: str) -> dict[str, Any]:
        return {"id": name, "name": name, "entity": {"id": ENTITY, "name": ENTITY}}

    # --- files --------------------------------------------------------------------------------------------

    def take_stream(self, run_id: str, body: dict[str, Any]) -> None:
        """One request of the file stream: lines with their offset, and at the end the exit code."""
        with self.lock:
            run = self.runs[run_id]
            run.n_requests += 1
            files = body.get("files") or {}
            if HISTORY in files:
                rows = [json.loads(line) for line in files[HISTORY]["content"]]
                run.lines |= dict(enumerate(rows, files[HISTORY]["offset"]))
                run.n_received += len(rows)
            if SUMMARY in files:
                run.summary = json.loads(files[SUMMARY]["content"][-1])
            run.preempting |= bool(body.get("preempting"))
            if body.get("complete"):
                run.exit_code = body.get("exitcode")

    def take_upload(self, path: str, content: bytes) -> None:
        _, run_id, name = unquote(path).strip("/").split("/", 2)
        with self.lock:
            if run_id in self.runs:
                self.runs[run_id].uploads[name] = content
            else:
                self.artifacts.take_upload(run_id, name, content)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    stub: WandbServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave, or are killed, while they are answered."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the tests' terminal."""

    def do_POST(self) -> None:
        stub, body = self.server.stub, self._body()
        stream = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
        if not self._is_served():
            return
        if self.path == "/graphql":
            request = json.loads(body)
            self._send(200, {"data": stub.answer(request["query"], request.get("variables") or {})})
        elif stream:
            stub.take_stream(unquote(stream[1]), json.loads(body))
            self._send(500 if stub.fault is Fault.mute else 200, {})
        else:
            stub.unknown.append(self.path)
            self._send(404, {"error": self.path})

    def do_PUT(self) -> None:
        body = self._body()
        if self._is_served(needs_key=False):
            self.server.stub.take_upload(self.path, body)
            self._send(200, {})

    def do_GET(self) -> None:
        run = self.server.stub.runs.get(unquote(self.path).removeprefix("/parquet/"))
        if run is None or run.parquet is None:
            self._send(404, {})
        else:
            self.server.stub.requests.append(self.path)
            self._send_bytes(200, "application/octet-stream", run.parquet)

    def _is_served(self, needs_key: bool = True) -> bool:
        """False where the answer is already given: an error, or that the key is wrong."""
        stub = self.server.stub
        stub.requests.append(self.path)
        stub.wait_while_silent()
        if stub.fault is Fault.error:
            self._send(500, {"error": "told to fail"})
            return False
        wanted = "Basic " + b64encode(f"api:{KEY}".encode()).decode()
        if needs_key and self.headers.get("Authorization") != wanted:
            self._send(401, {"error": "wrong key"})
            return False
        return True

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, status: int, content: dict[str, Any]) -> None:
        self._send_bytes(status, "application/json", json.dumps(content).encode())

    def _send_bytes(self, status: int, kind: str, payload: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    server = WandbServer()
    try:
        yield server
    finally:
        server.close()


# --- the client's side --------------------------------------------------------------------------------------

NOWHERE = "http://127.0.0.1:9"
"""Port 9: nobody listens."""


def alone(monkeypatch: pytest.MonkeyPatch, home: Path, url: str = NOWHERE, key: str | None = KEY) -> None:
    """Give wandb in this process and its children one server and one key, and no settings of a user's.

    Runs here look at the clock of their checkpoints after every step, not every second: mirrors get their rows soon.
    """
    forget()
    monkeypatch.setattr(run, "TICK_S", 0.0)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_BASE_URL", url)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    if key is not None:
        monkeypatch.setenv("WANDB_API_KEY", key)


def forget() -> None:
    """End wandb in this process, and what ours remembers of it."""
    loggers._open_runs.clear()
    loggers._in_vain = None
    loggers._let_go_of_wandb()
    assert not helpers()


def helpers() -> list[int]:
    """The wandb-core processes that this process started and that live."""
    return [pid for pid in _children(os.getpid()) if _command(pid)[0].endswith("wandb-core")]


def _children(parent: int) -> list[int]:
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, ppid = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(ppid) == parent and state != "Z":
            children.append(int(folder.name))
    return children


def _command(pid: int) -> list[str]:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text().split("\0")
    except OSError:
        return [""]
