from __future__ import annotations

from harness.fabric import kernel_drops
from harness.fabric.kernel_drops import parsed

TEXT = """\
Ip: Forwarding DefaultTTL FragFails
Ip: 1 64 2
Udp: InDatagrams NoPorts RcvbufErrors
Udp: 7 3 0
TcpExt: SyncookiesSent
TcpExt: 0
IpExt: InNoRoutes InOctets
IpExt: 6 -1
Ip6InNoRoutes                   \t4
Udp6NoPorts                     \t0
"""


def test_counters_by_their_names() -> None:
    counters = parsed(TEXT)
    assert counters["IpFragFails"] == 2
    assert counters["IpExtInNoRoutes"] == 6
    assert counters["IpExtInOctets"] == -1
    assert (counters["UdpNoPorts"], counters["Udp6NoPorts"], counters["Ip6InNoRoutes"]) == (3, 0, 4)


def test_this_kernel_has_every_counter() -> None:
    text = "\n".join((kernel_drops._FILES / name).read_text() for name in ("snmp", "netstat", "snmp6"))
    assert {name for names in kernel_drops._REASONS.values() for name in names} <= parsed(text).keys()
