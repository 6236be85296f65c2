"""Measurements, as ratios within one run wherever a clock is involved: ``python -m benchmarks [NAME …]`` (``make bench``).

One module a benchmark; its docstring says what is measured, how, and why a ratio is fair.  README.md has the figures reached.
"""
