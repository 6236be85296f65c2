"""What the captures and the agents' records prove, once a call is over.

The agent does not grade itself: each media record must match a captured UDP packet at that host, in time and size, or the run is
INCONCLUSIVE with blame agent.  Handshakes are counted, and migrations proven, from the captures alone (RFC 9000 §17.2 needs no keys).
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import rotation
from harness.agent.messages import ConnectionEstablished
from harness.errors import AgentError, HarnessError, SpecError
from harness.fabric.base import Direction, impairment_of
from harness.fabric.capture import file_name
from harness.fabric.pcapng import Reader
from harness.fabric.udp_packets import UdpPacket, udp_packets
from harness.lab import owed
from harness.lab.conversation import PLAYOUT, Call, direction
from harness.lab.decrypted import Decrypted, Packet, read_keys
from harness.lab.handshakes import came, handshakes
from harness.lab.holds import OnHold, on_hold
from harness.lab.left import open_left
from harness.lab.legs import Legs
from harness.lab.media_flows import FlowEnds, media_packets
from harness.lab.moments import of_packets
from harness.lab.path_delay import PathDelays
from harness.lab.quic_headers import first_initial_untrusted
from harness.lab.record_audit import RecordAudit
from harness.lab.wire_view import NEVER, CallEnds, Opener, Sealed, View, view
from harness.media import records
from harness.media.figure import Figure, Gap, Moment, counted
from harness.media.measures import Heard
from harness.media.schedule import Schedule, Span, pace_of
from harness.media.sealed import LEAST, MOST, NOT_MEASURED, SealedDatagram, SealedHeard
from harness.media.source import AUDIO_PAYLOAD_BYTES
from harness.rtp.packet import HEADER
from harness.units import Duration, ms
from harness.verdict import Receipt

if TYPE_CHECKING:
    from harness.lab.attacker import Attacker
    from harness.lab.lab import Lab
    from harness.lab.peer import Crash, Move, Peer

_LIFE_SIGN = 1100 * ms
"""How often an agent in a call is heard of at least: RTCP and keepalive come once a second."""
_SETTLED = 10  # packets in a row from a new address before the call counts as moved
MOVED = "new 4-tuple"
"""The kind of a migration's receipt."""


class Evidence:
    """Reads what a run left.  ``errors``: what the audit found against the agents; ``quality``: figures to read, not to gate on."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.errors: list[BaseException] = []
        self.quality: dict[str, Any] = {}
        self.sealed: set[str] = set()
        """The agents of whose datagrams too many open under no key, once the run is audited."""
        self._opener = Opener()
        self._seen: tuple[Any, View] | None = None
        self._made: tuple[View, dict[Any, Heard]] | None = None
        """The flows that were judged by the newest view."""
        self._read: dict[str, tuple[tuple[int, ...], list[records.Record]]] = {}
        self._captured: dict[str, tuple[tuple[int, ...], list[UdpPacket]]] = {}
        """By host: how large its captures were when they were read, and what was in them."""
        self._decrypted: dict[str, tuple[tuple[int, ...], Decrypted]] = {}
        self._legs: dict[str, Legs] = {}

    # -- media -------------------------------------------------------------------------------------------------------------------------

    def heard(self, call: Call, speaker: Peer, listener: Peer, flow: str) -> Heard:
        """Every packet of ``flow`` that the lab's schedule owed from ``speaker`` in ``call``, and its fate at ``listener``."""
        assert call.closed is not None
        view = self._view(call)
        key = call.id, speaker.name, flow, call.opened, call.closed, len(self._records(speaker)), tuple(call.leaves(flow, speaker))
        if self._made is None or self._made[0] is not view:
            self._made = view, {}
        made = self._made[1]
        if key not in made:
            made[key] = self._flow(call, speaker, listener, flow, view)
        return made[key]

    def _flow(self, call: Call, speaker: Peer, listener: Peer, flow: str, view: View) -> Heard:
        assert call.closed is not None
        talks = [talk for talk in view.talks if view.calls.get(talk.connection) == call.id]
        killed = [crash.killed for crash in speaker.crashes if crash.killed >= call.asked]
        asked = owed.spans(call.id, flow, speaker.name, speaker.requests, talks, ends=killed)
        schedule = Schedule(pace_of(flow), asked, call.leaves(flow, speaker))
        wire = [packet for packet in view.packets(call.id, speaker.name) if packet.flow == flow]
        records_ = self._records(speaker)
        unsent = [one for one in records_ if isinstance(one, records.SentRecord) and one.sent is None]
        unsent = [one for one in unsent if one.call == call.id and one.flow == flow]
        ends = FlowEnds(call.id, flow, speaker.name, listener.name)
        sealed = view.sealed.get(speaker.name)
        if sealed is not None and sealed.hides:
            return self._sealed(call, speaker, listener, flow, sealed, asked)
        return Heard(
            media_packets(ends, wire, unsent, schedule, self._delays(), call.closed),
            direction(speaker, listener, flow),
            call.opened,
            call.closed,
            PLAYOUT,
            speaker.clock_stepped or listener.clock_stepped,
            pace=schedule.pace,
            free=schedule.free() if asked else None,
            leaves=schedule.leaves,
            speaker=speaker.name,
            listener=listener.name,
        )

    def _sealed(self, call: Call, speaker: Peer, listener: Peer, flow: str, sealed: Sealed, asked: list[Span]) -> SealedHeard:
        """A flow whose packets no key opens, as far as sizes and times show it."""
        assert call.closed is not None
        size = AUDIO_PAYLOAD_BYTES + HEADER.size
        datagrams = [
            SealedDatagram(udp.monotonic or 0, None if arrival is None else arrival.monotonic)
            for udp, there, arrival in sealed.datagrams
            if there in ("", listener.name) and size + LEAST <= udp.size <= size + MOST
        ]
        return SealedHeard(
            [],
            direction(speaker, listener, flow),
            call.opened,
            call.closed,
            PLAYOUT,
            pace=pace_of(flow),
            free=Schedule(pace_of(flow), asked, call.leaves(flow, speaker)).free() if asked else None,
            speaker=speaker.name,
            listener=listener.name,
            datagrams=datagrams if flow == "audio" and sealed.whole else (),
            why=NOT_MEASURED if sealed.whole else f"not measured: {sealed}",
        )

    def _view(self, call: Call | None = None) -> View:
        """What the captures show as they are now; parts that were let go are an error."""
        calls = tuple(self._call_ends())
        ended = max((call.until for call in calls), default=NEVER)
        samples = self._lab.queue_samples()
        sampled = sum(bisect_right(its, ended, key=lambda one: one.at) for its in samples.values())
        # What comes after the last call is over, and was put into the files since, says nothing of the calls.
        sizes = () if self._network().flushed > ended else tuple(map(self._sizes, self._lab.peers.values()))
        known = sizes, calls, bool(self._lab.final), sampled
        if self._seen is None or self._seen[0] != known:
            captured = {name: self.captured(peer) for name, peer in self._lab.peers.items()}
            log = self._lab.gather_keys()
            outgoing = heapq.merge(*([one for one in packets if one.outgoing] for packets in captured.values()), key=lambda one: one.time)
            opened, sealed = self._opener.open(outgoing, read_keys(log) if log.exists() else [])
            held = {port.path: self.held(port.path) for name in captured for port in self._network().topology.ports(name)}
            first_fault = min((fault.began for fault in self._lab.faults), default=NEVER)
            made = view(captured, opened, sealed, calls=calls, held=held, samples=samples, quiet_until=first_fault, cut=self.cut())
            self._seen = known, made
        return self._seen[1]

    def cut(self) -> dict[str, list[tuple[int, int]]]:
        """By interface, when it was down (ns) after it had been up."""
        found: dict[str, list[tuple[int, int]]] = {}
        went: dict[str, int] = {}
        for one in sorted(self._lab.switching, key=lambda seen: seen.at):
            for interface, up in one.line.get("up", {}).items():
                if not up:
                    went.setdefault(interface, one.began)
                elif interface in went:
                    found.setdefault(interface, []).append((went.pop(interface), one.at))
        for interface, since in went.items():
            found.setdefault(interface, []).append((since, NEVER))
        return found

    def _call_ends(self) -> Iterator[CallEnds]:
        for call in dict.fromkeys(call for peer in self._lab.peers.values() for call in peer.calls):
            yield CallEnds(call.id, call.caller.name, call.callee.name, call.asked, call.closed or NEVER)

    def _delays(self) -> PathDelays:
        network = self._network()
        return PathDelays(network.topology, self._lab.history())

    def _records(self, peer: Peer) -> list[records.Record]:
        path: Path = peer.folder / f"{peer.name}.media.jsonl"
        size = tuple(part.stat().st_size for part in rotation.parts(path))
        known = self._read.get(peer.name)
        if known is None or known[0] != size:
            known = self._read[peer.name] = size, _records(peer)
        return known[1]

    # -- captures ----------------------------------------------------------------------------------------------------------------------

    def captured(self, peer: Peer | Attacker, *, whole: bool = True) -> list[UdpPacket]:
        """The UDP packets captured at all of a host's interfaces, in order of time; read again when there are more.

        HarnessError when parts of a capture were let go, unless it need not be ``whole``: no figure may come from what is left.
        """
        if whole:
            self._flushed()
        sizes = self._sizes(peer)
        known = self._captured.get(peer.name)
        if known is not None and known[0] == sizes:
            return known[1]
        if whole and (missing := self.gone(peer)):
            raise HarnessError(f"this needs all that was captured, and {missing[0]}; long calls are judged leg by leg")
        found: list[UdpPacket] = []
        for path in self._captures(peer):
            for part in rotation.parts(path) or [path]:
                found += [packet for packet in udp_packets(Reader(part)) if packet.monotonic is not None]
        found.sort(key=lambda packet: packet.time)
        if whole:
            self._captured[peer.name] = sizes, found
        return found

    def _sizes(self, peer: Peer | Attacker) -> tuple[int, ...]:
        return tuple(part.stat().st_size for path in self._captures(peer) for part in rotation.parts(path))

    def _flushed(self) -> None:
        """HarnessError unless the files have what was captured until the last call was over: what is read too early misses its end."""
        if self._lab.final or (network := self._lab.network) is None:
            return
        closed = [call.closed for peer in self._lab.peers.values() for call in peer.calls if call.closed is not None]
        if network.flushed <= max(closed, default=0):
            raise HarnessError("the captures are read before what passed is in their files: `await net.flush()` first")

    @property
    def in_legs(self) -> bool:
        """Whether a long call is judged leg by leg, of whose packets only the last are kept."""
        return bool(self._legs)

    def gone(self, peer: Peer | Attacker) -> list[str]:
        """Which parts of the captures at a host's interfaces were let go, in words."""
        return [missing for path in self._captures(peer) if (missing := rotation.gone(path))]

    def _captures(self, peer: Peer | Attacker) -> list[Path]:
        return [self._lab.folder / "capture" / file_name(port.path) for port in self._network().topology.ports(peer.name)]

    def on_hold(self, call: Call, peer: Peer) -> list[OnHold]:
        """Every time that ``call`` was put on hold and taken up again, as the packets at ``peer``'s host show it."""
        assert call.closed is not None
        other = call.callee if peer is call.caller else call.caller
        return on_hold(self.decrypted(peer), call.id, call.closed, f"{peer.name} → {other.name}")

    def decrypted(self, peer: Peer) -> Decrypted:
        """The 1-RTT packets among them, opened with the run's key log; AgentError when no agent has written one."""
        sizes, captured = self._sizes(peer), self.captured(peer)
        known = self._decrypted.get(peer.name)
        if known is None or known[0] != sizes:
            log = self._lab.gather_keys()
            if not log.exists():
                raise AgentError(peer.name, f"there is no {log.name}, which agents write into their folder: its packets cannot be opened")
            self._view()
            known = self._decrypted[peer.name] = sizes, self._opener.at_host(captured)
        return known[1]

    def opened(self, payload: bytes) -> Packet | None:
        """The 1-RTT packet in a datagram with that payload, if it was opened for a verdict."""
        return self._opener.opened_before(payload)

    def handshakes(self, call: Call) -> list[Moment]:
        """The QUIC handshakes that the caller of ``call`` began with its callee while the call was there: one, and one for each redial.

        Counted are the handshakes that left the caller's host and came to the callee's, by their ClientHello (``lab.handshakes``).  What
        made another call of the scenario is left out (its first destination id is that call's ``odcid``); what made none is not: it is
        this call's redial, or a call that nobody asked for.  Of two calls between the same two at once, either counts the other's redials.
        """
        until = call.closed or self._lab.now()
        others = {
            bytes.fromhex(said.message.odcid)
            for said in call.caller.remote.events
            if isinstance(said.message, ConnectionEstablished) and said.message.call in {c.id for c in call.caller.calls if c is not call}
        }
        legs = self._legs.get(call.id)
        caller, callee = ((self.captured(p) if legs is None else legs.long_headers(p)) for p in (call.caller, call.callee))
        begun = came(handshakes(caller, outgoing=True), handshakes(callee, outgoing=False))
        mine = (one.first for one in begun if one.chosen[0] not in others and call.asked <= (one.first.monotonic or 0) <= until)
        return list(of_packets(mine))

    def handshake_took(self, call: Call) -> Figure:
        """From the caller's first Initial until something under the connection's final keys comes back to it, in its own captures."""
        packets = self.captured(call.caller)
        began = next((p.monotonic for p in packets if p.outgoing and first_initial_untrusted(p.payload) is not None), None)
        arrived = (
            p.monotonic for p in packets if not p.outgoing and p.payload and not p.payload[0] & 0x80 and p.source[1] == self._lab.port
        )
        ended = next(arrived, None)
        if began is None or ended is None:
            return Figure(None, note="not measured: no handshake was captured")
        return Figure(Duration(ended - began), "", (Gap(Duration(ended - began), began, ended),))

    def receipt(
        self, move: Move, fault: str, captured: Sequence[UdpPacket] | None = None, sent: Sequence[UdpPacket] | None = None
    ) -> Receipt:
        """Whether the callee's host saw the call come from another address after ``move``, and go on from there.

        What it sees must have left the mover's host by the path that it was to move to: a NAT may rebind at the same time.  Where it was
        told to move elsewhere meanwhile, a probe by that path is enough.  ``captured``, ``sent``: the packets around it at the callee's
        host and at the mover's, if they are read already.
        """
        callee = move.call.callee
        known = self.captured(callee) if captured is None else captured
        came = [p for p in known if not p.outgoing and p.destination[1] == self._lab.port]
        before = next((p.source for p in reversed(came) if (p.monotonic or 0) < move.at), None)
        later = [p for p in (self.captured(move.peer) if sent is None else sent) if p.outgoing and (p.monotonic or 0) >= move.at]
        wanted = f"{move.peer.name}/{move.path}"
        run = _run(came, move.at, before, {p.payload for p in later if p.interface == wanted})
        others = [one.at for one in self._lab.moves if one.peer is move.peer and one.call is move.call and one.at > move.at]
        overtaken = False
        if len(run) < _SETTLED and others:
            run = _run(came, move.at, before, {p.payload for p in later})
            overtaken = bool(run) and min(others) <= (run[-1].monotonic or 0)
        until = (run[-1].monotonic or 0) if run else self._lab.now()
        left = sum(packet.interface == wanted for packet in later if (packet.monotonic or 0) <= until)
        taken = before is not None and len(run) >= _SETTLED and left >= (1 if overtaken else _SETTLED)
        observed: dict[str, Any] = {"before": _shown(before), "after": _shown(run[0].source if run else None)}
        observed[f"packets by {wanted} until then"] = left
        if taken:
            last_old = max(
                (p.monotonic or 0 for p in came if p.source == before and (p.monotonic or 0) < (run[-1].monotonic or 0)), default=0
            )
            observed["first packet after"] = str(Duration((run[0].monotonic or 0) - move.at))
            observed["last packet from the old one after"] = str(Duration(last_old - move.at))
        at = (run[0].monotonic or move.at) if run else move.at
        return Receipt(fault=fault, kind=MOVED, at=at, observed=observed, taken=taken, source=f"capture {callee.name}")

    def strayed(self, move: Move) -> Figure:
        """The packets of a call that came to its callee from another address than before, after ``move`` had been asked for."""
        callee = move.call.callee
        until = move.call.closed or self._lab.now()
        came = [p for p in self.captured(callee) if not p.outgoing and p.destination[1] == self._lab.port and (p.monotonic or 0) <= until]
        before = next((p.source for p in reversed(came) if (p.monotonic or 0) < move.at), None)
        if before is None:
            return Figure(None, note="not measured: nothing of the call had come before")
        return counted(of_packets(p for p in came if (p.monotonic or 0) >= move.at and p.source != before), timeless=True)

    def last_words(self, peer: Peer, crash: Crash, fault: str) -> Receipt:
        """That a host whose agent was killed sent until then, and nothing more once the process was gone."""
        until = crash.again or self._lab.now()
        sent = [packet.monotonic or 0 for packet in self.captured(peer) if packet.outgoing and (packet.monotonic or 0) < until]
        last = max(sent, default=0)
        seen = {"packets sent": len(sent), "last packet after the kill": str(Duration(last - crash.killed))}
        taken = crash.killed - _LIFE_SIGN.ns <= last <= crash.gone
        return Receipt(fault=fault, kind="host falls silent", at=last, observed=seen, taken=taken, source=f"capture {peer.name}")

    def _network(self) -> Any:
        if self._lab.network is None:
            raise HarnessError("there is no network, so there are no captures")
        return self._lab.network

    # -- at the end of a run -----------------------------------------------------------------------------------------------------------

    def audit(self) -> None:
        """Match every media record with a captured packet, write ``media.jsonl``, and collect the figures to read.

        A call in which nobody was to speak has no figures.  Records are held against captures that are whole; one that is not is an error
        of the harness.
        """
        missing = {port.rpartition("/")[0]: text for port, text in self._missing_frames()}
        self.errors += [HarnessError(f"the capture of {host} is not whole: {text}") for host, text in missing.items()]
        calls = {call.id: call for peer in self._lab.peers.values() for call in peer.calls if call.closed is not None}
        if self._legs:
            self._audit_legs()
            return
        with (self._lab.folder / "media.jsonl").open("wb") as file:
            for call in calls.values():
                for speaker, listener in call.sides:
                    for flow in ("audio", "video", "screen"):
                        heard = self.heard(call, speaker, listener, flow)
                        call.free |= {} if heard.free is None else {heard.direction: heard.free}
                        for packet in heard.packets:
                            file.write(records.media_line(packet, sender=speaker.name, receiver=listener.name))
                    for flow in call.flows if call.opened else ():
                        self._describe(call, speaker, listener, flow)
        for peer in self._lab.peers.values():
            if peer.name not in missing:
                self._match(peer)
        for name, one in self._view().sealed.items() if self._lab.peers else ():
            if name in self._lab.peers and one.many:
                self.sealed.add(name)
                if not (self._lab.orders.sealed and one.whole):
                    self.errors.append(AgentError(name, str(one)))

    def legs(self, call: Call) -> Legs:
        """Have ``call``, the only one of its run, judged leg by leg while it goes on."""
        if self._legs or len({one.id for peer in self._lab.peers.values() for one in peer.calls}) != 1:
            raise SpecError("lab.legs", "a call that is judged in legs is the only one of its run")
        if call.flows != ("audio",):
            raise SpecError("lab.legs", f"a call that is judged in legs has audio and nothing else; this one has {', '.join(call.flows)}")
        legs = self._legs[call.id] = Legs(self._lab, call, rotation.RotatedFile(self._lab.folder / "media.jsonl"))
        return legs

    def close(self) -> None:
        """The run is over, however it ended."""
        for legs in self._legs.values():
            legs.close()

    def _audit_legs(self) -> None:
        for legs in self._legs.values():
            self.quality["records matched with captures"] = legs.rest()

    def _missing_frames(self) -> Iterator[tuple[str, str]]:
        """Interfaces with frames that passed and are in no file."""
        for interface, captured in self._lab.final.get("captures", {}).items():
            if captured["dropped"] or captured["unwritten"] or captured["failure"]:
                counts = f"{captured['dropped']} frames dropped, {captured['unwritten']} not written"
                yield interface, counts + (f", {captured['failure']}" if captured["failure"] else "")

    def _describe(self, call: Call, speaker: Peer, listener: Peer, flow: str) -> None:
        heard = self.heard(call, speaker, listener, flow)
        delay = heard.delay()
        figures: dict[str, Any] = {"offered": len(heard.packets)}
        for name in (
            "longest_gap",
            "longest_gap_at_host",
            "loss",
            "network_loss",
            "late",
            "expired",
            "duplicates",
            "reordered",
            "corrupted",
        ):
            value = getattr(heard, name)().value
            figures[name] = None if value is None else str(value)
        if delay is not None:
            figures["delay"] = _fields(delay)
        if flow == "audio":
            figures["worst_seconds"] = [_fields(second) for second in heard.quality()[:3]]
        else:
            figures["freezes"] = str(heard.freezes().value)
        self.quality[heard.direction] = figures

    def held(self, interface: str) -> int:
        """For how long (ns) a packet that leaves by ``interface`` is surely kept before the capture there sees it.

        netem stands before the capture; what the relay does comes behind it.  0 also where the impairment changed during the run.
        """
        network = self._network()
        if network.carrier(interface) != "netem":
            return 0
        link = network.topology.link(interface)
        direction: Direction = "a_to_b" if link.a == interface else "b_to_a"
        told = self._lab.history().get(link.name, {}).get(direction, {}).get("rulings", ())
        return impairment_of(link, direction).least_delay if len(told) <= 1 else 0

    def _match(self, peer: Peer) -> None:
        """Hold ``peer``'s records against the packets on the wire; what breaks the audit is named."""
        view = self._view()
        found = self._records(peer)
        if view.sealed.get(peer.name) or not found:
            return  # what was not opened cannot be told apart; that it was not is named by ``_sealed``
        packets = [packet for its in view.media.values() for packet in its]
        audit = RecordAudit(self.sees_departures(peer), partial(self.swallowed, peer), cut_short=peer.cut_short or bool(peer.past))
        audit.take(
            found,
            (packet for packet in packets if packet.speaker == peer.name),
            (packet for packet in packets if packet.listener == peer.name),
        )
        breaches = audit.breaches()
        self.quality.setdefault("records matched with captures", {})[peer.name] = {"checked": audit.checked, "breaches": breaches}
        self.errors += [AgentError(peer.name, breach) for breach in breaches]

    def sees_departures(self, peer: Peer) -> bool:
        """Whether the captures at ``peer``'s host see what it sends before any impairment: netem on its own egress stands before them."""
        network = self._network()
        return all(network.carrier(port.path) != "netem" for port in network.topology.ports(peer.name))

    def swallowed(self, peer: Peer, path: str | None, since: int, until: int) -> bool:
        """Whether that interface was going up or down then: the kernel takes such a packet from the sender and drops it uncaptured."""
        interface = f"{peer.name}/{path}"
        return any(interface in one.interfaces and one.began <= until and since <= one.at for one in self._lab.switching)


def _fields(value: Any) -> dict[str, Any]:
    """A struct as plain data, quantities in their text form."""
    return {name: str(v) if isinstance(v := getattr(value, name), Duration) else v for name in value.__struct_fields__}


def _records(peer: Peer) -> list[records.Record]:
    """What it recorded, in all of its lives."""
    lives = [(life.folder, True) for life in peer.past] + [(peer.folder, peer.cut_short)]
    return [record for folder, killed in lives for record in _recorded(peer, folder, killed)]


def _recorded(peer: Peer, folder: Path, killed: bool) -> list[records.Record]:
    path = folder / f"{peer.name}.media.jsonl"
    if not rotation.parts(path):
        return []  # an agent need not leave records
    if missing := rotation.gone(path):
        raise HarnessError(f"not all that agent {peer.name} recorded is there: {missing}; long calls are judged leg by leg")
    if killed and not path.exists():
        return []
    with ExitStack() as stack:
        files = [stack.enter_context(open_left(part, peer.name)) for part in rotation.parts(path) or [path]]
        return list(records.read(chain.from_iterable(files), peer.name, killed=killed))


def _run(came: Iterable[UdpPacket], since: int, before: tuple[str, int] | None, sent: Collection[bytes]) -> list[UdpPacket]:
    """The first ``_SETTLED`` packets in a row, from ``since`` (ns) on, of those ``sent`` and from another address than ``before``."""
    run: list[UdpPacket] = []
    for packet in came:
        if (packet.monotonic or 0) < since:
            continue
        if packet.source == before or packet.payload not in sent:
            run = []
        else:
            run.append(packet)
            if len(run) >= _SETTLED:
                break
    return run


def _shown(source: tuple[str, int] | None) -> str | None:
    return None if source is None else f"{source[0]} {source[1]}"
