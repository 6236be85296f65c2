"""What the quality of a call's windows means for its video: halve it, stop it, try the path with padding, give it back.  Pure.

Each side decides for what it sends, window by window (a second), and audio is never touched:

* N windows in a row that say "adapt": video at half its bitrate; N more: no video, the call goes on with audio.
* M windows in a row that say "good": the path is probed with padding that makes up the bitrate that video had, since what a call uses
  without it says nothing of what there is.  Two windows of that without "adapt": video returns.  Otherwise nothing changes, except that M
  doubles: each try costs a little.
* A return that does not last M windows was a mistake as well, and doubles M too.  That is what keeps video from flapping on a path whose
  probes succeed and whose video does not.

A window that is neither good nor bad ends both rows.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

Word = Literal["good", "fair", "adapt"]
PROBE_WINDOWS = 2


class CallQualityMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One window of what this side sends.  ``bandwidth_kbps`` is what the path has to offer, not what is used of it."""

    rtt_ms: float
    packet_loss_percent: float
    jitter_ms: float
    bandwidth_kbps: float

    @property
    def word(self) -> Word:
        """What the figures amount to; all bounds are exclusive."""
        if self.rtt_ms > 200 or self.packet_loss_percent > 3 or self.jitter_ms > 40 or self.bandwidth_kbps < 300:
            return "adapt"
        if self.rtt_ms < 100 and self.packet_loss_percent < 1 and self.jitter_ms < 20 and self.bandwidth_kbps > 500:
            return "good"
        return "fair"


class Pressure(msgspec.Struct, frozen=True, kw_only=True):
    """What decides about video: how much of one window's trouble lies on the way that video takes, and could be helped by sending less.

    A long path is no trouble: ``queueing_ms`` is how much longer than at best packets take, the queue on the way back left out.
    ``packet_loss_percent`` is of what was sent; ``held_back_percent`` of what waited here, and expired because the connection took less.
    """

    queueing_ms: float
    packet_loss_percent: float
    jitter_ms: float
    held_back_percent: float

    @property
    def word(self) -> Word:
        """What the figures amount to; loss and jitter as in ``CallQualityMetrics``, all bounds are exclusive."""
        if self.queueing_ms > 150 or self.packet_loss_percent > 3 or self.jitter_ms > 40 or self.held_back_percent > 10:
            return "adapt"
        if self.queueing_ms < 75 and self.packet_loss_percent < 1 and self.jitter_ms < 20 and self.held_back_percent < 1:
            return "good"
        return "fair"


class Decision(msgspec.Struct, frozen=True):
    """Video may use ``kbps`` from now on (0: it stops), because of ``why``."""

    kbps: int
    why: str


class Adaptation:
    """The decisions of one side of one call.  ``fall_after`` is N, ``restore_after`` M, in windows."""

    probe_windows: ClassVar[int] = PROBE_WINDOWS

    def __init__(self, fall_after: int, restore_after: int) -> None:
        self.wanted = 0
        """The most that video has used in a window while nothing held it down, kbit/s."""
        self.kbps: int | None = None
        """What video may use; None while nothing holds it down."""
        self._fall_after = fall_after
        self._restore_after = restore_after
        self._patience = restore_after
        self._bad = self._good = 0
        self._probing = 0
        self._returned: int | None = None

    @property
    def probe_kbps(self) -> int:
        """How much padding the path is to be tried with now; 0 when no probe is under way."""
        return self.wanted - (self.kbps or 0) if self._probing else 0

    def interrupt(self) -> None:
        """A window has passed that says nothing, as in an outage: it ends both rows."""
        self._bad = self._good = 0

    def window(self, word: Word, offered_kbps: int) -> Decision | None:
        """A window has passed in which the application offered ``offered_kbps`` of video; what follows from it, if anything."""
        if self.kbps is None:
            self.wanted = max(self.wanted, offered_kbps) if offered_kbps else 0
            if self._returned is not None:
                self._returned += 1
        if self._probing:
            return self._probed(word)
        self._bad = self._bad + 1 if word == "adapt" else 0
        self._good = self._good + 1 if word == "good" else 0
        if self._bad >= self._fall_after and offered_kbps and self.kbps != 0:
            return self._fall()
        if self._good >= self._patience and self.kbps is not None:
            self._good, self._probing = 0, self.probe_windows
        return None

    def probe_failed(self, why: str) -> Decision:
        """The path does not have what video wants: all stays as it is."""
        self._probing = self._good = 0
        self._patience *= 2
        return Decision(self.kbps or 0, f"the probe failed, {why}")

    def _probed(self, word: Word) -> Decision | None:
        if word == "adapt":
            return self.probe_failed("the window was bad")
        self._probing -= 1
        if self._probing:
            return None
        self.kbps, self._returned = None, 0
        return Decision(self.wanted, f"{self.wanted} kbit/s of padding went through")

    def _fall(self) -> Decision:
        if self.kbps is None and self._returned is not None:
            self._patience = self._patience * 2 if self._returned < self._patience else self._restore_after
        self.kbps = max(1, self.wanted // 2) if self.kbps is None else 0
        self._bad, self._returned = 0, None
        return Decision(self.kbps, f"{self._fall_after} bad windows in a row")
