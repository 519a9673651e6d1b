"""`rag run`, `check`, `show`, `operators`: pipelines themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag.cli.config import AllowImport, Json, Param, load, pairs
from rag.cli.runs import RUNS, Runs, drawn, start, telling
from rag.plain import summary

if TYPE_CHECKING:
    from rag.flow.run.events import Event

File = Annotated[
    str | None,
    typer.Argument(
        metavar="[FILE]",
        help="Pipeline file, or name of a ready-made one. Default: ./rag.yaml, else `hybrid`.",
        show_default=False,
    ),
]


def run(
    file: File = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", "-i", help="NAME=VALUE, for each input.")
    ] = None,
    checkpoint: Annotated[
        bool, typer.Option("--checkpoint", help="Remember each step, so that it can be resumed.")
    ] = False,
    runs: Runs = RUNS,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Run a pipeline over inputs and print its outputs."""
    with load(file, params, allow) as flow:
        given = pairs(inputs or [], "--input")
        values = {name: value_of(name, text, flow.inputs) for name, text in given.items()}
        if checkpoint:
            started = start(runs, flow, file, params, allow, values)
            with telling(started):
                result = started.invoke()
        else:
            result = result_of(flow.stream(**values))
    print_result(result, as_json=as_json)


def result_of(events: Iterator[Event]) -> dict[str, Any]:
    """What a run ends with; its warnings are shown on standard error meanwhile."""
    from rag.cli.output import note
    from rag.flow.run.events import Done, Warned

    found: dict[str, Any] = {}
    for event in events:
        if isinstance(event, Warned):
            note(event.message)
        elif isinstance(event, Done):
            found = event.result
    return found


def print_result(result: dict[str, Any], *, as_json: bool) -> None:
    """The outputs of a run."""
    from rag.cli.output import print_json

    if as_json:
        print_json(result)
        return
    for name, value in result.items():
        typer.echo(f"{name}: {summary(value)}")


def value_of(name: str, text: str, inputs: Mapping[str, Any]) -> Any:
    """The text of a channel in the type that the flow declares."""
    from pydantic import TypeAdapter, ValidationError

    from rag.errors import InputError
    from rag.flow.types import show

    kind = inputs.get(name, Any)
    if kind in (str, Any):
        return text
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return adapter.validate_json(text)
    except ValidationError:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            what = f"{name}={text!r} is not {show(kind)}"
            raise InputError(
                what, where="NAME=VALUE", fix="write lists and mappings as JSON"
            ) from error


def check(
    file: File = None, params: Param = None, allow: AllowImport = None, as_json: Json = False
) -> None:
    """Check that a pipeline fits together, without running it."""
    flow = load(file, params, allow)
    from rag.flow.types import show

    inputs = {name: show(kind) for name, kind in flow.inputs.items()}
    outputs = {name: show(kind) for name, kind in flow.output_types.items()}
    if as_json:
        from rag.cli.output import print_json

        print_json({"name": flow.name, "inputs": inputs, "outputs": outputs})
        return
    typer.echo(f"{flow.name or file or 'the pipeline'} fits together")
    typer.echo("  inputs:  " + ", ".join(f"{name} ({kind})" for name, kind in inputs.items()))
    typer.echo("  outputs: " + ", ".join(f"{name} ({kind})" for name, kind in outputs.items()))


def show(
    file: File = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", help="Write an SVG picture to this file instead.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", help="Draw this run: what took how long.", show_default=False),
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
        flow, notes = drawn(runs, run, allow)
    if svg is not None:
        from rag.files import write_atomically
        from rag.flow.draw.svg import svg as draw

        write_atomically(svg, draw(flow, notes))
        made = {"svg": str(svg)}
    else:
        from rag.flow.draw.mermaid import mermaid

        made = {"mermaid": mermaid(flow, notes)}
    if as_json:
        from rag.cli.output import print_json

        print_json(made)
    else:
        typer.echo(made.get("mermaid") or f"wrote {svg}", nl=svg is not None)


def schema() -> None:
    """Print the JSON Schema of pipeline files, for editors."""
    from rag.cli.output import print_json
    from rag.flow.yaml.schema import schema as made

    print_json(made())


def operators(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Describe this one.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """List the operators, or describe one: what it reads, writes and can be told."""
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
