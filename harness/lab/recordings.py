"""After a run with real media: decode what came to each listener, and leave it to be listened to and looked at.

``<listener>-heard.wav``, ``.ogg`` and ``.png`` of audio, ``<listener>-seen.webm`` and ``.png`` of video; a second recording of the same
listener gets a number.  ``heard.json`` says which is which (``harness.media.recording``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from harness import rotation
from harness.errors import AgentError
from harness.lab.conversation import PLAYOUT, Call
from harness.lab.folder import plain
from harness.lab.left import open_left
from harness.media import film, listening, rtpdump
from harness.media.listening import listen, wav
from harness.media.ogg import write_opus
from harness.media.recording import FILE, Recording, encode
from harness.media.records import MediaPacket, checksum
from harness.media.source import read_payload
from harness.media.spectrogram import spectrogram
from harness.rtp.packet import PacketError, parse_rtp_untrusted

if TYPE_CHECKING:
    from harness.lab.lab import Lab
    from harness.lab.peer import Peer

EMBEDDED_KBPS = 24
"""3 KB a second."""


def make(lab: Lab) -> None:
    """Write every recording of ``lab``'s run, and the index of them; adds the figures to ``report.json``'s ``quality``.

    An agent whose file is not what it should be has broken its contract: the run says so, and has no recording of what it heard.
    Of a run so long that parts of its records were let go nothing is decoded, and each recording says so.
    """
    kept: dict[str, Kept | str] = {}
    for peer in lab.peers.values():
        try:
            kept[peer.name] = _kept(peer)
        except AgentError as error:
            lab.evidence.errors.append(error)
            kept[peer.name] = error.what
    calls = {call.id: call for peer in lab.peers.values() for call in peer.calls if call.opened and call.closed is not None}
    gone = next((why for peer in lab.peers.values() if (why := rotation.gone(peer.folder / f"{peer.name}.media.jsonl"))), "")
    made: list[Recording] = []
    for call in calls.values():
        for speaker, listener in call.sides:
            for flow in call.flows:
                if gone:
                    made.append(msgspec.structs.replace(_bare(call, speaker, listener, flow), note=gone))
                    continue
                heard = call.heard_by(listener, flow)
                if heard.packets:
                    recording = _recording(lab, call, speaker, listener, flow, heard.packets, kept[listener.name], made)
                    made.append(recording)
                    lab.evidence.quality.setdefault(heard.direction, {})["heard"] = {**recording.figures, "note": recording.note}
    (lab.folder / FILE).write_bytes(encode(made))


Kept = dict[tuple[int, int, int], bytes]
"""RTP payloads by SSRC, sequence number and checksum of their packet."""


def _kept(peer: Peer) -> Kept | str:
    """What ``peer`` left of the packets that came to it, or in words that it left nothing; AgentError for a file that is no rtpdump."""
    path = peer.folder / f"{peer.name}.heard.rtpdump"
    try:
        with open_left(path, peer.name) as file:
            if (size := os.fstat(file.fileno()).st_size) > rtpdump.LARGEST_FILE:
                raise AgentError(peer.name, f"{path.name} has {size} bytes; allowed are {rtpdump.LARGEST_FILE}")
            whole = file.read()
    except FileNotFoundError:
        return f"{peer.name} left no {path.name}"
    found: Kept = {}
    for data in rtpdump.read(whole, peer.name):
        try:
            packet = parse_rtp_untrusted(data)
        except PacketError:
            continue  # its record says that something came; what was offered had another checksum in any case
        found[packet.ssrc, packet.sequence, checksum(data)] = packet.payload
    return found


def _bare(call: Call, speaker: Peer, listener: Peer, flow: str) -> Recording:
    """A recording of which nothing is there yet."""
    assert call.closed is not None
    length = call.closed - call.opened
    return Recording(listener=listener.name, speaker=speaker.name, call=call.id, flow=flow, starts_ns=call.opened, duration_ns=length)


def _recording(
    lab: Lab,
    call: Call,
    speaker: Peer,
    listener: Peer,
    flow: str,
    packets: Sequence[MediaPacket],
    kept: Kept | str,
    made: list[Recording],
) -> Recording:
    assert call.closed is not None
    bare = _bare(call, speaker, listener, flow)

    def payload(packet: MediaPacket) -> bytes | None:
        return None if isinstance(kept, str) else kept.get((packet.ssrc, packet.seq, packet.crc))

    if isinstance(kept, str):
        return msgspec.structs.replace(bare, note=kept)
    came = next((data for packet in packets if packet.arrivals and (data := payload(packet)) is not None), None)
    if came is not None and read_payload(came) is not None:
        return msgspec.structs.replace(bare, note="synthetic packets: there is nothing to hear in them")
    decode = _sound if flow == "audio" else _film
    return decode(lab, bare, packets, payload, call.closed, _stem(listener.name, flow, made))


Payload = Callable[[MediaPacket], bytes | None]


def _sound(lab: Lab, bare: Recording, packets: Sequence[MediaPacket], payload: Payload, closed: int, stem: str) -> Recording:
    sound = listen(packets, payload, opened=bare.starts_ns, closed=closed, deadline=PLAYOUT.ns)
    files = {
        "wav": (f"{stem}.wav", wav(sound.pcm)),
        "ogg": (f"{stem}.ogg", write_opus(sound.pcm, rate=48_000, kbps=EMBEDDED_KBPS)),
        "spectrogram": (f"{stem}.png", spectrogram(sound)),
    }
    return msgspec.structs.replace(
        bare,
        duration_ns=sound.duration,
        files=_write(lab, files),
        concealed=sound.concealed,
        figures=msgspec.structs.asdict(sound.figures),
        note=_cut_at(closed - bare.starts_ns, listening.LONGEST),
    )


def _film(lab: Lab, bare: Recording, packets: Sequence[MediaPacket], payload: Payload, closed: int, stem: str) -> Recording:
    seen = film.watch(packets, payload, opened=bare.starts_ns, closed=closed)
    return msgspec.structs.replace(
        bare,
        duration_ns=seen.duration,
        files=_write(lab, {"film": (f"{stem}.webm", seen.film), "sheet": (f"{stem}.png", seen.sheet)}),
        concealed=seen.frozen,
        damaged=seen.damaged,
        figures=msgspec.structs.asdict(seen.figures),
        note=_cut_at(closed - bare.starts_ns, film.LONGEST),
    )


def _write(lab: Lab, files: dict[str, tuple[str, bytes]]) -> dict[str, str]:
    for name, data in files.values():
        (lab.folder / name).write_bytes(data)
    return {kind: name for kind, (name, _) in files.items()}


def _cut_at(length: int, longest: int) -> str:
    return "" if length <= longest else f"only the first {longest // 1_000_000_000} s of it"


def _stem(listener: str, flow: str, made: list[Recording]) -> str:
    """A name for the files of one recording that no other of this run has."""
    name = plain(listener) + {"audio": "-heard", "video": "-seen"}.get(flow, f"-seen-{flow}")
    used = {file.rpartition(".")[0] for one in made for file in one.files.values()}
    number = 2
    stem = name
    while stem in used:
        stem, number = f"{name}-{number}", number + 1
    return stem
