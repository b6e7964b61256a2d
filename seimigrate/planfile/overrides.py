"""Lay what ``--set key=value`` says over the parameters of a plan file."""

from __future__ import annotations

from typing import Any

from seimigrate.planfile import schema
from seimigrate.planfile.problems import Path, Place, Problem, dotted, nearest, short
from seimigrate.planfile.tree import Tree, read_tree

_ROOT: Path = ("parameters",)


def override(tree: Tree, assignment: str) -> None:
    """Put one assignment into the tree; what is wrong with it joins the tree's problems.

    Keys are relative to ``parameters``; the value is a YAML scalar or flow, and replaces what was there as a whole.
    """
    place = Place(f"--set {short(assignment)}")
    name, separator, text = assignment.partition("=")
    path = tuple(name.strip().split("."))
    problem = _key_problem(path) if separator else "must be key=value, like ports.public=9200"
    if problem is not None:
        tree.problems.append(Problem(place, (), problem))
        return
    given = read_tree(text, place.source)
    if not text.strip():
        given.problems, given.broken, given.value = [], set(), None
    full = (*_ROOT, *path)
    tree.problems += [Problem(place, (*full, *problem.path), problem.message) for problem in given.problems]
    if not given.broken:
        _put(tree, full, given.value, place)


def _key_problem(path: Path) -> str | None:
    name = dotted(path)
    known = schema.settable()
    if path in known:
        return None
    if path[0] == "parameters":
        return "keys are relative to parameters: leave that word out"
    inside = [dotted(leaf) for leaf in known if leaf[: len(path)] == path]
    if inside:
        return f"{name} is a group: set {' or '.join(inside)}"
    names = {dotted(leaf): dotted(leaf) for leaf in known}
    # Just the last part of the right key is the likeliest slip.
    names |= {str(leaf[-1]): dotted(leaf) for leaf in known if [other[-1] for other in known].count(leaf[-1]) == 1}
    near = nearest(name, names)
    return f'unknown key "{name}": ' + (
        f'did you mean "{names[near]}"?' if near else f"valid: {', '.join(map(dotted, known))}"
    )


def _put(tree: Tree, path: Path, value: Any, place: Place) -> None:
    target = tree.value
    for part in path[:-1]:
        if not isinstance(target, dict):
            return  # the file itself is off there, and that is said
        target = target.setdefault(part, {})
    if not isinstance(target, dict):
        return
    target[path[-1]] = value
    tree.broken = {broken for broken in tree.broken if broken[: len(path)] != path}
    for places in (tree.places.values, tree.places.keys):
        for inside in [inside for inside in places if inside[: len(path)] == path]:
            del places[inside]
        places[path] = place
