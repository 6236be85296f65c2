"""The call stack as a whole: datagrams into endpoints before, in and after a handshake, by strangers and by peers that have the keys."""

from __future__ import annotations

import io
import random
from pathlib import Path

from harness.call.config import EndpointConfig
from harness.call.events import Address
from harness.call.roq import encode_datagram, encode_varint
from harness.call.session import Endpoint
from tests.fuzz.target import Ready, Taken, need, target
from tests.fuzz.targets import media, signalling
from tests.fuzz.targets.quic import context, conversation, frames, identity, one_rtt, sealed_initial
from tests.unit.call.world import MS, Host, S, World, connect

STRANGER = Address("eth", "192.0.2.66", 6666)
FIRST = 5_000
"""The packet number with which those begin who have the keys: above any that the peer itself has used."""


def _endpoint(folder: Path) -> Endpoint:
    mine = identity(folder)
    config = EndpointConfig(name="bob", certificate=mine.certificate, key=mine.key, ca=mine.ca)
    return Endpoint(config, rng=random.Random(1))


def _settled(endpoint: Endpoint, now: int) -> None:
    """What its owner does after each datagram."""
    for transmit in endpoint.transmit(now):
        need(len(transmit.data) <= 1500, "it sends what is too large")
    endpoint.events()
    endpoint.timer()


@target("stranger", share=0.2, longest=4096)
def stranger(folder: Path) -> Ready:
    """Any datagrams to an endpoint that knows nobody: nothing is raised, and what it holds for strangers is bounded."""
    endpoint, now = _endpoint(folder), 1000 * S

    def run(data: bytes) -> None:
        nonlocal now
        taken = Taken(data)
        size = 1 + taken.number(2)
        while taken:
            now += MS
            endpoint.receive(taken.piece(size), STRANGER, now=now, arrived=now)
            _settled(endpoint, now)
        now += S // 10
        endpoint.handle_timer(now)
        _settled(endpoint, now)
        need(endpoint.inventory()["connections"] <= 64, "it holds more than 64 connections for strangers")

    payloads = conversation(folder).payloads
    return Ready(run, [len(one).to_bytes(2, "big") + one for one in payloads], lambda: endpoint.inventory()["connections"])


@target("initial", share=0.1)
def initial(folder: Path) -> Ready:
    """Initials with any frames in them, rightly sealed as anybody can, to an endpoint that knows nobody: nothing is raised, it closes."""
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection

    mine, now = identity(folder), 1000 * S
    settings = QuicConfiguration(is_client=True, server_name="peer.test", alpn_protocols=["quic-call"])
    settings.load_verify_locations(mine.ca)
    client = QuicConnection(configuration=settings)
    client.connect(("192.0.2.1", 1), 0.0)
    hello = _crypto(client.datagrams_to_send(0.0)[0][0], client.original_destination_connection_id)
    endpoint = _endpoint(folder)

    def run(data: bytes) -> None:
        nonlocal endpoint, now
        if endpoint.inventory()["connections"] >= 8:
            endpoint = _endpoint(folder)
        destination = random.Random(data).randbytes(8)
        for number in range(2):
            now += MS
            endpoint.receive(sealed_initial(data, number, destination), STRANGER, now=now, arrived=now)
            _settled(endpoint, now)
        now += S
        endpoint.handle_timer(now)
        _settled(endpoint, now)

    return Ready(run, [hello, *frames()], lambda: endpoint.inventory()["connections"])


def _crypto(datagram: bytes, destination: bytes) -> bytes:
    """The frames of a client's first Initial."""
    from aioquic.buffer import Buffer
    from aioquic.quic.crypto import CryptoPair
    from aioquic.quic.packet import QuicProtocolVersion, pull_quic_header

    pair = CryptoPair()
    pair.setup_initial(cid=destination, is_client=False, version=QuicProtocolVersion.VERSION_1)
    buffer = Buffer(data=datagram)
    header = pull_quic_header(buffer)
    return pair.decrypt_packet(datagram[: header.packet_length], buffer.tell(), 0)[1].rstrip(b"\0")


class _Call:
    """A connected call in memory, and the keys of both sides."""

    def __init__(self, folder: Path) -> None:
        self.world = World(identity(folder))
        self.hosts: dict[str, Host] = {}
        self.keys = io.StringIO()
        for name in ("alice", "bob"):
            self.hosts[name] = self.world.host(name, keylog=self.keys, auto_answer=name == "bob")
        self.id = connect(self.world, self.hosts["alice"], self.hosts["bob"])
        secrets = {line.split()[0]: bytes.fromhex(line.split()[2]) for line in self.keys.getvalue().splitlines()}
        self.contexts = {"alice": context(secrets["CLIENT_TRAFFIC_SECRET_0"]), "bob": context(secrets["SERVER_TRAFFIC_SECRET_0"])}
        self.numbers = {"alice": FIRST, "bob": FIRST}
        self.written = {"alice": 0, "bob": 0}
        for transmits, host in ((self.hosts["bob"].sent, "alice"), (self.hosts["alice"].sent, "bob")):
            for _, one in transmits:
                if one.data[0] & 0x80 == 0:
                    self.written.setdefault(f"to {host}", 0)
        self.ids = {"alice": self._address_of("bob"), "bob": self._address_of("alice")}

    def _address_of(self, name: str) -> bytes:
        """The connection id by which ``name`` is spoken to now."""
        other = self.hosts["bob" if name == "alice" else "alice"]
        return next(one.data[1:9] for _, one in reversed(other.sent) if one.data[0] & 0xC0 == 0x40)

    def say(self, speaker: str, payload: bytes) -> None:
        """A packet with these frames from ``speaker`` to the other, who takes it for the speaker's own."""
        world, listener = self.world, self.hosts["bob" if speaker == "alice" else "alice"]
        packet = one_rtt(self.contexts[speaker], self.ids[speaker], self.numbers[speaker], payload[:1100])
        self.numbers[speaker] += 1
        path = next(iter(self.hosts[speaker].paths.values()))
        listener.endpoint.receive(packet, Address("eth", path.ip, path.port), now=world.now, arrived=world.now)
        world.flush()

    @property
    def alive(self) -> bool:
        """Whether both still hold the one connection that there was."""
        return all(host.endpoint.inventory() == {"calls": 1, "connections": 1, "streams": 1} for host in self.hosts.values())

    def held(self) -> int:
        """Connections and streams of both."""
        return sum(sum(host.endpoint.inventory().values()) for host in self.hosts.values())


class _Calls:
    """A call for as long as it lives, and then the next one: a handshake costs more than most inputs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._call: _Call | None = None
        self._used = 0

    def call(self) -> _Call:
        self._used += 1
        if self._call is None or not self._call.alive or self._used > 200:
            self._call, self._used = _Call(self._folder), 0
        return self._call

    def held(self) -> int:
        return self._call.held() if self._call is not None else 0


@target("peer_frames", share=0.03, longest=4096)
def peer_frames(folder: Path) -> Ready:
    """A connected peer that has the keys and sends any frames: nothing is raised, the connection goes on or is closed."""
    calls = _Calls(folder)

    def run(data: bytes) -> None:
        taken, call = Taken(data), calls.call()
        while taken:
            kind, size = taken.number(), taken.number(2) % 1100
            call.say("alice" if kind & 1 else "bob", taken.piece(size))
            if kind & 2:
                call.world.run((kind >> 2) * 10 * MS)
        call.world.run(50 * MS)

    def packet(kind: int, payload: bytes) -> bytes:
        return bytes([kind]) + len(payload).to_bytes(2, "big") + payload

    rtp = [b"\x30" + encode_datagram(0x20, one) for one in media.packets()] + [b"\x30\x23" + one for one in media.reports()]
    streams = [b"\x0a" + bytes([n]) + b"\x04\x20\x02ab" for n in (2, 3, 6)]
    return Ready(run, [packet(kind, one) for kind in (0, 1, 0x23) for one in frames() + rtp + streams], calls.held)


@target("peer_signals", "framed", share=0.03, longest=4096)
def peer_signals(folder: Path) -> Ready:
    """A peer that says anything on the signalling stream of a connected call: nothing is raised, the call goes on or is over."""
    calls = _Calls(folder)

    def run(data: bytes) -> None:
        call = calls.call()
        speaker = "alice" if len(data) % 2 else "bob"
        data = data.replace(b'"c1"', f'"{call.id}"'.encode())
        size = 1 + len(data) // 3
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            offset = _written(call, speaker) + at
            for start in range(0, len(piece), 1000):
                part = piece[start : start + 1000]
                call.say(speaker, b"\x0e\0" + encode_varint(offset + start) + encode_varint(len(part)) + part)
            call.world.run(20 * MS)
        call.written[speaker] += len(data)
        call.world.run(100 * MS)

    return Ready(run, [b"".join(signalling.messages()[number:]) for number in range(8)], calls.held)


def _written(call: _Call, speaker: str) -> int:
    """How far into the signalling stream ``speaker`` has written: its own messages first, and then ours."""
    own = f"own {speaker}"
    if own not in call.written:
        keys = call.contexts[speaker]
        decoder = context(keys.secret)  # type: ignore[arg-type]
        end = 0
        from harness.lab.frames import parse_frames_untrusted

        for _, one in call.hosts[speaker].sent:
            data = one.data
            while data and data[0] & 0x80:
                data = _behind(data)
            if data and data[0] & 0x40:
                for frame in parse_frames_untrusted(decoder.decrypt_packet(data, 9, 0)[1]):
                    if frame.name == "STREAM" and frame.fields["stream"] == 0:
                        end = max(end, frame.fields["offset"] + len(frame.fields["data"]))
        call.written[own] = end
    return call.written[own] + call.written[speaker]


def _behind(data: bytes) -> bytes:
    """What follows the first packet with a long header in a datagram."""
    from aioquic.buffer import Buffer
    from aioquic.quic.packet import pull_quic_header

    return data[pull_quic_header(Buffer(data=data)).packet_length :]


@target("on_the_way", share=0.02, longest=256)
def on_the_way(folder: Path) -> Ready:
    """A whole call whose datagrams are changed, cut or doubled on the way: nothing is raised, and after it nobody holds anything."""

    def run(data: bytes) -> None:
        taken = Taken(data)
        world = World(identity(folder))
        alice, bob = world.host("alice"), world.host("bob", auto_answer=True)
        path = next(iter(bob.paths.values()))

        def meddle(datagram: bytes, outward: bool) -> bool:
            what, where, value = taken.number(), taken.number(2), taken.number()
            if what % 8 in (1, 2, 3):
                at = where % len(datagram)
                changed = {1: datagram[:at], 2: datagram[:at] + bytes([value]) + datagram[at + 1 :], 3: datagram[:at] + datagram[at // 2 :]}
                listener = alice if outward else bob
                speaker = bob if outward else alice
                source = next(iter(speaker.paths.values()))
                address = Address("eth", source.ip, source.port if value % 3 else 9)
                listener.endpoint.receive(changed[what % 8], address, now=world.now, arrived=world.now)
            return what % 16 in (2, 4)

        path.drop = meddle
        from harness.call.capabilities import MediaConstraints

        call = alice.endpoint.initiate(world.address(bob, "eth", "eth"), MediaConstraints.audio_only(), now=world.now)
        world.run(2 * S)
        path.drop = lambda datagram, outward: False
        for host in (alice, bob):
            host.endpoint.close(world.now)
        world.run(60 * S, until=lambda: not any(sum(host.endpoint.inventory().values()) for host in (alice, bob)))
        need(call and not any(sum(host.endpoint.inventory().values()) for host in (alice, bob)), "something is held after the end")

    return Ready(run, [bytes(40), bytes([0, 0, 0, 0] * 3 + [2, 0, 30, 7] * 4), bytes([1, 0, 200, 0, 3, 1, 0, 9] * 6)])
