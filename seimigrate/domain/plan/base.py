"""The base of all parts of a plan file: frozen models with camelCase keys that reject unknown ones."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0)]


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


class Model(BaseModel):
    """A frozen part of a plan file; its keys are camelCase in the file, and unknown keys are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_camel, populate_by_name=True)
