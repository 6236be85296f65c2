"""Bytes of other people's making, thrown at everything that reads them.

``targets`` has one small target per reader: for any bytes it returns, or raises what its docstring names; everything else is a defect, and
so is an input that takes ``LONGEST`` of processor time.  ``python -m tests.fuzz`` (``make fuzz``) runs them all, guided by coverage where
atheris is installed; ``tests/unit/test_fuzz.py`` runs each on a few inputs that hypothesis makes of the same seeds.
"""
