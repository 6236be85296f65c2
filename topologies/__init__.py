"""Networks, one a file, each with a drawing in its docstring; ``harness`` reads them as data."""
