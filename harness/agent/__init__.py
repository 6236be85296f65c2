"""The peer in a namespace: its protocol (``messages``, ``lines``), the reference agent (``driver``), the scenario's handle (``remote``)."""
