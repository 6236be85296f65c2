"""Why an operation on a call was refused: one class per reason, each with the call's id in ``.call``.

These are answers of the stack under test to whoever drives it, so the blame is "product".  A call that *ends* for such a reason says so
with an event (``ConnectionFailed.error`` holds the class name); an exception is only raised to the caller of an operation.
"""

from __future__ import annotations

from typing import ClassVar

from harness.errors import BlamedError


class CallError(BlamedError):
    """Base: ``call`` is the call id ("" where there is none yet), ``what`` says what was refused and what is allowed."""

    blame: ClassVar[str] = "product"

    def __init__(self, call: str, what: str) -> None:
        self.call = call
        self.what = what
        super().__init__(f"call {call}: {what}" if call else what)


class CallNotFound(CallError):  # noqa: N818 - the protocol's word
    """No such call, or it has already ended (a second ``end`` lands here)."""


class InvalidState(CallError):  # noqa: N818 - the protocol's word
    """The call is not in a state, or not in the role, in which this may be done."""


class ConfigError(CallError):
    """What was asked makes no sense with this configuration or in this call (no certificate, a flow that was not agreed)."""


class TransportError(CallError):
    """QUIC cannot do it: no connection, no spare connection id, the handshake failed."""


class PacketTooLarge(TransportError):  # noqa: N818 - reads as the sentence it is
    """An RTP packet larger than what one datagram on this connection holds; ``size`` and ``limit`` in bytes of RTP."""

    def __init__(self, call: str, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            call, f"an RTP packet of {size} bytes does not fit one QUIC datagram, which holds at most {limit} bytes of RTP here"
        )


class CapabilityMismatch(CallError):  # noqa: N818 - the protocol's word
    """One side wants a medium that the other does not offer."""


class CallLimitReached(CallError):  # noqa: N818 - the protocol's word
    """``max_concurrent_calls`` calls are in progress already."""


class CallTimeout(CallError):  # noqa: N818 - the protocol's word
    """The peer did not answer in time."""
