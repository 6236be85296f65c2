"""Builds a topology out of the kernel: namespaces, links, NATs, captures; changes it while running; proves what it did.

The fabric knows no call and no agent protocol: to it an agent is a command in a namespace.  All kernel work is done by one single-threaded
process per run, the *keeper* (PID 1 of the run's PID namespace), so that when it dies the kernel frees everything.
"""
