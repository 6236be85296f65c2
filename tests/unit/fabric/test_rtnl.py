"""What is said to the kernel over rtnetlink, read back by pyroute2's decoders, and what is made of a refusal."""

from __future__ import annotations

import errno
import struct
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from harness.errors import BlamedError
from harness.fabric import rtnl

HEADER = struct.Struct("=IHHII")
MAC, OTHER = "02:00:00:00:00:64", "02:00:00:00:00:65"
REQUEST, ACK, REPLACE, EXCL, CREATE = 1, 4, 0x100, 0x200, 0x400


def said(kind: type[Any], request: rtnl.Request) -> Any:
    """``request`` as the kernel would read it."""
    message = kind(HEADER.pack(HEADER.size + len(request.body), request.number, request.flags, 1, 0) + request.body)
    message.decode()
    return message


def test_a_veth_is_made_from_one_end_with_chosen_names_and_indexes() -> None:
    request = rtnl.new_veth("wifi", 100, MAC, "lan", 101, OTHER, 7, 1400)
    message = said(ifinfmsg, request)
    assert (request.number, request.flags) == (rtnl.RTM_NEWLINK, CREATE | EXCL)
    assert (message["index"], message["flags"], message["change"]) == (100, 1, 1)
    assert [message.get_attr(f"IFLA_{name}") for name in ("IFNAME", "ADDRESS", "MTU")] == ["wifi", MAC, 1400]
    info = message.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert (peer["index"], peer["flags"]) == (101, 0), "an up flag here is answered by ENOTCONN"
    assert [peer.get_attr(f"IFLA_{name}") for name in ("IFNAME", "ADDRESS", "MTU", "NET_NS_FD")] == ["lan", OTHER, 1400, 7]
    assert request.what == "a veth wifi (100) to lan (101)"


@pytest.mark.parametrize(("up", "flags", "change"), [(True, 1, 1), (False, 0, 1), (None, 0, 0)])
def test_a_link_is_changed_only_in_what_is_given(up: bool | None, flags: int, change: int) -> None:
    message = said(ifinfmsg, rtnl.set_link(100, up=up))
    assert (message["index"], message["flags"], message["change"], message["attrs"]) == (100, flags, change, [])


def test_a_link_is_changed_in_all() -> None:
    request = rtnl.set_link(100, up=True, mac=MAC, mtu=1280, queue=10_000)
    message = said(ifinfmsg, request)
    assert [message.get_attr(f"IFLA_{name}") for name in ("ADDRESS", "MTU", "TXQLEN")] == [MAC, 1280, 10_000]
    assert request.what == f"up True, MAC {MAC}, MTU 1280, queue 10000 for interface 100"


@pytest.mark.parametrize(
    ("address", "family", "length", "flags"), [("192.168.1.2/24", 2, 24, 0x80), ("fd00:1::2/64", 10, 64, 0x82)], ids=["ipv4", "ipv6"]
)
def test_an_address_is_permanent_and_needs_no_duplicate_detection(address: str, family: int, length: int, flags: int) -> None:
    interface = ip_interface(address)
    message = said(ifaddrmsg, rtnl.new_address(100, interface))
    assert (message["family"], message["prefixlen"], message["index"], message["flags"]) == (family, length, 100, flags)
    assert message.get_attr("IFA_ADDRESS") == str(interface.ip)
    assert message.get_attr("IFA_LOCAL") == (str(interface.ip) if family == 2 else None)


@pytest.mark.parametrize(("address", "family"), [("192.168.1.1", 2), ("fd00:1::1", 10)])
def test_a_neighbour_is_permanent(address: str, family: int) -> None:
    request = rtnl.new_neighbour(100, ip_address(address), MAC)
    message = said(ndmsg, request)
    assert (message["family"], message["ifindex"], message["state"]) == (family, 100, 0x80)
    assert (message.get_attr("NDA_DST"), message.get_attr("NDA_LLADDR")) == (address, MAC)
    assert request.flags == CREATE | REPLACE, "said again each time that the link comes up"


@pytest.mark.parametrize("table", [254, 100, 1000])
@pytest.mark.parametrize(
    ("network", "gateway", "metric"),
    [("198.51.100.0/28", "203.0.113.1", 0), ("0.0.0.0/0", "10.0.0.1", 100), ("10.0.0.0/24", None, 0), ("::/0", "fd00::1", 10)],
)
def test_a_route(network: str, gateway: str | None, metric: int, table: int) -> None:
    target = ip_network(network)
    request = rtnl.new_route(target, 100, None if gateway is None else ip_address(gateway), metric=metric, table=table)
    message = said(rtmsg, request)
    assert (message["family"], message["dst_len"]) == (2 if target.version == 4 else 10, target.prefixlen)
    assert message["scope"] == (253 if gateway is None else 0)
    assert (message["type"], message["proto"]) == (1, 4)
    assert message.get_attr("RTA_DST") == (str(target.network_address) if target.prefixlen else None)
    assert (message.get_attr("RTA_OIF"), message.get_attr("RTA_TABLE")) == (100, table)
    assert (message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_PRIORITY")) == (gateway, metric or None)
    undone = rtnl.del_route(target, 100, None if gateway is None else ip_address(gateway), metric=metric, table=table)
    assert (undone.number, undone.body) == (rtnl.RTM_DELROUTE, request.body)


def test_a_source_rule_picks_the_table() -> None:
    message = said(fibmsg, rtnl.new_source_rule(ip_address("10.64.0.2"), 101))
    assert (message["family"], message["src_len"], message["action"]) == (2, 32, 1)
    assert [message.get_attr(f"FRA_{name}") for name in ("SRC", "TABLE", "PRIORITY")] == ["10.64.0.2", 101, 1101]
    assert said(fibmsg, rtnl.new_source_rule(ip_address("fd00:2::2"), 101))["src_len"] == 128


def test_the_way_to_an_address_is_asked_for() -> None:
    message = said(rtmsg, rtnl.get_route("2001:db8::1"))
    assert (message["family"], message["dst_len"], message.get_attr("RTA_DST")) == (10, 128, "2001:db8::1")
    assert said(rtmsg, rtnl.get_route("198.51.100.1"))["dst_len"] == 32


def test_forwarding_is_switched_on_by_an_attribute_in_four_envelopes() -> None:
    request = rtnl.set_ipv4_forwarding(100)
    assert request.number == rtnl.RTM_SETLINK
    assert request.body[16:] == struct.pack("=HHHHHHHHI", 20, 26, 16, 2 | 0x8000, 12, 1 | 0x8000, 8, 1, 1)


# -- refusals ------------------------------------------------------------------------------------------------------------------------------


def refusal(code: int, explanation: str = "") -> bytes:
    """An NLMSG_ERROR as the kernel sends it with NETLINK_CAP_ACK and NETLINK_EXT_ACK."""
    tlv = b""
    if explanation:
        text = explanation.encode() + b"\0"
        tlv = struct.pack("=HH", 4 + len(text), 1) + text + bytes(-len(text) % 4)
    copy = HEADER.pack(HEADER.size, 16, 0, 1, 0)
    body = struct.pack("=i", -code) + copy + tlv
    return HEADER.pack(HEADER.size + len(body), 2, (0x200 if tlv else 0) | 0x100, 1, 0) + body


def test_a_refusal_tells_what_was_asked_the_code_and_the_kernels_own_words() -> None:
    request = rtnl.new_route(ip_network("10.0.0.0/24"), 100, ip_address("192.0.2.1"))
    told = rtnl._refusal(refusal(errno.ENETUNREACH, "Nexthop has invalid gateway"), request)
    assert told is not None
    assert told.errno == errno.ENETUNREACH
    assert str(told) == (
        "the kernel refused the route to 10.0.0.0/24 via 192.0.2.1 by interface 100 in table 254: "
        "ENETUNREACH, Network is unreachable (Nexthop has invalid gateway)"
    )
    assert isinstance(told, BlamedError)
    assert told.blame == "environment"


def test_a_refusal_without_words() -> None:
    told = rtnl._refusal(refusal(errno.EPERM), rtnl.get_link(100))
    assert str(told) == "the kernel refused the state of interface 100: EPERM, Operation not permitted"
    assert rtnl._refusal(refusal(0), rtnl.get_link(100)) is None


def test_a_refusal_of_one_of_pyroute2s_messages_tells_its_attributes() -> None:
    message = ifinfmsg()
    message["attrs"] = [("IFLA_IFNAME", "x"), ("IFLA_MTU", 1)]
    assert str(rtnl._refusal(refusal(errno.EINVAL), message)).startswith("the kernel refused ifinfmsg (IFLA_IFNAME x, IFLA_MTU 1): EINVAL")
