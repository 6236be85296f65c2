"""Variants of what is on the wire: RFC 9287's greased bit, QUIC v2, zero-length connection ids, other flow ids, unpadded probes.

Some of them must change aioquic itself, in this process alone: it has no setting for them.
"""

from __future__ import annotations

from typing import Any

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic import connection as aioquic_connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnectionId
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import Epoch

from harness.call import roq
from harness.call.connection import Connection
from harness.call.events import Address
from harness.call.media import Origin
from harness.call.quic import Core
from harness.call.session import Endpoint

LONG_HEADER, FIXED_BIT = 0x80, 0x40
GREASE_QUIC_BIT = 0x2AB2  # RFC 9287 §3, a transport parameter without a value
OTHER_FLOWS = {"audio": 0x00, "video": 0x45, "screen": 0x4001, "rtcp": 0x07, "data": 0x3F}


class GreasingCore(Core):
    """Clears the QUIC bit of every other 1-RTT packet once the handshake is confirmed, and takes such packets."""

    def flush(self, now: float, **what: Any) -> Any:
        if self._handshake_confirmed:
            self._cryptos[Epoch.ONE_RTT].greases = True
        return super().flush(now, **what)


class GreasingConnection(Connection):
    """Sets the bit again before aioquic reads the header, and clears it again before the packet is opened, for it is sealed too."""

    core_class = GreasingCore

    def receive(self, data: bytes, address: Address, now: int) -> Any:
        Greased.cleared = not data[0] & (LONG_HEADER | FIXED_BIT)
        return super().receive(bytes([data[0] | FIXED_BIT]) + data[1:], address, now)


class Greased(Endpoint):
    """An endpoint that greases the QUIC bit (RFC 9287)."""

    connection_class = GreasingConnection
    cleared = False
    """Of the datagram that is being read."""

    def receive(self, data: bytes, address: Address, *, now: int, arrived: int) -> None:
        line = self._by_cid.get(data[1:9]) if data and not data[0] & (LONG_HEADER | FIXED_BIT) else None
        if line is None:
            super().receive(data, address, now=now, arrived=arrived)
            return
        line.connection.receive(data, address, now)
        self._pump(line, Origin(arrived, address, len(data)), now)
        if line.call is not None:
            line.call.heard(now)
        self._sweep(now)


def grease() -> None:
    """Have every 1-RTT packet of this process that may be greased sealed and opened with its QUIC bit as it is on the wire."""
    seal, open_, push = CryptoPair.encrypt_packet, CryptoPair.decrypt_packet, aioquic_connection.push_quic_transport_parameters

    def encrypt_packet(self: CryptoPair, plain_header: bytes, plain_payload: bytes, packet_number: int) -> bytes:
        first = plain_header[0]
        if not first & LONG_HEADER and getattr(self, "greases", False) and packet_number % 2 == 0:
            plain_header = bytes([first & ~FIXED_BIT]) + plain_header[1:]
        return seal(self, plain_header, plain_payload, packet_number)

    def decrypt_packet(self: CryptoPair, packet: bytes, encrypted_offset: int, expected_packet_number: int) -> Any:
        if Greased.cleared and not packet[0] & LONG_HEADER:
            packet = bytes([packet[0] & ~FIXED_BIT]) + packet[1:]
        return open_(self, packet, encrypted_offset, expected_packet_number)

    def push_quic_transport_parameters(buf: Buffer, params: Any) -> None:
        push(buf, params)
        buf.push_uint_var(GREASE_QUIC_BIT)
        buf.push_uint_var(0)

    CryptoPair.encrypt_packet = encrypt_packet  # type: ignore[method-assign]
    CryptoPair.decrypt_packet = decrypt_packet  # type: ignore[method-assign]
    aioquic_connection.push_quic_transport_parameters = push_quic_transport_parameters  # type: ignore[assignment]


class Version2(Endpoint):
    """Dials with QUIC v2 (RFC 9369)."""

    def _configuration(self, *, client: bool, server_name: str | None) -> QuicConfiguration:
        made = super()._configuration(client=client, server_name=server_name)
        made.original_version = QuicProtocolVersion.VERSION_2
        made.supported_versions = [QuicProtocolVersion.VERSION_2, QuicProtocolVersion.VERSION_1]
        return made


class NamelessCore(Core):
    """A caller gives out no connection id beside the empty one; its callee uses that one on every path (RFC 9000 §5.1.1)."""

    def _replenish_connection_ids(self) -> None:
        if self._configuration.connection_id_length:
            super()._replenish_connection_ids()

    def flush(self, now: float, **what: Any) -> Any:
        if self._handshake_complete and not self._peer_cid.cid and not self._peer_cid_available:
            self._peer_cid_available.append(QuicConnectionId(cid=b"", sequence_number=0))
        return super().flush(now, **what)

    def idle(self, now: float) -> bool:
        return False

    def _retire_peer_cid(self, connection_id: QuicConnectionId) -> None:
        if connection_id.cid:
            super()._retire_peer_cid(connection_id)


class NamelessConnection(Connection):
    core_class = NamelessCore


class Nameless(Endpoint):
    """A caller whose own connection ids have no bytes, so that whatever comes to its socket is for the connection that it has last made.

    A callee of this kind serves such callers, which aioquic's own does not on a path beside the one in use.
    """

    connection_class = NamelessConnection

    def _configuration(self, *, client: bool, server_name: str | None) -> QuicConfiguration:
        made = super()._configuration(client=client, server_name=server_name)
        made.connection_id_length = 0 if client else made.connection_id_length
        return made

    def receive(self, data: bytes, address: Address, *, now: int, arrived: int) -> None:
        line = self._lines[-1] if self._lines else None
        if line is None or line.connection.role == "server":
            super().receive(data, address, now=now, arrived=arrived)
            return
        line.connection.receive(data, address, now)
        self._pump(line, Origin(arrived, address, len(data)), now)
        if line.call is not None:
            line.call.heard(now)
        self._sweep(now)


class UnpaddingCore(Core):
    """Sends PATH_CHALLENGE and PATH_RESPONSE in datagrams as small as they are, which aioquic would fill up to 1200 bytes."""

    def _write_path_challenge_frame(self, builder: Any, network_path: Any) -> None:
        super()._write_path_challenge_frame(builder=builder, network_path=network_path)
        builder._datagram_needs_padding = False

    def _write_path_response_frame(self, builder: Any, challenge: bytes) -> None:
        super()._write_path_response_frame(builder=builder, challenge=challenge)
        builder._datagram_needs_padding = False


class UnpaddingConnection(Connection):
    core_class = UnpaddingCore


class Unpadded(Endpoint):
    connection_class = UnpaddingConnection


def other_flows() -> None:
    """Have this process use other flow ids: the draft leaves them to the application, some take two or four bytes."""
    roq.FLOW_IDS.update(OTHER_FLOWS)
    roq.FLOW_NAMES.clear()
    roq.FLOW_NAMES.update({number: name for name, number in OTHER_FLOWS.items()})
    roq.SENT_AS.update(OTHER_FLOWS | {"padding": OTHER_FLOWS["video"]})
