"""The frames of one host as tshark dissects and opens them: one ``Frame`` for each UDP datagram.

tshark reads the captures of one host's interfaces alone.  There each datagram is seen once, so that neither the copies behind a NAT nor the
order of copies in ``capture.pcapng`` matter to its dissector.  The keys are the run's ``keys.log``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

INSTALL = "tshark is missing: install it (Debian, Ubuntu: apt-get install tshark; or run .ci/tshark as root)"
OUTBOUND = 2
"""The value of pcapng's epb_flags for a frame that the interface's host sent."""
FIELDS = (
    "frame.time_epoch",
    "frame.interface_name",
    "frame.packet_flags_direction",
    "ip.src",
    "ip.dst",
    "ip.len",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.plen",
    "udp.srcport",
    "udp.dstport",
    "udp.length",
    "udp.checksum.status",
    "quic.connection.number",
    "quic.packet_number",
    "quic.frame_type",
    "quic.dg",
    "quic.stream.stream_id",
    "quic.stream.offset",
    "quic.stream_data",
    "quic.decryption_failed",
    "tls.handshake.type",
    "tls.handshake.random",
)
CLIENT_HELLO = "1"
BAD_CHECKSUM = "0"
MISSING = "<MISSING>"
"""What tshark prints for bytes of which there are none."""
STREAM_TYPES = range(0x08, 0x10)
STREAM_HAS_OFFSET = 0x04


class TsharkError(RuntimeError):
    """tshark is not there, or could not read a capture."""


@dataclass(frozen=True, slots=True)
class StreamPart:
    """The data of one STREAM frame: ``offset`` is where it begins in stream ``number``."""

    number: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One UDP datagram at one host.

    ``time``: ns of CLOCK_REALTIME.  ``interface``: "alice/wifi".  ``outgoing``: sent by that host.  ``source``, ``destination``: (address,
    port).  ``size``: bytes of the IP packet.  ``intact``: not known to have a wrong UDP checksum, with which the kernel drops it.
    ``connection``: tshark's number of the QUIC connection, None when it knows none.  ``opened``: nothing in it failed to decrypt.
    ``datagrams``: the payloads of its DATAGRAM frames.  ``client_hellos``: the randoms of the TLS ClientHello messages that end in it.
    """

    time: int
    interface: str
    outgoing: bool
    source: tuple[str, int]
    destination: tuple[str, int]
    size: int
    intact: bool
    connection: int | None
    opened: bool
    datagrams: tuple[bytes, ...] = ()
    parts: tuple[StreamPart, ...] = ()
    client_hellos: tuple[str, ...] = ()


def version() -> str:
    """The first line of ``tshark --version``; TsharkError, which says what to install, where there is none."""
    if shutil.which("tshark") is None or shutil.which("mergecap") is None:
        raise TsharkError(INSTALL)
    return _run(["tshark", "--version"]).partition("\n")[0].rstrip(".")


def captures(folder: Path, host: str) -> list[Path]:
    """The capture files of a host's interfaces in the run at ``folder``, parts in order; TsharkError when there is none, or not all."""
    pattern = re.compile(rf"{re.escape(host)}\.([^.]+)(?:\.(\d+))?\.pcapng")
    matches = [(pattern.fullmatch(path.name), path) for path in (folder / "capture").glob(f"{host}.*.pcapng")]
    found = sorted((match[1], int(match[2] or 1), path) for match, path in matches if match)
    if not found:
        raise TsharkError(f"{folder}: no capture of an interface of {host}")
    for interface in {name for name, _, _ in found}:
        numbers = [number for name, number, _ in found if name == interface]
        if numbers != list(range(1, len(numbers) + 1)):
            raise TsharkError(f"{folder}: parts of the capture of {host}/{interface} were let go")
    return [path for _, _, path in found]


def frames(paths: Sequence[Path], keys: Path) -> list[Frame]:
    """The UDP datagrams in the captures of one host, in order of time; TsharkError when tshark fails."""
    if shutil.which("tshark") is None:
        raise TsharkError(INSTALL)
    with tempfile.TemporaryDirectory(prefix="judge-") as scratch:
        whole = paths[0]
        if len(paths) > 1:
            whole = Path(scratch) / "host.pcapng"
            _run(["mergecap", "-I", "none", "-w", str(whole), *map(str, paths)])
        argv = ["tshark", "-n", "-r", str(whole), "-Y", "udp && !icmp && !icmpv6", "-o", "udp.check_checksum:TRUE"]
        argv += ["-o", f"tls.keylog_file:{keys}", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=,"]
        for field in FIELDS:
            argv += ["-e", field]
        text = _run(argv)
    return sorted(rows(text), key=lambda frame: frame.time)


def rows(text: str) -> Iterator[Frame]:
    """The frames of what tshark printed: a line for each, ``FIELDS`` separated by tabs, values of one field by commas."""
    for line in text.splitlines():
        row = dict(zip(FIELDS, line.split("\t"), strict=True))
        if not row["udp.srcport"]:
            continue
        v6 = bool(row["ipv6.src"])
        size = int(_first(row["ipv6.plen"])) + 40 if v6 else int(_first(row["ip.len"]))
        source, destination = (_first(row[f"{'ipv6' if v6 else 'ip'}.{end}"]) for end in ("src", "dst"))
        hellos = zip(_hello_types(row), _list(row["tls.handshake.random"]), strict=False)
        yield Frame(
            time=_ns(row["frame.time_epoch"]),
            interface=row["frame.interface_name"],
            outgoing=int(row["frame.packet_flags_direction"] or "0", 0) == OUTBOUND,
            source=(source, int(_first(row["udp.srcport"]))),
            destination=(destination, int(_first(row["udp.dstport"]))),
            size=size,
            intact=_first(row["udp.checksum.status"]) != BAD_CHECKSUM,
            connection=int(_first(row["quic.connection.number"])) if row["quic.connection.number"] else None,
            opened=not row["quic.decryption_failed"],
            datagrams=tuple(map(_bytes, _list(row["quic.dg"]))),
            parts=tuple(_parts(row)),
            client_hellos=tuple(random for kind, random in hellos if kind == CLIENT_HELLO),
        )


def _hello_types(row: dict[str, str]) -> list[str]:
    """The types of those handshake messages that have a random: ClientHello (1) and ServerHello (2)."""
    return [kind for kind in _list(row["tls.handshake.type"]) if kind in ("1", "2")]


def _parts(row: dict[str, str]) -> Iterator[StreamPart]:
    """STREAM frames (RFC 9000 §19.8).  One without the OFF bit has no offset field, one without data has ``MISSING`` for data."""
    kinds = [int(kind, 0) for kind in _list(row["quic.frame_type"]) if int(kind, 0) in STREAM_TYPES]
    numbers, data = _list(row["quic.stream.stream_id"]), _list(row["quic.stream_data"])
    given = iter(_list(row["quic.stream.offset"]))
    for kind, number, bytes_ in zip(kinds, numbers, data, strict=True):
        offset = int(next(given)) if kind & STREAM_HAS_OFFSET else 0
        yield StreamPart(int(number), offset, _bytes(bytes_))


def _bytes(value: str) -> bytes:
    return b"" if value == MISSING else bytes.fromhex(value)


def _list(value: str) -> list[str]:
    return value.split(",") if value else []


def _first(value: str) -> str:
    return value.partition(",")[0]


def _ns(seconds: str) -> int:
    """Nanoseconds of a decimal number of seconds, exact."""
    whole, _, rest = seconds.partition(".")
    return int(whole) * 1_000_000_000 + int(rest.ljust(9, "0")[:9])


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TsharkError(f"{argv[0]} failed with code {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout
