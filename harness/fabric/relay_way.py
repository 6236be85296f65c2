"""The directions of the links that the relay's loop serves: each its own shaper, timetable and counters between two descriptors."""

from __future__ import annotations

import contextlib
import errno
import os
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random

from harness.fabric.base import Direction, Dropped
from harness.fabric.ethernet import HEADER, datagram_size, harmed
from harness.fabric.relay import DirectionCounters, LinkCounters, RelayLink
from harness.fabric.relay_nats import through
from harness.fabric.udp_packets import datagram_untrusted
from harness.spec.link import Impairment
from harness.wire.shaper import Drop, Picked, Shaper
from harness.wire.timetable import Timetable
from harness.wire.too_big import answer_untrusted
from harness.wire.translator import Back, Translator

NEVER = 1 << 63
TOO_BIG = Drop.TOO_BIG
DESCRIBED = 32  # bytes of a dropped packet: a QUIC packet's header and 8 bytes and more of what its own nonce has encrypted


class Way:
    """One direction of a link: from one TAP, through a shaper, to the other TAP."""

    def __init__(
        self, number: int, read_fd: int, write_fd: int, frame_size: int, impairment: Impairment, seed: int, far: list[str]
    ) -> None:
        self.number = number
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.frame_size = frame_size
        self._seed = seed
        self._far: dict[int, IPv4Address | IPv6Address] = {
            address.version: address for address in reversed([ip_address(text) for text in far])
        }
        self.timetable = Timetable(impairment)
        self.shaper: Shaper[bytes] = Shaper(self.timetable.in_force, Random(seed), datagram_size, harmed)
        self.vouched = NEVER  # the time of this direction's entry in the agenda that counts
        self.refusals: dict[str, int] = {}
        self.last_frame = 0  # when one last came from the near end
        self.late = 0
        self.answered = 0
        self.leaving: Translator | None = None  # the NAT at the near end
        self.entering: Translator | None = None  # the NAT at the far end

    def leave(self, frame: bytes, now: int) -> bytes | None:
        """``frame`` as the near end's NAT lets it out; None when it does not, and what it gives back the near interface gets."""
        if self.leaving is None:
            return frame
        result = through(self.leaving.outbound, frame, now)
        if isinstance(result, Back):
            with contextlib.suppress(OSError):  # the near interface has just gone down
                os.write(self.read_fd, result.packet)
            return None
        return result

    def enter(self, frames: list[bytes], now: int) -> tuple[list[bytes], list[bytes]]:
        """Those of ``frames`` that the far end's NAT lets in, and what it sends back over the link."""
        if self.entering is None:
            return frames, []
        results = [through(self.entering.inbound, frame, now) for frame in frames]
        return [one for one in results if isinstance(one, bytes)], [one.packet for one in results if isinstance(one, Back)]

    def write(self, frames: list[bytes]) -> None:
        """Give ``frames`` to the far interface, counting by errno those that it does not take."""
        fd = self.write_fd
        for frame in frames:
            try:
                os.write(fd, frame)
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, "unknown")
                self.refusals[name] = self.refusals.get(name, 0) + 1

    def refuse(self, frame: bytes, now: int) -> None:
        """``frame`` is too big: tell its sender, in the far end's name, if the impairment says so."""
        impairment = self.shaper.impairment
        if not impairment.too_big or impairment.mtu is None:
            return
        answer = answer_untrusted(frame, impairment.mtu, self._far)
        if answer is not None and self.leaving is not None:
            told = through(self.leaving.inbound, answer, now)
            answer = told if isinstance(told, bytes) else None
        if answer is not None:
            with contextlib.suppress(OSError):  # the near interface is down: then nobody is there to be told
                os.write(self.read_fd, answer)
                self.answered += 1

    def hold(self, now: int) -> None:
        """The schedule back to its start, and held there."""
        self._enact(self.timetable.hold(), now)

    def restart(self, now: int) -> None:
        """Counters, fates and schedule from the beginning."""
        self.shaper.restart(Random(self._seed))
        self.refusals = {}
        self.late = 0
        self.answered = 0
        self._enact(self.timetable.go_live(now, self.shaper.counters.received), now)

    def change(self, impairment: Impairment, now: int) -> None:
        """Let ``impairment`` rule from now on."""
        self.shaper.change(self.timetable.change(impairment, now, self.shaper.counters.received), now)

    def step(self, now: int) -> None:
        """Take the step of the schedule that is due."""
        self.shaper.change(self.timetable.step(now, self.shaper.counters.received), now)

    def _enact(self, impairment: Impairment, now: int) -> None:
        if impairment != self.shaper.impairment:
            self.shaper.change(impairment, now)

    @property
    def counters(self) -> DirectionCounters:
        """The shaper's counters, less what the far interface refused."""
        counted = self.shaper.counters
        refused = sum(self.refusals.values())
        return DirectionCounters(
            received=counted.received,
            duplicated=counted.duplicated,
            delivered=counted.delivered - refused,
            lost=counted.lost,
            picked=counted.picked,
            too_big=counted.too_big,
            queue_dropped=counted.queue_dropped,
            cut_dropped=counted.cut_dropped,
            refused=refused,
            in_flight=counted.in_flight,
            corrupted=counted.corrupted,
            reordered=counted.reordered,
            answered=self.answered,
            late=self.late,
            refusals=dict(self.refusals),
            picked_packets=[described(picked) for picked in self.shaper.picked],
            awaited=self.shaper.awaited,
        )


class Line:
    """One link: its two ways."""

    def __init__(self, link: RelayLink, number: int) -> None:
        self.name = link.name
        size = link.mtu + HEADER + 4  # a VLAN tag may ride on top
        self.ways: dict[Direction, Way] = {
            "a_to_b": Way(number, link.fd_a, link.fd_b, size, link.a_to_b, link.seed_a_to_b, link.addresses_b),
            "b_to_a": Way(number + 1, link.fd_b, link.fd_a, size, link.b_to_a, link.seed_b_to_a, link.addresses_a),
        }
        there, back = self.ways["a_to_b"], self.ways["b_to_a"]
        self.nats: list[Translator] = []
        for translation, seed, out, into in (
            (link.nat_a, link.seed_a_to_b, there, back),
            (link.nat_b, link.seed_b_to_a, back, there),
        ):
            if translation is not None:
                out.leaving = into.entering = Translator(translation, seed)
                self.nats.append(out.leaving)

    @property
    def counters(self) -> LinkCounters:
        """Both ways."""
        return LinkCounters(self.ways["a_to_b"].counters, self.ways["b_to_a"].counters, self.ways["a_to_b"].shaper.is_cut)


def described(picked: Picked[bytes]) -> Dropped:
    """A packet that was dropped for its number, as the counters tell it."""
    found = datagram_untrusted(picked.packet)
    size, data = found if found is not None else (len(picked.packet) - HEADER, picked.packet[HEADER:])
    return Dropped(pick=picked.pick, number=picked.number, at=picked.at, udp=found is not None, size=size, begins=data[:DESCRIBED].hex())
