"""All media of one agent: its sources, what became of each packet, and what was heard.

A packet's way out: a source offers it, the stack takes it and gives it a token, and then either a datagram leaves with that token or the
stack lets it expire.  Only then is its record written, once, with the times on both sides of the system call that sent it.  A packet that
the stack refuses, or the kernel, was offered all the same: its record says that it was never sent.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from harness.agent.messages import Media
from harness.agent.sources import Repertoire, SourceRefused
from harness.agent.translate import remote
from harness.call.errors import CallError
from harness.call.events import Address, MediaReceived, Mode
from harness.call.session import Endpoint
from harness.media.records import ArrivedRecord, RecordWriter, SentRecord, checksum
from harness.media.rtpdump import RtpDump
from harness.media.source import Source, SourcePacket, VideoSource, read_payload
from harness.rtp.packet import parse_rtp_untrusted


@dataclass(slots=True)
class _Running:
    call: str
    flow: str
    mode: Mode
    source: Source
    paused: bool = False
    """By a hold of the call."""
    kbps: int = 0
    """What was asked for, of a source whose bitrate can be changed."""
    stopped: bool = False
    """By the stack: the network has no room for it."""

    @property
    def silent(self) -> bool:
        return self.paused or self.stopped


class _Waiting(NamedTuple):
    running: _Running
    packet: SourcePacket


class _Count:
    """Packets of one flow of one call so far."""

    __slots__ = ("heard", "last_heard", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.heard = 0
        self.last_heard: int | None = None


class Studio:
    """``generator`` makes a generator for a named purpose; ``expiry``: ns that a packet may wait in the stack; ``complain`` logs a line.

    ``kept``: where packets that came are kept whole, when media are real: their records alone cannot be listened to.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        records: RecordWriter,
        *,
        generator: Callable[[str], random.Random],
        expiry: int,
        complain: Callable[[str], None],
        repertoire: Repertoire | None = None,
        kept: RtpDump | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._records = records
        self._generator = generator
        self._expiry = expiry
        self._complain = complain
        self._repertoire = repertoire or Repertoire()
        self._kept = kept
        self._running: dict[tuple[str, str], _Running] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._counts: dict[tuple[str, str], _Count] = {}
        self._limits: dict[str, int] = {}
        self._started = 0
        self._complained: set[tuple[str, str, str]] = set()

    # -- sources ---------------------------------------------------------------------------------------------------------------------------

    def start(
        self, call: str, flow: str, *, bitrate_kbps: int | None = None, payload_bytes: int | None = None, mode: Mode = "datagram", now: int
    ) -> None:
        """Start a source whose first packets are offered here and now, so what the stack has against them is the caller's to hear.

        ``payload_bytes`` (audio): bytes of payload a packet, instead of a bitrate.  Raises SourceRefused (already running, no such source,
        a size or bitrate out of range) and whatever ``Endpoint.send_rtp`` raises.
        """
        if (call, flow) in self._running:
            raise SourceRefused(f"{flow} of call {call} is being sent already")
        rng = self._generator(f"source {self._started}")
        self._started += 1
        source = self._repertoire.source(flow, kbps=bitrate_kbps, payload_bytes=payload_bytes, rng=rng, now=now)
        running = _Running(call, flow, mode, source, kbps=source.kbps if isinstance(source, VideoSource) else 0)
        if self._limits.get(call) != 0 or not running.kbps:
            for packet in source.take(now):
                self._send(running, packet)
        self._running[call, flow] = running
        self._apply_limit(call, now)

    def stop(self, call: str, flow: str) -> None:
        """Stop a source; SourceRefused when there is none."""
        if self._running.pop((call, flow), None) is None:
            raise SourceRefused(f"{flow} of call {call} is not being sent")

    def stop_all(self, call: str) -> None:
        """Stop all sources of ``call``."""
        for key in [key for key in self._running if key[0] == call]:
            del self._running[key]

    def pause(self, call: str) -> None:
        """The call is on hold: its sources offer nothing, and owe nothing for that time."""
        for running in self._of(call):
            running.paused = True

    def go_on(self, call: str, now: int) -> None:
        """The hold is over: each source goes on where it stopped, and gives the stack a packet here and now."""
        for running in self._of(call):
            if running.paused:
                running.paused = False
                if not running.stopped:
                    running.source.go_on(now)
                    self._hand_over(running, now)

    def adapt(self, call: str, kbps: int, now: int) -> None:
        """The stack gives the call's video and screen ``kbps`` in all: they share it as they were asked for, and none gets more than that.

        0 stops them, also those that are started later; what was stopped goes on with a key frame.
        """
        self._limits[call] = kbps
        self._apply_limit(call, now)

    def _apply_limit(self, call: str, now: int) -> None:
        limit = self._limits.get(call)
        if limit is None:
            return
        moving = [(running, running.source) for running in self._of(call) if isinstance(running.source, VideoSource)]
        asked = sum(running.kbps for running, _ in moving)
        for running, source in moving:
            was_stopped, running.stopped = running.stopped, limit == 0
            if limit:
                source.kbps = max(1, min(running.kbps, running.kbps * limit // asked))
            if was_stopped and not running.silent:
                source.go_on(now)
                self._hand_over(running, now)

    def _of(self, call: str) -> list[_Running]:
        return [running for running in self._running.values() if running.call == call]

    def call_over(self, call: str, now: int) -> list[Media]:
        """Stop all of ``call`` and forget it; returns its last figures."""
        self.stop_all(call)
        self._limits.pop(call, None)
        last = [figures for figures in self.figures(now) if figures.call == call]
        for key in [key for key in self._counts if key[0] == call]:
            del self._counts[key]
        return last

    @property
    def sources(self) -> tuple[str, ...]:
        """What is being sent, as "call/flow"."""
        return tuple(f"{call}/{flow}" for call, flow in self._running)

    @property
    def due(self) -> int | None:
        """When the next packet of any source is owed, ns."""
        return min([running.source.due for running in self._running.values() if not running.silent], default=None)

    def offer(self, now: int) -> None:
        """Give the stack all that is owed at ``now``."""
        for running in list(self._running.values()):
            if not running.silent and running.source.due <= now:
                self._hand_over(running, now)

    def _hand_over(self, running: _Running, now: int) -> None:
        for packet in running.source.take(now):
            try:
                self._send(running, packet)
            except CallError as error:
                self._write_sent(running, packet, unsent=type(error).__name__)
                key = (running.call, running.flow, type(error).__name__)
                if key not in self._complained:
                    self._complained.add(key)
                    self._complain(f"{running.flow} of call {running.call}: {type(error).__name__}: {error.what}")

    def _send(self, running: _Running, packet: SourcePacket) -> None:
        expires = packet.offered + self._expiry
        token = self._endpoint.send_rtp(running.call, running.flow, packet.data, now=packet.offered, expires=expires, mode=running.mode)
        self._waiting[token] = _Waiting(running, packet)

    # -- what became of the packets --------------------------------------------------------------------------------------------------------

    def departed(self, tokens: tuple[int, ...], address: Address, *, udp: int, sent: int, done: int) -> None:
        """The packets of ``tokens`` left in a datagram of ``udp`` bytes."""
        for token in tokens:
            waiting = self._waiting.pop(token, None)
            if waiting is not None:
                self._write_sent(waiting.running, waiting.packet, address=address, udp=udp, sent=sent, done=done)
                self._count(waiting.running.call, waiting.running.flow).sent += 1

    def unsent(self, token: int, why: str, address: Address | None = None) -> None:
        """The packet of ``token`` was not sent: given up by the stack, or (to ``address``) refused by the kernel."""
        waiting = self._waiting.pop(token, None)
        if waiting is not None:
            self._write_sent(waiting.running, waiting.packet, address=address, unsent=why)

    def heard(self, media: MediaReceived) -> None:
        """A packet came in."""
        packet = parse_rtp_untrusted(media.packet)
        payload = read_payload(packet.payload)
        count = self._count(media.call, media.flow)
        count.heard += 1
        count.last_heard = media.arrived
        if self._kept is not None:
            self._kept.write(media.packet, media.arrived)
        self._records.write(
            ArrivedRecord(
                call=media.call,
                flow=media.flow,
                ssrc=packet.ssrc,
                seq=packet.sequence,
                rtp=packet.timestamp,
                pt=packet.payload_type,
                frame=None if payload is None else payload.frame,
                marker=packet.marker,
                size=len(media.packet),
                crc=checksum(media.packet),
                arrived=media.arrived,
                udp=media.udp_size,
                path=media.address.path,
                remote=remote(media.address),
                mode=media.mode,
            )
        )

    def _count(self, call: str, flow: str) -> _Count:
        count = self._counts.get((call, flow))
        if count is None:
            count = self._counts[call, flow] = _Count()
        return count

    def figures(self, now: int) -> list[Media]:
        """The figures of every flow."""
        return [
            Media(at=now, call=call, flow=flow, sent=count.sent, heard=count.heard, last_heard=count.last_heard)
            for (call, flow), count in self._counts.items()
        ]

    def abandon(self) -> None:
        """Write a record of every packet that still waits: the process ends before they are sent."""
        for token in list(self._waiting):
            self.unsent(token, "ended")
        if self._kept is not None and self._kept.left_out:
            self._complain(f"{self._kept.left_out} heard packets are not kept: the file has reached its largest size")

    def _write_sent(
        self,
        running: _Running,
        packet: SourcePacket,
        *,
        address: Address | None = None,
        udp: int | None = None,
        sent: int | None = None,
        done: int | None = None,
        unsent: str | None = None,
    ) -> None:
        self._records.write(
            SentRecord(
                call=running.call,
                flow=running.flow,
                ssrc=running.source.ssrc,
                seq=packet.sequence,
                rtp=packet.timestamp,
                pt=packet.data[1] & 0x7F,
                frame=packet.frame,
                marker=packet.marker,
                size=len(packet.data),
                crc=checksum(packet.data),
                offered=packet.offered,
                sent=sent,
                done=done,
                udp=udp,
                path=None if address is None else address.path,
                remote=None if address is None else remote(address),
                mode=running.mode,
                unsent=unsent,
            )
        )
