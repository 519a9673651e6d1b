"""The `rag` command: its subcommands, and how errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from rag.cli import (
    ask,
    bench,
    cache,
    calibrate,
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
    worker,
)

EPILOG = (
    "Exit codes: 0 done, 1 internal error (please report it), 2 wrong usage, configuration, "
    "pipeline or input, 3 done but files were skipped, 4 the index or a checkpointed run, "
    "5 a model, 6 a step failed, 7 the run waits for approval, 8 a gate failed (`rag eval answers "
    "--fail-under`), 130 interrupted."
)

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
app.command("run")(flows.run)
app.command("resume")(runs.resume)
app.command("runs")(runs.runs)
app.command("check")(flows.check)
app.command("show")(flows.show)
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
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from rag.errors import RagError

        if os.environ.get("RAG_DEBUG") or not isinstance(error, RagError):
            raise
        from rag.cli.output import fail

        sys.exit(fail(error, as_json="--json" in sys.argv))
