"""What this machine can do, what of it the harness will use, and the one command that would fix each lack.

Everything is tried, in a child process and namespaces of its own (``attempts``); nothing is concluded from version numbers, and the host's
network is not touched.  ``findings`` says what each attempt means for a run, ``remedies`` what would fix a lack on this machine
(``machine``), ``table`` shows it.

``python3 -m harness.doctor`` runs on a machine with nothing but Python, of any version from 3.8.  So this room imports the standard
library, its own modules, and those modules of the fabric that do the same; and what an old Python reads of it is written so that it can.
"""
