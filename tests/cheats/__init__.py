"""Stacks that cheat, or fail in ways that a harness could miss, and the campaign that holds every scenario against them (``make cheats``).

Each is the reference agent with a few methods replaced, started by ``python -m tests.cheats.stack NAME``.  ``table`` says which kinds of
claim each breaks and what a run with it must come to.
"""
