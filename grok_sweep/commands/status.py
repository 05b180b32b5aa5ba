"""status: how far a sweep is, who works on it, what failed and why."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from grok_sweep.commands.launches import how_to_continue
from grok_sweep.commands.paths import sweep_at
from grok_sweep.store import ENDED, State, SweepDir
from grok_sweep.sweep.cancel import is_cancelled
from grok_sweep.sweep.claims import Holder
from grok_sweep.sweep.command_line import EXIT_DONE, EXIT_RUN_FAILED
from grok_sweep.sweep.survey import Pace, Seen, pace, runs_per_hour, seconds_left, survey, workers
from grok_sweep.sweep.words import axes_in_words, columns, command, duration, end_of_log, named, number, some

MOST_LINES = 20
"""Lines of a list, where not all of it is asked for."""
MOST_DEAD = 5
MOST_TRACEBACKS = 2


def add(commands: Any) -> None:
    parser = commands.add_parser("status", help="how far a sweep is, who works on it, what failed and why")
    parser.add_argument("path", type=Path, help="a sweep's folder")
    parser.add_argument("--failed", action="store_true", help="every failed run with the end of its log")
    parser.add_argument("--all", action="store_true", help="every line of every list")
    parser.add_argument("--json", action="store_true", help="the same as JSON, to be read by programs")
    parser.set_defaults(carry_out=carry_out)


def carry_out(given: argparse.Namespace) -> int:
    """0; 1 where some run failed."""
    sweep = sweep_at(given.path)
    seen = survey(sweep)
    failed = [s for s in seen if s.state is State.failed and not s.is_worked_on]
    if given.json:
        print(json.dumps(as_json(sweep, seen), indent=1, allow_nan=False))
    elif given.failed:
        print("\n".join(line for s in failed for line in with_its_log(sweep, s)) or "no run failed")
    else:
        print("\n".join(in_words(sweep, seen, None if given.all else MOST_LINES)))
    return EXIT_RUN_FAILED if failed else EXIT_DONE


# --- in words -----------------------------------------------------------------------------------------------


def in_words(sweep: SweepDir, seen: Sequence[Seen], most: int | None) -> list[str]:
    """The whole answer; of lists at most so many lines each."""
    paces = _paces(sweep, seen)
    failed = [s for s in seen if s.state is State.failed and not s.is_worked_on]
    dead = [s for s in seen if s.is_left_by_the_dead]
    lines = [f"{some(len(seen), 'run')} in {sweep.path}", counted(seen), _how_far(seen, paces)]
    lines += _workers(paces, most)
    if dead:
        lines += ["", f"left by workers that died: {len(dead)}; the next worker goes on with them"]
        lines += shortened([f"  {named(s.run)} {_last_held(s.holder)}" for s in dead], most and MOST_DEAD)
    lines += _failures(sweep, failed, most)
    return lines + _what_next(sweep, seen, paces, len(failed))


def counted(seen: Sequence[Seen]) -> str:
    """9320 done, 100 failed, 16 running, …: what somebody works on is running, whatever its status says still."""
    n = Counter("running" if s.is_worked_on else "left" if s.is_left_by_the_dead else s.state.value for s in seen)
    words = {state.value: state.value for state in (State.done, State.diverged, State.failed, State.running)}
    words |= {"left": "left by dead workers", "interrupted": "interrupted", "planned": "planned"}
    return ", ".join(f"{n[key]} {word}" for key, word in words.items() if n[key]) or "none"


def _how_far(seen: Sequence[Seen], paces: Sequence[Pace]) -> str:
    reached = {p.seen.run.run_id: p.step for p in paces}
    # A stop rule, or divergence, ends a run before its last step: nothing of it is left.
    at_end = {s.run.run_id for s in seen if s.state in ENDED and not s.needs_work}
    steps = sum(s.n_steps if s.run.run_id in at_end else reached.get(s.run.run_id, s.step) for s in seen)
    said = [f"{100 * steps / max(1, sum(s.n_steps for s in seen)):.1f} % of the steps"]
    if paces:
        said.append(f"{number(sum(p.steps_per_s or 0.0 for p in paces), '.0f')} steps/s")
        if (per_hour := runs_per_hour(seen)) is not None:
            said.append(f"{per_hour:.0f} runs/h lately")
        if (left := seconds_left(seen, paces)) is not None:
            said.append(f"at most about {duration(left)} left")
    return ", ".join(said)


def _paces(sweep: SweepDir, seen: Sequence[Seen]) -> list[Pace]:
    return [pace(sweep.run(s.run.run_id), s) for s in seen if s.is_worked_on]


def _workers(paces: Sequence[Pace], most: int | None) -> list[str]:
    if not paces:
        return []
    at_work = workers([p.seen for p in paces])
    hosts = Counter(holder.host for holder in at_work)
    rows = [["run", "step", "steps/s", "left", "host", "pid", "sign", ""]]
    held = [(p, p.seen.holder) for p in paces if p.seen.holder]
    rows += [_worker(p, holder) for p, holder in sorted(held, key=lambda one: (one[1].host, one[1].pid))]
    lines = [cut(line) for line in columns(rows)]
    at = ", ".join(f"{n} on {host}" for host, n in hosts.most_common(5)) + (", …" if len(hosts) > 5 else "")
    together = f", with {len(paces)} runs" if len(paces) > len(at_work) else ""
    return ["", f"at work: {at}{together}", f"  {lines[0]}", *shortened([f"  {line}" for line in lines[1:]], most)]


def _worker(p: Pace, holder: Holder) -> list[str]:
    return [
        p.seen.run.run_id,
        f"{p.step}/{p.seen.n_steps}",
        number(p.steps_per_s, ".0f"),
        duration(p.seconds_left),
        holder.host,
        str(holder.pid),
        f"{max(holder.age_s, 0):.0f} s ago",
        axes_in_words(p.seen.run),
    ]


def _last_held(holder: Holder | None) -> str:
    return f"pid {holder.pid} on {holder.host}" if holder else "with no claim"


def _failures(sweep: SweepDir, failed: Sequence[Seen], most: int | None) -> list[str]:
    """By their errors, the most frequent first: one run of each, the first ones with the end of its log."""
    if not failed:
        return []
    by_error: dict[str, list[Seen]] = {}
    for s in failed:
        by_error.setdefault(str(s.status.get("error")), []).append(s)
    lines = ["", f"failed: {len(failed)}"]
    kinds = sorted(by_error.values(), key=len, reverse=True)
    for i, alike in enumerate(kinds[:most]):
        first, n_others = alike[0], len(alike) - 1
        lines.append(cut(f"  {len(alike)} × {first.status.get('error')}"))
        others = f", and {n_others} more" if n_others else ""
        lines.append(f"      {named(first.run)}{others}; log: {sweep.run(first.run.run_id).log_file}")
        if i < MOST_TRACEBACKS:
            lines += [f"      | {line}" for line in end_of_log(sweep.run(first.run.run_id))]
    if most is not None and len(kinds) > most:
        lines.append(f"  … and {len(kinds) - most} other errors: --all")
    return lines


def with_its_log(sweep: SweepDir, seen: Seen) -> list[str]:
    run_dir = sweep.run(seen.run.run_id)
    head = f"{named(seen.run)} failed at step {seen.step}: {seen.status.get('error')}"
    return [head, *(f"    | {line}" for line in end_of_log(run_dir)), f"    {run_dir.log_file}"]


def _what_next(sweep: SweepDir, seen: Sequence[Seen], paces: Sequence[Pace], n_failed: int) -> list[str]:
    folder, lines = shlex.quote(str(sweep.path)), [""]
    n_left = sum(s.needs_work and not s.is_worked_on for s in seen)
    if paces:
        lines.append("to watch: " + command("-m grok_sweep watch", folder))
        if n_cancelled := _n_cancelled(sweep, seen):
            lines.append(f"cancelled, and left until a launch is given: {some(n_cancelled, 'run')}")
    elif n_left:
        lines += [f"nobody works on what is left, {some(n_left, 'run')}", *how_to_continue(sweep, seen)]
    else:
        lines.append("next: " + command("-m analysis sweep", folder))
    if n_failed:
        lines.append("every failed run: " + command("-m grok_sweep status --failed", folder))
        lines.append("to train them again: " + command("-m grok_sweep retry", folder))
    return lines


def _n_cancelled(sweep: SweepDir, seen: Sequence[Seen]) -> int:
    """Runs cancelled one by one since the last launch: those who are at work leave them alone."""
    last = [str(launch.get("started")) for launch in sweep.launches()][-1:]
    since = max((datetime.fromisoformat(started).timestamp() for started in last), default=0.0)
    at_rest = [s for s in seen if s.needs_work and not s.is_worked_on]
    return sum(is_cancelled(sweep.run(s.run.run_id).cancel_file, since) for s in at_rest)


def shortened(lines: Sequence[str], most: int | None) -> list[str]:
    """The lines, or the first of them and how many more there are."""
    if most is None or len(lines) <= most:
        return list(lines)
    return [*lines[:most], f"  … and {len(lines) - most} more: --all"]


def cut(line: str) -> str:
    """A line as wide as the terminal at most."""
    width = shutil.get_terminal_size().columns - 2
    return line if len(line) <= width else line[: width - 1] + "…"


# --- for programs -------------------------------------------------------------------------------------------


def as_json(sweep: SweepDir, seen: Sequence[Seen]) -> dict[str, Any]:
    """Counts and runs by state. running: somebody works on it; left: running by its status, but nobody is there."""
    paces = _paces(sweep, seen)
    n = Counter("running" if s.is_worked_on else "left" if s.is_left_by_the_dead else s.state.value for s in seen)
    return {
        "sweep": str(sweep.path),
        "n_runs": len(seen),
        "counts": {key: n[key] for key in (*(state.value for state in State), "left")},
        "steps_per_s": sum(p.steps_per_s or 0.0 for p in paces) if paces else None,
        "runs_per_hour": runs_per_hour(seen),
        "seconds_left": seconds_left(seen, paces),
        "running": [_pace_as_json(p, p.seen.holder) for p in paces if p.seen.holder],
        "failed": [
            {"run_id": s.run.run_id, "axes": s.run.axes, "step": s.step, "error": s.status.get("error")}
            for s in seen
            if s.state is State.failed and not s.is_worked_on
        ],
        "interrupted": [s.run.run_id for s in seen if s.state is State.interrupted and not s.is_worked_on],
        "left": [s.run.run_id for s in seen if s.is_left_by_the_dead],
    }


def _pace_as_json(p: Pace, holder: Holder) -> dict[str, Any]:
    return {
        "run_id": p.seen.run.run_id,
        "axes": p.seen.run.axes,
        "host": holder.host,
        "pid": holder.pid,
        "last_sign_s": holder.age_s,
        "step": p.step,
        "n_steps": p.seen.n_steps,
        "steps_per_s": p.steps_per_s,
        "seconds_left": p.seconds_left,
        "row": p.row,
    }
