"""A second judge of a run, independent of the harness: it reads captures through tshark and imports nothing of ours.

``python -m tests.judge RUN_FOLDER…`` judges runs that exist; ``make judge`` makes runs of scenarios and controls and judges them.
The definitions are those of `docs/judge.md`; the code shares none with the harness, so that a fault in one shows as a difference.
"""
