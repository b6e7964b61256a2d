"""Address blocks as ranges of numbers: containment with exceptions, for IPv4 and IPv6."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
IpRange = tuple[int, int, int]
"""IP version, first and last address as integers."""


@dataclass(frozen=True, slots=True)
class IpBlock:
    """An ``ipBlock``: a network with exceptions, in their original notation."""

    cidr: str
    excepted: tuple[str, ...] = ()

    def __contains__(self, address: Address) -> bool:
        """Return whether an address is in the block."""
        number, version = int(address), address.version
        return any(v == version and first <= number <= last for v, first, last in ranges(self))

    def __str__(self) -> str:
        """Return the block in CIDR notation with its exceptions."""
        return self.cidr + (f" except {', '.join(self.excepted)}" if self.excepted else "")


@cache
def ranges(block: IpBlock) -> tuple[IpRange, ...]:
    """Return the address ranges of a block."""
    return tuple(subtract([range_of(block.cidr)], [range_of(cidr) for cidr in block.excepted]))


def range_of(cidr: str) -> IpRange:
    """Return the range of a network; host bits are ignored, as the API server does. Raises ``ValueError``."""
    network = ipaddress.ip_network(cidr, strict=False)
    return network.version, int(network.network_address), int(network.broadcast_address)


def subtract(minuend: Iterable[IpRange], subtrahend: Sequence[IpRange]) -> list[IpRange]:
    """Return the ranges without other ranges."""
    remaining = list(minuend)
    for version, first, last in subtrahend:
        remaining = [piece for span in remaining for piece in _cut(span, version, first, last)]
    return remaining


def _cut(span: IpRange, version: int, first: int, last: int) -> Iterable[IpRange]:
    span_version, start, end = span
    if span_version != version or last < start or end < first:
        yield span
        return
    if start < first:
        yield version, start, first - 1
    if last < end:
        yield version, last + 1, end


def uncovered_address(block: IpBlock, others: Sequence[IpBlock]) -> Address | None:
    """Return an address that is in a block and in none of the others, ``None`` if there is none."""
    remaining = subtract(ranges(block), [span for other in others for span in ranges(other)])
    if not remaining:
        return None
    version, first, last = remaining[0]
    number = min(first + 1, last)
    return ipaddress.IPv4Address(number) if version == 4 else ipaddress.IPv6Address(number)


def parse(address: str) -> Address:
    """Parse an address; raises ``ValueError``."""
    return ipaddress.ip_address(address)
