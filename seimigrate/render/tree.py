"""How far a run is, as a tree of its waves and nodes: those that move or failed one by one, the others counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from seimigrate.domain.fleet.progress import IN_PROGRESS, PENDING, NodeProgress, Progress
from seimigrate.domain.fleet.wave_planning import Wave, WaveKind
from seimigrate.render import formatting
from seimigrate.render.console import styled_state

DEFAULT_HEIGHT = 30
"""Lines that a tree has where nobody says how many there are."""
SUCCESSFUL_STATES = ("done", "unchanged", "held", "skipped")
_ORDER = ("done", "done-held", "held", "unchanged", "skipped", IN_PROGRESS, PENDING)


def tree(progress: Progress, now: float, title: str, height: int = DEFAULT_HEIGHT) -> RenderableType:
    """Draw the tree; ``now`` is in seconds since 1970, ``room`` the lines that it may have."""
    waves = progress.waves or (Wave(WaveKind.WAVE, tuple(progress.nodes)),)
    parts = [Text.assemble((title, "bold"), "  ", _counted(progress.counts()))]
    if (campaign := progress.campaign) is not None and (campaign.stopped or campaign.paused):
        said = f"stopping: {campaign.stopped}" if campaign.stopped else f"paused: {campaign.paused}"
        parts.append(Text(said, style="yellow"))
    elif progress.wait_reason:
        parts.append(Text(progress.wait_reason, style="dim"))
    left = max(3, height - len(parts) - len(waves))
    width = max((len(key) for key in progress.nodes), default=0) + len("│  ├─ ")
    for index, (name, wave) in enumerate(zip(_titles(progress, waves), waves, strict=True)):
        last = index == len(waves) - 1
        states = {key: progress.state(key) for key in wave.nodes}
        parts.append(Text.assemble("└─ " if last else "├─ ", (name, "bold"), "  ", _summary(states)))
        shown = [key for key in wave.nodes if states[key] != PENDING and states[key] not in SUCCESSFUL_STATES]
        nodes = _nodes(progress, shown, now, "   " if last else "│  ", left)
        parts += [_line(cells, width) for cells in nodes]
        left = max(0, left - len(shown))
    for part in parts:
        part.no_wrap, part.overflow = True, "ellipsis"
    return Group(*parts)


def _line(cells: Sequence[Text], width: int) -> Text:
    """Give one line, whatever there is to say: the tree must not outgrow the terminal."""
    made = Text()
    widths = (width, len("rolled-back-held"), len("1:00:00"), len("2 restarts"), 0)
    for cell, wide in zip(cells, widths, strict=False):
        cell.pad_right(max(0, wide + 2 - cell.cell_len))
        made.append_text(cell)
    return made


def _titles(progress: Progress, waves: Sequence[Wave]) -> list[str]:
    return formatting.wave_titles(waves) if progress.waves else ["nodes"]


def _nodes(progress: Progress, keys: Sequence[str], now: float, indent: str, most: int) -> Iterator[list[Text]]:
    for index, key in enumerate(keys[:most]):
        branch = "└─ " if index == len(keys) - 1 else "├─ "
        yield [Text(indent + branch + key), *_cells(progress.nodes.get(key), progress.state(key), now)]
    if len(keys) > most > 0:
        yield [Text(f"{indent}└─ … {len(keys) - most} more")]


def _cells(node: NodeProgress | None, state: str, now: float) -> list[Text]:
    if node is None:
        return [styled_state(state)]
    restarts = Text(formatting.pluralize(node.restarts, "restart") if node.restarts else "")
    if state != IN_PROGRESS:
        return [styled_state(state), Text(""), restarts, Text(node.failure or "", style="yellow")]
    stage = Text(f"← {node.stage}" if node.direction == "rollback" else node.stage, style="cyan")
    why = f"waits: {node.wait_reason}" if node.wait_reason else ""
    return [stage, Text(clock(now - node.since)), restarts, Text(f"{node.failure or ''}  {why}".strip(), style="dim")]


def clock(seconds: float) -> str:
    """Give a time as a clock shows it: ``0:07``, ``12:34``, ``1:02:03``."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _counted(counts: dict[str, int]) -> Text:
    states = sorted(counts, key=lambda state: _ORDER.index(state) if state in _ORDER else -1)
    return Text(", ").join(Text.assemble(f"{counts[state]} ", styled_state(state)) for state in states)


def _summary(states: dict[str, str]) -> Text:
    counts: dict[str, int] = {}
    for state in states.values():
        counts[state] = counts.get(state, 0) + 1
    return _counted(counts)
