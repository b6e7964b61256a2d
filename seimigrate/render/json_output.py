"""Results as JSON: the same input gives the same bytes, and a key is there even where its value is null.

docs/output.md is their description; ``version`` grows when a key goes or changes its meaning.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any

from seimigrate.domain.findings import Finding
from seimigrate.domain.node.preview import NodePlan
from seimigrate.render.reports import (
    DryRunReport,
    PlanReport,
    ResultRow,
    RunbookList,
    RunbookRow,
    RunReport,
    StatusReport,
    StatusRow,
    VerifyReport,
    VerifyRow,
)

VERSION = 1

Json = dict[str, Any]


def dumps(data: Json) -> str:
    """Write JSON for machines that people read, too; ASCII alone, whatever the terminal can show."""
    return json.dumps(data, indent=2)


def plan(report: PlanReport) -> Json:
    """Give ``plan -o json``."""
    summary = {
        "nodes": len(report.nodes),
        "pending": report.pending,
        "blocked": report.blocked,
        "done": report.done,
        "restarts": report.restarts,
    }
    return {
        "version": VERSION,
        "migration": report.migration,
        "cluster": report.cluster,
        "fingerprint": report.fingerprint,
        "summary": summary,
        "estimate": round(report.seconds),
        "waves": [{"kind": wave.kind, "nodes": [*wave.nodes]} for wave in report.waves],
        "nodes": [_plan_node(line) for line in _ordered(report.nodes)],
    }


def _node(line: NodePlan | StatusRow | VerifyRow) -> Json:
    return {
        "namespace": line.namespace,
        "name": line.name,
        "mode": line.mode,
        "chain": line.chain,
        "shape": {"template": line.template, "pod": line.pod},
    }


def _plan_node(node: NodePlan) -> Json:
    return {
        **_node(node),
        "stage": node.stage,
        "restarts": node.restarts,
        "changes": [
            {"stage": c.stage, "kind": c.kind, "path": c.path, "before": c.before, "after": c.after}
            for c in node.changes
        ],
        "blockers": [asdict(blocker) for blocker in node.blockers],
        "warnings": [*node.warnings],
    }


def status(report: StatusReport) -> Json:
    """Give ``status -o json``; with ``--watch`` it is the event that ends the stream."""
    summary = {
        "nodes": len(report.rows),
        "unfinished": sum(row.unfinished for row in report.rows),
        "held": sum(row.held for row in report.rows),
        "guarded": sum(row.guarded for row in report.rows),
        "safeToUpgradeController": report.safe_to_upgrade,
    }
    return {
        "version": VERSION,
        "run": _camel_keys(asdict(report.run)) if report.run else None,
        "summary": summary,
        "nodes": [_status_row(line) for line in _ordered(report.rows)],
    }


def _camel_keys(fields: Json) -> Json:
    return {re.sub(r"_(.)", lambda found: found[1].upper(), key): value for key, value in fields.items()}


def _status_row(row: StatusRow) -> Json:
    return {
        **_node(row),
        "stage": row.stage,
        "direction": row.direction,
        "outcome": row.outcome,
        "held": row.held,
        "guarded": row.guarded,
        "reason": row.reason,
        "failure": row.failure,
        "notes": [*row.notes],
    }


def run_result(report: RunReport) -> Json:
    """Give the event with which ``apply``, ``hold`` and ``rollback`` end their stream with ``-o json``."""
    nodes = [_result_row(line) for line in _ordered(report.rows)]
    return {"version": VERSION, "event": "ended", "run": report.run, "nodes": nodes, "nextCommand": report.next_command}


def _result_row(row: ResultRow) -> Json:
    return {
        "namespace": row.namespace,
        "name": row.name,
        "outcome": row.outcome,
        "stage": row.stage,
        "reason": row.reason,
        "failure": row.failure,
        "blockers": [asdict(blocker) for blocker in row.blockers],
        "held": row.held,
        "restarts": row.restarts,
        "notes": [*row.notes],
    }


def verify(report: VerifyReport) -> Json:
    """Give ``verify -o json``."""
    verdicts = [row.verdict for row in report.rows]
    return {
        "version": VERSION,
        "cluster": report.cluster,
        "passed": report.passed,
        "probed": report.probed,
        "summary": {"nodes": len(verdicts)} | {word: verdicts.count(word) for word in ("pass", "fail", "unknown")},
        "findings": [_finding(finding, nodes) for finding, nodes in report.findings],
        "nodes": [_verify_row(line) for line in _ordered(report.rows)],
    }


def _finding(finding: Finding, nodes: tuple[str, ...]) -> Json:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "object": finding.object,
        "field": finding.field,
        "message": finding.message,
        "admits": finding.admits,
        "remedy": finding.remedy,
        "nodes": [*nodes],
    }


def _verify_row(row: VerifyRow) -> Json:
    return {
        **_node(row),
        "verdict": row.verdict,
    }


def runbooks(report: RunbookList) -> Json:
    """Give ``runbook list -o json``, and what ``runbook check`` prints where nothing is wrong."""
    return {"version": VERSION, "digest": report.digest, "runbooks": [asdict(row) for row in report.rows]}


def runbook(row: RunbookRow, text: str, node: str | None) -> Json:
    """Give ``runbook show -o json``; ``node`` is the one that it is filled in for, null for none."""
    return {"version": VERSION, **asdict(row), "node": node, "markdown": text}


def dry_run(report: DryRunReport) -> Json:
    """Give ``runbook run --dry-run -o json``."""
    nodes = [
        {"namespace": node.namespace, "name": node.name, "steps": [_camel_keys(asdict(line)) for line in node.steps]}
        for node in _ordered(report.nodes)
    ]
    return {"version": VERSION, "runbook": report.runbook, "nodes": nodes}


def _ordered(lines: Any) -> Any:
    return sorted(lines, key=lambda line: (line.namespace, line.name))


def unlock_result(holder: str | None) -> Json:
    """Give ``unlock -o json``: who held the lock that was broken, null if nobody did."""
    return {"version": VERSION, "holder": holder}


def control_reply(command: str, node: str, accepted: bool, message: str) -> Json:
    """Give what the live run answered to a wish."""
    return {"version": VERSION, "command": command, "node": node or None, "accepted": accepted, "message": message}


def error(message: str, hint: str, code: int) -> Json:
    """Give an error as it goes to stderr with ``-o json``."""
    return {"version": VERSION, "error": {"message": message, "hint": hint, "exitCode": code}}
