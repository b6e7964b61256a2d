"""Label selectors as sets: matching, intersection and difference.

The requirements of a selector are joined by *and*. A selector therefore allows a set of values per key, and is the
product of these sets (apimachinery ``LabelSelector``). Containment is computed exactly, without sampling labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one label: the named ones, or with ``others`` all but these; ``absent``: it may be missing."""

    named: frozenset[str]
    others: bool = False
    absent: bool = False

    def allows(self, value: str | None) -> bool:
        """Return whether the label may have this value; ``None`` is a missing label."""
        return self.absent if value is None else (value in self.named) != self.others

    @property
    def is_empty(self) -> bool:
        """Return whether no value is allowed; the set of possible values is infinite."""
        return not self.absent and not self.others and not self.named

    def intersect(self, other: Values) -> Values:
        """Return the values that both allow."""
        if self.others and other.others:
            named = self.named | other.named
        elif self.others or other.others:
            included, excluded = (other, self) if self.others else (self, other)
            named = included.named - excluded.named
        else:
            named = self.named & other.named
        return Values(named, self.others and other.others, self.absent and other.absent)

    @property
    def inverse(self) -> Values:
        """Return the complement."""
        return Values(self.named, not self.others, not self.absent)

    def example(self) -> str | None:
        """Return an allowed value, ``None`` for a missing label."""
        if self.absent:
            return None
        if not self.others:
            return min(self.named)
        return next(value for value in ("anything", *(f"anything-{i}" for i in range(999))) if value not in self.named)


_ANY = Values(frozenset(), others=True, absent=True)


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector: the allowed values per key; without keys it matches everything."""

    allowed: tuple[tuple[str, Values], ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Return whether an object with these labels is selected."""
        return all(values.allows(labels.get(key)) for key, values in self.allowed)

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the label keys of the selector."""
        return tuple(key for key, _ in self.allowed)

    @property
    def required(self) -> tuple[str, frozenset[str]] | None:
        """Return a label that must have one of some values, as an index key; ``None`` without one."""
        return next(((k, v.named) for k, v in self.allowed if not v.others and not v.absent), None)

    def intersect(self, other: Selector) -> Selector:
        """Return the selector of what both select."""
        allowed = dict(self.allowed)
        for key, values in other.allowed:
            allowed[key] = allowed.get(key, _ANY).intersect(values)
        return Selector(tuple(sorted(allowed.items(), key=lambda item: item[0])))

    @property
    def is_empty(self) -> bool:
        """Return whether the selector can match nothing."""
        return any(values.is_empty for _, values in self.allowed)

    def difference(self, others: Sequence[Selector]) -> dict[str, str] | None:
        """Return labels that this selector matches and none of the others does; ``None`` without any."""
        if self.is_empty:
            return None
        if not others:
            examples = {key: values.example() for key, values in self.allowed}
            return {key: value for key, value in examples.items() if value is not None}
        for key, values in others[0].allowed:
            remainder = self.intersect(Selector(((key, values.inverse),)))
            if (labels := remainder.difference(others[1:])) is not None:
                return labels
        return None


EVERYTHING = Selector()


def parse(body: Mapping[str, Any]) -> Selector:
    """Parse a ``LabelSelector``; an empty one selects everything. Callers handle an absent one."""
    selector = Selector()
    for key, value in (body.get("matchLabels") or {}).items():
        selector = selector.intersect(Selector(((key, Values(frozenset({value}))),)))
    for expression in body.get("matchExpressions") or ():
        values = _values(expression["operator"], expression.get("values") or ())
        selector = selector.intersect(Selector(((expression["key"], values),)))
    return selector


def _values(operator: str, values: Sequence[str]) -> Values:
    """Parse one expression; a missing label meets NotIn and DoesNotExist (apimachinery, Requirement)."""
    match operator:
        case "In":
            return Values(frozenset(values))
        case "NotIn":
            return Values(frozenset(values), others=True, absent=True)
        case "Exists":
            return Values(frozenset(), others=True)
        case "DoesNotExist":
            return Values(frozenset(), absent=True)
        case _:
            raise ValueError(f"{operator} is not an operator of a label selector")


def text(selector: Selector) -> str:
    """Return a selector in the notation of kubectl's ``-l``; empty if it selects everything."""
    return ",".join(_text(key, values) for key, values in selector.allowed)


def _text(key: str, values: Values) -> str:
    named = ",".join(sorted(values.named))
    if values.others:
        if not values.named:
            return "" if values.absent else key
        return f"{key} notin ({named})" + ("" if values.absent else f",{key}")
    if not values.named:
        return f"!{key}"
    return f"{key}={named}" if len(values.named) == 1 else f"{key} in ({named})"
