"""`rag tune`: search for the pipeline that is best for a data set."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rag.cli.config import AllowImport, Config, Json, Param, default, pipeline_file
from rag.cli.eval_options import Concurrency, Limit, Split
from rag.cli.evaluating import print_table, progress_bar
from rag.cli.values import pairs
from rag.pipelines import SPACE

if TYPE_CHECKING:
    from rag.tune.job import Job
    from rag.tune.search import Plan
    from rag.tune.study import Study

app = typer.Typer(help="Search for the pipeline that is best for a data set.")

StudyFolder = Annotated[
    Path | None,
    typer.Option(
        "--study",
        help="Folder of the study; a search that was stopped goes on there. Default: FILE.study.",
        show_default=False,
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        help="PostgreSQL, for workers on other machines. Default: a file in the study's folder.",
        show_default=False,
    ),
]
DataPath = Annotated[
    Path | None,
    typer.Option("--data", help="Data set, as of `rag eval answers`.", show_default=False),
]
Documents = Annotated[
    list[Path] | None,
    typer.Option(
        "--documents",
        help="Files and folders to index, for questions without a corpus; repeatable. Settings of "
        "the index can be tuned then.",
        show_default=False,
    ),
]


@app.callback(invoke_without_command=True)
def tune(
    ctx: typer.Context,
    config: Config = None,
    data: DataPath = None,
    study: StudyFolder = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The winner, in the pipeline's folder. Default: FILE.tuned.yaml.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write a report with plots to this file.", show_default=False),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            "--budget", min=1, help="Questions put to configurations.", show_default=False
        ),
    ] = None,
    sampler: Annotated[
        Literal["tpe", "nsga2", "random", "grid"] | None,
        typer.Option("--sampler", help="What proposes configurations.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of the search.", show_default=False)
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes on this machine.")
    ] = 1,
    storage: Storage = None,
    documents: Documents = None,
    split: Split = None,
    limit: Limit = None,
    concurrency: Concurrency = 1,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Search for the pipeline that is best for a data set: the `tune:` of a pipeline file."""
    if ctx.invoked_subcommand is not None:
        return
    from rag.errors import ConfigError
    from rag.extras import check_installed
    from rag.paths import writable_file, writable_folder
    from rag.tune.job import Job

    if data is None:
        fix = "give --data: a folder in BEIR's format, or a file of questions"
        raise ConfigError("there is no data set", where="rag tune", fix=fix)
    file, base = pipeline_file(config)
    name = Path(default(config)).name.removesuffix(".yaml").removesuffix(SPACE)
    folder = study or Path(f"{name}.study")
    target = out or (base or file.parent) / f"{name}.tuned.yaml"
    given = {"budget": budget, "sampler": sampler, "seed": seed}
    job = Job(
        pipeline=str(file), data=str(data), folder=str(folder),
        base=None if base is None else str(base), storage=storage,
        params=pairs(params or [], "--param"), allow=tuple(allow or ()), split=split, limit=limit,
        documents=tuple(map(str, documents or ())), concurrency=concurrency,
        settings={key: value for key, value in given.items() if value is not None},
    )  # fmt: skip
    tuning = job.tuning()
    if target.resolve().parent != tuning.flow.resources.base.resolve():
        fix = f"give a name in {tuning.flow.resources.base.resolve()}"
        what = "the winner names files relative to the pipeline's folder"
        raise ConfigError(what, where="--out", fix=fix)
    check_installed("optuna", "tune", where="rag tune")
    writable_file(target, "--out")
    writable_folder(folder, "--study")
    if html is not None:
        check_installed("matplotlib", "eval", where="--html")
        writable_file(html, "--html")
    with ExitStack() as stack:
        progress = stack.enter_context(progress_bar())
        opened = stack.enter_context(job.open(tuning, progress))
        _run(opened, job, workers, progress)
        _finish(opened, name, target, html, as_json=as_json)


def _run(study: Study, job: Job, workers: int, progress: Any) -> None:
    from rag.tune.job import workers as started

    left = 0

    def shown(plan: Plan) -> None:
        nonlocal left
        if not plan.front:
            progress("questions", plan.spent, study.settings.budget)
            return
        left = max(left, len(plan.tasks))
        progress("blocks of held-out questions", left - len(plan.tasks), left)

    with started(job, workers - 1):
        study.work(shown)


def _finish(study: Study, name: str, target: Path, html: Path | None, *, as_json: bool) -> None:
    """Print what was found, and write the winner."""
    from rag.cli.output import print_json
    from rag.tune.report import (
        failures,
        front_table,
        importance_table,
        summary,
        write_report,
    )
    from rag.tune.tune import result
    from rag.tune.winner import save_winner

    found, settings = result(study), study.settings
    lines = summary(found, settings, name)
    flow = study.flow(found.winner.trial)
    files = save_winner(flow, target, lines) if found.winner.trial else []
    if html is not None:
        write_report(html, found, settings, name, flow.to_yaml())
    if as_json:
        shown = {"summary": lines, "files": [str(one) for one in files]}
        print_json({**shown, "baseline": found.baseline, "front": found.front,
                    "trials": found.trials, "spent": found.spent, "held": found.held,
                    "importance": found.importance, "failed": found.failed})  # fmt: skip
        return
    print_table(front_table(found, settings))
    if found.importance:
        print_table(importance_table(found))
    for line in (*lines, *failures(found)):
        typer.echo(line)
    for one in files:
        typer.echo(f"wrote {one}")


@app.command()
def worker(
    study: Annotated[
        Path,
        typer.Option("--study", help="Folder of the study; elsewhere, a folder of its name."),
    ],
    storage: Storage = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", "-c", help="The pipeline file on this machine.", show_default=False
        ),
    ] = None,
    data: DataPath = None,
    documents: Documents = None,
    concurrency: Concurrency = 1,
) -> None:
    """Help with a study that was begun elsewhere, until it is over."""
    from rag.tune.job import joined, work

    job = joined(
        study,
        storage,
        pipeline=None if config is None else str(pipeline_file(config)[0]),
        data=None if data is None else str(data),
        documents=tuple(map(str, documents or ())),
        concurrency=concurrency,
    )
    work(job)
    typer.echo("the study is over")
