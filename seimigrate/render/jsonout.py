"""Results as JSON: the same input gives the same bytes, and a key is there even where its value is null.

docs/output.md is their description; ``version`` grows when a key goes or changes its meaning.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from seimigrate.domain.finding import Finding
from seimigrate.domain.prospect import Prospect
from seimigrate.render.pages import (
    DryRunPage,
    EndedLine,
    EndedPage,
    PlanPage,
    RunbookLine,
    RunbooksPage,
    StatusLine,
    StatusPage,
    VerifyLine,
    VerifyPage,
)

VERSION = 1

Json = dict[str, Any]


def dumps(data: Json) -> str:
    """Write JSON for machines that people read, too; ASCII alone, whatever the terminal can show."""
    return json.dumps(data, indent=2)


def plan(page: PlanPage) -> Json:
    """Give ``plan -o json``."""
    summary = {
        "nodes": len(page.lines),
        "pending": page.pending,
        "blocked": page.blocked,
        "done": page.done,
        "restarts": page.restarts,
    }
    return {
        "version": VERSION,
        "migration": page.migration,
        "cluster": page.cluster,
        "fingerprint": page.fingerprint,
        "summary": summary,
        "estimate": round(page.seconds),
        "waves": [{"kind": wave.kind, "nodes": [*wave.nodes]} for wave in page.waves],
        "nodes": [_prospect(line) for line in _ordered(page.lines)],
    }


def _node(line: Prospect | StatusLine | VerifyLine) -> Json:
    return {
        "namespace": line.namespace,
        "name": line.name,
        "mode": line.mode,
        "chain": line.chain,
        "shape": {"template": line.template, "pod": line.pod},
    }


def _prospect(line: Prospect) -> Json:
    return {
        **_node(line),
        "stage": line.stage,
        "restarts": line.restarts,
        "changes": [
            {"stage": c.stage, "kind": c.kind, "path": c.path, "before": c.before, "after": c.after}
            for c in line.changes
        ],
        "blockers": [asdict(blocker) for blocker in line.blockers],
        "warnings": [*line.warnings],
    }


def status(page: StatusPage) -> Json:
    """Give ``status -o json``; with ``--watch`` it is the event that ends the stream."""
    summary = {
        "nodes": len(page.lines),
        "open": sum(line.open for line in page.lines),
        "held": sum(line.held for line in page.lines),
        "guarded": sum(line.guarded for line in page.lines),
        "safeToUpgradeController": page.safe,
    }
    return {
        "version": VERSION,
        "run": asdict(page.run) if page.run else None,
        "summary": summary,
        "nodes": [_status(line) for line in _ordered(page.lines)],
    }


def _status(line: StatusLine) -> Json:
    return {
        **_node(line),
        "stage": line.stage,
        "direction": line.direction,
        "outcome": line.outcome,
        "held": line.held,
        "guarded": line.guarded,
        "reason": line.reason,
        "failure": line.failure,
        "notes": [*line.notes],
    }


def ended(page: EndedPage) -> Json:
    """Give the event with which ``apply``, ``hold`` and ``rollback`` end their stream with ``-o json``."""
    nodes = [_ended(line) for line in _ordered(page.lines)]
    return {"version": VERSION, "event": "ended", "run": page.run, "nodes": nodes, "next": page.next}


def _ended(line: EndedLine) -> Json:
    return {
        "namespace": line.namespace,
        "name": line.name,
        "outcome": line.outcome,
        "stage": line.stage,
        "reason": line.reason,
        "failure": line.failure,
        "blockers": [asdict(blocker) for blocker in line.blockers],
        "held": line.held,
        "restarts": line.restarts,
        "notes": [*line.notes],
    }


def verify(page: VerifyPage) -> Json:
    """Give ``verify -o json``."""
    verdicts = [line.verdict for line in page.lines]
    return {
        "version": VERSION,
        "cluster": page.cluster,
        "closed": page.closed,
        "probed": page.probed,
        "summary": {"nodes": len(verdicts)} | {word: verdicts.count(word) for word in ("closed", "open", "unknown")},
        "findings": [_finding(finding, nodes) for finding, nodes in page.findings],
        "nodes": [_verified(line) for line in _ordered(page.lines)],
    }


def _finding(finding: Finding, nodes: tuple[str, ...]) -> Json:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "object": finding.about,
        "place": finding.where,
        "what": finding.what,
        "who": finding.who,
        "next": finding.remedy,
        "nodes": [*nodes],
    }


def _verified(line: VerifyLine) -> Json:
    return {
        **_node(line),
        "verdict": line.verdict,
    }


def runbooks(page: RunbooksPage) -> Json:
    """Give ``runbook list -o json``, and what ``runbook check`` prints where nothing is wrong."""
    return {"version": VERSION, "digest": page.digest, "pages": [asdict(line) for line in page.lines]}


def runbook(line: RunbookLine, text: str, node: str | None) -> Json:
    """Give ``runbook show -o json``; ``node`` is the one that it is filled in for, null for none."""
    return {"version": VERSION, **asdict(line), "node": node, "text": text}


def dry_run(page: DryRunPage) -> Json:
    """Give ``runbook run --dry-run -o json``."""
    nodes = [
        {"namespace": node.namespace, "name": node.name, "steps": [asdict(line) for line in node.steps]}
        for node in _ordered(page.nodes)
    ]
    return {"version": VERSION, "page": page.page, "nodes": nodes}


def _ordered(lines: Any) -> Any:
    return sorted(lines, key=lambda line: (line.namespace, line.name))


def unlocked(holder: str | None) -> Json:
    """Give ``unlock -o json``: who held the lock that was broken, null if nobody did."""
    return {"version": VERSION, "holder": holder}


def answered(word: str, node: str, granted: bool, text: str) -> Json:
    """Give what the live run answered to a wish."""
    return {"version": VERSION, "wish": word, "node": node or None, "granted": granted, "answer": text}


def error(message: str, hint: str, code: int) -> Json:
    """Give an error as it goes to stderr with ``-o json``."""
    return {"version": VERSION, "error": {"message": message, "hint": hint, "exitCode": code}}
