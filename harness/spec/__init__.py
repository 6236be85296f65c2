"""What the author of a topology writes: frozen, validated data, to and from JSON.  No clock, no kernel; only recordings are read.

``link``: what each direction of a link does to packets, over time too · ``rate_trace``, ``series``: recordings of links ·
``nat``: RFC 4787 words for a router's NAT · ``topology``: hosts, routers, links.
"""
