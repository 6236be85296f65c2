"""What the kernel of a host or router dropped by itself, by its own counters: packets that no link and no NAT accounts for.

A router whose way to somebody is down drops what it still gets for him, and a host what nobody listens for; neither tells anyone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from harness.fabric.netns import inside

_REASONS = {
    "no_route": ("IpExtInNoRoutes", "Ip6InNoRoutes"),
    "too_long": ("IpFragFails", "Ip6InTooBigErrors"),
    "discarded": ("IpInDiscards", "Ip6InDiscards"),
    "no_port": ("UdpNoPorts", "Udp6NoPorts"),
    "no_room": ("UdpRcvbufErrors", "Udp6RcvbufErrors"),
}
"""By reason the counters of RFC 4293 and RFC 4113, as Linux names them in /proc/net (snmp, netstat with its prefix, snmp6).
Not OutDiscards: what a qdisc refuses is counted there too, and by the qdisc."""
_FILES = Path("/proc/thread-self/net")


class KernelDrops:
    """Of the network namespaces ``fds``, by node, since ``begin``."""

    def __init__(self, fds: Mapping[str, int]) -> None:
        self._fds = fds
        self._before: dict[str, Counter[str]] = {}

    def begin(self) -> None:
        """Count from now on."""
        self._before = self._read()

    def counted(self) -> dict[str, dict[str, int]]:
        """By node what was dropped, by reason; nothing for a reason that never was."""
        return {node: dict(now - self._before.get(node, Counter())) for node, now in self._read().items()}

    def _read(self) -> dict[str, Counter[str]]:
        found = {}
        for node, fd in self._fds.items():
            with inside(fd):
                texts = [(_FILES / name).read_text() for name in ("snmp", "netstat", "snmp6") if (_FILES / name).exists()]
            counters = parsed("\n".join(texts))
            found[node] = Counter({reason: sum(counters.get(name, 0) for name in names) for reason, names in _REASONS.items()})
        return found


def parsed(text: str) -> dict[str, int]:
    """Counters by name: "Udp: NoPorts …" over "Udp: 3 …" is UdpNoPorts, and "Udp6NoPorts 3" is what it says."""
    counters: dict[str, int] = {}
    heads: dict[str, list[str]] = {}
    for line in filter(None, text.splitlines()):
        name, *values = line.split()
        if not name.endswith(":"):
            counters[name] = int(values[0])
        elif name not in heads:
            heads[name] = values
        else:
            counters |= {name[:-1] + field: int(value) for field, value in zip(heads.pop(name), values, strict=True)}
    return counters
