"""The targets, by what they read."""

from tests.fuzz.targets import agents, captures, codecs, folder, media, quic, signalling, specs, stack, wire  # noqa: F401
