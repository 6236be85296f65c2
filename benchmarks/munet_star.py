"""Builds the star of ``star.py`` with munet, by the Python that has it: ``munet_star.py HOSTS FOLDER``, one JSON line when ready."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from pathlib import Path

from munet.parser import async_build_topology

PROVE = "import socket,sys; s=socket.socket(); s.settimeout(5); print(s.connect_ex((sys.argv[1], 9)))"


def topology(hosts: int) -> dict:
    if hosts == 2:
        connection = {"to": "h1", "name": "eth", "ip": "10.0.0.2/24", "remote-name": "eth"}
        return {
            "nodes": [
                {"name": "h0", "connections": [connection]},
                {"name": "h1", "connections": [{"to": "h0", "name": "eth", "ip": "10.0.0.1/24"}]},
            ]
        }
    hub = [{"to": f"h{n}", "name": f"p{n}", "ip": f"10.0.{n}.1/24", "remote-name": "eth"} for n in range(hosts)]
    leaves = [
        {"name": f"h{n}", "connections": [{"to": "hub", "name": "eth", "ip": f"10.0.{n}.2/24", "remote-name": f"p{n}"}]}
        for n in range(hosts)
    ]
    return {"nodes": [*leaves, {"name": "hub", "connections": hub}]}


async def main() -> None:
    hosts, folder = int(sys.argv[1]), Path(sys.argv[2])
    logging.disable(logging.CRITICAL)
    config = {"config_pathname": str(folder / "munet.yaml"), "topology": topology(hosts)}
    began = time.monotonic()
    unet = await async_build_topology(config=config, rundir=str(folder / "run"))
    if hosts > 2:
        for n in range(hosts):
            unet.hosts[f"h{n}"].cmd_raises(f"ip route add default via 10.0.{n}.1")
    print(json.dumps({"build_ms": (time.monotonic() - began) * 1e3}), flush=True)
    target = f"10.0.{hosts - 1}.2" if hosts > 2 else "10.0.0.1"
    print(unet.hosts["h0"].cmd_raises(f"/usr/bin/python3 -c '{PROVE}' {target}"), flush=True)
    os._exit(0)  # the namespaces go with the process; munet's own way takes as long as the build


if __name__ == "__main__":
    asyncio.run(main())
