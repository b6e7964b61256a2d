"""Address blocks as ranges of numbers: containment with exceptions, for IPv4 and IPv6."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
IpRange = tuple[int, int, int]
"""IP version, first and last address as numbers."""


@dataclass(frozen=True, slots=True)
class IpBlock:
    """An ``ipBlock``: a network without some others in it, as they are written."""

    cidr: str
    excepted: tuple[str, ...] = ()

    def __contains__(self, address: Address) -> bool:
        """Tell whether an address is in the block."""
        number, version = int(address), address.version
        return any(v == version and first <= number <= last for v, first, last in ranges(self))

    def __str__(self) -> str:
        """Give the block as people write it."""
        return self.cidr + (f" without {', '.join(self.excepted)}" if self.excepted else "")


@cache
def ranges(block: IpBlock) -> tuple[IpRange, ...]:
    """Give the ranges of addresses in a block."""
    return tuple(subtract([range_of(block.cidr)], [range_of(each) for each in block.excepted]))


def range_of(cidr: str) -> IpRange:
    """Give the range of a network; host bits are ignored, as the API server does. Raises ``ValueError``."""
    network = ipaddress.ip_network(cidr, strict=False)
    return network.version, int(network.network_address), int(network.broadcast_address)


def subtract(spans: Iterable[IpRange], taken: Sequence[IpRange]) -> list[IpRange]:
    """Give what is left of some ranges without others."""
    left = list(spans)
    for version, first, last in taken:
        left = [piece for each in left for piece in _cut(each, version, first, last)]
    return left


def _cut(each: IpRange, version: int, first: int, last: int) -> Iterable[IpRange]:
    own, begin, end = each
    if own != version or last < begin or end < first:
        yield each
        return
    if begin < first:
        yield own, begin, first - 1
    if last < end:
        yield own, last + 1, end


def uncovered_address(block: IpBlock, others: Sequence[IpBlock]) -> Address | None:
    """Give an address that is in a block and in none of the others, ``None`` if there is none."""
    left = subtract(ranges(block), [each for other in others for each in ranges(other)])
    if not left:
        return None
    version, first, last = left[0]
    number = min(first + 1, last)
    return ipaddress.IPv4Address(number) if version == 4 else ipaddress.IPv6Address(number)


def parse(address: str) -> Address:
    """Read an address; raises ``ValueError``."""
    return ipaddress.ip_address(address)
