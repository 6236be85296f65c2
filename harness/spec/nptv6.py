"""IPv6-to-IPv6 network prefix translation (RFC 6296): one prefix for another, and a word adjusted so that no checksum changes.

It is algorithmic: no state, no ports, one inside address for one outside address, and back.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network

_WORDS = 8
_SUBNET_WORD = 3
_NONE = 0xFFFF  # never the outcome of an adjustment (§3.1), so both directions find the same word


def translate(address: IPv6Address, here: IPv6Network, there: IPv6Network) -> IPv6Address | None:
    """``address`` of the prefix ``here`` as it is in ``there`` (both of one length, at most /64), or None when no word can be adjusted.

    Prefixes of up to /48 adjust the subnet's word (§3.4), longer ones the first word of the interface identifier that is not 0xFFFF (§3.5).
    The way back is the same with the prefixes exchanged.
    """
    difference = (_sum(here) - _sum(there)) % _NONE
    words = _words(IPv6Address(int(address) & int(here.hostmask) | int(there.network_address)))
    places = (_SUBNET_WORD,) if there.prefixlen <= 48 else range(4, _WORDS)
    place = next((n for n in places if words[n] != _NONE), None)
    if place is None:
        return None
    words[place] = (words[place] + difference) % _NONE
    return IPv6Address(b"".join(word.to_bytes(2, "big") for word in words))


def _words(address: IPv6Address) -> list[int]:
    return [int.from_bytes(address.packed[n : n + 2], "big") for n in range(0, 2 * _WORDS, 2)]


def _sum(prefix: IPv6Network) -> int:
    return sum(_words(prefix.network_address))
