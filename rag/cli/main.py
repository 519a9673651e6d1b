"""The `rag` command: its subcommands, and how errors become messages and exit codes."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from rag.cli import (
    ask,
    bench,
    cache,
    calibrate,
    chat,
    doctor,
    evaluate,
    flows,
    index,
    ingest,
    init,
    mcp,
    new,
    runs,
    serve,
    serve_options,
    sources,
    train,
    tune,
    up,
    worker,
)

EPILOG = (
    "Exit codes: 0 done, 1 internal error (please report it), 2 wrong usage, configuration, "
    "pipeline or input, 3 done but files were skipped, 4 the index or a checkpointed run, "
    "5 a model, 6 a step failed, 7 the run waits for approval, 8 a gate failed (`rag eval answers "
    "--fail-under`), 130 interrupted, 141 nobody reads the output any more."
)

PIPE_CLOSED = 141
"""Exit code where nobody reads what is printed: that of a program which the signal ends."""

app = typer.Typer(
    name="rag",
    help="Build and ask retrieval-augmented generation pipelines.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from rag import __version__

        typer.echo(f"modular-rag {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Build and ask retrieval-augmented generation pipelines."""
    if debug:
        os.environ["RAG_DEBUG"] = "1"


app.command("init")(init.init)
app.command("ingest")(ingest.ingest)
app.command("ask")(ask.ask)
app.command("chat")(chat.chat)
app.command("up")(up.up)
app.command("down")(up.down)
app.command("run")(flows.run)
app.command("resume")(runs.resume)
app.command("runs")(runs.runs)
app.command("check")(flows.check)
app.command("show")(flows.show)
app.command("doctor")(doctor.doctor)
app.command("operators")(flows.operators)
app.command("schema")(flows.schema)
app.command("serve", cls=serve_options.ServeCommand)(serve.serve)
app.command("worker", cls=serve_options.ServeCommand)(worker.worker)
app.command("mcp")(mcp.mcp)
app.add_typer(new.app, name="new")
index.app.command("list")(sources.list_sources)
index.app.command("remove")(sources.remove)
index.app.command("set-metadata")(sources.set_metadata)
index.app.command("export")(sources.export)
index.app.command("import")(sources.import_chunks)
app.add_typer(index.app, name="index")
app.add_typer(cache.app, name="cache")
app.add_typer(evaluate.app, name="eval")
app.add_typer(bench.app, name="bench")
app.add_typer(train.app, name="train")
app.add_typer(tune.app, name="tune")
app.add_typer(calibrate.app, name="calibrate")
app.add_typer(serve.keys, name="keys")


def main() -> None:
    """Run the command; errors of `rag.errors` become one message and an exit code."""
    # Progress bars and advice of the model libraries would be mixed into the output.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    _any_text()
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Who reads has enough (`rag operators | head`); what is left in the buffer goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(PIPE_CLOSED)
    except Exception as error:
        from rag.cli.failing import explained

        found = explained(error)
        if os.environ.get("RAG_DEBUG") or found is None:
            raise
        from rag.cli.output import fail

        sys.exit(fail(found, as_json="--json" in sys.argv))


def _run() -> None:
    """Run the command, and write out what is still in its buffer while errors can be told.

    Raises:
        BrokenPipeError: Nobody reads any more.
    """
    try:
        app()
    except SystemExit as stop:
        # Typer ends with 1 then, which is the code of a bug.
        if isinstance(stop.__context__, BrokenPipeError):
            raise stop.__context__ from None
        raise
    finally:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()


def _any_text() -> None:
    """Let no text be an error of the screen that shows it: what it lacks is a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
