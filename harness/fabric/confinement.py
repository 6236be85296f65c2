"""How agents are confined, as it is seen from outside: what the kernel says of the process, not what was asked for."""

from __future__ import annotations

_EMPTY = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def kept(pid: int) -> list[str]:
    """The privileges of process ``pid`` that an agent must not have, as /proc/PID/status names them; FileNotFoundError if it is gone."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    found = [f"{name} is {fields[name]}" for name in _EMPTY if int(fields[name], 16)]
    if fields["NoNewPrivs"] != "1":
        found.append(f"NoNewPrivs is {fields['NoNewPrivs']}")
    return found
