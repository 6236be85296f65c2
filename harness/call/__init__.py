"""The QUIC-native call stack, sans-IO: (datagram, now) in; datagrams, a timer and events out.

``session.Endpoint`` is the whole of it for its users.  Below it, each module holds one thing: ``states`` the call's transition table,
``capabilities`` what a call wants and a peer offers, ``signaling`` the messages and their framing, ``roq`` RTP over QUIC framing,
``media_queue`` what waits to be sent, ``quic`` the one place that knows aioquic's insides, ``health`` how long a path has been silent,
``reports`` RTCP, ``dialog`` what a message means for a call.

Time is ``int`` nanoseconds of one monotonic clock, always passed in; only ``quic`` turns it into aioquic's float seconds.
"""
