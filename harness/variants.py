"""Which variants of a scenario are run (``rebind_port[ipv4]``) where ``--repeat`` numbers each of them (``rebind_port[run1-ipv4]``).

pytest looks for the node id that it is given, and finds none, because every variant's id has the number too.  So the scenario is asked for
without its variant, and what was not meant is deselected when all of them are there.
"""

from __future__ import annotations

import pytest


def ask_for_all(config: pytest.Config) -> None:
    """Take the variants out of the node ids that pytest was given, also in a parallel worker, and keep them with the options."""
    chosen: dict[str, list[str]] = {}
    for n, argument in enumerate(config.args):
        nodeid, bracket, variant = argument.partition("[")
        if bracket and "::" in nodeid:
            chosen.setdefault(nodeid.partition("::")[2], []).append(variant.removesuffix("]"))
            config.args[n] = nodeid
    if chosen:
        config.option.harness_variants = chosen


def variant_of(item: pytest.Item) -> str:
    """The id of a test's parameters less the number of its repetition; "" when it has none."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return ""
    run = f"run{callspec.params['lab'] + 1}" if isinstance(callspec.params.get("lab"), int) else ""
    return str(callspec.id) if not run else "" if callspec.id == run else callspec.id.removeprefix(f"{run}-").removesuffix(f"-{run}")


def leave_out_others(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect every test whose variant was not asked for; UsageError for a variant that there is not."""
    chosen: dict[str, list[str]] = getattr(config.option, "harness_variants", {})
    names = {item: item.nodeid.partition("::")[2].partition("[")[0] for item in items}
    out = [item for item in items if names[item] in chosen and variant_of(item) not in chosen[names[item]]]
    known = {name: sorted({variant_of(item) for item in items if names[item] == name}) for name in chosen}
    for name, variants in chosen.items():
        for variant in variants:
            if variant not in known[name]:
                raise pytest.UsageError(f"{name} has no variant {variant!r}; there are {', '.join(known[name])}")
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]
