"""The call stack's words as the protocol's: its events, errors, figures and settings.  Pure."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from harness.agent import messages
from harness.call import events
from harness.call.capabilities import MediaCapabilities, MediaConstraints
from harness.call.config import EndpointConfig
from harness.call.discards import Discards
from harness.call.errors import CallError
from harness.units import ms


@lru_cache(maxsize=1024)
def remote(address: events.Address) -> str:
    """The address as "ip:port" or "[v6]:port", without its path."""
    return f"[{address.ip}]:{address.port}" if ":" in address.ip else f"{address.ip}:{address.port}"


def _offer(offer: MediaCapabilities) -> messages.Offer:
    return messages.Offer(
        audio=offer.audio, video=offer.video, data_channel=offer.data_channel, max_bandwidth_kbps=offer.max_bandwidth_kbps
    )


def event(happened: events.Event) -> messages.Event | None:
    """``happened`` as a message; None for what is not told but recorded (media) or is not known here."""
    call, at = happened.call, happened.at
    match happened:
        case events.StateChanged():
            return messages.StateChanged(call=call, at=at, old=happened.old.value, new=happened.new.value)
        case events.QualityChanged():
            return messages.QualityChanged(
                call=call,
                at=at,
                rtt_ms=happened.rtt_ms,
                packet_loss_percent=happened.packet_loss_percent,
                jitter_ms=happened.jitter_ms,
                bandwidth_kbps=happened.bandwidth_kbps,
                word=happened.word,
            )
        case events.VideoAdapted():
            return messages.VideoAdapted(call=call, at=at, kbps=happened.kbps, why=happened.why)
        case events.MediaUpdated(audio=audio, video=video, screen_share=screen):
            return messages.MediaUpdated(call=call, at=at, audio=audio, video=video, screen_share=screen, by=happened.by)
        case events.PathEvent(kind=kind, address=address, detail=detail):
            return messages.PathChanged(call=call, at=at, kind=kind, path=address.path, remote=remote(address), detail=detail)
        case events.CallInitiated(address=address):
            return messages.CallInitiated(call=call, at=at, path=address.path, remote=remote(address))
        case events.IncomingCall(address=address):
            offer = _offer(happened.capabilities)
            return messages.IncomingCall(call=call, at=at, capabilities=offer, path=address.path, remote=remote(address))
        case events.CallAccepted():
            return messages.CallAccepted(call=call, at=at)
        case events.CallRejected():
            return messages.CallRejected(call=call, at=at, reason=happened.reason)
        case events.ConnectionEstablished(address=address):
            return messages.ConnectionEstablished(
                call=call, at=at, odcid=happened.odcid, path=address.path, remote=remote(address), agreed=_offer(happened.agreed)
            )
        case events.ConnectionFailed():
            return messages.ConnectionFailed(call=call, at=at, reason=happened.reason, error=happened.error)
        case events.CallHeld():
            return messages.CallHeld(call=call, at=at, by=happened.by)
        case events.CallResumed():
            return messages.CallResumed(call=call, at=at, by=happened.by, flows=happened.flows)
        case events.CallEnded():
            return messages.CallEnded(call=call, at=at, reason=happened.reason)
    return None


def failure(error: CallError) -> messages.Failure:
    """Why the stack refused."""
    return messages.Failure(kind=type(error).__name__, message=error.what, call=error.call or None)


def stats(figures: events.CallStats) -> messages.CallStats:
    """A call's figures."""
    return messages.CallStats(
        state=figures.state.value,
        role=figures.role,
        path=figures.path,
        remote=remote(figures.address),
        odcid=figures.odcid,
        handshakes=figures.handshakes,
        redials=figures.redials,
        rtt_ns=figures.rtt_ns,
        cwnd=figures.cwnd,
        bytes_in_flight=figures.bytes_in_flight,
        max_rtp_packet=figures.max_rtp_packet,
        queued=figures.queued,
        sent=dict(figures.sent),
        received=dict(figures.received),
        expired=figures.expired,
        dropped=figures.dropped,
        heard_at=figures.heard_at,
    )


def discarded(counts: Discards) -> messages.Discarded:
    """What came and was of no use."""
    return messages.Discarded(
        discarded=dict(counts.discarded), answered=dict(counts.answered), begun=counts.begun, reclaimed=counts.reclaimed
    )


def constraints(media: messages.MediaSet) -> MediaConstraints:
    """Which media."""
    return MediaConstraints(audio=media.audio, video=media.video, screen_share=media.screen_share)


_OFF_AT_ZERO = ("keepalive", "rtcp", "queue_bound", "redial_window")
_NOT_THE_STACKS = ("media_expiry_ms", "receive_buffer", "media")


def config(asked: messages.Configure) -> EndpointConfig:
    """The stack's settings from a request; ConfigError for what makes no sense."""
    settings: dict[str, object] = {}
    for field in msgspec.structs.fields(messages.Options):
        value = getattr(asked.options, field.name)
        if value is None or field.name in _NOT_THE_STACKS:
            continue
        if isinstance(value, messages.MediaSet):
            settings[field.name] = constraints(value)
        elif field.name.endswith("_ms"):
            name = field.name.removesuffix("_ms")
            settings[name] = None if value == 0 and name in _OFF_AT_ZERO else value * ms
        else:
            settings[field.name] = value
    result = EndpointConfig(
        name=asked.name,
        certificate=asked.certificate,
        key=asked.key,
        ca=asked.ca,
        server_name=asked.server_name or None,
        **settings,  # type: ignore[arg-type]  # the names are checked against EndpointConfig by a test
    )
    result.validate()
    return result
