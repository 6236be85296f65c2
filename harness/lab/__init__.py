"""What a scenario holds in its hand: the one room that sees both the fabric and the calls.

``lab`` (Lab) builds, starts, injects faults, collects and judges · ``peer`` (an agent) · ``conversation`` (a call) · ``evidence`` (what the
captures prove) · ``decrypted``, ``frames``, ``proofs`` (what was said inside the packets) · ``control`` (the broken stack that a scenario
must catch) · ``demands`` (what agents must be able to do) · ``outside`` (what the kernel says of an agent, and what is done to it) ·
``timeline`` (every event of every source on one clock) · ``folder`` (where a run is kept) · ``watch`` (the runner's own stalls).
"""

from harness.lab import outside
from harness.lab.control import control
from harness.lab.demands import needs, takes
from harness.lab.lab import Lab
from harness.lab.peer import refusal

__all__ = ["Lab", "control", "needs", "outside", "refusal", "takes"]
