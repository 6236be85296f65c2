from __future__ import annotations

import json
from pathlib import Path

import msgspec

from harness.fabric import kernel_drops
from harness.fabric.base import Mapping, MappingChange, MappingHistory, rulings_of
from harness.fabric.nft import UNADMITTED
from harness.fabric.relay import DirectionCounters
from harness.lab import network_lines
from harness.lab.network_lines import dropped, links_at_start, mappings, rulings
from harness.lab.timeline import Timeline, Unseen
from harness.spec.link import CLEAR, Impairment
from harness.spec.topology import Host, Link, Topology
from harness.units import ms
from harness.wire.ip_packets import Reason
from tests.unit.lab.test_rulings import STEPS, S, ran

NET = Topology(
    "net",
    (Host("alice"), Host("bob"), Host("carol")),
    (
        Link("alice/wifi", "bob/wifi", "10.0.0.0/30", a_to_b=Impairment(delay=20 * ms), b_to_a=CLEAR),
        Link("alice/lte", "carol/lte", "10.0.1.0/30", starts_up=False),
    ),
)
FLOW = Mapping(4, ("10.0.0.2", 4433), ("203.0.113.2", 4433), ("198.51.100.66", 4433), ("198.51.100.66", 4433), used=7)
FLOW6 = Mapping(6, ("fd00::2", 4433), ("2001:db8::2", 9), ("2001:db8:b::2", 4433), ("2001:db8:b::3", 4433))


def test_every_link_has_a_state_at_the_start() -> None:
    first, second = links_at_start(NET, 5)
    assert first == {
        "at": 5,
        "source": "fabric",
        "kind": "link",
        "text": "alice/wifi–bob/wifi is up",
        "link": "alice/wifi–bob/wifi",
        "up": {"alice/wifi": True, "bob/wifi": True},
    }
    assert second["up"] == {"alice/lte": False, "carol/lte": False}


def test_every_direction_has_what_ruled_it_from_when() -> None:
    told = {"alice/wifi–bob/wifi": {"a_to_b": rulings_of(ran(STEPS, 2, late=50)), "b_to_a": rulings_of(ran(CLEAR, 0))}}
    lines = rulings(told, NET, {"alice/wifi–bob/wifi": "relay"}, 11 * S - 1)
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    forth = [line for line in lines if line["from"] == "alice/wifi"]
    assert [(line["at"], line["due"], line["step"], line["impairment"]) for line in forth][1:] == [
        (11 * S + 50, 11 * S, 1, {"delay": "60ms"}),
        (12 * S + 50, 12 * S, 2, {}),
    ]
    assert (forth[0]["at"], forth[0]["round"], forth[0]["impairment"]["delay"], forth[0]["executor"]) == (10 * S, 0, "20ms", "relay")
    (back,) = [line for line in lines if line["from"] == "bob/wifi"]
    assert (back["direction"], back["to"], back["impairment"], back["text"]) == (
        "b_to_a",
        "alice/wifi",
        {},
        "alice/wifi–bob/wifi b_to_a: clear",
    )
    plain = [line for line in lines if line["link"] == "alice/lte–carol/lte"]
    assert [(line["at"], line["impairment"], line["executor"]) for line in plain] == [(11 * S - 1, {}, "wire")] * 2


def test_rulings_that_were_not_kept_are_counted() -> None:
    told = {**rulings_of(ran(STEPS, 1)), "unlisted": 3}
    lines = rulings({"alice/wifi–bob/wifi": {"a_to_b": told, "b_to_a": told}}, NET, {}, 0)
    assert [line["unlisted"] for line in lines if line["kind"] == "rulings untold"] == [3, 3]


def test_mappings_of_all_nats_are_one_story() -> None:
    home = MappingHistory("conntrack", [MappingChange(5, False, FLOW), MappingChange(9, True, FLOW)], 2)
    carrier = MappingHistory("translator", [MappingChange(7, False, FLOW6)], 0)
    lines = mappings({"home": msgspec.to_builtins(home), "carrier": msgspec.to_builtins(carrier)})
    assert [(line["at"], line["source"], line["kind"], line.get("by")) for line in lines] == [
        (5, "home", "mapping", "conntrack"),
        (7, "carrier", "mapping", "translator"),
        (9, "home", "mapping gone", "conntrack"),
        (9, "home", "mappings untold", None),
    ]
    assert lines[0]["mapping"] == lines[2]["mapping"]
    assert lines[0]["mapping"] == {
        "protocol": "udp",
        "version": 4,
        "inside": "10.0.0.2:4433",
        "outside": "203.0.113.2:4433",
        "remote": "198.51.100.66:4433",
        "reached": "198.51.100.66:4433",
    }
    assert lines[0]["text"] == "10.0.0.2:4433 is seen as 203.0.113.2:4433 by 198.51.100.66:4433"
    assert lines[1]["mapping"]["outside"] == "[2001:db8::2]:9"
    assert lines[2]["text"] == "10.0.0.2:4433 is seen no more as 203.0.113.2:4433 by 198.51.100.66:4433"


COUNTERS = {"received": 412, "delivered": 370, "lost": 38, "picked": 0, "too_big": 0, "queue_dropped": 4, "cut_dropped": 0, "refused": 0}


def test_what_was_dropped_is_told_by_place_and_reason() -> None:
    links = {"alice/wifi–bob/wifi": {"a_to_b": {**COUNTERS, "lost": 0, "queue_dropped": 0}, "b_to_a": COUNTERS, "cut": False}}
    nats = {
        "home": {"outbound": {"dropped": {}, "received": 9}, "inbound": {"dropped": {"no_mapping": 1, "filtered": 2}}},
        "office": {"inbound": {"dropped": {"unadmitted": 0}}},
    }
    final = {"links": links, "nats": nats, "kernels": {"alice": {}, "home": {"no_route": 6}}}
    head, wifi, nat, home = dropped(final, NET, 77)
    assert {line["at"] for line in (head, wifi, nat, home)} == {77}
    assert {line["kind"] for line in (head, wifi, nat, home)} == {"dropped"}
    assert (head["text"], head["places"], head["packets"]) == (
        "51 packets dropped, as 5 directions of links and NATs and 2 kernels count",
        7,
        51,
    )
    assert (wifi["place"], wifi["packets"], wifi["why"]) == ("bob/wifi → alice/wifi", 42, {"lost": 38, "queue_dropped": 4})
    assert wifi["text"] == "bob/wifi → alice/wifi: 38 lost by its loss, 4 without room in its queue"
    assert nat["text"] == "NAT home, inbound: 1 to an endpoint that nothing was mapped to, 2 from senders that it filters"
    assert (home["place"], home["text"]) == ("home", "home: 6 for which it had no route")


def test_that_nothing_was_dropped_is_told_too() -> None:
    links = {"alice/wifi–bob/wifi": {"a_to_b": {"delivered": 9, "dropped": 0}}}
    (head,) = dropped({"links": links, "nats": {}, "kernels": {"alice": {}}}, NET, 77)
    assert (head["text"], head["packets"]) == ("no packets dropped, as 1 direction of links and NATs and 1 kernel count", 0)


def test_every_reason_has_its_words() -> None:
    kept = {"received", "duplicated", "delivered", "in_flight", "corrupted", "reordered", "answered", "late"}
    relay = set(DirectionCounters.__struct_fields__) - kept - {"refusals", "picked_packets", "awaited"}
    netem, nft, translator = {"dropped"}, {UNADMITTED}, {reason.value for reason in Reason}
    assert relay | netem | nft | translator | set(kernel_drops._REASONS) == set(network_lines._WHY)


def test_lines_go_into_the_timeline_as_they_are(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "timeline.jsonl", Unseen())
    timeline.lines(links_at_start(NET, 5))
    timeline.close()
    written = [json.loads(line) for line in (tmp_path / "timeline.jsonl").read_bytes().splitlines()]
    assert written[1:] == list(links_at_start(NET, 5))
