"""Signalling: its messages, its framing, and the words of both made into a call's."""

from __future__ import annotations

from pathlib import Path

from harness.call import signaling
from harness.call.capabilities import MediaCapabilities, MediaConstraints, agreed, mismatch
from harness.call.roq import encode_varint
from harness.call.signaling import Decoder, SignalError, encode, parse_untrusted
from tests.fuzz.target import Ready, Taken, need, refusing, target

CALL = "c1"
MINE = MediaCapabilities(True, True, True, 2500)


def messages() -> list[bytes]:
    """One of each kind, as on the stream."""
    return [
        encode(one)
        for one in (
            signaling.offer(signaling.CapabilityExchange, CALL, MINE, "10.0.0.1:4433"),
            signaling.offer(signaling.CapabilityExchange, CALL, MINE, None, redial=True, held=True),
            signaling.offer(signaling.ConnectionConfirm, CALL, MINE, "[fd00::1]:4433", held=False),
            signaling.ConnectionReady(CALL),
            signaling.Hold(CALL),
            signaling.Resume(CALL),
            signaling.MediaUpdate(CALL, audio=True, video=False, screen_share=False),
            signaling.Bye(CALL, reason="ended"),
        )
    ]


@target("signal", "json", share=4)
def signal(_: Path) -> Ready:
    """One message: SignalError; what is taken is written back to an equal one, and can be compared with what is wanted."""

    def run(data: bytes) -> None:
        with refusing(SignalError):
            message = parse_untrusted(data)
            body = encode(message)
            (again,) = Decoder().feed_untrusted(body, 0)
            need(again == message, f"{message} does not come back as itself")
            if isinstance(message, signaling.CapabilityExchange | signaling.ConnectionConfirm):
                mismatch(MediaConstraints(), message.capabilities)
                agreed(MINE, message.capabilities)

    return Ready(run, [one[1 if one[0] < 0x40 else 2 :] for one in messages()])


@target("signal_stream", "framed", share=0.2, longest=8192)
def signal_stream(_: Path) -> Ready:
    """A stream of messages in pieces: nothing is raised, errors are in their places, what is held is one message and a piece at most."""

    def run(data: bytes) -> None:
        whole, parts = Decoder(), Decoder()
        at_once = whole.feed_untrusted(data, 0)
        found, at, taken = [], 0, Taken(data[::-1])
        while at < len(data):
            size = taken.number() + 1
            found += parts.feed_untrusted(data[at : at + size], 0)
            at += size
        need(len(found) == len(at_once), "in pieces there are other messages")
        for one, other in zip(found, at_once, strict=True):
            same = str(one) == str(other) if isinstance(one, SignalError) else one == other
            need(same, "in pieces it is another message")
        lost = [n for n, one in enumerate(at_once) if isinstance(one, SignalError) and one.fatal]
        need(lost in ([], [len(at_once) - 1]), "it went on after a fatal error")

    return Ready(run, [b"".join(messages()), encode_varint(1 << 20) + b"x", b"".join(messages()) * 7])
