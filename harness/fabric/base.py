"""What both sides of the fabric speak of: the lab's process, and the keeper that holds the network.

The lab's side imports nothing of the keeper's: importing pyroute2 takes 0.2 s, which every run would wait for.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Direction = Literal["a_to_b", "b_to_a"]
DIRECTIONS: tuple[Direction, Direction] = ("a_to_b", "b_to_a")
IMPAIR_CHOICES = ("auto", "netem", "relay")


class Mapping(msgspec.Struct, frozen=True):
    """One UDP flow through a NAT: ``inside`` sends to ``remote``, where it is seen to come from ``outside``.  Each is (address, port).

    ``reached`` is who really answers: ``remote`` itself, or the host behind a port forward on it.
    """

    version: int
    inside: tuple[str, int]
    outside: tuple[str, int]
    remote: tuple[str, int]
    reached: tuple[str, int]
