from __future__ import annotations

import dataclasses

import msgspec
import pytest

from harness.agent import messages, translate
from harness.call import events
from harness.call.capabilities import MediaCapabilities, MediaConstraints
from harness.call.config import EndpointConfig
from harness.call.errors import CallError, CallNotFound, ConfigError, InvalidState
from harness.call.states import State
from harness.units import ms

V4 = events.Address("wifi", "192.0.2.1", 5)
V6 = events.Address("lte", "2001:db8::1", 6)
OFFER = MediaCapabilities(audio=True, video=False, data_channel=True, max_bandwidth_kbps=128)
NOT_TOLD = {events.MediaReceived, events.MediaExpired}
# a dataclass with slots leaves the class that it was made from behind, so __subclasses__ has each twice
TOLD = [kind for kind in events.Event.__subclasses__() if getattr(events, kind.__name__) is kind and kind not in NOT_TOLD]
SAMPLES = {
    "State": State.IDLE,
    "Address": V4,
    "str": "word",
    "MediaCapabilities": OFFER,
    "PathKind": "probing",
    "Side": "peer",
    "bool": True,
    "float": 1.5,
    "int": 200,
    "Word": "good",
}


def sample(kind: type[events.Event]) -> events.Event:
    given = {"call": "c", "at": 7}
    for field in dataclasses.fields(kind):
        if field.name not in given:
            given[field.name] = SAMPLES[str(field.type)]
    return kind(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", TOLD)
def test_every_event_of_the_stack_is_told_with_all_its_fields(kind: type[events.Event]) -> None:
    told = translate.event(sample(kind))
    assert told is not None
    assert isinstance(told, messages.CallEvent)
    assert (told.call, told.at) == ("c", 7)
    fields = {field.name for field in dataclasses.fields(kind)} - {"address"}
    if "address" in {field.name for field in dataclasses.fields(kind)}:
        fields |= {"path", "remote"}
    assert {field.name for field in msgspec.structs.fields(told)} == fields


def test_media_is_recorded_and_not_told() -> None:
    assert translate.event(events.MediaExpired(call="c", at=1, token=3)) is None


def test_addresses_are_written_so_that_the_port_can_be_read() -> None:
    assert translate.remote(V4) == "192.0.2.1:5"
    assert translate.remote(V6) == "[2001:db8::1]:6"
    assert translate.event(events.PathEvent(call="c", at=1, kind="migrated", address=V6, detail="d")) == messages.PathChanged(
        call="c", at=1, kind="migrated", path="lte", remote="[2001:db8::1]:6", detail="d"
    )


def test_an_error_is_told_by_its_class_and_call() -> None:
    assert translate.failure(InvalidState("c", "no")) == messages.Failure(kind="InvalidState", message="no", call="c")
    assert translate.failure(CallNotFound("", "no")) == messages.Failure(kind="CallNotFound", message="no")
    assert issubclass(ConfigError, CallError)


def configure(**options: object) -> messages.Configure:
    return messages.Configure(id=1, name="a", paths=(), folder="x", options=messages.Options(**options))  # type: ignore[arg-type]


def test_no_option_given_is_the_stacks_own_settings() -> None:
    assert translate.config(configure()) == EndpointConfig(name="a")


def test_every_option_is_a_setting_of_the_stack_or_of_the_agent() -> None:
    known = set(EndpointConfig.__struct_fields__)
    for field in messages.Options.__struct_fields__:
        assert field in ("media_expiry_ms", "receive_buffer", "media") or field.removesuffix("_ms") in known


def test_options_are_translated() -> None:
    config = translate.config(
        configure(
            keepalive_ms=0,
            rtcp_ms=500,
            failed_ms=9000,
            auto_answer=True,
            max_concurrent_calls=2,
            pto_clamp=0,
            accepts=messages.MediaSet(audio=True),
            requires=messages.MediaSet(video=True),
        )
    )
    assert (config.keepalive, config.rtcp, config.failed) == (None, 500 * ms, 9000 * ms)
    assert (config.auto_answer, config.max_concurrent_calls, config.pto_clamp) == (True, 2, 0)
    assert (config.accepts, config.requires) == (MediaConstraints(), MediaConstraints(audio=False, video=True))


def test_what_the_stack_refuses_is_its_error() -> None:
    with pytest.raises(ConfigError, match="dial_timeout"):
        translate.config(configure(dial_timeout_ms=0))


def test_a_server_name_that_is_empty_is_none() -> None:
    assert translate.config(msgspec.structs.replace(configure(), server_name="")).server_name is None
    assert translate.config(msgspec.structs.replace(configure(), server_name="bob.test")).server_name == "bob.test"
