"""Every request that names a call, at every time: done, or refused by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from uuid import UUID

from harness.agent.messages import CallHeld, Options
from harness.fabric.network import Network
from harness.lab import Lab, control, needs, refusal
from harness.lab.conversation import Call
from harness.lab.met import comes_to
from harness.lab.peer import Peer
from harness.media.figure import Moment, counted
from harness.units import s
from topologies.phone_two_radios import phone_two_radios
from topologies.side_by_side import side_by_side

Operation = Callable[[Peer, str], Awaitable[object]]

OPERATIONS: dict[str, Operation] = {
    "accept": lambda peer, call: peer.remote.accept(call),
    "reject": lambda peer, call: peer.remote.reject(call),
    "end": lambda peer, call: peer.remote.end(call),
    "hold": lambda peer, call: peer.remote.hold(call),
    "resume": lambda peer, call: peer.remote.resume(call),
    "fail": lambda peer, call: peer.remote.fail(call),
    "redial": lambda peer, call: peer.remote.redial(call, *peer.network.reach("alice", "bob", Lab.port), peer.paths()[-1].name),
    "migrate": lambda peer, call: peer.remote.migrate(call, peer.paths()[-1].name),
    "media_start": lambda peer, call: peer.remote.media_start(call, "audio"),
    "media_stop": lambda peer, call: peer.remote.media_stop(call, "audio"),
    "stats": lambda peer, call: peer.remote.stats(call),
}
"""Every request that names a call."""

OK, STATE, GONE, NONE = "ok", "InvalidState", "CallNotFound", "BadRequest"
"""The answers.  BadRequest is the agent's own: the source that is to be stopped does not run."""
PLACES = ("Calling, caller", "Calling, callee", "Connecting, caller", "Connecting, callee", "Connected, caller", "Connected, callee",
          "on hold, holder", "on hold, held", "Ending, caller", "over, caller", "over, callee")  # fmt: skip
ANSWERS = {
    "accept":      (STATE, OK,    STATE, STATE, STATE, STATE, STATE, STATE, GONE,  GONE, GONE),
    "reject":      (OK,    OK,    OK,    OK,    STATE, STATE, STATE, STATE, GONE,  GONE, GONE),
    "end":         (OK,    OK,    OK,    OK,    OK,    OK,    OK,    OK,    GONE,  GONE, GONE),
    "hold":        (STATE, STATE, STATE, STATE, OK,    OK,    STATE, OK,    GONE,  GONE, GONE),
    "resume":      (STATE, STATE, STATE, STATE, STATE, STATE, OK,    STATE, GONE,  GONE, GONE),
    "fail":        (OK,    OK,    OK,    OK,    OK,    OK,    OK,    OK,    GONE,  GONE, GONE),
    "redial":      (STATE, STATE, STATE, STATE, OK,    STATE, OK,    STATE, GONE,  GONE, GONE),
    "migrate":     (STATE, STATE, STATE, STATE, OK,    STATE, OK,    STATE, GONE,  GONE, GONE),
    "media_start": (STATE, STATE, STATE, STATE, OK,    OK,    STATE, STATE, STATE, GONE, GONE),
    "media_stop":  (NONE,  NONE,  NONE,  NONE,  NONE,  NONE,  NONE,  NONE,  NONE,  GONE, GONE),
    "stats":       (OK,    OK,    OK,    OK,    OK,    OK,    OK,    OK,    OK,    GONE, GONE),
}  # fmt: skip


@control("alice", "holds-anything", caught_by="hold while Calling, caller", also=("hold while",))
@needs("hold", "redial", "migrate")
async def test_invalid_transitions(lab: Lab) -> None:
    """Every operation is tried in every state that a call can be in, on both sides: each is done or refused by name, as the table says.

    Field story: a double tap on "answer", a hang-up that crosses a hold: an app asks at the wrong time, and the stack must not break.
    Fault: to hold open what passes quickly, Bob's line is cut: before Alice dials (Calling), before Bob accepts (Connecting), before Alice
    hangs up (Ending).
    Bounds: the table in the source, one check a cell; what was refused has not moved the call.  The states are those of the call state
    machine (the 36 pairs are a unit test); on hold is Connected.  In Ending only the figures of a call can still be had.
    Control: an agent that says yes to every hold.
    """
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob", options=Options(max_concurrent_calls=100))
    for column, place in enumerate(PLACES):
        peer = bob if place.endswith(("callee", "held")) else alice
        expected = {name: answers[column] for name, answers in ANSWERS.items()}
        harmless = [name for name, answer in expected.items() if answer != OK or name == "stats"]
        for number, last in enumerate([name for name in expected if name not in harmless] or [None]):
            async with reached(lab, place, alice, bob, net) as call:
                for name in harmless if number == 0 else []:
                    refused = await refusal(OPERATIONS[name](peer, call.id))
                    lab.same(f"{name} while {place}", refused.kind if refused else OK, expected[name], at=lab.now())
                if number == 0 and expected["stats"] == OK:
                    lab.same(f"unmoved while {place}", (await peer.remote.stats(call.id)).state, STATE_OF.get(place, place.split(",")[0]))
                if last is not None:
                    refused = await refusal(OPERATIONS[last](peer, call.id))
                    lab.same(f"{last} while {place}", refused.kind if refused else OK, OK, at=lab.now())


STATE_OF = dict.fromkeys(("on hold, holder", "on hold, held"), "Connected")


@asynccontextmanager
async def reached(lab: Lab, place: str, alice: Peer, bob: Peer, net: Network) -> AsyncIterator[Call]:
    """A new call that is at ``place`` for the length of the block, and is given up after it."""
    line = net.link("office/wan")
    cut = place in ("Calling, caller", "Connecting, callee", "Ending, caller")
    async with lab.fault(f"the line is cut: {place}") if cut else nullcontext():
        if place == "Calling, caller":
            await line.down()
        call = await lab.dial(alice, bob, path="wifi")
        if place == "Calling, caller":
            await comes_to(lab, "internet", since=call.asked)  # else the call may be over before anything of it has met the cut
        else:
            await call.rings()
        if place == "Connecting, callee":
            await line.down()
        if place not in ("Calling, caller", "Calling, callee", "Connecting, caller"):
            await call.answer()
        if place not in ("Calling, caller", "Calling, callee", "Connecting, caller", "Connecting, callee"):
            await call.connected()
        if place.startswith("on hold"):
            await alice.remote.hold(call.id)
            await bob.remote.wait_for(CallHeld, where=lambda event: event.call == call.id, within=2 * s, doing="held")
        if place == "Ending, caller":
            await line.down()
        if place.startswith(("Ending", "over")):
            await alice.remote.end(call.id)
        if place.startswith("over"):
            for peer in (alice, bob):
                await call.over(peer)
        yield call
        if cut:
            await line.up()
    for peer in (alice, bob):
        await refusal(peer.remote.end(call.id))


@control("bob", "forgives", caught_by="operations on a call that was refused, at bob", also=("operations on",))
@needs("hold", "redial", "migrate")
async def test_unknown_call(lab: Lab) -> None:
    """Whatever is asked of a call that never was, or that is over, is answered with CallNotFound, on both sides.

    Field story: an app's screen outlives its call, and its buttons are pressed.
    Fault: none.
    Bounds: all eleven operations on three ids: one that nobody ever gave, one of a call that was refused, one of a call that failed; every
    answer is CallNotFound.
    Control: an agent to whom the end of a call that is over is fine.
    """
    await lab.build(side_by_side())
    alice, bob = await lab.agents("alice", "bob", options=Options())
    refused, failed = await lab.dial(alice, bob), await lab.dial(alice, bob)
    for call in (refused, failed):
        await call.rings()
    await refused.refuse()
    await alice.remote.fail(failed.id)
    for call in (refused, failed):
        for peer in (alice, bob):
            await call.over(peer)
    ids = {"that never was": str(UUID(int=0)), "that was refused": refused.id, "that failed": failed.id}
    for which, name in ids.items():
        for peer in (alice, bob):
            wrong = []
            for operation, do in OPERATIONS.items():
                answer = await refusal(do(peer, name))
                if answer is None or answer.kind != GONE:
                    wrong.append(Moment(lab.now(), f"{operation}: {answer.kind if answer else OK}"))
            lab.equal(f"operations on a call {which}, at {peer.name}", counted(wrong, ", ".join(one.text for one in wrong)), 0)
