"""Builds the star of ``star.py`` with mininet; run by Debian's own Python: ``mininet_star.py HOSTS FOLDER``, one JSON line when ready."""

from __future__ import annotations

import json
import sys
import time

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import Node

PROVE = "import socket,sys; s=socket.socket(); s.settimeout(5); print(s.connect_ex((sys.argv[1], 9)))"


class LinuxRouter(Node):
    """As in mininet's example linuxrouter.py."""

    def config(self, **params):
        """Switch forwarding on."""
        result = super().config(**params)
        self.cmd("sysctl net.ipv4.ip_forward=1")
        return result


def main() -> None:
    hosts = int(sys.argv[1])
    setLogLevel("error")
    Mininet.inited = True  # else it raises limits of the whole machine first
    began = time.monotonic()
    net = Mininet(controller=None)
    if hosts == 2:
        one, other = (net.addHost(f"h{n}", ip=f"10.0.0.{2 - n}/24") for n in range(2))
        net.addLink(one, other)
        target = "10.0.0.1"
    else:
        hub = net.addHost("hub", cls=LinuxRouter, ip=None)
        for n in range(hosts):
            host = net.addHost(f"h{n}", ip=f"10.0.{n}.2/24", defaultRoute=f"via 10.0.{n}.1")
            net.addLink(host, hub, intfName2=f"p{n}", params2={"ip": f"10.0.{n}.1/24"})
        target = f"10.0.{hosts - 1}.2"
    net.build()
    print(json.dumps({"build_ms": (time.monotonic() - began) * 1e3}), flush=True)
    print(net.get("h0").cmd(f"python3 -c '{PROVE}' {target}"), flush=True)


if __name__ == "__main__":
    main()
