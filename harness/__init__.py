"""A network-emulation harness for QUIC calls.

Data goes one way: a topology (``spec``) is built by the ``fabric``; ``agent`` processes run the ``call`` stack in its namespaces; a
scenario drives them through the ``lab``; ``media`` records and ``fabric`` receipts become measures, measures become ``verdict``, verdicts a
``report``.  The call stack knows no namespace, the fabric knows no call; only ``lab`` sees both.  ``tests/layers.py`` holds the rooms
apart.
"""

__version__ = "0.1.0"
