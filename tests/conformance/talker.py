"""A process of a test inside a namespace: UDP flows with every packet numbered, and questions to the kernel about where it is.

``python -I talker.py`` reads JSON lines on stdin and answers each with a JSON line.  Only the standard library: it starts in 30 ms.

* ``open``: a socket called ``name``, bound to ``bind`` [address, port] if given.  With ``to`` it numbers and sends a packet there every
  ``every`` s; without, it sends its own to whoever it heard last.  Answers the address that it is bound to.
* ``quiet``: send no more.  Answers, per socket, what was sent: runs of [first, last, destination].  * ``again``: go on with one.
* ``heard``: wait until socket ``name`` has heard ``count`` different packets, or ``within`` s.  Answers how many, how many twice, runs of
  [first, last, source], texts, where each text came from, and the least delay (s) of those since the last such question.
* ``poke``: send ``text`` from ``name`` to ``to``.  * ``where``: namespace, ICMP errors seen by this namespace so far.
* ``source``: the address from which an unbound socket would send to ``to``, or the error.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import time

PACKET = struct.Struct("!4sId")  # magic, number, when it was sent (CLOCK_MONOTONIC, which all namespaces share)
MAGIC = b"talk"


class Flow:
    def __init__(self, bind, to, every):
        family = socket.AF_INET6 if ":" in (bind or to)[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        if bind:
            self.socket.bind(tuple(bind))
        self.socket.setblocking(False)
        self.to, self.every, self.due = to and tuple(to), every, time.monotonic()
        self.number = self.twice = 0
        self.sent, self.runs, self.seen, self.texts, self.texts_from = [], [], set(), [], {}
        self.least, self.refused = None, 0

    def send(self, now):
        while self.every and self.to and self.due <= now:
            self.due = max(self.due + self.every, now - self.every)
            try:
                self.socket.sendto(PACKET.pack(MAGIC, self.number, time.monotonic()), self.to)
            except OSError:
                self.refused += 1
                continue
            extend(self.sent, self.number, list(self.to[:2]))
            self.number += 1

    def receive(self, follow):
        while True:
            try:
                data, source = self.socket.recvfrom(2000)
            except BlockingIOError:
                return
            except OSError:
                self.refused += 1
                continue
            if data[:4] != MAGIC:
                self.texts.append(data.decode())
                self.texts_from[data.decode()] = list(source[:2])
                continue
            _magic, number, sent = PACKET.unpack(data)
            delay = time.monotonic() - sent
            self.least = delay if self.least is None else min(delay, self.least)
            if number in self.seen:
                self.twice += 1
            self.seen.add(number)
            extend(self.runs, number, list(source[:2]))
            if follow:
                self.to = source[:2]


def extend(runs, number, where):
    if runs and runs[-1][1] + 1 == number and runs[-1][2] == where:
        runs[-1][1] = number
    else:
        runs.append([number, number, where])


def icmp_errors():
    found = {}
    for path in ("/proc/self/net/snmp", "/proc/self/net/snmp6"):
        with open(path) as file:
            lines = file.read().splitlines()
        if path.endswith("6"):
            found["ipv6"] = sum(int(line.split()[1]) for line in lines if line.startswith(("Icmp6InDestUnreachs", "Icmp6InErrors")))
        else:
            names, values = (line.split() for line in lines if line.startswith("Icmp:"))
            found["ipv4"] = int(dict(zip(names, values))["InDestUnreachs"])  # noqa: B905 - the kernel's two lines match
    return found


class Talker:
    def __init__(self):
        self.flows, self.follows = {}, set()

    def turn(self, wait):
        """Everything due now; then wait for packets, a line or the next packet to send, at most ``wait`` s.  True: a line is there."""
        now = time.monotonic()
        for flow in self.flows.values():
            flow.send(now)
        dues = [flow.due for flow in self.flows.values() if flow.every and flow.to]
        wait = min([wait, *(max(0, due - time.monotonic()) for due in dues)])
        readable = select.select([0, *(flow.socket for flow in self.flows.values())], [], [], wait)[0]
        for name, flow in self.flows.items():
            if flow.socket in readable:
                flow.receive(name in self.follows)
        return 0 in readable

    def open(self, name, bind=None, to=None, every=0.0):
        flow = self.flows[name] = Flow(bind, to, every)
        if to is None:
            self.follows.add(name)
        return list(flow.socket.getsockname()[:2])

    def quiet(self):
        for flow in self.flows.values():
            flow.every = 0
        return {name: flow.sent for name, flow in self.flows.items()}

    def again(self, name, every):
        flow = self.flows[name]
        flow.every, flow.due = every, time.monotonic()

    def heard(self, name, count=0, within=10.0, text=None):
        flow, until = self.flows[name], time.monotonic() + within
        while time.monotonic() < until and (len(flow.seen) < count or (text is not None and text not in flow.texts)):
            self.turn(until - time.monotonic())
        least, flow.least = flow.least, None
        return {
            "count": len(flow.seen),
            "twice": flow.twice,
            "runs": flow.runs,
            "texts": flow.texts,
            "from": flow.texts_from,
            "least": least,
            "refused": flow.refused,
        }

    def poke(self, name, to, text):
        try:
            return self.flows[name].socket.sendto(text.encode(), tuple(to))
        except OSError as error:
            return error.strerror

    def where(self):
        return {"namespace": os.stat("/proc/self/ns/net").st_ino, "pid": os.getpid(), "icmp": icmp_errors()}

    def source(self, to):
        with socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((to, 9))
            except OSError as error:
                return error.strerror
            return probe.getsockname()[0]


def main():
    talker, pending = Talker(), b""
    while True:
        if not talker.turn(60.0):
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            request = json.loads(line)
            answer = getattr(talker, request.pop("op"))(**request)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
