"""``harness``: a front for the people who run scenarios; everything it runs is pytest with the project's plugin."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import pytest
import typer

from harness import catalogue
from harness.errors import BlamedError, HarnessError, SpecError

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Network-emulation scenarios for QUIC calls.", pretty_exceptions_enable=False
)
SCENARIOS = Path("scenarios")
_PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=_PASS_THROUGH)
def run(
    context: typer.Context, name: Annotated[str, typer.Argument(help="a scenario file, or one scenario of it (see `harness list`)")]
) -> None:
    """Run a scenario; further arguments go to pytest (--seed, --impair, --agent, --repeat, --artifacts …)."""
    chosen = _chosen(name)
    sys.exit(pytest.main([*PYTEST, "--story", "--no-header", "--tb=line", "-q", *chosen, *context.args]))


STRICT = ["-p", "no:hypothesispytest", "--rootdir=.", "-W", "error"]
PYTEST = ["-p", "harness.pytest_plugin", *STRICT]


def _chosen(name: str) -> list[str]:
    """What pytest is to run, or the list of what there is and exit code 2."""
    scenarios = catalogue.find(SCENARIOS)
    chosen = catalogue.select(name, scenarios)
    if not chosen:
        known = sorted({scenario.file.stem for scenario in scenarios})
        print(f"there is no scenario {name!r}; known are the files {', '.join(known)}, and in them", file=sys.stderr)
        for scenario in scenarios:
            print(f"  {scenario.file.stem:<12} {scenario.name}", file=sys.stderr)
        raise typer.Exit(2)
    return chosen


@app.command(context_settings=_PASS_THROUGH)
def soak(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="a scenario file, or one scenario of it")],
    runs: Annotated[int, typer.Option("--runs", "-n", help="conclusive runs wanted of each test")] = 10,
    jobs: Annotated[int, typer.Option(help="runs at a time")] = 2,
    seed: Annotated[int, typer.Option(help="the first seed")] = 1,
    artifacts: Annotated[Path, typer.Option(help="where runs are kept")] = Path("artifacts"),
    until_fail: Annotated[bool, typer.Option("--until-fail", help="stop at the first FAIL")] = False,
) -> None:
    """Run a scenario many times over seeds; exit code 0 only if all conclusive runs passed and at most 5 % were inconclusive, or one."""
    import trio  # only here: the other commands start faster without

    from harness import pages, telling
    from harness.report import repetition
    from harness.report.progress import progress
    from harness.soak import Soak

    chosen = _chosen(name)
    github = telling.take(os.environ)  # its runs say nothing to GitHub, but what they all come to is said
    pytest_ = [sys.executable, "-m", "pytest", *PYTEST, "-q"]
    listed = subprocess.run([*pytest_, "--collect-only", *chosen, *context.args], capture_output=True, text=True, check=False)
    nodeids = [line for line in listed.stdout.splitlines() if "::" in line]
    if listed.returncode or not nodeids:
        sys.exit(listed.stdout + listed.stderr)
    names = [nodeid.partition("::test_")[2] for nodeid in nodeids]
    folder = artifacts.resolve() / "soak" / f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    command = [*pytest_, *context.args]
    with telling.hushed(github):
        try:
            with closing(progress(sys.stdout, names, runs)) as view:
                repeated = Soak(nodeids, runs=runs, jobs=jobs, first=seed, folder=folder, command=command, until_fail=until_fail, view=view)
                tallies = trio.run(repeated.run)
        except SpecError as error:
            print(error, file=sys.stderr)
            raise typer.Exit(2) from None
        repetition.show(tallies, runs)
        print(f"stopped early by {repeated.stopped}; runs in {folder}" if repeated.stopped else f"runs in {folder}")
        for missing in pages.relist(artifacts.resolve()):
            print(f"could not be built: {missing}", file=sys.stderr)
    telling.tell_soak(github, dict(zip(nodeids, tallies, strict=True)), runs)
    raise typer.Exit(0 if all(tally.holds(runs) for tally in tallies) else 1)


@app.command("list")
def list_() -> None:
    """List the scenarios with one line each."""
    for scenario in catalogue.find(SCENARIOS):
        print(f"{scenario.file.stem:<12} {scenario.name:<36} {scenario.story}")


@app.command("presets")
def presets_(name: Annotated[str, typer.Argument(help="one preset, told in full")] = "") -> None:
    """List the presets of access links, or tell all about one: its figures, their sources, what is ours."""
    from harness.spec import presets  # only here: the other commands start faster without

    try:
        print(presets.told(name) if name else presets.table())
    except SpecError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None


@app.command()
def report(
    opened: Annotated[
        list[Path] | None,
        typer.Argument(metavar="OPEN…", help="runs, `latest` links, folders above runs; ./artifacts if none"),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="open the page in a browser; of several, the index")] = False,
) -> None:
    """Build the pages of runs anew from their artifacts, and the index that lists them."""
    from harness import pages  # only here: the other commands start faster without

    built, failed = pages.rebuild(opened or [Path("artifacts")], print)
    for reason in failed:
        print(reason, file=sys.stderr)
    if show and built:
        _browse(built[0] if len([made for made in built if made.name != "index.html"]) == 1 else built[-1])
    raise typer.Exit(1 if failed else 0)


def _browse(made: Path) -> None:
    import webbrowser

    if not webbrowser.open(made.resolve().as_uri()):
        print(f"there is no browser here to open {made}", file=sys.stderr)


@app.command("index")
def index_(
    artifacts: Annotated[Path, typer.Argument(help="the artifacts folder")] = Path("artifacts"),
    show: Annotated[bool, typer.Option("--open", help="open it in a browser")] = False,
) -> None:
    """Write ARTIFACTS/index.html: all runs with their verdicts, and every figure from run to run."""
    from harness.report import index  # only here: the other commands start faster without

    if not artifacts.is_dir():
        print(f"{artifacts}: there is no such folder", file=sys.stderr)
        raise typer.Exit(1)
    made = index.write(artifacts)
    print(made)
    if show:
        _browse(made)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder, a file in it, or a `latest` link")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="the run to lay beside it")],
    output: Annotated[Path | None, typer.Option(help="the page (default: compare.html in ./artifacts, if there is one)")] = None,
    show: Annotated[bool, typer.Option("--open", help="open it in a browser")] = False,
) -> None:
    """Lay two runs side by side on one axis, say the broken and the fixed."""
    from harness.report import compare, history  # only here: the other commands start faster without

    folder = Path("artifacts")
    try:
        made = compare.write(history.one(first), history.one(second), output or (folder if folder.is_dir() else Path()) / compare.FILE)
    except (HarnessError, OSError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    print(made)
    if show:
        _browse(made)


@app.command()
def capture(folders: Annotated[list[Path], typer.Argument(help="folders of runs, artifacts/<scenario>/<test>/<run>")]) -> None:
    """Make capture.pcapng of runs anew: all their captures in one file, with secrets and comments, however big it gets."""
    from harness.lab.merged import merge_captures  # only here: the other commands start faster without
    from harness.report import model
    from harness.report.artifacts import need

    try:
        for folder in folders:
            run = model.read(need(folder) / "report.json")
            print(merge_captures(folder, run.faults, run.receipts, f"{run.test}: {run.command}"))
    except (BlamedError, OSError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


@app.command()
def docs() -> None:
    """Write docs/scenarios.md anew from the scenarios and the topologies."""
    try:
        page = catalogue.page(catalogue.find(SCENARIOS), catalogue.drawings(Path("topologies")))
    except SpecError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    Path("docs/scenarios.md").write_text(page)


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Tell what this machine can do, what will be used, and what would fix each lack."""
    from harness.doctor import findings as found  # only here: the other commands start faster without
    from harness.doctor import table

    findings = found.examine()
    print(table.to_json(findings) if as_json else table.drawn(findings, sys.stdout))
    if not found.fit(findings):
        raise typer.Exit(1)


def main() -> None:
    """The console entry point."""
    app()


if __name__ == "__main__":
    main()
