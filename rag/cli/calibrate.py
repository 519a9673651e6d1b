"""`rag calibrate`: what is measured once for a machine."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from rag.cli.config import AllowImport, Config, Json, Param, load
from rag.cli.evaluating import progress_bar

NOISY = 1.25
"""A spread from which the machine was not quiet."""

app = typer.Typer(help="Measure what a machine needs, once.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Measure what a machine needs, once."""


@app.command()
def runtime(
    config: Config = None,
    name: Annotated[
        str, typer.Option("--llm", help="The resource whose model is calibrated.")
    ] = "llm",
    reuse: Annotated[
        str | None,
        typer.Option(
            "--reuse",
            help="A mode of reuse, such as `concat`: what a token costs whose states are reused.",
            show_default=False,
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Of each call; the shortest counts.")
    ] = 3,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Fit what a local model's tokens cost, for idealized runtimes in `rag eval` and `rag tune`."""
    from rag.cli.output import note, print_fields
    from rag.errors import ConfigError
    from rag.eval.calibrate import calibrate
    from rag.eval.runtime import save_costs
    from rag.kvcache.settings import ReuseSettings
    from rag.models import LLM
    from rag.models.local.model import LocalLLM

    settings = None if reuse is None else ReuseSettings(mode=reuse)
    with load(config, params, allow) as flow, progress_bar() as progress:
        llm = flow.resources.get(name, LLM)
        if not isinstance(llm, LocalLLM):
            raise ConfigError(
                f"{llm.id!r} does not run in this process: its queue would be timed too",
                where=f"resources.{name}", fix="calibrate a local model, or minimise tokens",
            )  # fmt: skip
        found = calibrate(llm, reuse=settings, repeats=repeats, progress=partial(progress, "calls"))
    shown = {"error": round(found.error, 4), "spread": round(found.spread, 4)}
    file = save_costs(llm.id, found.costs, {**shown, "calls": len(found.timings)})
    if found.spread > NOISY:
        note("the machine was busy: run it again when it is quiet")
    costs = {key: f"{value:.3g}" for key, value in asdict(found.costs).items()}
    print_fields({"model": llm.id, **costs, **shown, "file": str(file)}, as_json=as_json)
