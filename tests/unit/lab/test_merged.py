"""The merged capture of a run's folder: here two aioquic cores in memory, their packets written as a run leaves them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from typer.testing import CliRunner

from harness import cli
from harness.errors import SpecError
from harness.fabric.pcapng import Reader, Writer
from harness.lab.merged import NAME, marks, merge_captures
from harness.report import model
from harness.spec.topology import Host, Link, Topology
from harness.verdict import Fault, Receipt
from tests.unit.call.conftest import Identity
from tests.unit.lab.test_decrypted import Pair, pair
from tests.unit.report.runs import made

AHEAD = 1_789_000_000_000_000_000
NET = Topology(
    name="two",
    nodes=(Host(name="client"), Host(name="server")),
    links=(Link(a="client/eth", b="server/eth", net4="192.0.2.0/24"), Link(a="client/lte", b="server/lte", net4="198.51.100.0/24")),
)


OUTSIDE = "203.0.113.9"
WAY = 400_000  # less than the 1 ms between two packets of a pair


def a_run(folder: Path, both: Pair) -> None:
    """``folder`` as a run leaves it whose client, behind a NAT, and server were captured, each at its own ``eth``, ``WAY`` ns apart."""
    (folder / "capture").mkdir()
    (folder / "topology.json").write_text(NET.to_json())
    (folder / "keys.log").write_text(both.keys.getvalue())
    for host in ("client", "server"):
        with (folder / "capture" / f"{host}.eth.pcapng").open("wb") as file:
            writer = Writer(file, [f"{host}/eth"], 2048)
            writer.statistics(0, AHEAD, received=0, dropped=0, written=0, offset=AHEAD)
            seen = []
            for one in both.captured:
                mine = bool(one.outgoing) is (host == "server")
                ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
                source, destination = (
                    OUTSIDE if end == both.captured[0].source and host == "server" else end[0] for end in (one.source, one.destination)
                )
                ends = IP(src=source, dst=destination) / UDP(sport=one.source[1], dport=one.destination[1])
                frame = bytes(ether / ends / Raw(one.payload))
                seen.append((AHEAD + one.time + (0 if mine else WAY), frame, mine))
            for time, frame, mine in sorted(seen, key=lambda item: item[0]):
                writer.packet(0, time, frame, len(frame), mine)
            writer.flush()


@pytest.fixture
def folder(identity: Identity, tmp_path: Path) -> Path:
    both = pair(identity)
    for text in (b"one", b"two", b"three"):
        both.client.send_datagram_frame(text)
        both.exchange()
    a_run(tmp_path, both)
    return tmp_path


RECEIPT = Receipt(fault="a fault", kind="link", at=1_010_000_000, observed={"server/eth": "down"}, taken=True, source="rtnetlink")
SEEN = 'RECEIPT: link seen by rtnetlink, of: a fault; {"server/eth":"down"}'


def test_a_run_is_one_file_with_faults_and_receipts(folder: Path) -> None:
    told = merge_captures(folder, [Fault(name="a fault", began=1_005_000_000, ended=1_011_000_000)], [RECEIPT], "about")
    found = list(Reader(folder / NAME))
    assert told == f"{NAME}: {len(found)} packets of 2 interfaces, 4 TLS secrets, 3 comments"
    commented = [(packet.interface, packet.comment) for packet in found if packet.comment is not None]
    assert ("server/eth", SEEN) in commented
    assert [text for _, text in commented if text.startswith("FAULT")] == ["FAULT: a fault", "FAULT OVER: a fault"]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="platform: no tshark")  # docs/platforms.md
def test_tshark_opens_the_call_with_no_further_option(folder: Path) -> None:
    merge_captures(folder, [], [RECEIPT], "about")

    def count(only: str) -> int:
        done = subprocess.run(["tshark", "-r", folder / NAME, "-Y", only], capture_output=True, check=True, text=True)
        return len(done.stdout.splitlines())

    assert count("quic.frame_type in {0x30, 0x31}") == 6  # each datagram at both interfaces
    assert count('quic.frame_type in {0x30, 0x31} && frame.interface_name == "client/eth"') == 3
    assert count("quic.decryption_failed") == 0
    assert count('frame.comment contains "RECEIPT: link" && frame.interface_name == "server/eth"') == 1


def test_of_a_handshake_the_servers_words_stand_behind_their_copy_at_the_client(folder: Path) -> None:
    merge_captures(folder, [], [], "about")
    packets = list(Reader(folder / NAME))
    servers = [n for n, packet in enumerate(packets) if packet.data[34:36] == (4433).to_bytes(2, "big")]
    moved = [n for n in servers if any(packet.time > packets[n].time for packet in packets[:n])]
    assert moved
    assert {packets[n].interface for n in moved} == {"server/eth"}
    first_short = next(n for n in servers if packets[n].interface == "client/eth" and not packets[n].data[42] & 0x80)
    for n in servers:
        if packets[n].interface == "server/eth" and packets[n].time < packets[first_short].time:
            assert n > first_short
    rest = [packet.time for n, packet in enumerate(packets) if n not in moved]
    assert rest == sorted(rest)


def test_a_receipt_from_a_hosts_capture_belongs_to_the_hosts_interfaces() -> None:
    def of(source: str) -> tuple[str, ...]:
        receipt = Receipt(fault="f", kind="k", at=1, observed={"x": object()}, taken=False, source=source)
        (found,) = marks([], [receipt], ["bob/eth", "bob/lte", "bobby/eth"])
        assert found.text.startswith(f"RECEIPT: k NOT SEEN by {source}, of: f; ")
        return found.interfaces

    assert of("capture bob") == of("capture bob, decrypted") == ("bob/eth", "bob/lte")
    assert of("relay") == of("capture nobody") == ()


def test_without_keys_or_packets_or_network_it_says_so(folder: Path) -> None:
    (folder / "keys.log").unlink()
    assert "0 TLS secrets" in merge_captures(folder, [], [], "")
    size = sum(path.stat().st_size for path in (folder / "capture").iterdir())
    assert merge_captures(folder, [], [], "", limit=size).startswith("capture.pcapng: ")
    (folder / NAME).unlink()
    assert "above 0; `harness capture" in merge_captures(folder, [], [], "", limit=size - 1)
    for path in (folder / "capture").iterdir():
        path.unlink()
    assert merge_captures(folder, [], [], "") == f"no {NAME}: nothing was captured"
    (folder / "topology.json").write_text("{")
    with pytest.raises(SpecError, match="topology"):
        merge_captures(folder, [], [], "")
    (folder / "topology.json").unlink()
    assert merge_captures(folder, [], [], "") == f"no {NAME}: no network was built"
    assert not (folder / NAME).exists()


def test_the_command_makes_it_anew(folder: Path) -> None:
    refused = CliRunner().invoke(cli.app, ["capture", str(folder)])
    assert refused.exit_code == 1
    assert "there is no report.json" in refused.stderr
    model.write(made(), folder / "report.json")
    done = CliRunner().invoke(cli.app, ["capture", str(folder)])
    assert (done.exit_code, done.stdout.split()[0]) == (0, "capture.pcapng:")
    assert (folder / NAME).is_file()
