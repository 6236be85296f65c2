"""What the author of a topology writes: frozen, validated data, to and from JSON.  No I/O, no clock, no kernel.

``link``: what each direction of a link does to packets · ``nat``: RFC 4787 words for a router's NAT · ``topology``: hosts, routers, links.
"""
