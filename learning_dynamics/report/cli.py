"""The command `learning-dynamics`.

`report` runs claims and writes the page, `list` names them; `inspect` writes a page about data of
one's own; `sweep` runs a measure over a grid, `show` tells how far it is.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from learning_dynamics.report.claims import Outcome

__all__ = ["main"]

BROKEN, INTERRUPTED = 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    0: all claims hold; 1: a claim fails or its control does not; 2: wrong usage; 3: a plug-in whose
    claims or sections were asked for cannot be loaded, and all others hold; 130: interrupted, with
    what was finished kept. A page about data of one's own is no verdict: 1 if a section stops with
    an error.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may lack signs that are printed here
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.command == "list":
            return _list()
        if options.command == "inspect":
            return _inspect(parser, options)
        if options.command in ("sweep", "show"):
            from learning_dynamics.sweeps import commands

            return getattr(commands, options.command)(parser, options)
        return _report(parser, options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="learning-dynamics", description="Theory beside simulation, with verdicts."
    )
    parser.add_argument("--version", action="version", version=version("learning-dynamics"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    report = commands.add_parser("report", help="run claims and write the page")
    report.add_argument(
        "claims", nargs="*", metavar="CLAIM",
        help="id, a prefix as `linear/`, or a Python file with claims of your own",
    )  # fmt: skip
    report.add_argument("--size", choices=("quick", "full"), default="quick", help="default: quick")
    report.add_argument("--out", type=_path, default=Path("report"), help="folder, default: report")
    report.add_argument(
        "--fresh", action="store_true", help="forget what an earlier run at full size left in --out"
    )
    report.add_argument(
        "--workers",
        type=_count,
        help="claims run side by side; default: one per core",
    )
    report.add_argument(
        "--compiled", type=_path, metavar="DIR", help="keep compiled programs there for later runs"
    )
    report.add_argument("--seed", type=_seed, default=0, help="of the random keys, default: 0")
    commands.add_parser("list", help="name the claims")
    inspect = commands.add_parser("inspect", help="say what the theories predict for given data")
    inspect.add_argument(
        "path", type=_source, metavar="PATH",
        help="folder or file of images, .npy of samples, or a bundled set",
    )  # fmt: skip
    inspect.add_argument(
        "--out", type=_path, default=Path("inspection"), help="folder, default: inspection"
    )
    inspect.add_argument("--seed", type=_seed, default=0, help="of the random keys, default: 0")
    sweep = commands.add_parser("sweep", help="run a measure over a grid, or go on with it")
    sweep.add_argument("file", type=_path, metavar="FILE.py", help="defines `measure` and `over`")
    sweep.add_argument("--store", type=_path, required=True, metavar="DIR", help="of the results")
    sweep.add_argument("--workers", type=_count, help="processes of one core each; default: here")
    sweep.add_argument("--out", type=_path, metavar="FILE.nc", help="also write all as netCDF")
    show = commands.add_parser("show", help="tell what of a sweep is done, and how long is left")
    show.add_argument("store", type=_path, metavar="DIR", help="store of the sweep")
    return parser


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError('must be a path ("." for the current folder), not empty')
    return Path(text)


def _source(text: str) -> str:
    _path(text)
    return text  # a bundled set is no path


def _count(text: str) -> int:
    return _whole(text, "be a whole number of at least 1", 1, 2**31)


def _seed(text: str) -> int:
    return _whole(text, "be a whole number between 0 and 2**32 - 1", 0, 2**32)


def _whole(text: str, demand: str, least: int, end: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number < end:
        raise argparse.ArgumentTypeError(f"must {demand}, but got {text!r}")
    return number


def _list() -> int:
    from rich.console import Console
    from rich.table import Table

    from learning_dynamics.report.claims import load_plugins

    claims, broken = load_plugins()
    table = Table("claim", "package", "statement", box=None, pad_edge=False)
    for claim in claims.values():
        table.add_row(claim.id, claim.package, claim.statement)
    console = Console(highlight=False, markup=False)
    if console.is_terminal:
        console.print(table)
    else:  # whole lines for grep
        for claim in claims.values():
            print(claim.id, claim.package, claim.statement, sep="\t")
    for plugin in broken:
        print(f"plug-in {plugin.name} is left out: {plugin.reason}", file=sys.stderr)
    return BROKEN if broken else 0


def _report(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from learning_dynamics.processes import preloaded_context

    workers = options.workers or _cores()
    context = preloaded_context() if workers else None  # starts while claims are imported here
    from learning_dynamics.report.claims import load_plugins
    from learning_dynamics.report.page import run_report, select_claims

    broken = [] if options.claims else load_plugins()[1]
    try:
        patterns = [name for given in options.claims for name in _named(given)]
        if not select_claims(patterns):
            lost = "".join(f"\nnot loaded: {each.name}, {each.reason}" for each in broken)
            parser.error(f"no package with claims is installed{lost}")
    except ValueError as error:
        parser.error(str(error))
    _make_folder(parser, options.out)
    outcomes: list[Outcome] = []
    status = 0
    try:
        run_report(
            patterns,
            size=options.size,
            out=options.out,
            seed=options.seed,
            workers=workers,
            compiled=options.compiled,
            done=outcomes.append,
            fresh=options.fresh,
            context=context,
        )
    except KeyboardInterrupt:
        print("interrupted: the finished claims are kept", file=sys.stderr)
        status = INTERRUPTED
    except OSError as error:  # a full disk
        print(f"the report cannot be written: {error}", file=sys.stderr)
        status = 1
    _print_verdicts(outcomes)
    if (options.out / "index.html").exists():
        print(f"open {options.out / 'index.html'}")
    if not all(outcome.holds for outcome in outcomes):
        status = status or 1
    return status or (BROKEN if broken else 0)


def _named(pattern: str) -> list[str]:
    """The pattern itself, or the ids of the claims in a Python file.

    Raises:
        ValueError: as `import_file`, or if the file holds no claim.
    """
    if not pattern.endswith(".py"):
        return [pattern]
    from learning_dynamics.importing import import_file
    from learning_dynamics.report.claims import load_claims

    name = import_file("CLAIM", Path(pattern)).__name__
    ids = [each.id for each in load_claims().values() if each.test.__module__ == name]
    if not ids:
        raise ValueError(f"CLAIM must hold a function decorated with `claim`, but got {pattern}")
    return ids


def _inspect(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from learning_dynamics.inspection.inspect import inspect
    from learning_dynamics.report.progress import Progressing

    progress = Progressing()
    _make_folder(parser, options.out)
    try:
        result = inspect(options.path, options.out, seed=options.seed, tracker=progress.track)
    except KeyboardInterrupt:
        print("interrupted: the finished sections are kept", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError) as error:  # data that cannot be read, a full disk
        parser.error(str(error))
    for answer in result.answers.values():
        print(answer)
    for id, verdict in result.verdicts.items():
        progress.say(f"{id}: {verdict or 'measured'}")
    for lost in result.missing:
        progress.say(f"plug-in {lost} is left out")
    print(f"open {result.page}")
    if "error" in result.verdicts.values():
        return 1
    return BROKEN if result.missing else 0


def _make_folder(parser: argparse.ArgumentParser, out: Path) -> None:
    from learning_dynamics.files import folder_path

    try:
        folder_path("--out", out).mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"--out {out}: {error.strerror or error}")


def _cores() -> int | None:
    """One process for each processor core; None where claims share an accelerator."""
    import jax

    from learning_dynamics.report.workers import available_cores

    return len(available_cores()) if jax.default_backend() == "cpu" else None


def _print_verdicts(outcomes: "Sequence[Outcome]") -> None:
    from rich.console import Console
    from rich.table import Table

    from learning_dynamics.markup import duration

    table = Table("claim", "verdict", "control", "time", box=None, pad_edge=False)
    for outcome in outcomes:
        verdict = "error" if outcome.error else outcome.verdict
        controlled = outcome.control_verdict == "fail"
        table.add_row(
            outcome.claim.id,
            f"[{'green' if verdict == 'pass' else 'bold red'}]{verdict}[/]",
            "[green]fails, as it must[/]" if controlled else "[bold red]does not fail[/]",
            duration(outcome.seconds),
        )
    if outcomes:
        Console(highlight=False).print(table)
