"""A translator's memory for one address family: which inside endpoint is seen as which outside one, and who may answer (RFC 4787).

A *binding* joins an inside with an outside endpoint; the mapping behaviour says to which remotes it is shown.  No two live bindings of one
protocol share an outside endpoint.  A *flow* is a binding with one remote endpoint: it remembers that the two have spoken, which is what
filtering asks for, and it is what receipts list.  An inside and a remote endpoint have one living flow at most.

By which binding a packet leaves, the mapping behaviour says alone: whom a laxer filter lets in by a binding that is not his, is answered
from another port.  Only what came in by a port forward is answered from there.

Bindings and flows each die when they have been idle for the timeout.  A *retired* binding (rebound away) makes no flow any more; it lets in
what its filter let in before, until it stops lingering, and its outside endpoint is not given out again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.spec.nat import Behaviour
from harness.wire.ip_packets import ICMP, ICMP6, TCP, UDP, Endpoint, Reason
from harness.wire.mapping_journal import Journal

UDP_TIMEOUT = 120_000_000_000
"""ns; RFC 4787 REQ-5's least, for a Nat that names none."""
TIMEOUTS = {TCP: 7_440_000_000_000, ICMP: 60_000_000_000, ICMP6: 60_000_000_000}
"""ns; RFC 5382 REQ-5 (2 h 4 min), RFC 5508 REQ-2 (60 s)."""

MappingKey = tuple[int, Endpoint, "bytes | Endpoint | None"]


@dataclass(eq=False, slots=True)
class Binding:
    """``key``: what chooses it, None for a ``static`` one (a port forward), which stays.

    ``used``: when it was last refreshed, ns; ``timeout``: how long it lives from then.  ``lingers_until`` is None while it is not retired.
    ``icmp``: who sends to it when it is dead is told.
    """

    protocol: int
    inside: Endpoint
    outside: Endpoint
    used: int
    timeout: int
    key: MappingKey | None
    lingers_until: int | None = None
    icmp: bool = False
    flows: dict[Endpoint, Flow] = field(default_factory=dict)

    @property
    def static(self) -> bool:
        """Whether it is a port forward."""
        return self.key is None

    def lives(self, now: int) -> bool:
        """Whether it still stands for new packets."""
        return self.lingers_until is None and (self.key is None or now - self.used < self.timeout)

    def lets_in(self, now: int) -> bool:
        """Whether, retired, it lets packets in still."""
        return self.lingers_until is not None and now < self.lingers_until and now - self.used < self.timeout


@dataclass(eq=False, slots=True)
class Flow:
    """A binding with one ``remote``; ``used``: when it was last refreshed.

    ``address_shift`` and ``shift``: by how much the sums of words grow on the way out, of the addresses and of addresses and ports.
    ``hairpin``: the remote is an outside endpoint of the same translator.  ``told``: the journal has it as one that is there.
    """

    binding: Binding
    remote: Endpoint
    used: int
    outside: bytes
    outside_port: bytes
    inside: bytes
    inside_port: bytes
    address_shift: int
    shift: int
    hairpin: bool = False
    told: bool = False

    @property
    def dies(self) -> int:
        """When it will have been idle for too long, unless it is used before, ns."""
        return self.used + self.binding.timeout

    def lives(self, now: int) -> bool:
        """Whether the two have spoken lately."""
        return self.binding.lives(now) and now - self.used < self.binding.timeout


def flow_key(protocol: int, source: Endpoint, destination: Endpoint) -> bytes:
    """The key of a flow: its bytes stand in this order in a packet of UDP or TCP without options, behind the protocol."""
    return bytes((protocol,)) + source[0] + destination[0] + (source[1] << 16 | destination[1]).to_bytes(4, "big")


class MappingTable:
    """Bindings and flows of one family.  Times are ns of one clock that never goes back.

    ``outgoing`` and ``incoming`` are the flows by their key as a packet from inside, or from outside, has it.  What comes into
    ``outgoing``, and leaves it, is noted in ``journal``.
    """

    def __init__(
        self,
        mapping: Behaviour,
        filtering: Behaviour,
        *,
        refresh_inbound: bool,
        udp_timeout: int = UDP_TIMEOUT,
        journal: Journal | None = None,
    ) -> None:
        self._mapping = mapping
        self._filtering = filtering
        self.refresh_inbound = refresh_inbound
        self._timeouts = {**TIMEOUTS, UDP: udp_timeout}
        self.outgoing: dict[bytes, Flow] = {}
        self.incoming: dict[bytes, Flow] = {}
        self._bindings: dict[MappingKey, Binding] = {}
        self._held: dict[tuple[int, Endpoint], Binding] = {}
        self._static: dict[tuple[int, Endpoint], Binding] = {}
        self._journal = journal or Journal()

    def clear(self, now: int) -> None:
        """Lose everything but the static bindings, whose flows go too."""
        for flow in self.outgoing.values():
            self._journal.gone(flow, now)
        for binding in self._held.values():
            binding.flows.clear()  # no cycle is left behind, since the relay collects none
        for table in (self.outgoing, self.incoming, self._bindings, self._held):
            table.clear()
        for binding in self._static.values():
            binding.flows.clear()

    def add_static(self, protocol: int, inside: Endpoint, outside: Endpoint) -> None:
        """A port forward: whoever sends to ``outside`` reaches ``inside``."""
        self._static[protocol, outside] = Binding(protocol, inside, outside, 0, self._timeouts[protocol], None)

    def key(self, protocol: int, inside: Endpoint, remote: Endpoint) -> MappingKey:
        """Which binding the mapping behaviour chooses for a packet from ``inside`` to ``remote``."""
        if self._mapping == "endpoint-independent":
            return protocol, inside, None
        return protocol, inside, remote[0] if self._mapping == "address-dependent" else remote

    def is_free(self, protocol: int, outside: Endpoint, inside: Endpoint, now: int) -> bool:
        """Whether ``outside`` may be given to ``inside``: nobody has it, and no forward leads elsewhere from it."""
        static = self._static.get((protocol, outside))
        if static is not None and static.inside != inside:
            return False
        holder = self._held.get((protocol, outside))
        if holder is None:
            return True
        if holder.lingers_until is not None or holder.lives(now):
            return False
        self._remove(holder, now)
        return True

    # -- packets -----------------------------------------------------------------------------------------------------------------------

    def known(self, protocol: int, inside: Endpoint, remote: Endpoint, now: int) -> Binding | None:
        """The binding by which a packet from ``inside`` to ``remote`` leaves; None when one is to be made."""
        flow = self.outgoing.get(flow_key(protocol, inside, remote))
        if flow is not None and flow.lives(now):
            return flow.binding
        binding = self._bindings.get(self.key(protocol, inside, remote))
        if binding is not None and not binding.lives(now):
            self._remove(binding, now)
            return None
        return binding

    def bind(self, protocol: int, inside: Endpoint, remote: Endpoint, outside: Endpoint, now: int) -> Binding:
        """A new binding; ``outside`` is free."""
        key = self.key(protocol, inside, remote)
        binding = self._bindings[key] = Binding(protocol, inside, outside, now, self._timeouts[protocol], key)
        self._held[protocol, outside] = binding
        return binding

    def sent(self, binding: Binding, remote: Endpoint, now: int) -> Flow:
        """A packet leaves by ``binding`` to ``remote``: the flow, refreshed."""
        flow = binding.flows.get(remote) or self._begin(binding, remote, now)
        self._stands(flow, now)
        flow.used = binding.used = now
        return flow

    def _stands(self, flow: Flow, now: int) -> None:
        """By ``flow`` packets of its two ends pass from ``now`` on, instead of by what was there."""
        key = flow_key(flow.binding.protocol, flow.binding.inside, flow.remote)
        before = self.outgoing.get(key)
        if before is not None and before is not flow:
            self._journal.gone(before, now)
        self._journal.made(flow, now)
        self.outgoing[key] = flow

    def received(self, protocol: int, outside: Endpoint, remote: Endpoint, now: int) -> Flow | Reason:
        """The flow by which a packet from ``remote`` to ``outside`` comes in, refreshed as the rule is; or why it does not."""
        refused = Reason.NO_MAPPING
        binding = self._held.get((protocol, outside))
        if binding is not None:
            if binding.lingers_until is not None:
                refused = Reason.REBOUND
                if binding.lets_in(now):
                    return self._passed(binding, remote, now) or Reason.FILTERED
            elif not binding.lives(now):
                self._remove(binding, now)
            else:
                flow = self._passed(binding, remote, now)
                if flow is not None:
                    return self._refreshed(flow, now)
                refused = Reason.FILTERED
        static = self._static.get((protocol, outside))
        if static is None:
            return refused
        known = static.flows.get(remote)
        if known is None or now - known.used >= static.timeout:
            known = self._entered(static, remote, now, now)
        return self._refreshed(known, now)

    def _refreshed(self, flow: Flow, now: int) -> Flow:
        if self.refresh_inbound:
            flow.used = flow.binding.used = now
        return flow

    def dead(self, protocol: int, outside: Endpoint) -> Binding | None:
        """The retired binding of ``outside``, if it was rebound away."""
        binding = self._held.get((protocol, outside))
        return binding if binding is not None and binding.lingers_until is not None else None

    def _passed(self, binding: Binding, remote: Endpoint, now: int) -> Flow | None:
        """The flow of a packet from ``remote``, if the filter lets it in; who comes in unasked has the age of what let it in."""
        flow = binding.flows.get(remote)
        if flow is not None and now - flow.used < binding.timeout:
            return flow
        if self._filtering == "endpoint-independent":
            since = binding.used
        elif self._filtering == "address-dependent":
            since = max((each.used for other, each in binding.flows.items() if other[0] == remote[0]), default=now - binding.timeout)
        else:
            return None
        return self._entered(binding, remote, since, now) if now - since < binding.timeout else None

    def _entered(self, binding: Binding, remote: Endpoint, since: int, now: int) -> Flow:
        """The flow of a packet that comes in unasked, let in by what was last used at ``since``.

        It is not remembered where an answer would leave by another binding: by the mapping behaviour, because the two have a living flow
        there already, or because this one is retired.
        """
        current = self.outgoing.get(flow_key(binding.protocol, binding.inside, remote))
        elsewhere = current is not None and current.binding is not binding and current.lives(now)
        others = binding.key is not None and binding.key != self.key(binding.protocol, binding.inside, remote)
        if elsewhere or others or binding.lingers_until is not None:
            return _flow(binding, remote, since)
        flow = binding.flows.get(remote) or self._begin(binding, remote, now)
        self._stands(flow, now)
        flow.used = since
        return flow

    def quoted_by_outside(self, protocol: int, outside: Endpoint, remote: Endpoint, now: int) -> Flow | None:
        """The flow of a packet that left from ``outside`` to ``remote``; refreshes nothing (RFC 5508 REQ-4)."""
        return self._quoted(self.incoming.get(flow_key(protocol, remote, outside)), now)

    def quoted_by_inside(self, protocol: int, inside: Endpoint, remote: Endpoint, now: int) -> Flow | None:
        """The flow of a packet that came from ``remote`` to ``inside``; refreshes nothing."""
        return self._quoted(self.outgoing.get(flow_key(protocol, inside, remote)), now)

    @staticmethod
    def _quoted(flow: Flow | None, now: int) -> Flow | None:
        return flow if flow is not None and flow.lives(now) else None

    # -- what is there -----------------------------------------------------------------------------------------------------------------

    def flows(self, now: int) -> Iterator[Flow]:
        """The living flows."""
        return (flow for flow in self.outgoing.values() if flow.lives(now))

    def bindings(self, now: int) -> list[Binding]:
        """The living bindings that were made by packets."""
        return [binding for binding in self._bindings.values() if binding.lives(now)]

    def retire(self, binding: Binding, lingers_until: int, icmp: bool, now: int) -> None:
        """Let a binding that was made by packets stand for no new packet; it lets in until ``lingers_until``."""
        if binding.key is not None:
            del self._bindings[binding.key]
        for flow in binding.flows.values():
            self._forget(flow, now)
        binding.lingers_until, binding.icmp = lingers_until, icmp

    def expire(self, now: int) -> None:
        """Remove what has died of idleness; it is unseen already, this only frees its memory."""
        for binding in [binding for binding in self._bindings.values() if not binding.lives(now)]:
            self._remove(binding, now)
        for flow in [flow for flow in self.outgoing.values() if not flow.lives(now)]:
            self._forget(flow, now)
            flow.binding.flows.pop(flow.remote, None)

    def _begin(self, binding: Binding, remote: Endpoint, now: int) -> Flow:
        flow = binding.flows[remote] = _flow(binding, remote, now)
        self.incoming[flow_key(binding.protocol, remote, binding.outside)] = flow
        return flow

    def _forget(self, flow: Flow, now: int) -> None:
        binding = flow.binding
        self._journal.gone(flow, now)
        for table, key in (
            (self.outgoing, flow_key(binding.protocol, binding.inside, flow.remote)),
            (self.incoming, flow_key(binding.protocol, flow.remote, binding.outside)),
        ):
            if table.get(key) is flow:
                del table[key]

    def _remove(self, binding: Binding, now: int) -> None:
        for flow in binding.flows.values():
            self._forget(flow, now)
        binding.flows.clear()
        if self._held.get((binding.protocol, binding.outside)) is binding:
            del self._held[binding.protocol, binding.outside]
        if binding.key is not None and self._bindings.get(binding.key) is binding:
            del self._bindings[binding.key]


def _flow(binding: Binding, remote: Endpoint, used: int) -> Flow:
    (inside, inside_port), (outside, outside_port) = binding.inside, binding.outside
    addresses = int.from_bytes(outside, "big") - int.from_bytes(inside, "big")
    return Flow(
        binding,
        remote,
        used,
        outside,
        outside_port.to_bytes(2, "big"),
        inside,
        inside_port.to_bytes(2, "big"),
        addresses % 0xFFFF,
        (addresses + outside_port - inside_port) % 0xFFFF,
    )
