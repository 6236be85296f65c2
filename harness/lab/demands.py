"""What a scenario needs of its agents, and which options it takes, said beside the scenario: marks that the plugin and the lab read."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from harness.errors import CapabilityLacking, SpecError

CAPABILITIES = (
    "datagram",
    "stream",
    "migrate",
    "audio",
    "video",
    "screen",
    "ipv4",
    "ipv6",
    "keepalive",
    "auto_answer",
    "hold",
    "redial",
    "adapt",
    "discards",
    "opus",
    "vp8",
)
"""What an agent's hello may offer (docs/protocol.md), and so what a scenario may need."""
OPTIONS = ("endurance",)
"""Options that only some scenarios take; every other option is for all of them."""


class Need(msgspec.Struct, frozen=True):
    """``capabilities`` that the agents ``of`` must offer; every agent of the run if ``of`` is empty."""

    capabilities: tuple[str, ...]
    of: tuple[str, ...] = ()


def needs(*capabilities: str, of: str | Iterable[str] = ()) -> pytest.MarkDecorator:
    """Mark a scenario: it is NOT RUN unless the agents ``of`` (default: all of them) offer all ``capabilities`` in their hello.

    SpecError for a capability that the agent protocol does not know.
    """
    _known("needs", capabilities)
    return pytest.mark.needs(capabilities=capabilities, of=(of,) if isinstance(of, str) else tuple(of))


def takes(*options: str) -> pytest.MarkDecorator:
    """Mark a scenario: it takes these of ``OPTIONS``; given to any other scenario they are an ERROR."""
    for option in options:
        if option not in OPTIONS:
            raise SpecError("takes", f"{option!r} is no option that only some scenarios take; allowed are {', '.join(OPTIONS)}")
    return pytest.mark.takes(options=options)


def needed(marks: Iterable[pytest.Mark]) -> tuple[Need, ...]:
    """The needs that the marks ``needs`` of a test say."""
    return tuple(Need(**mark.kwargs) for mark in marks)


def allowed_to_lack(value: str) -> frozenset[str]:
    """``hold,redial`` as names of capabilities; SpecError for one that the agent protocol does not know."""
    names = frozenset(name.strip() for name in value.split(",") if name.strip())
    _known("--allow-not-run", sorted(names))
    return names


def check(wanted: Iterable[Need], offered: dict[str, tuple[str, ...]]) -> None:
    """Hold ``wanted`` against what each agent's hello ``offered``; CapabilityLacking that names every agent and what it lacks."""
    lacks: dict[str, dict[str, None]] = {}
    for need in wanted:
        for agent, offers in offered.items():
            missing = [one for one in need.capabilities if one not in offers]
            if missing and (not need.of or agent in need.of):
                lacks.setdefault(agent, {}).update(dict.fromkeys(missing))
    if lacks:
        (first, its), *more = lacks.items()
        others = "".join(f"; nor does {agent} offer {', '.join(names)}" for agent, names in more)
        every = dict.fromkeys(name for names in lacks.values() for name in names)
        raise CapabilityLacking(first, f"it does not offer {', '.join(its)}, which this scenario needs{others}", tuple(every))


def _known(where: str, names: Iterable[str]) -> None:
    for name in names:
        if name not in CAPABILITIES:
            raise SpecError(where, f"{name!r} is no capability of an agent; allowed are {', '.join(CAPABILITIES)}")
