"""What a viewer saw: the VP8 frames that really came, decoded, as a short film and as a sheet of pictures, with the freezes in them.

A frame is shown when its last packet arrives, as the verdicts have it (``freezes``), and stays until the next one is.  Under the picture
stand the time since the call was opened (s) and what is wrong: FROZEN, on red, for the whole of every freeze by W3C webrtc-stats, and for a
standstill at the end that is long enough to be one; DAMAGED, on yellow, while pictures build on one that never came, until the next key
frame.  A decoder in a real call would ask for one; the verdicts' figures, too, take every whole frame as shown.

Nothing is believed: the packets come from an agent's file, and a frame that cannot be decoded leaves the picture as it was and is counted.
Needs numpy and PyAV.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from harness.media import glyphs, png
from harness.media.freezes import FRAMES, ShownFrame, is_freeze, shown, video_report
from harness.media.picture import HEIGHT, WIDTH
from harness.media.records import MediaPacket
from harness.media.vp8 import Vp8Decoder, depacketize, is_key_frame, luma

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Grey = NDArray[np.uint8]

RATE = 10
"""Pictures a second of the film."""
KBPS = 64
LONGEST = 120 * 1_000_000_000
"""ns of film at most."""
COLUMNS, PICTURES = 5, 20
"""Of a sheet."""
_SECOND = 1_000_000_000
_BAR = 20
_LEVELS = 16
_HEADING = 11

Stretch = tuple[int, int]
_FINE, _FROZEN, _DAMAGED = range(3)
_WORDS = ("", "FROZEN", "DAMAGED")
_YUV = ((32, 128, 128), (82, 90, 240), (200, 20, 150))
_RGB = ((32, 32, 36), (214, 40, 40), (236, 190, 20))


class PictureFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Frames offered and shown in the window; of those shown: ``damaged``, ``undecodable``, and ``not_kept`` by the viewer."""

    offered: int = 0
    shown: int = 0
    damaged: int = 0
    undecodable: int = 0
    not_kept: int = 0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """``film``: WebM; ``sheet``: PNG.  ``starts``, ``duration``: of the film, ns; the other two: stretches of CLOCK_MONOTONIC."""

    film: bytes
    sheet: bytes
    starts: int
    duration: int
    frozen: tuple[Stretch, ...]
    damaged: tuple[Stretch, ...]
    figures: PictureFigures


class _View(NamedTuple):
    """What stands on the screen at ``at``."""

    at: int
    picture: Grey
    state: int


def watch(packets: Sequence[MediaPacket], payload: Callable[[MediaPacket], bytes | None], *, opened: int, closed: int) -> Seen:
    """Decode one video flow in one direction.  ``payload``: the bytes that the viewer left of a packet that came, or None."""
    until = min(closed, opened + LONGEST)
    report = video_report(packets, since=opened, until=closed)
    last = report.intervals[-1]
    before = [gap.excess.ns for gap in report.intervals[:-1]][-FRAMES:]
    freezes = [*report.freezes, *([last] if is_freeze(last.excess.ns, before) else [])]
    frozen = tuple((max(gap.start, opened), gap.end) for gap in freezes)
    found = shown(packets, until=closed)
    screen = _Screen(found.frames, payload, frozen)
    ticks = range(opened, max(until, opened + 1), _SECOND // RATE)  # an empty film plays nowhere
    film = _Film()
    sheet = set(_moments(frozen, opened, until))
    kept: list[_View] = []
    for at in sorted({*ticks, *sheet}):
        view = screen.at(at)
        if at in sheet:
            kept.append(view)
        if (at - opened) % (_SECOND // RATE) == 0:
            film.add(view, opened)
    screen.at(closed)
    figures = PictureFigures(
        offered=report.frames_offered,
        shown=report.frames_rendered,
        damaged=sum(opened <= at for at in screen.damaged),
        undecodable=screen.undecodable,
        not_kept=screen.not_kept,
    )
    return Seen(
        film=film.finish(),
        sheet=_sheet(kept, opened),
        starts=opened,
        duration=min(until - opened, len(ticks) * (_SECOND // RATE)),
        frozen=frozen,
        damaged=tuple(screen.damages(opened, closed)),
        figures=figures,
    )


class _Screen:
    """Decodes frames as they are shown."""

    def __init__(self, frames: Sequence[ShownFrame], payload: Callable[[MediaPacket], bytes | None], frozen: Sequence[Stretch]) -> None:
        import numpy as np

        self._frames = frames
        self._payload = payload
        self._frozen = frozen
        self._decoder = Vp8Decoder()
        self._next = 0
        self._source: tuple[int, int] | None = None
        self._broken = True
        self._picture: Grey = np.full((HEIGHT, WIDTH), 16, np.uint8)
        self.damaged: list[int] = []
        self.undecodable = 0
        self.not_kept = 0
        self._times: list[tuple[int, bool]] = []

    def at(self, moment: int) -> _View:
        """The screen at ``moment``; moments must not go back."""
        while self._next < len(self._frames) and self._frames[self._next].at <= moment:
            self._show(self._frames[self._next])
            self._next += 1
        state = _DAMAGED if self._times and self._times[-1][1] else _FINE
        if any(start <= moment < end for start, end in self._frozen):
            state = _FROZEN
        return _View(moment, self._picture, state)

    def _show(self, frame: ShownFrame) -> None:
        import numpy as np

        ssrc = frame.packets[0].ssrc
        payloads = [self._payload(packet) for packet in frame.packets]
        coded = None if None in payloads else depacketize([data for data in payloads if data is not None])
        if coded is None:
            self.not_kept += None in payloads
            self.undecodable += None not in payloads
            self._broken = True
        else:
            if is_key_frame(coded):
                self._broken = False
            elif self._source != (ssrc, frame.number - 1):
                self._broken = True
            picture = self._decoder.decode(coded)
            if picture is None:
                self.undecodable += 1
                self._broken = True
            else:
                self._picture = np.frombuffer(luma(picture), np.uint8).reshape(HEIGHT, WIDTH)
        self._source = (ssrc, frame.number)
        self._times.append((frame.at, self._broken))
        if self._broken:
            self.damaged.append(frame.at)

    def damages(self, opened: int, closed: int) -> Iterator[Stretch]:
        """The stretches in which a damaged picture stood on the screen."""
        start: int | None = None
        for at, broken in [*self._times, (closed, False)]:
            if broken and start is None:
                start = max(at, opened)
            elif not broken and start is not None:
                if max(at, opened) > start:
                    yield start, min(at, closed)
                start = None


def _caption(view: _View, opened: int) -> str:
    return f"{max(0, view.at - opened) / _SECOND:.2f} {_WORDS[view.state]}".rstrip()


class _Film:
    """A WebM file in memory."""

    def __init__(self) -> None:
        import av

        self._av = av
        self._file = io.BytesIO()
        self._container = av.open(self._file, "w", format="webm")
        options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0"}
        self._stream = self._container.add_stream("libvpx", rate=RATE, options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = WIDTH, HEIGHT + _BAR, "yuv420p"
        self._stream.bit_rate = KBPS * 1000
        self._stream.time_base = Fraction(1, RATE)
        self._stream.codec_context.gop_size = 4 * RATE
        self._stream.codec_context.thread_count = 1
        self._count = 0

    def add(self, view: _View, opened: int) -> None:
        import numpy as np

        grey, blue, red = _YUV[view.state]
        ink = 235 if grey < 128 else 16
        bright = np.full((HEIGHT + _BAR, WIDTH), grey, np.uint8)
        bright[:HEIGHT] = view.picture
        rows = glyphs.rows(_caption(view, opened), 2, ink, grey)
        bright[HEIGHT + 3 : HEIGHT + 3 + len(rows), 6 : 6 + len(rows[0])] = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
        colours = [np.full(((HEIGHT + _BAR) // 2, WIDTH // 2), 128, np.uint8) for _ in range(2)]
        for plane, value in zip(colours, (blue, red), strict=True):
            plane[HEIGHT // 2 :] = value
        frame = self._av.VideoFrame.from_ndarray(
            np.concatenate([bright.reshape(-1), *(plane.reshape(-1) for plane in colours)]).reshape(-1, WIDTH), format="yuv420p"
        )
        frame.pts = self._count
        frame.time_base = Fraction(1, RATE)
        self._count += 1
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._file.getvalue()


def _moments(frozen: Sequence[Stretch], opened: int, until: int) -> Iterator[int]:
    """When the pictures of a sheet are taken: around the longest freezes, and evenly over the rest."""
    chosen: set[int] = set()
    for start, end in sorted(frozen, key=lambda one: one[0] - one[1])[:4]:
        chosen |= {at for at in (start - 1, (start + end) // 2, end) if opened <= at < until}
    even = PICTURES - len(chosen)
    chosen |= {opened + (until - opened) * (2 * n + 1) // (2 * even) for n in range(even)}
    yield from sorted(at for at in chosen if opened <= at < until)


def _sheet(views: Sequence[_View], opened: int) -> bytes:
    """Half-size pictures in rows, each under its time, which stands on the colour of its state."""
    import numpy as np

    wide, high = WIDTH // 2, HEIGHT // 2 + _HEADING
    rows = max(1, -(-len(views) // COLUMNS))
    paper = _LEVELS
    sheet = np.full((rows * (high + 2), COLUMNS * (wide + 2)), paper, np.uint8)
    for place, view in enumerate(views):
        top, left = place // COLUMNS * (high + 2), place % COLUMNS * (wide + 2)
        heading = np.full((_HEADING, wide), paper + view.state, np.uint8)
        words = glyphs.rows(_caption(view, opened), 1, 0 if view.state == _DAMAGED else _LEVELS - 1, paper + view.state)
        heading[2 : 2 + len(words), 3 : 3 + len(words[0])] = np.frombuffer(b"".join(words), np.uint8).reshape(len(words), -1)
        sheet[top : top + _HEADING, left : left + wide] = heading
        sheet[top + _HEADING : top + high, left : left + wide] = view.picture[::2, ::2] // (256 // _LEVELS)
    greys = [(n * 255 // (_LEVELS - 1),) * 3 for n in range(_LEVELS)]
    return png.encode(sheet.shape[1], sheet.shape[0], sheet.tobytes(), [*greys, *_RGB])
