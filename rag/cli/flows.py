"""`rag run`, `check`, `show`, `operators`: pipelines themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag.cli.config import AllowImport, Json, Param, completed, load, pipeline_file
from rag.cli.runs import RUNS, Runs, announced, durations, start
from rag.cli.values import pairs, typed

if TYPE_CHECKING:
    from rag.cli.opening import Opened
    from rag.flow import Flow

File = Annotated[
    str | None,
    typer.Argument(
        metavar="[FILE]",
        help="Pipeline file, or name of a ready-made pipeline. Default: ./rag.yaml, else `hybrid`.",
        show_default=False,
        autocompletion=completed,
    ),
]


def run(
    file: File = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            help="NAME=VALUE for an input of the pipeline; repeatable.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        bool,
        typer.Option(
            "--checkpoint", help="Save each finished step, so that the run can be resumed."
        ),
    ] = False,
    runs: Runs = RUNS,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Run a pipeline over inputs and print its outputs."""
    from rag.cli.output import outputs, print_fields

    with load(file, params, allow) as flow:
        values = typed(pairs(inputs or [], "--input"), flow.inputs)
        if checkpoint:
            started = start(runs, flow, file, params, allow, values)
            with announced(started):
                result = started.invoke()
        else:
            result = outputs(flow.stream(**values))
    print_fields(result, as_json=as_json)


def check(
    file: File = None,
    params: Param = None,
    allow: AllowImport = None,
    opens: Annotated[
        bool,
        typer.Option(
            "--open", help="Open what it names too: models, indexes, stores, servers' clients."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that a pipeline is valid, without running it, and that what it names is there."""
    with load(file, params, allow) as flow:
        _check(flow, file, params, allow, opens=opens, as_json=as_json)


def _check(
    flow: Flow,
    file: str | None,
    params: list[str] | None,
    allow: list[str] | None,
    *,
    opens: bool,
    as_json: bool,
) -> None:
    from rag.cli.opening import open_all
    from rag.flow.types import show

    space = _space(file, params, allow)
    inputs = {name: show(kind) for name, kind in flow.inputs.items()}
    outputs = {name: show(kind) for name, kind in flow.output_types.items()}
    if as_json:
        from rag.cli.output import print_json

        listed = [{"where": e.where, "what": e.what, "fix": e.fix} for e in flow.absent()]
        shown = {"name": flow.name, "inputs": inputs, "outputs": outputs, "absent": listed}
        opened = open_all(flow, shown=False) if opens else []
        print_json(
            shown
            | ({} if space is None else {"tune": space})
            | ({"opened": [one.as_dict() for one in opened]} if opens else {})
        )
        _ended(opened)
        return
    typer.echo(f"{flow.name or file or 'pipeline'} OK")
    typer.echo("  inputs:  " + ", ".join(f"{name} ({kind})" for name, kind in inputs.items()))
    typer.echo("  outputs: " + ", ".join(f"{name} ({kind})" for name, kind in outputs.items()))
    if space is not None:
        many = space["configurations"] or "more than are counted"
        typer.echo(f"  tune:    {len(space['dimensions'])} dimensions, configurations: {many}")
    for error in flow.absent():
        typer.echo(f"  not there yet: {error}")
    if opens:
        _ended(open_all(flow, shown=True))


def _ended(opened: list[Opened]) -> None:
    """End with the exit code of the first that could not be opened."""
    code = next((one.code for one in opened if one.error is not None), 0)
    if code:
        raise typer.Exit(code)


def _space(
    file: str | None, params: list[str] | None, allow: list[str] | None
) -> dict[str, Any] | None:
    """The search space of a pipeline file, checked; None: it has none."""
    path, base = pipeline_file(file)
    if "tune:" not in path.read_text(encoding="utf-8"):
        return None  # and costs nothing
    import tempfile

    from rag.flow.registry import Registry
    from rag.tune.check import check as check_space
    from rag.tune.read import find_tuning

    with tempfile.TemporaryDirectory() as scratch:
        tuning = find_tuning(
            path, params=pairs(params or [], "--param"), base=base, folder=Path(scratch),
            registry=Registry(allow_import=tuple(allow or ())),
        )  # fmt: skip
        if tuning is None:
            return None
        check_space(tuning.space)
        return {"dimensions": list(tuning.space.order), "configurations": tuning.space.size()}


def show(
    file: File = None,
    svg: Annotated[
        Path | None,
        typer.Option(
            "--svg", help="Write an SVG picture to this file instead.", show_default=False
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", help="Draw this run, with the duration of each step.", show_default=False
        ),
    ] = None,
    runs: Runs = RUNS,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Draw a pipeline or a run of it, as Mermaid text or as an SVG picture."""
    notes: dict[str, str] = {}
    if run is None:
        flow = load(file, params, allow)
    else:
        flow, notes = durations(runs, run, allow)
    if svg is not None:
        from rag.files import write_atomically
        from rag.flow.draw.svg import svg as draw
        from rag.paths import write_errors

        with write_errors(svg, "--svg"):
            write_atomically(svg, draw(flow, notes))
        drawing = {"svg": str(svg)}
    else:
        from rag.flow.draw.mermaid import mermaid

        drawing = {"mermaid": mermaid(flow, notes)}
    if as_json:
        from rag.cli.output import print_json

        print_json(drawing)
    else:
        typer.echo(drawing.get("mermaid") or f"wrote {svg}", nl=svg is not None)


def schema() -> None:
    """Print the JSON Schema of pipeline files, for editors."""
    from rag.cli.output import print_json
    from rag.flow.yaml.schema import schema as json_schema

    print_json(json_schema())


def operators(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Describe only this one.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the operators, or describe one: what it reads and writes, and its fields."""
    from rag.cli.output import print_json
    from rag.flow.registry import Registry

    registry = Registry()
    described = [_describe(key, registry[key]) for key in ([name] if name else registry)]
    if as_json:
        print_json(described[0] if name else described)
        return
    from rich.table import Table
    from rich.text import Text

    from rag.cli.output import console

    out = console()
    if not name:
        table = Table("operator", "reads", "writes", "what it does", box=None, pad_edge=False)
        for one in described:
            reads = ", ".join(_optional(port) for port in one["reads"])
            writes = ", ".join(port["name"] for port in one["writes"])
            table.add_row(one["name"], reads, writes, Text(one["summary"]))
        out.print(table)
        return
    one = described[0]
    out.print(f"[bold]{one['name']}[/bold]  {one['where']}", highlight=False)
    out.print(one["description"], markup=False, highlight=False)
    for title in ("reads", "writes", "resources", "fields"):
        if one[title]:
            table = Table(title, "type", "", box=None, pad_edge=False, padding=(0, 2, 0, 0))
            for port in one[title]:
                table.add_row(
                    _optional(port), Text(port["type"]), Text(port.get("description", ""))
                )
            out.print()
            out.print(table)


def _optional(port: dict[str, Any]) -> str:
    return str(port["name"]) if port.get("required", True) else f"{port['name']}?"


def _describe(name: str, kind: Any) -> dict[str, Any]:
    import inspect

    from rag.flow.operator import PLACEMENT
    from rag.flow.types import show

    signature = kind.signature()
    description = inspect.getdoc(kind) or ""
    ports = {
        title: [{"name": p.name, "type": show(p.type), "required": p.required} for p in found]
        for title, found in (
            ("reads", signature.reads),
            ("writes", signature.writes),
            ("resources", signature.resources),
        )
    }  # fmt: skip
    fields = [
        {
            "name": field_name,
            "type": show(field.annotation),
            "required": field.is_required(),
            "default": None
            if field.is_required()
            else field.get_default(call_default_factory=True),
            "description": " ".join(
                filter(
                    None,
                    [
                        field.description,
                        None
                        if field.is_required()
                        else f"(default {_short(field.get_default(call_default_factory=True))})",
                    ],
                )
            ),
        }
        for field_name, field in kind.model_fields.items()
        if field_name not in PLACEMENT
    ]
    return {
        "name": name,
        "where": f"{kind.__module__}:{kind.__qualname__}",
        "summary": description.split("\n")[0],
        "description": description,
        **ports,
        "fields": fields,
    }


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
