"""What ``runbook check`` finds in runbooks, each with its file and line; and that the project's own are clean."""

from __future__ import annotations

from pathlib import Path

import pytest

from seimigrate.domain.plan.plan import StageName
from seimigrate.domain.plan.rollback_steps import REVERTING_STEPS
from seimigrate.runbook import RunbookError, read_runbooks
from tests.runbook.folders import copied, findings, spoil


def test_nothing_is_wrong_with_the_runbooks_that_come_along() -> None:
    assert findings(None) == []


def test_every_stage_has_a_whole_way_back() -> None:
    runbooks = read_runbooks(None).rollback_runbooks
    for stage in StageName:
        runbook = runbooks.for_stage(stage)
        assert runbook is not None
        steps = [step.action for step in runbook.steps if step.action in REVERTING_STEPS]
        assert steps == ([REVERTING_STEPS[-1]] if stage in ("hold", "check") else list(REVERTING_STEPS))


def test_every_page_is_for_three_in_the_morning() -> None:
    for runbook in read_runbooks(None).runbooks:
        assert max(map(len, runbook.text.splitlines())) <= 160, runbook.id
        assert any(command.section == "Mitigation" for command in runbook.commands), runbook.id
        assert any(command.section == "Verification" for command in runbook.commands), runbook.id


EXPOSE = "rollback-expose.md"
SPOILED = [
    (EXPOSE, "---\nid", "--\nid", "has no front matter: it begins with a line ---"),
    (EXPOSE, "id: rollback-expose", "id: rollback-expos", 'id: must be the name of its file, "rollback-expose"'),
    (EXPOSE, "stage: expose", "stage: expse", 'stage: unknown stage "expse": did you mean "expose"?'),
    (EXPOSE, "severity: urgent", "severity: bad", 'severity: unknown value "bad": valid: routine, urgent, emergency'),
    (EXPOSE, "severity: urgent", "severity: a: b", "not YAML"),
    (EXPOSE, "duration: 2 minutes", "duratoin: 2 minutes", 'duratoin: unknown key: did you mean "duration"?'),
    (EXPOSE, "do: revert", "do: rever", 'do: unknown step "rever": did you mean "revert"?'),
    (EXPOSE, "on-failure: fail", "on-failure: go-on", 'on-failure: unknown value "go-on": valid: fail, pause'),
    (EXPOSE, "unattended: continue", "unattended: yes", "unattended: yes means different things"),
    (EXPOSE, "expect: the pod is Ready", "expects: it", 'expects: is no argument of wait: did you mean "expect"?'),
    (EXPOSE, "do: release", "does: release", "must say what to do"),
    (EXPOSE, "## Decision", "## Decisions", 'unknown heading "Decisions": did you mean "Decision"?'),
    (EXPOSE, "# Roll back a node", "# Roll", "needs one title, that of its front matter"),
    (EXPOSE, "](stale-lock.md)", "](lost.md)", "lost.md leads nowhere"),
    (
        EXPOSE,
        "](#with-kubectl-only)",
        "](#with-kubectl-ony)",
        '#with-kubectl-ony is no heading of this page: did you mean "with-kubectl-only"?',
    ),
    (EXPOSE, "](stale-lock.md)", "](https://x.org)", "https://x.org leads out"),
    (EXPOSE, "seimigrate status --node", "seimigrate statsu --node", "seimigrate has no command statsu"),
    (EXPOSE, "seimigrate status --node", "seimigrate status --nod", "seimigrate status has no option --nod"),
    (EXPOSE, "patch statefulset NODE", "pach statefulset NODE", "kubectl pach is not known here"),
    (EXPOSE, "patch statefulset NODE --type", "patch statefulset NODE --typ", "kubectl patch has no option --typ"),
    (EXPOSE, "--grace-period=GRACE", "--grace-period=0", "--grace-period=0 forces"),
    (EXPOSE, "--grace-period=GRACE", "--force", "--force forces"),
    (EXPOSE, "-p STATEFULSET_PATCH", "-p 'STATEFULSET_PATCH", "does not parse: no closing quotation"),
    (EXPOSE, "token=$(kubectl", "token=$(kubctl", "unknown program kubctl"),
    (EXPOSE, "```sh\nseimigrate rollback", "```bash\nseimigrate rollback", 'unknown block "bash"'),
    ("README.md", "(stuck-hold.md)", "(stuck.md)", "stuck.md leads nowhere"),
]


@pytest.mark.parametrize(
    ("name", "old", "new", "told"), SPOILED, ids=[f"{new.strip()[:25]}" for _, _, new, _ in SPOILED]
)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path: Path, name: str, old: str, new: str, told: str) -> None:
    folder = copied(tmp_path)
    line = spoil(folder, name, old, new)
    near = [f"{name}:{at}:" for at in (line, line + 1, line - 1)]
    found = findings(folder)
    assert any(told in each and each.startswith(tuple(near)) for each in found), found


STEPS = [
    ("do: revert", "do: notify\nsay: hm", 'step "revert" is missing: a rollback needs revert, replace-pod'),
    ("do: revert", "do: replace-pod", 'step "replace-pod" is there already'),
    ("do: wait", "do: verify", 'step "verify" is there already'),
    ("do: confirm", "do: pause", "must come before this one"),
]


@pytest.mark.parametrize(("old", "new", "told"), STEPS, ids=[new[:20] for _, new, _ in STEPS])
def test_steps_that_bring_no_node_back_are_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    folder = copied(tmp_path)
    file = folder / EXPOSE
    head, found, rest = file.read_text().partition(old)
    assert found
    if new.startswith(("do: notify", "do: pause")):  # other arguments than those of the step that stood there
        rest = rest[rest.index("```") :]
        new = new if "say" in new else f"{new}\nreason: think"
        rest = "\n" + rest
    file.write_text(head + new + rest)
    assert any(told in each and each.startswith(EXPOSE) for each in findings(folder)), findings(folder)
    with pytest.raises(RunbookError, match=r"rollback-expose\.md:\d+:"):
        read_runbooks(str(folder))


def test_steps_in_another_order_are_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    spoil(folder, EXPOSE, "do: revert", "do: SWAP")
    spoil(folder, EXPOSE, "do: replace-pod", "do: revert")
    spoil(folder, EXPOSE, "do: SWAP", "do: replace-pod")
    assert any('step "revert" must come before "replace-pod"' in each for each in findings(folder))


def test_a_page_on_which_a_person_decides_needs_a_confirmation(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    spoil(folder, "rollback-hold.md", "approver: automatic", "approver: the operator")
    [found] = findings(folder)
    assert '"the operator" approves, so a step "confirm" must come before this one' in found


def test_a_stage_without_a_page_is_an_error_and_so_are_two_pages_for_one(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    spoil(folder, "rollback-policy.md", "stage: policy", "stage: enforce")
    found = findings(folder)
    assert any('no page binds the way back from stage "policy"' in each for each in found)
    assert any('stage "enforce" has its way back already, in' in each for each in found)


def test_a_page_that_nothing_leads_to_is_an_orphan(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (folder / "mine.md").write_text((folder / "cutover.md").read_text().replace("id: cutover", "id: mine"))
    assert findings(folder) == ["mine.md:1:1: is an orphan: no link leads from README.md to it"]
    (folder / "README.md").unlink()
    assert "README.md: is missing: it says which page to open when" in findings(folder)


def test_a_page_with_a_broken_link_does_not_keep_a_node_from_going_back(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    spoil(folder, EXPOSE, "](stale-lock.md)", "](lost.md)")
    spoil(folder, EXPOSE, "seimigrate status", "seimigrate statsu")
    assert findings(folder)
    assert read_runbooks(str(folder)).rollback_runbooks.for_stage(StageName.EXPOSE) is not None


def test_pages_of_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (folder / EXPOSE).write_bytes(b"---\nid: \xff\n---\n")
    assert any(each.startswith(f"{EXPOSE}:2:1: is not UTF-8") for each in findings(folder))
    with pytest.raises(RunbookError, match="cannot be read"):
        read_runbooks(str(tmp_path / "nowhere"))


def test_nothing_comes_after_the_release(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    file = folder / EXPOSE
    file.write_text(file.read_text() + "\n```step\ndo: notify\nsay: hm\n```\n")
    [found] = findings(folder)
    assert 'step "notify" comes after "release", which ends the way back' in found
