"""Label selectors as sets: what they match, and what lies in one but in none of some others.

Everything in a selector is joined by *and*, so per key it allows a set of values, and the whole of it is the product
of these sets (apimachinery ``LabelSelector``). That makes containment exact: no sampling of labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Values:
    """What one label may be: the named values, or with ``others`` all but these; ``absent``: it may be missing."""

    named: frozenset[str]
    others: bool = False
    absent: bool = False

    def admit(self, value: str | None) -> bool:
        """Tell whether the label may have this value, ``None`` for a missing label."""
        return self.absent if value is None else (value in self.named) != self.others

    @property
    def none(self) -> bool:
        """Tell whether no label can do; of values there are always more than are named."""
        return not self.absent and not self.others and not self.named

    def intersect(self, more: Values) -> Values:
        """Give what both allow."""
        if self.others and more.others:
            named = self.named | more.named
        elif self.others or more.others:
            narrow, wide = (more, self) if self.others else (self, more)
            named = narrow.named - wide.named
        else:
            named = self.named & more.named
        return Values(named, self.others and more.others, self.absent and more.absent)

    @property
    def inverse(self) -> Values:
        """Give what this does not allow."""
        return Values(self.named, not self.others, not self.absent)

    def example(self) -> str | None:
        """Give a value that is allowed, ``None`` for a missing label."""
        if self.absent:
            return None
        if not self.others:
            return min(self.named)
        return next(value for value in ("anything", *(f"anything-{i}" for i in range(999))) if value not in self.named)


_ANY = Values(frozenset(), others=True, absent=True)


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector: for each key that it speaks of the values that it allows; without any it matches all."""

    allowed: tuple[tuple[str, Values], ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Tell whether something with these labels is selected."""
        return all(values.admit(labels.get(key)) for key, values in self.allowed)

    @property
    def keys(self) -> tuple[str, ...]:
        """Give the labels that the selector speaks of."""
        return tuple(key for key, _ in self.allowed)

    @property
    def required(self) -> tuple[str, frozenset[str]] | None:
        """Give a label that must have one of some values, to look selectors up by; ``None`` if there is none."""
        return next(((k, v.named) for k, v in self.allowed if not v.others and not v.absent), None)

    def intersect(self, more: Selector) -> Selector:
        """Give the selector of what both select."""
        allowed = dict(self.allowed)
        for key, values in more.allowed:
            allowed[key] = allowed.get(key, _ANY).intersect(values)
        return Selector(tuple(sorted(allowed.items(), key=lambda each: each[0])))

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing can ever be selected."""
        return any(values.none for _, values in self.allowed)

    def difference(self, others: Sequence[Selector]) -> dict[str, str] | None:
        """Give labels that this selector matches and none of the others does; ``None`` if there are none."""
        if self.is_empty:
            return None
        if not others:
            chosen = {key: values.example() for key, values in self.allowed}
            return {key: value for key, value in chosen.items() if value is not None}
        for key, values in others[0].allowed:
            apart = self.intersect(Selector(((key, values.inverse),)))
            if (found := apart.difference(others[1:])) is not None:
                return found
        return None


EVERYTHING = Selector()


def parse(body: Mapping[str, Any]) -> Selector:
    """Read a ``LabelSelector``; an empty one selects everything. That an absent one differs is the caller's matter."""
    selector = Selector()
    for key, value in (body.get("matchLabels") or {}).items():
        selector = selector.intersect(Selector(((key, Values(frozenset({value}))),)))
    for expression in body.get("matchExpressions") or ():
        values = _values(expression["operator"], expression.get("values") or ())
        selector = selector.intersect(Selector(((expression["key"], values),)))
    return selector


def _values(operator: str, values: Sequence[str]) -> Values:
    """Read one expression; NotIn and DoesNotExist are fulfilled by a missing label (apimachinery, Requirement)."""
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
            raise ValueError(f"{operator} is no operator of a label selector")


def text(selector: Selector) -> str:
    """Write a selector as kubectl's ``-l`` takes it; empty for one that selects everything."""
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
