"""A call with a long page: ``pytest tests/browser/ten_minutes.py -p harness.pytest_plugin --endurance=10m,1m,1m --keep=256``."""

from __future__ import annotations

from harness.lab import Lab
from harness.lab.demands import takes
from harness.lab.endurance import SHORT
from harness.units import ms, s
from topologies.phone_two_radios import phone_two_radios

OTHER = {"wifi": "lte", "lte": "wifi"}
OUTAGE, NOTICED, BACK_WITHIN = 400 * ms, 700 * ms, 300 * ms
UNHEARD = 100 * ms  # as in migration, wifi_to_cellular


@takes("endurance")
async def test_ten_minutes(lab: Lab) -> None:
    """Alice and Bob talk, with pictures, and her phone goes from radio to radio; in the middle of it the line at Bob's house is dark.

    Field story: the weekly call, of which somebody says afterwards that she was away for a moment.
    Fault: a migration every ``move`` (Bob's capture), the line dark once for 400 ms (the executor's own account).
    Bounds: 100 ms of silence after each migration; fresh audio within 300 ms of the line's return (reconnect, outage_short), and no longer
    silence than that and the 700 ms within which the harness notices that it is silent; one handshake.
    Control: none: what it is for is its page.
    """
    net = await lab.build(phone_two_radios())
    alice, bob = await lab.agents("alice", "bob")
    line, radio = net.link("office/wan"), "wifi"
    length, _, move = lab.orders.endurance or SHORT
    moves, marks = round(length / move) - 1, []
    async with lab.call(alice, bob, video=True, path=radio) as call:
        await call.heard_both_ways(for_=move)
        for number in range(moves):
            radio = OTHER[radio]
            async with lab.fault(f"Alice goes over to {radio}, {number + 1}") as fault:
                await alice.migrate(radio)
                await call.heard_both_ways(for_=1 * s)
            marks.append(fault)
            if number == moves // 2:
                async with lab.fault("the line is dark") as dark:
                    await line.dark()
                    await call.silent_both_ways(for_=OUTAGE)
                    back = await line.light()
                    await call.heard_both_ways(for_=1 * s)
            await call.heard_both_ways(for_=move)
    for listener in (alice, bob):
        heard = listener.heard("audio")
        for mark in marks:
            lab.at_most(f"longest silence: {mark.name}", heard.longest_gap(since=mark.began, until=mark.ended), UNHEARD)
        lab.at_most("longest silence", heard.longest_gap(since=dark.began, until=dark.ended), NOTICED + BACK_WITHIN)
        lab.at_most("first fresh audio after the line is back", heard.recovery(after=back), BACK_WITHIN)
    lab.equal("QUIC handshakes", call.handshakes(), 1)
