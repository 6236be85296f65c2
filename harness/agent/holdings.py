"""What a process holds, asked of the process itself and of /proc: for leak checks."""

from __future__ import annotations

import os

import trio

from harness.agent.messages import Descriptor


def task_names(nursery: trio.Nursery) -> list[str]:
    """The names of all tasks in ``nursery`` and below it."""
    names = []
    for task in nursery.child_tasks:
        names.append(task.name)
        for below in task.child_nurseries:
            names += task_names(below)
    return names


def open_descriptors() -> list[Descriptor]:
    """The file descriptors of the process, without the one that lists them."""
    found = []
    for entry in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            found.append(Descriptor(fd=int(entry), target=os.readlink(f"/proc/self/fd/{entry}")))
        except FileNotFoundError:
            continue
    return found
