"""Look at commands for people: do they parse, and do they name programs, subcommands and flags that there are?

No shell is imitated: words are split as a shell splits them, and what stands where a command stands is looked up.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from seimigrate.planfile.problems import short, suggest

CommandTree = Mapping[str, frozenset[str]]
"""Subcommands, with a space before those of a group (``runbook show``), and the options that each has."""

Finding = tuple[int, str]
"""The number of the line in its block, from 0, and what is wrong."""

_KEYWORDS = ("if", "then", "else", "fi", "while", "until", "do", "done", "!", "{", "}")
_PROGRAMS = ("[", "base64", "cat", "curl", "echo", "export", "false", "grep", "jq", "kill", "printf", "sleep", "true")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_OPERATORS = re.compile(r"[;|&()]+")
_REDIRECTION = re.compile(r"\d*[<>]+&?\d*")

_SELECT = frozenset({"-l", "--selector", "-A", "--all-namespaces"})
_KUBECTL: CommandTree = {
    "annotate": _SELECT | {"--overwrite", "--all"},
    "apply": frozenset({"-f", "-k", "--server-side"}),
    "create token": frozenset({"--duration"}),
    "delete": _SELECT | {"--grace-period", "--timeout", "--wait"},
    "describe": _SELECT,
    "events": frozenset({"--for"}),
    "get": _SELECT | {"-o", "--output", "-L", "--label-columns", "--show-labels", "--no-headers", "-w", "--watch"},
    "label": _SELECT | {"--overwrite", "--all"},
    "logs": _SELECT | {"-c", "--container", "-f", "--tail", "--previous", "--since"},
    "patch": frozenset({"--type", "-p", "--patch"}),
    "port-forward": frozenset(),
    "rollout restart": _SELECT,
    "rollout status": _SELECT | {"--timeout"},
    "scale": frozenset({"--replicas"}),
    "wait": _SELECT | {"--for", "--timeout"},
}
"""As much of kubectl as runbooks need; nothing that forces."""
_KUBECTL_EVERYWHERE = frozenset({"-n", "--namespace", "--context", "--kubeconfig"})


def findings(text: str, seimigrate: CommandTree) -> Iterator[Finding]:
    """Yield what is wrong with a block of commands; ``seimigrate`` are this program's own."""
    for line, words in _lines(text):
        if isinstance(words, str):
            yield line, words
            continue
        for command in _commands(words):
            for message in _of_command(command, seimigrate):
                yield line, message
        for inner in _substitutions(words):
            for _, message in findings(inner, seimigrate):
                yield line, message


def _lines(text: str) -> Iterator[tuple[int, list[str] | str]]:
    """Give the words of each logical line, or why it has none."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        first, joined = at, lines[at]
        while True:
            at += 1
            if joined.endswith("\\") and at < len(lines):
                joined = joined[:-1] + lines[at]
                continue
            try:
                yield first, _words(joined)
                break
            except ValueError as error:
                if at == len(lines):
                    yield first, f"does not parse: {str(error).lower()}"
                    break
                joined += "\n" + lines[at]  # quotes may close further down


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&()<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    return list(_rejoin_substitutions(line, lexer))


def _rejoin_substitutions(line: str, lexer: shlex.shlex) -> Iterator[str]:
    """Give the lexer's words; what ``$(...)`` holds outside of quotes is put into one word again."""
    depth, held = 0, ""
    for word in lexer:
        if depth:
            depth += word.count("(") - word.count(")")
            held += f" {word}"
            if depth <= 0:
                yield held
                depth, held = 0, ""
        elif held and word.startswith("("):
            depth, held = word.count("(") - word.count(")"), held + word
            if depth <= 0:
                yield held
                depth, held = 0, ""
        else:
            if held:
                yield held
            held = word if word.endswith("$") else ""
            if not held:
                yield word
    if held:
        if depth:
            raise ValueError("no closing parenthesis")
        yield held


def _commands(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    skip = False
    for word in words:
        if _OPERATORS.fullmatch(word):
            yield command
            command = []
        elif _REDIRECTION.fullmatch(word):
            skip = not word.endswith(("&1", "&2"))
        elif skip:
            skip = False
        elif command or not (word in _KEYWORDS or _ASSIGNMENT.match(word)):
            command.append(word)
    yield command


def _substitutions(words: list[str]) -> Iterator[str]:
    """Give what stands in ``$(...)``, the outermost of each word."""
    for word in words:
        start = word.find("$(")
        while start >= 0:
            depth, end = 1, start + 2
            while end < len(word) and depth:
                depth += {"(": 1, ")": -1}.get(word[end], 0)
                end += 1
            yield word[start + 2 : end - 1]
            start = word.find("$(", end)


def _of_command(words: list[str], seimigrate: CommandTree) -> Iterator[str]:
    if not words:
        return
    program, *rest = words
    if program == "seimigrate":
        yield from _of_seimigrate(rest, seimigrate)
    elif program == "kubectl":
        yield from _of_kubectl(rest)
    elif program not in _PROGRAMS:
        known = ("seimigrate", "kubectl", *_PROGRAMS)
        yield f"unknown program {short(program)}: {suggest(program, known)}"


def _of_seimigrate(words: list[str], vocabulary: CommandTree) -> Iterator[str]:
    plain = [word for word in words if not word.startswith("-")]
    name = next((name for name in (" ".join(plain[:2]), *plain[:1]) if name in vocabulary), None)
    if name is None:
        asked = plain[0] if plain else ""
        if words and words[0] in vocabulary.get("", frozenset()):
            return
        yield f"seimigrate has no command {short(asked)}: {suggest(asked, list(vocabulary))}"
        return
    yield from _of_flags(f"seimigrate {name}", words, vocabulary[name] | {"-h", "--help"})


def _of_kubectl(words: list[str]) -> Iterator[str]:
    if forced := re.search(r"--(force|now)\b|--grace-period[= ]0\b", " ".join(words)):
        yield f"{forced[0]} forces: two of the same validator get it slashed"
        return
    plain = _positional(words)
    verb = next((verb for verb in (" ".join(plain[:2]), *plain[:1]) if verb in _KUBECTL), None)
    if verb is None:
        asked = plain[0] if plain else ""
        yield f"kubectl {short(asked)} is not known here: {suggest(asked, list(_KUBECTL))}"
        return
    yield from _of_flags(f"kubectl {verb}", words, _KUBECTL[verb] | _KUBECTL_EVERYWHERE)


def _positional(words: list[str]) -> list[str]:
    """Give the words that are no options of kubectl and no values of the global ones."""
    found, skip = [], False
    for word in words:
        if skip or word.startswith("-"):
            skip = not skip and word in _KUBECTL_EVERYWHERE
            continue
        found.append(word)
    return found


def _of_flags(name: str, words: list[str], known: frozenset[str]) -> Iterator[str]:
    for word in words:
        if word == "--":
            return
        flag = word.partition("=")[0]
        if re.match(r"-{1,2}[A-Za-z]", flag) and flag not in known:
            yield f"{name} has no option {short(flag)}: {suggest(flag, sorted(known))}"
