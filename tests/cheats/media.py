"""Stacks that do not send what they owe, and records that hide it (rows 1, 2, 9 and 12)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec

from harness.agent import messages
from harness.agent.driver import Driver
from harness.call.connection import Connection
from harness.call.events import Address, Transmit
from harness.call.media_queue import MediaQueue, Waiting
from harness.call.session import Endpoint
from harness.media.records import ArrivedRecord, Record, SentRecord
from harness.media.source import SyntheticAudio, SyntheticVideo
from harness.rtp.packet import AUDIO_CLOCK
from tests.cheats.seams import Cheating
from tests.cheats.stalls import SECOND, Blocks
from tests.controls.broken_redial import Hoards

REST_S, LONG_REST_S, FREEZE_S, GAP_S = 0.6, 4.0, 1.5, 0.5
SLOW_INTERVAL = SECOND // 3
TICKS = AUDIO_CLOCK // 50
TWENTIETH = 20
"""One packet in so many: 5 %."""
UDP_SLACK = 20
"""Bytes by which datagrams with one packet of sound differ: an ACK rides along with some."""
KNOWN_GAP = 100
"""Missing sequence numbers beyond which a jump is a new beginning."""


class Rests(Cheating):
    """Its sources stand still for 0.6 s."""

    flows: ClassVar[tuple[str, ...]] = ("audio", "video", "screen")
    rest_s: ClassVar[float] = REST_S

    def strike(self) -> None:
        resting = [one for one in self.studio._running.values() if one.flow in self.flows and not one.paused]
        for one in resting:
            one.paused = True

        def go_on(now: int) -> None:
            for one in resting:
                one.paused = False
                one.source.go_on(now)

        self.after(self.rest_s, go_on)


class RestsLong(Rests):
    """The same for 4 s."""

    rest_s = LONG_REST_S


class Freezes(Rests):
    """Its picture stands still for 1.5 s, and its sound goes on."""

    flows = ("video", "screen")
    rest_s = FREEZE_S


class SlowAudio(SyntheticAudio):
    """Three packets a second, numbered and stamped as if they were fifty."""

    @property
    def due(self) -> int:
        return self._start + self._frame * SLOW_INTERVAL


class ThinsOut(Cheating):
    """Sends three packets of sound a second."""

    audio_class = SlowAudio


class ZeroAudio(SyntheticAudio):
    """Sound whose payload is nothing but zeros."""

    def _payload(self, frame: int, now: int) -> bytes:
        return bytes(len(super()._payload(frame, now)))


class ZeroVideo(SyntheticVideo):
    """Pictures whose payload is nothing but zeros."""

    def _payloads(self, kind: Any, frame: int, now: int) -> list[bytes]:
        return [bytes(len(one)) for one in super()._payloads(kind, frame, now)]


class Zeroes(Cheating):
    """Sends zeros for media."""

    audio_class, video_class = ZeroAudio, ZeroVideo


class DropsUnsaid(Cheating):
    """Lets all that it is offered expire for 0.5 s, and writes no record of it."""

    def strike(self) -> None:
        usual, self.studio._expiry = self.studio._expiry, 0

        def go_on(now: int) -> None:
            self.studio._expiry = usual

        self.after(GAP_S, go_on)

    def doctor(self, record: Record) -> Iterable[Record]:
        return () if isinstance(record, SentRecord) and record.unsent is not None else (record,)


class HoardsAndRestamps(Cheating):
    """Keeps what it cannot send, sends it later, and writes that it was offered then (with the endpoint ``Hoards``)."""

    def doctor(self, record: Record) -> Iterable[Record]:
        if isinstance(record, SentRecord) and record.sent is not None:
            return (msgspec.structs.replace(record, offered=record.sent),)
        return (record,)


class Losing(Cheating):
    """Every twentieth packet of sound goes out sealed wrongly, so that no key opens it; it writes that it has sent them all."""

    sounds = 0

    def loses(self, flows: set[str]) -> bool:
        self.sounds += flows == {"audio"}
        return flows == {"audio"} and self.sounds % TWENTIETH == 0

    def send(self, transmit: Transmit) -> None:
        waiting = [self.studio._waiting.get(token) for token in transmit.media]
        if waiting and self.loses({one.running.flow for one in waiting if one is not None}):
            data = transmit.data
            transmit = msgspec.structs.replace(transmit, data=data[:-1] + bytes([data[-1] ^ 1]))
        super().send(transmit)


class Inventing(Losing):
    """Both sides of one lie: what could not be opened is written down as heard, with a checksum of 0 beside all packets."""

    latest: ArrivedRecord | None = None

    def configure(self, request: messages.Configure) -> messages.Done:
        done = super().configure(request)
        self.came: deque[tuple[int, int]] = deque(maxlen=KNOWN_GAP)
        take = self.endpoint.receive

        def receive(data: bytes, address: Address, *, now: int, arrived: int) -> None:
            self.came.append((arrived, len(data)))
            take(data, address, now=now, arrived=arrived)

        self.endpoint.receive = receive  # type: ignore[method-assign]
        return done

    def doctor(self, record: Record) -> Iterable[Record]:
        honest = msgspec.structs.replace(record, crc=0)
        if isinstance(honest, SentRecord) or honest.flow != "audio":
            return (honest,)
        invented, before = [], self.latest
        missing = (honest.seq - before.seq - 1) & 0xFFFF if before is not None and before.ssrc == honest.ssrc else 0
        if before is not None and 0 < missing < KNOWN_GAP:
            unopened = [(at, udp) for at, udp in self.came if before.arrived < at < honest.arrived and abs(udp - before.udp) < UDP_SLACK]
            invented = [self.after_packet(before, number, *one) for number, one in zip(range(1, missing + 1), unopened, strict=False)]
        self.latest = honest
        return (*invented, honest)

    @staticmethod
    def after_packet(before: ArrivedRecord, number: int, at: int, udp: int) -> ArrivedRecord:
        """The arrival at ``at``, ``number`` packets after ``before``, of ``udp`` bytes that were not opened."""
        return msgspec.structs.replace(
            before,
            seq=(before.seq + number) & 0xFFFF,
            rtp=(before.rtp + number * TICKS) & 0xFFFF_FFFF,
            frame=None if before.frame is None else before.frame + number,
            marker=False,
            arrived=at,
            udp=udp,
        )


class InventsSpeech(Inventing):
    """The same of a whole half second."""

    silent_until = 0

    def strike(self) -> None:
        self.silent_until = time.monotonic_ns() + int(GAP_S * SECOND)

    def loses(self, flows: set[str]) -> bool:
        return flows == {"audio"} and time.monotonic_ns() < self.silent_until


class BlocksAndRestamps(Blocks):
    """Its loop stands still for 0.4 s, and the records of both sides say that every packet was in time."""

    first: dict[tuple[str, int], tuple[int, int]]

    def configure(self, request: messages.Configure) -> messages.Done:
        self.first = {}
        return super().configure(request)

    def doctor(self, record: Record) -> Iterable[Record]:
        if record.flow != "audio":
            return (record,)
        at = record.arrived if isinstance(record, ArrivedRecord) else record.offered
        began, rtp = self.first.setdefault((type(record).__name__, record.ssrc), (at, record.rtp))
        due = began + ((record.rtp - rtp) & 0xFFFF_FFFF) * SECOND // AUDIO_CLOCK
        if isinstance(record, ArrivedRecord):
            return (msgspec.structs.replace(record, arrived=due),)
        moved = {} if record.sent is None or record.done is None else {"sent": due, "done": due + record.done - record.sent}
        return (msgspec.structs.replace(record, offered=due, **moved),)


class Misrecords(Cheating):
    """Healthy, but every record of what it has heard is a second late: nothing in the captures agrees with it."""

    def doctor(self, record: Record) -> Iterable[Record]:
        if isinstance(record, ArrivedRecord):
            return (msgspec.structs.replace(record, arrived=record.arrived + SECOND),)
        return (record,)


class ReordersQueue(MediaQueue):
    """Sends every tenth packet of sound behind the next one."""

    overtaken = 0

    def head(self) -> Waiting | None:
        first = super().head()
        if first is None or first.flow != "audio" or first.rtp is None or first.rtp.sequence % 10 or first.token == self.overtaken:
            return first
        later = next((one for one in self if one.flow == "audio" and one is not first), None)
        if later is not None:
            self.overtaken = first.token
        return later


class ReordersConnection(Connection):
    queue_class = ReordersQueue


class Reorders(Endpoint):
    connection_class = ReordersConnection


DRIVERS: dict[str, type[Driver]] = {
    "rests": Rests,
    "rests-long": RestsLong,
    "freezes": Freezes,
    "thins-out": ThinsOut,
    "zeroes": Zeroes,
    "drops-unsaid": DropsUnsaid,
    "hoards-and-restamps": HoardsAndRestamps,
    "invents-arrivals": Inventing,
    "invents-speech": InventsSpeech,
    "blocks-and-restamps": BlocksAndRestamps,
    "misrecords": Misrecords,
}
ENDPOINTS: dict[str, type[Endpoint]] = {"hoards-and-restamps": Hoards, "reorders": Reorders}
