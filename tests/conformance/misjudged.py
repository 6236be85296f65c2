"""A network built from one topology and judged by another: what the probe must find.

``python -m tests.conformance.misjudged`` reads pairs of topologies (JSON) on stdin and prints what differs for each.  It is a process of
its own, since it enters namespaces.  What is built may have no impaired link, since no relay could be started.
"""

from __future__ import annotations

import json
import os
import sys

from harness.fabric import probe
from harness.fabric.build import Build
from harness.fabric.netns import enter_run_namespaces
from harness.spec.topology import Topology


def main() -> None:
    enter_run_namespaces()
    if child := os.fork():  # only children are in the new PID namespace
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    answers = []
    for built, judged in json.load(sys.stdin):
        build = Build(built, "relay", 1, None)
        build.topology = Topology.from_json(judged)
        answers.append(sorted(probe.measure(build)["differs"]))
    print(json.dumps(answers), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
