"""The quality of one call, looked at once a second, and what is done about it: ``adaptation`` decides, this measures and acts.

What this side sends is judged by what the peer's RTCP reports say of it (loss in the interval, jitter), by QUIC's round trip, and by the
bandwidth there is.  Where media expired in the stack's own queue the connection was the limit, and the bandwidth is what was acknowledged;
otherwise nobody knows how much there is, and the congestion window (at least a new path's) per round trip says how much may be tried.
That is what is told.  What decides about video (``adaptation.Pressure``) is only what lies on the way that video takes: a long round trip
is none of it, nor is a queue on the way back.

A window in which nothing at all was heard of the peer (an outage) or the call is on hold says nothing about its video.

A probe is padding: RTP packets that are nothing but padding (RFC 3550 §5.1), from a source of their own, whose fate the peer's reports tell
too, and which its stack swallows.  It swells up to its rate for a second, so that on a path that has not enough the queue grows slowly, and
is over as soon as packets have been queueing for three steps in a row: before audio is late.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import ClassVar

from harness.call.adaptation import Adaptation, CallQualityMetrics, Pressure
from harness.call.config import EndpointConfig
from harness.call.congestion import Shortest
from harness.call.connection import Connection
from harness.call.events import Event, MediaUpdated, QualityChanged, VideoAdapted
from harness.call.inbound import LONG_HORIZON, InboundDelay
from harness.call.media_queue import CLASSES, URGENT, Waiting
from harness.call.reports import Reporter
from harness.call.signaling import MediaUpdate, Message
from harness.call.timers import earliest
from harness.rtp.packet import HEADER, VIDEO_CLOCK, RtpPacket

SECOND = 1_000_000_000
STEP = 20_000_000
SWELL = SECOND
PADDING = 255  # RTP's largest: its length is in one byte
PADDING_LIFE = 100_000_000
PADDING_PAYLOAD_TYPE = 127
PATIENCE = 3  # steps
YIELDS = 0.2
"""Of a window: video that waits longer in all for packets on the way is too much for the way; one burst or one stall is over sooner."""


class Padding:
    """``due`` gives what a probe that has begun owes at a time, as RTP packets.  Nanoseconds.

    Each probe is a source of its own: what the last one gave up would be reported as lost by the next.
    """

    def __init__(self, rng: random.Random) -> None:
        self.next: int | None = None
        """When the next packets are owed; None while no probe is under way."""
        self.queueing = 0
        """For how many steps in a row packets have been queueing on the way."""
        self._rng = rng
        self._ssrc = self._sequence = self._kbps = self._began = self._offered = 0

    def begin(self, kbps: int, now: int) -> None:
        """From now on swell up to ``kbps``."""
        self._ssrc, self._sequence = self._rng.getrandbits(32), self._rng.getrandbits(16)
        self._kbps, self._began, self._offered, self.queueing = kbps, now, 0, 0
        self.next = now + STEP

    def end(self) -> None:
        """The probe is over."""
        self.next = None

    def due(self, now: int) -> list[RtpPacket]:
        """The packets of the steps up to ``now``; of a long pause no more than two steps' worth."""
        self.next = now + STEP
        past = now - self._began
        full = past * past // (2 * SWELL) if past < SWELL else past - SWELL // 2  # ns at the full rate that come to the same
        owed = full * self._kbps // 8_000_000
        most = max(PADDING, 2 * STEP * self._kbps // 8_000_000)
        self._offered = max(self._offered, owed - most)
        packets = []
        while self._offered + PADDING <= owed:
            self._offered += PADDING
            self._sequence = (self._sequence + 1) & 0xFFFF
            timestamp = (now * VIDEO_CLOCK // SECOND) & 0xFFFFFFFF
            packets.append(
                RtpPacket(payload_type=PADDING_PAYLOAD_TYPE, sequence=self._sequence, timestamp=timestamp, ssrc=self._ssrc, padding=PADDING)
            )
        return packets


class CallQuality:
    """Watches one connected call from ``began`` (ns) on.  ``say`` sends a signalling message, ``sink`` takes events."""

    adaptation_class: ClassVar[type[Adaptation]] = Adaptation

    def __init__(
        self, call: str, config: EndpointConfig, inbound: InboundDelay, *, audio: bool, rng: random.Random,
        say: Callable[[Message, int], None], sink: Callable[[Event], None], began: int,
    ) -> None:  # fmt: skip
        self._call = call
        self._config = config
        self._inbound = inbound
        self._audio = audio
        self._say = say
        self._sink = sink
        self._began = began
        self._adaptation = self.adaptation_class(config.adapt_windows, config.restore_windows) if config.adapt else None
        self._padding = Padding(rng)
        self._offered: dict[str, int] = {}
        self._moving: set[str] = set()
        self._connection: Connection | None = None
        self._acknowledged = self._expired = self._unhurried = 0
        self._yielded = 0.0
        self._round_trips = Shortest(LONG_HORIZON)
        self._loss = self._jitter = 0.0
        self._outage = False

    def path_changed(self) -> None:
        """What was learned of the path's length is void."""
        self._round_trips = Shortest(LONG_HORIZON)

    def offered(self, flow: str, size: int) -> None:
        """The application has offered ``size`` bytes of payload on ``flow``."""
        if flow in ("video", "screen"):
            self._offered[flow] = self._offered.get(flow, 0) + size

    def timer(self) -> int | None:
        """When ``handle_timer`` has something to do."""
        return earliest([self._began + self._config.quality.ns, self._padding.next])

    def handle_timer(self, now: int, connection: Connection, reporter: Reporter, held: bool) -> None:
        """Pad if a probe is under way; once a window has passed tell its quality, and decide."""
        if held:
            self._end_padding(connection)
        elif self._padding.next is not None and now >= self._padding.next:
            self._pad(now, connection)
        if now < self._began + self._config.quality.ns:
            return
        held_back = self._held_back(connection)
        metrics = self._measure(now - self._began, connection, reporter)
        pressure = Pressure(
            queueing_ms=round(1000 * self._queueing(now, connection), 3),
            packet_loss_percent=metrics.packet_loss_percent,
            jitter_ms=metrics.jitter_ms,
            held_back_percent=round(held_back, 3),
        )
        deaf = held or connection.heard_at is None or connection.heard_at < self._began
        offered, self._offered = self._offered, {}
        seconds = (now - self._began) / SECOND
        self._began = now
        self._sink(
            QualityChanged(
                self._call,
                now,
                metrics.rtt_ms,
                metrics.packet_loss_percent,
                metrics.jitter_ms,
                metrics.bandwidth_kbps,
                metrics.word,
            )
        )
        if self._adaptation is not None and deaf:
            self._adaptation.interrupt()
        elif self._adaptation is not None:
            self._decide(self._adaptation, pressure, offered, seconds, now, connection)

    def _held_back(self, connection: Connection) -> float:
        """Of the packets of this window that may wait for room, the share (%) that expired here because the network takes no more.

        Not while it has not said so for a good part of the window: then the congestion window is still small, and grows by being used.
        """
        if connection is not self._connection:
            self._expired = 0
        unhurried = sum(count for flow, count in connection.sent.items() if CLASSES[flow] != URGENT)
        sent, self._unhurried = unhurried - self._unhurried, unhurried
        expired = connection.expired - self._expired
        core = connection.core
        yielded, self._yielded = core.yielded_for - self._yielded, core.yielded_for
        narrow = connection.careful or core.narrowed_at >= self._began / SECOND or yielded >= YIELDS * self._config.quality.s
        return 100 * expired / (expired + sent) if expired and narrow else 0.0

    def _queueing(self, now: int, connection: Connection) -> float:
        """How long packets have been queueing on the way there, in the mean of lately, seconds; 0 when nothing is known."""
        round_trip = connection.core.measured_rtt
        if round_trip is None:
            return 0.0
        self._round_trips.add(round_trip, now / SECOND)
        return max(0.0, round_trip - self._round_trips.value - self._inbound.standing())

    def _measure(self, length: int, connection: Connection, reporter: Reporter) -> CallQualityMetrics:
        if connection is not self._connection:  # the call has moved to another: its counts begin at 0
            self._acknowledged = 0
        acknowledged, expired = connection.core.acknowledged, connection.expired
        outcome = reporter.outcome()
        if connection.heard_at is None or connection.heard_at < self._began:
            self._outage, self._loss, self._jitter = True, 0.0, 0.0
        elif outcome is not None and self._outage:
            self._outage = False  # the first report after an outage tells of the outage
        elif outcome is not None:  # else none has come since, and what was said last still stands
            self._loss, self._jitter = outcome.loss_percent, outcome.jitter_ms
        if expired > self._expired:
            bandwidth = (acknowledged - self._acknowledged) * 8_000_000 / length
        else:
            core = connection.core
            bandwidth = max(core.congestion_window, core.initial_window) * 8 / core.rtt / 1000
        self._connection, self._acknowledged, self._expired = connection, acknowledged, expired
        return CallQualityMetrics(
            rtt_ms=round(connection.core.rtt * 1000, 3),
            packet_loss_percent=round(self._loss, 3),
            jitter_ms=round(self._jitter, 3),
            bandwidth_kbps=round(bandwidth, 1),
        )

    def _decide(
        self, adaptation: Adaptation, pressure: Pressure, offered: dict[str, int], seconds: float, now: int, connection: Connection
    ) -> None:
        if adaptation.kbps is None and offered:
            self._moving = set(offered)
        was = adaptation.kbps
        connection.careful = pressure.word == "adapt"
        decision = adaptation.window(pressure.word, round(sum(offered.values()) * 8 / 1000 / seconds))
        if adaptation.probe_kbps and self._padding.next is None:
            self._padding.begin(adaptation.probe_kbps, now)
        elif not adaptation.probe_kbps:
            self._end_padding(connection)
        if decision is not None:
            self._sink(VideoAdapted(self._call, now, decision.kbps, decision.why))
            if (decision.kbps == 0) != (was == 0):
                self._update(decision.kbps > 0, now)

    def _update(self, moving: bool, now: int) -> None:
        video, screen = (moving and flow in self._moving for flow in ("video", "screen"))
        self._say(MediaUpdate(self._call, audio=self._audio, video=video, screen_share=screen), now)
        self._sink(MediaUpdated(self._call, now, self._audio, video, screen, "here"))

    def _pad(self, now: int, connection: Connection) -> None:
        self._padding.queueing = self._padding.queueing + 1 if connection.queues(now) else 0
        if self._padding.queueing >= PATIENCE and self._adaptation is not None:
            failed = self._adaptation.probe_failed("packets queue on the way")
            self._sink(VideoAdapted(self._call, now, failed.kbps, failed.why))
            self._end_padding(connection)
            return
        for packet in self._padding.due(now):
            if HEADER.size + PADDING <= connection.max_rtp_packet:
                connection.put(Waiting(0, "padding", packet.encode(), now + PADDING_LIFE, "datagram", packet))

    def _end_padding(self, connection: Connection) -> None:
        if self._padding.next is not None:
            self._padding.end()
            connection.drop_padding()
