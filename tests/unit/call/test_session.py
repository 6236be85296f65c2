from __future__ import annotations

from harness.call.events import CallEnded, ConnectionEstablished, IncomingCall, StateChanged
from harness.call.states import State

from .conftest import Identity
from .world import MS, S, World, connect, payload_time


def test_a_call_from_dial_to_hang_up_with_media_both_ways(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", auto_answer=True)
    call = connect(world, alice, bob)
    world.talk(alice, call)
    world.talk(bob, call)
    world.run(2 * S)
    world.hush(alice)
    world.hush(bob)
    world.run(200 * MS)
    assert len(alice.heard()) == len(bob.heard()) == 100
    assert [event.arrived - payload_time(event) for event in bob.heard()] == [40 * MS] * 100
    alice.endpoint.end(call, "bye then", world.now)
    world.run(3 * S)
    for host in (alice, bob):
        assert [event.new for event in host.all(StateChanged)] == ["Calling", "Connecting", "Connected", "Ending", "Idle"]
        assert [event.reason for event in host.all(CallEnded)] == ["bye then"]
        assert host.endpoint.inventory() == {"calls": 0, "connections": 0, "streams": 0}
        assert host.endpoint.timer() is None
    assert len(bob.all(IncomingCall)) == 1
    assert alice.all(ConnectionEstablished)[0].odcid == bob.all(ConnectionEstablished)[0].odcid
    assert State.IDLE
