"""Kernel executor: an Impairment as a sch_netem qdisc at the root of an interface (a veth's end; one end's egress is one direction).

What was found out, in Linux 6.1 and by the source up to 6.18 (net/sched/sch_netem.c):

* netem sorts by departure.  With jitter, or when a change shortens the delay, later packets overtake earlier ones, *unless it has a rate*:
  then each departure counts from the one before.  So an impairment that is in order and has no rate gets ``UNLIMITED``, at which a packet
  takes under 2 ns; one with ``reordering`` gets none.  Reordering together with a rate cannot be said.
* A rate counts the Ethernet header unless told otherwise: a packet overhead of -14 makes it the IP packet.
* A change with the same handle is made in place: packets in the queue keep their departures.  What a change does not mention stays, so
  that every change says everything; a table of delays once given cannot be taken away, so uniform jitter has its own.  ``CLEAR`` is a netem
  that does nothing, and is no different from none by 0.1 ms.
* Gilbert–Elliott (``loss_gilb_ell``): a packet is lost or not by the state that it finds, then the chain takes its step; it starts good.
  The relay does the same.  There is one loss model at a time, so independent loss on top is folded into the chain's two shares, which
  comes to the same.  A change begins the chain anew in the good state, where the relay's goes on.
* A doubled packet is drawn for loss once before it is doubled, and only its copy is drawn again: never are both lost.
* ``corrupt`` flips one bit of the frame, the 14 bytes of its Ethernet header among them; the relay spares those.
* ``reorder`` needs a gap of 1 (each packet is drawn for).  Who is let ahead takes no rate either; the kernel counts them as requeues.
* A delay below 0 is a departure that is past; with a rate the packet's own time is then cut short too.
* Jitter is kept in 31 bits of nanoseconds.
* Since 6.6 loss, jitter, duplicates and reorder can be seeded (TCA_NETEM_PRNG_SEED, ignored by older kernels).  One sequence serves all,
  and whoever passes draws from it, ARP and neighbour discovery too: the same seed does not mean the same fate for every packet index; for
  that use the relay.
* Its counters do not part lost from dropped at the queue's tail.
* A capture on the same interface sees a packet when it leaves netem, and never sees the dropped.
"""

from __future__ import annotations

import errno
import struct
from functools import cache
from itertools import pairwise
from typing import Any, Protocol

import msgspec
from pyroute2.netlink import NLM_F_CREATE, NLM_F_ECHO, NLM_F_REPLACE, nla
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from harness.errors import EnvironmentUnfit, HarnessError
from harness.fabric import netns
from harness.spec.link import CLEAR, Distribution, Impairment, Schedule
from harness.spec.spread import ENTRIES, SCALE, table
from harness.units import Duration, Ratio, ms
from harness.wire.shaper import QUEUE

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
HANDLE = 0x10000
UNLIMITED = 10**12  # bytes per second
LEAST_STEP = 10 * ms
"""The finest step of a schedule: the keeper, which takes them, also answers requests, one at a time."""
_ROOT = 0xFFFFFFFF
_ETHERNET = 14
_LOOPBACK = 1  # the interface index of lo in a new namespace
_U32 = 0xFFFFFFFF
_LARGEST_JITTER = 0x7FFFFFFF  # ns


class Rtnetlink(Protocol):
    """What this module needs of ``harness.fabric.rtnl.Rtnl``."""

    def batch(self, messages: list[Any]) -> None:
        """Send requests that have no answer."""

    def request(self, message: Any) -> list[Any]:
        """Send a query and give its answers."""


class NetemCounters(msgspec.Struct, frozen=True, kw_only=True):
    """Packets of one direction since netem was installed; ``delivered + dropped + in_flight`` is what was received.

    ``dropped`` are those lost and those refused by a full queue, which the kernel counts as one; copies count as packets.  ``reordered``:
    let ahead.
    """

    delivered: int
    dropped: int
    in_flight: int
    reordered: int = 0


class _netemmsg(tcmsg):  # type: ignore[misc]  # noqa: N801 - pyroute2's naming
    """tcmsg whose options are netem's, 64-bit times and rates included, which pyroute2's own lacks."""

    nla_map = tuple((name, "netem" if name == "TCA_OPTIONS" else kind) for name, kind in tcmsg.nla_map)

    class netem(nla):  # type: ignore[misc]  # noqa: N801
        nla_map = (
            ("TCA_NETEM_UNSPEC", "none"),
            ("TCA_NETEM_CORR", "none"),
            ("TCA_NETEM_DELAY_DIST", "cdata"),
            ("TCA_NETEM_REORDER", "chance"),
            ("TCA_NETEM_CORRUPT", "chance"),
            ("TCA_NETEM_LOSS", "model"),
            ("TCA_NETEM_RATE", "rate"),
            ("TCA_NETEM_ECN", "uint32"),
            ("TCA_NETEM_RATE64", "uint64"),
            ("TCA_NETEM_PAD", "none"),
            ("TCA_NETEM_LATENCY64", "int64"),
            ("TCA_NETEM_JITTER64", "int64"),
            ("TCA_NETEM_SLOT", "none"),
            ("TCA_NETEM_SLOT_DIST", "none"),
            ("TCA_NETEM_PRNG_SEED", "uint64"),
        )
        fields = (("latency", "I"), ("limit", "I"), ("loss", "I"), ("gap", "I"), ("duplicate", "I"), ("jitter", "I"))

        class rate(nla):  # type: ignore[misc]  # noqa: N801
            fields = (("rate", "I"), ("packet_overhead", "i"), ("cell_size", "I"), ("cell_overhead", "i"))

        class chance(nla):  # type: ignore[misc]  # noqa: N801
            fields = (("probability", "I"), ("correlation", "I"))

        class model(nla):  # type: ignore[misc]  # noqa: N801
            nla_map = (("NETEM_LOSS_UNSPEC", "none"), ("NETEM_LOSS_GI", "none"), ("NETEM_LOSS_GE", "gilbert_elliott"))

            class gilbert_elliott(nla):  # type: ignore[misc]  # noqa: N801
                fields = (("p", "I"), ("r", "I"), ("h", "I"), ("k1", "I"))


def _message(kind: int, ifindex: int, flags: int = 0) -> Any:
    message = _netemmsg()
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    message["index"] = ifindex
    message["parent"] = _ROOT
    return message


def put(ifindex: int, impairment: Impairment, seed: int | None = None) -> Any:
    """The message that makes ``impairment`` rule what leaves interface ``ifindex``: installs netem, or changes it in place.

    ``seed`` (64 bits) begins its random sequence anew.
    """
    if impairment.reordering:
        rate = 0
    elif impairment.rate is not None:
        rate = impairment.rate.bits_per_second // 8
    else:
        rate = UNLIMITED
    message = _message(RTM_NEWQDISC, ifindex, NLM_F_CREATE | NLM_F_REPLACE)
    message["handle"] = HANDLE
    attributes: list[tuple[str, Any]] = [
        ("TCA_NETEM_RATE", {"rate": min(rate, _U32), "packet_overhead": -_ETHERNET, "cell_size": 0, "cell_overhead": 0}),
        ("TCA_NETEM_RATE64", rate),
        ("TCA_NETEM_LATENCY64", impairment.delay.ns if impairment.delay is not None else 0),
        ("TCA_NETEM_JITTER64", impairment.jitter.ns if impairment.jitter is not None else 0),
        ("TCA_NETEM_REORDER", {"probability": _share(impairment.reorder), "correlation": 0}),
        ("TCA_NETEM_CORRUPT", {"probability": _share(impairment.corrupt), "correlation": 0}),
    ]
    if impairment.jitter is not None:
        attributes.append(("TCA_NETEM_DELAY_DIST", _distribution(impairment.distribution)))
    if impairment.burst is not None:
        attributes.append(("TCA_NETEM_LOSS", {"attrs": [("NETEM_LOSS_GE", _chain(impairment))]}))
    if seed is not None:
        attributes.append(("TCA_NETEM_PRNG_SEED", seed))
    options = {
        "latency": 0,
        "limit": impairment.queue if impairment.queue is not None else QUEUE,
        "loss": _share(impairment.loss) if impairment.burst is None else 0,
        "gap": 1 if impairment.reorder is not None else 0,
        "duplicate": _share(impairment.duplicate),
        "jitter": 0,
        "attrs": attributes,
    }
    message["attrs"] = [("TCA_KIND", "netem"), ("TCA_OPTIONS", options)]
    return message


def _share(share: Ratio | None) -> int:
    """A probability as the kernel has it: of 32 bits, all ones for certain."""
    return round(share.fraction * _U32) if share is not None else 0


def _chain(impairment: Impairment) -> dict[str, int]:
    """The kernel's tc_netem_gemodel: ``h`` is the share that passes in the bad state, ``k1`` the share that is lost in the good one."""
    burst, alone = impairment.burst, impairment.loss.fraction if impairment.loss is not None else 0.0
    assert burst is not None

    def passes(lost: Ratio) -> float:
        return (1 - lost.fraction) * (1 - alone)

    return {"p": _share(burst.p), "r": _share(burst.r), "h": round(passes(burst.bad) * _U32), "k1": round((1 - passes(burst.good)) * _U32)}


@cache
def _distribution(distribution: Distribution) -> bytes:
    """The table from which the kernel draws: signed 16-bit numbers, ``SCALE`` the jitter."""
    entries = table(distribution) or tuple((2 * number + 1 - ENTRIES) * SCALE // ENTRIES for number in range(ENTRIES))
    return struct.pack(f"={len(entries)}h", *entries)


_WITHOUT = {
    "queue_time": "sch_netem limits its queue by packets and not by time, so queue_time cannot be said",
    "mtu": "sch_netem knows no packet size, so mtu cannot be said",
}


def can_say(impairment: Impairment) -> str | None:
    """Why sch_netem cannot express ``impairment``, or None when it can."""
    if impairment.rate_trace is not None:
        return "sch_netem has one rate and not a recorded one, so a rate_trace cannot be said; use the relay"
    if impairment.schedule is not None:
        return _can_follow(impairment, impairment.schedule)
    if impairment.drop is not None:
        return "sch_netem loses packets by chance only, so which ones to drop cannot be said; use the relay"
    for field in ("queue_time", "mtu"):
        if getattr(impairment, field) is not None:
            reason = _WITHOUT[field] + (" (nor too_big)" if impairment.too_big else "")
            return f"{reason}; use the relay"
    if impairment.duplicate is not None and (impairment.loss is not None or impairment.burst is not None):
        return "sch_netem never loses both of a doubled packet, so duplicate together with loss or burst cannot be said; use the relay"
    if impairment.truncate and impairment.rate is not None:
        return "sch_netem lets one whose delay is below 0 go before the rate does, so truncate with a rate cannot be said; use the relay"
    if impairment.jitter is not None and impairment.jitter.ns > _LARGEST_JITTER:
        return f"sch_netem has no jitter above 2.147483647s, and {impairment.jitter} is; use the relay"
    if impairment.reordering and impairment.rate is not None:
        return "sch_netem keeps the order whenever it has a rate, so reordering together with a rate cannot be said; use the relay"
    if impairment.rate is not None and impairment.rate.bits_per_second % 8:
        return f"sch_netem counts whole bytes per second, and {impairment.rate} is not a multiple of 8bit; use the relay"
    return None


def _can_follow(impairment: Impairment, schedule: Schedule) -> str | None:
    """Why the steps of a schedule cannot be expressed, or not in time."""
    times = [Duration(0), *(step.at for step in schedule.steps), *([schedule.every] if schedule.every is not None else [])]
    finest, at = min((after - before, before) for before, after in pairwise(times))
    if finest < LEAST_STEP:
        return f"the keeper changes sch_netem every {LEAST_STEP} at most, and {finest} after {at} is finer; use the relay"
    for number in range(len(times[: len(schedule.steps)]) + 1):
        reason = can_say(impairment.at_step(number))
        if reason is not None:
            return reason if number == 0 else f"schedule, step {number} (at {times[number]}): {reason}"
    return None


def install(rtnl: Rtnetlink, ifindex: int, impairment: Impairment = CLEAR, seed: int | None = None) -> None:
    """Put netem at the root of ``ifindex``, or begin it anew there; EnvironmentUnfit with the kernel's words when it refuses."""
    rtnl.batch([put(ifindex, impairment, seed)])


def change(rtnl: Rtnetlink, ifindex: int, impairment: Impairment) -> NetemCounters:
    """Let ``impairment`` rule from now on; the counters just before.  Packets in the queue keep their departures."""
    before = counters(rtnl, ifindex)
    rtnl.batch([put(ifindex, impairment)])
    return before


def counters(rtnl: Rtnetlink, ifindex: int) -> NetemCounters:
    """What became of the packets that left by ``ifindex``; HarnessError when there is no netem on it."""
    # Without NLM_F_ECHO older kernels send the answer to the multicast group only.
    for answer in rtnl.request(_message(RTM_GETQDISC, ifindex, NLM_F_ECHO)):
        if answer.get_attr("TCA_KIND") != "netem":
            continue
        stats = answer.get_attr("TCA_STATS2")
        queue = stats.get_attr("TCA_STATS_QUEUE")
        delivered = stats.get_attr("TCA_STATS_BASIC")["packets"]
        return NetemCounters(delivered=delivered, dropped=queue["drops"], in_flight=queue["qlen"], reordered=queue["requeues"])
    raise HarnessError(f"interface {ifindex} has no netem")


def read_back(rtnl: Rtnetlink, ifindex: int) -> dict[str, Any]:
    """What the kernel says is in force on ``ifindex``, in the words of linux/pkt_sched.h; HarnessError when there is no netem on it."""
    for answer in rtnl.request(_message(RTM_GETQDISC, ifindex, NLM_F_ECHO)):
        if answer.get_attr("TCA_KIND") == "netem":
            options = answer.get_attr("TCA_OPTIONS")
            fields = {name: options[name] for name, _format in options.fields}
            attributes = {name.removeprefix("TCA_NETEM_").lower(): _plain(value) for name, value in options["attrs"]}
            return {"executor": "netem", **fields, **attributes}
    raise HarnessError(f"interface {ifindex} has no netem")


def _plain(value: Any) -> Any:
    """A decoded attribute as plain data."""
    if isinstance(value, nla):
        nested = {name: _plain(inner) for name, inner in dict.get(value, "attrs") or ()}  # a decoded leaf has none at all
        return {name: value[name] for name, _format in value.fields} | nested
    return value if isinstance(value, int | str | float) else repr(value)


def kernel_has_netem(rtnl: Rtnetlink, ifindex: int) -> bool:
    """Whether the kernel takes a netem on ``ifindex``, which must be nobody's: it is put there and removed again."""
    try:
        rtnl.batch([put(ifindex, CLEAR), _message(RTM_DELQDISC, ifindex)])
    except OSError as error:
        refusal: BaseException = error
    except EnvironmentUnfit as error:
        refusal = error
    else:
        return True
    if getattr(refusal, "errno", None) in (errno.ENOENT, errno.EOPNOTSUPP):  # ENOENT: "Specified qdisc kind is unknown"
        return False
    raise refusal


def lacking() -> str | None:
    """Why netem cannot be used on this machine, or None; tried in a throwaway namespace.  For a single-threaded process only."""
    namespace = netns.new_namespace("netem-probe")
    try:
        return None if kernel_has_netem(namespace.rtnl, _LOOPBACK) else "the kernel has no sch_netem"
    finally:
        namespace.close()


def unfit(reason: str) -> EnvironmentUnfit:
    """The error for a run that insists on netem where it is ``lacking``, with the remedy."""
    return EnvironmentUnfit(f"{reason}: install it (Debian: linux-image-amd64, Ubuntu: linux-modules-extra) or run with --impair relay")
