"""The kernel's connection tracking table of one namespace, over ctnetlink: what a NAT really maps, and forgetting one mapping.

This is where the receipts of a rebind come from.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_CTNETLINK
from pyroute2.netlink.nfnetlink.nfctsocket import IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_CT_GET, nfct_msg
from pyroute2.netlink.nlsocket import Marshal

from harness.fabric.base import Mapping
from harness.fabric.rtnl import Netlink, NetlinkRefused

_NETLINK_NETFILTER = 12
_UDP = 17
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


class _Marshal(Marshal):  # type: ignore[misc]  # pyroute2 has no types
    msg_map = {number | NFNL_SUBSYS_CTNETLINK << 8: nfct_msg for number in range(3)}  # noqa: RUF012 - pyroute2's own way


class Conntrack(Netlink):
    """ctnetlink in the namespace that is current when this is made."""

    family = _NETLINK_NETFILTER

    def marshal(self) -> Any:
        """The decoder of conntrack messages."""
        return _Marshal()

    def udp(self, version: int | None = None) -> list[Mapping]:
        """Every UDP flow that the table holds, IPv4, IPv6 or both."""
        found = []
        for each in (4, 6) if version is None else (version,):
            for entry in self.request(_message(IPCTNL_MSG_CT_GET, each, []), dump=True):
                mapping = _mapping(entry, each)
                if mapping is not None:
                    found.append(mapping)
        return found

    def lookup(self, version: int, inside: tuple[str, int], remote: tuple[str, int]) -> Mapping | None:
        """The one flow from ``inside`` to ``remote``, or None; far cheaper than ``udp``, which walks the whole table (10 ms a family)."""
        try:
            found = self.request(_message(IPCTNL_MSG_CT_GET, version, [("CTA_TUPLE_ORIG", _tuple(version, inside, remote))]))
        except NetlinkRefused as refusal:
            if refusal.errno == errno.ENOENT:
                return None
            raise
        return _mapping(found[0], version) if found else None

    def forget(self, mapping: Mapping) -> None:
        """Delete this one flow's entry: its next packet is mapped anew.  NetlinkRefused (ENOENT) when it is not there."""
        tuple_ = _tuple(mapping.version, mapping.inside, mapping.remote)
        self.batch([_message(IPCTNL_MSG_CT_DELETE, mapping.version, [("CTA_TUPLE_ORIG", tuple_)])])


def _message(number: int, version: int, attributes: list[tuple[str, Any]]) -> Any:
    message = nfct_msg()
    message["header"]["type"] = number | NFNL_SUBSYS_CTNETLINK << 8
    message["header"]["flags"] = 0
    message["nfgen_family"] = _FAMILY[version]
    message["attrs"] = attributes
    return message


def _tuple(version: int, source: tuple[str, int], target: tuple[str, int]) -> dict[str, Any]:
    addresses = [(f"CTA_IP_V{version}_SRC", source[0]), (f"CTA_IP_V{version}_DST", target[0])]
    ports = [("CTA_PROTO_NUM", _UDP), ("CTA_PROTO_SRC_PORT", source[1]), ("CTA_PROTO_DST_PORT", target[1])]
    return {"attrs": [("CTA_TUPLE_IP", {"attrs": addresses}), ("CTA_TUPLE_PROTO", {"attrs": ports})]}


def _mapping(entry: Any, version: int) -> Mapping | None:
    original, reply = entry.get_attr("CTA_TUPLE_ORIG"), entry.get_attr("CTA_TUPLE_REPLY")
    if original is None or reply is None or original.get_attr("CTA_TUPLE_PROTO").get_attr("CTA_PROTO_NUM") != _UDP:
        return None
    inside, remote = _ends(original, version)
    reached, outside = _ends(reply, version)
    return Mapping(version, inside, outside, remote, reached)


def _ends(tuple_: Any, version: int) -> tuple[tuple[str, int], tuple[str, int]]:
    addresses, ports = tuple_.get_attr("CTA_TUPLE_IP"), tuple_.get_attr("CTA_TUPLE_PROTO")
    return (
        (addresses.get_attr(f"CTA_IP_V{version}_SRC"), ports.get_attr("CTA_PROTO_SRC_PORT")),
        (addresses.get_attr(f"CTA_IP_V{version}_DST"), ports.get_attr("CTA_PROTO_DST_PORT")),
    )
