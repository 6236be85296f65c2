"""The harness on a machine that has no time for it: no run may come to FAIL there, and no sabotaged stack to PASS (``make busy``)."""
