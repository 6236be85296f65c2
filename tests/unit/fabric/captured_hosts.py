"""A process with two namespaces, a veth between them, and a capture on each end; it says what the capture process answered.

``python -m tests.unit.fabric.captured_hosts FOLDER PACKETS stop|kill``.  Its last line of stdout is JSON.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from harness.fabric import capture, netns, rtnl, seqpacket
from harness.units import s


def main(folder: Path, count: int, end: str) -> dict[str, Any]:
    if os.geteuid() != 0:
        netns.unshare(netns.CLONE_NEWUSER | netns.CLONE_NEWNET)  # and a network of its own, to which it may come back
    a, b = netns.new_namespace("a"), netns.new_namespace("b")
    macs = ("02:00:00:00:08:01", "02:00:00:00:08:02")
    a.rtnl.batch([rtnl.new_veth("eth", 100, macs[0], "eth", 101, macs[1], b.fd, 1500)])
    v4 = [ipaddress.ip_interface(f"10.8.0.{n}/24") for n in (1, 2)]
    v6 = [ipaddress.ip_interface(f"fd08::{n}/64") for n in (1, 2)]
    sockets = {}
    for n, host in enumerate((a, b)):
        index = 100 + n
        with netns.inside(host.fd):
            sockets[f"{host.name}/eth"] = capture.open_capture("eth")
        host.rtnl.batch(
            [rtnl.set_link(index, up=True)]
            + [rtnl.new_address(index, addresses[n]) for addresses in (v4, v6)]
            + [rtnl.new_neighbour(index, addresses[1 - n].ip, macs[1 - n]) for addresses in (v4, v6)]
        )
    for n, host in enumerate((a, b)):
        host.rtnl.request(rtnl.get_link(100 + n))
    ours, theirs = seqpacket.pair()
    fds = {name: sock.fileno() for name, sock in sockets.items()}
    process = subprocess.Popen(capture.argv(theirs.fileno()), pass_fds=[theirs.fileno(), *fds.values()])
    theirs.close()
    control = capture.CaptureControl(ours, 20 * s)
    control.start(folder, fds)
    senders, receivers = [], []
    for family, addresses in ((socket.AF_INET, v4), (socket.AF_INET6, v6)):
        with netns.inside(a.fd):
            senders.append(socket.socket(family, socket.SOCK_DGRAM))
        with netns.inside(b.fd):
            receivers.append(socket.socket(family, socket.SOCK_DGRAM))
        senders[-1].bind((str(addresses[0].ip), 5000))
        receivers[-1].bind((str(addresses[1].ip), 6000))
        senders[-1].connect((str(addresses[1].ip), 6000))
    sent = []
    for n in range(count):
        sent.append(time.monotonic_ns())
        senders[n % 2].send(n.to_bytes(4, "big") + bytes(n % 1000))
    flushed = control.flush()
    if end == "kill":
        process.kill()
    stopped = control.stop() if end != "kill" else {}
    code = process.wait(20)
    return {"sent": sent, "flushed": msgspec.to_builtins(flushed), "stopped": msgspec.to_builtins(stopped), "code": code}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
