"""RTP and RTCP bytes, and the reception statistics that both the call stack and the judge need.

Pure: no clock, no randomness, no I/O.  Functions that take bytes from the network end in ``_untrusted`` and raise only ``PacketError``.
"""
