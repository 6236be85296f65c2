"""What the kernel says of a process: this one stands in for the agent."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from harness.fabric.keeper_client import Process
from harness.lab import outside


def this_process() -> Process:
    return Process("me", os.getpid(), -1)


# ::ffff:127.0.0.1 and not ::1, which a container has not.
@pytest.mark.parametrize(("family", "ip"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")])
def test_a_bound_socket_is_seen_under_its_address(family: socket.AddressFamily, ip: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as bound:
        bound.bind((ip, 0))
        name = f"udp {ip} {bound.getsockname()[1]}"
        assert name in outside.bound_sockets(this_process())
    assert name not in outside.bound_sockets(this_process())


def test_descriptors_are_numbered_as_they_are_open() -> None:
    before = outside.descriptors(this_process())
    read, write = os.pipe()
    assert set(outside.descriptors(this_process())) - set(before) >= {read, write} - set(before)
    os.close(read)
    os.close(write)


def test_who_lives_in_a_network_namespace_is_seen() -> None:
    here = outside.namespace(this_process())
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert outside.processes_in(here) >= {os.getpid(), child.pid}
    assert child.pid not in outside.processes_in(here)
    assert outside.processes_in(here + 10**9) == set()
