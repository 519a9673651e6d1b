"""`rag cache`: look after the stored states of chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag.cli.config import Config, Json, load

if TYPE_CHECKING:
    from rag.flow import Flow
    from rag.kvcache.store import KVStore
    from rag.models.local.model import LocalLLM

app = typer.Typer(help="Look after the stored states of chunks.", no_args_is_help=True)


@contextmanager
def _store(config: str | None) -> Iterator[KVStore]:
    from rag.errors import ConfigError
    from rag.kvcache.store import open_store

    flow = load(config)
    spec = flow.resources.specs.get("llm")
    kept = spec.get("kv") if isinstance(spec, dict) else None
    if kept is None:
        raise ConfigError(
            "the pipeline keeps states in memory only",
            where="resources.llm",
            fix="give the model a folder: llm: {model: ..., kv: ./kv}",
        )
    store = open_store(kept, flow.resources.base)
    try:
        yield store
    finally:
        store.close()


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    from rag.cli.output import print_json

    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        typer.echo(f"{name}: {value}")


@app.command()
def stats(config: Config = None, as_json: Json = False) -> None:
    """Say what each tier holds."""
    with _store(config) as store:
        found = store.stats()
    if as_json:
        _print(found, as_json=True)
        return
    from rich.table import Table

    from rag.cli.output import console

    columns = ("entries", "bytes", "max_bytes", "hits", "misses", "evictions", "errors")
    table = Table("tier", *columns, box=None, pad_edge=False)
    for name, one in found.items():
        table.add_row(name, *(f"{one[c]:,}" if one[c] is not None else "-" for c in columns))
    console().print(table)


@app.command()
def verify(config: Config = None, as_json: Json = False) -> None:
    """Read every stored state again; what is damaged is put aside."""
    with _store(config) as store:
        wrong = store.verify()
        count = len(store.keys())
    _print({"good": count, "damaged": wrong}, as_json=as_json)


@app.command()
def clear(config: Config = None, as_json: Json = False) -> None:
    """Forget all stored states."""
    with _store(config) as store:
        count = store.clear()
    _print({"forgotten": count}, as_json=as_json)


@app.command()
def pin(
    keys: Annotated[list[str], typer.Argument(help="Keys, or how they begin.")],
    config: Config = None,
    undo: Annotated[bool, typer.Option("--undo", help="Let them be evicted again.")] = False,
    as_json: Json = False,
) -> None:
    """Keep stored states from being evicted."""
    from rag.errors import InputError

    with _store(config) as store:
        known = store.keys()
        for key in keys:
            found = [one for one in known if one.startswith(key)]
            if len(found) != 1:
                what = f"{len(found)} keys begin with {key!r}"
                raise InputError(what, fix="`rag cache keys` lists them")
            store.pin(found[0], not undo)
    _print({"pinned" if not undo else "released": len(keys)}, as_json=as_json)


@app.command()
def keys(config: Config = None, as_json: Json = False) -> None:
    """List the keys of all stored states."""
    with _store(config) as store:
        found = store.keys()
    if as_json:
        _print({"keys": found}, as_json=True)
    else:
        typer.echo("\n".join(found))


@app.command()
def warm(config: Config = None, as_json: Json = False) -> None:
    """Compute the states of all chunks of the index that are not stored yet.

    For modes that keep chunks by themselves (`focus`, `blend`, `epic`, `concat`, `parallel`,
    `ape`). May be stopped and started again: what is stored stays. Pays off where the generation
    step gets whole chunks, and not sentences taken out of them.
    """
    from rich.progress import track

    from rag.cli.index import index_path
    from rag.cli.output import console
    from rag.index import Index
    from rag.models import Prompt
    from rag.text.splitting import embedding_text

    flow = load(config)
    system = _system(flow)
    llm = _local(flow)
    index = Index.open(index_path(flow))
    made = seen = 0
    try:
        batches = list(index.batches(64))
        for batch in track(batches, "Computing", console=console(stderr=True), transient=True):
            texts = tuple(embedding_text(document) for document in batch)
            prefix, chunks, _ = llm.template.tokenize(Prompt("?", system, texts, numbered=False))
            made += llm.engine.warm(prefix, chunks)
            seen += len(chunks)
    finally:
        index.close()
        flow.close()
    _print({"chunks": seen, "computed": made}, as_json=as_json)


@app.command()
def calibrate(
    data: Annotated[
        Path, typer.Option("--data", help="A data set in BEIR's format, with answers.")
    ],
    target: Annotated[
        float, typer.Option(min=0, max=1, help="Share of full prefill's likelihood to keep.")
    ] = 0.95,
    limit: Annotated[int, typer.Option(min=1, help="Questions to look at.")] = 30,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Find the numbers that suit the model: T and S of `ape`, the share `focus` recomputes."""
    from rag.eval.beir import load as load_data
    from rag.eval.contexts import parts, samples
    from rag.kvcache.calibrate import calibrate as found_by
    from rag.kvcache.calibrate import save

    flow = load(config)
    llm = _local(flow)
    chosen = samples(load_data(data), limit, seed=1)
    prompts = [parts(llm, one.question, one.chunks) for one in chosen]
    try:
        found = found_by(
            llm.engine,
            prompts,
            target,
            llm.ends,
            lambda done, count: typer.echo(f"{done} of {count}", err=True),
        )
        path = save(found, llm.engine.view.fingerprint())
    finally:
        flow.close()
    _print({**found.__dict__, "kept in": str(path)}, as_json=as_json)


def _local(flow: Flow) -> LocalLLM:
    from rag.errors import ConfigError
    from rag.models import LLM
    from rag.models.local.model import LocalLLM

    llm = flow.resources.get("llm", LLM)
    if not isinstance(llm, LocalLLM):
        raise ConfigError(
            "the pipeline's model runs elsewhere: its states cannot be stored",
            where="resources.llm",
            fix="name a local model",
        )
    return llm


def _system(flow: Flow) -> str:
    """The system text of the step whose chunks' states are reused."""
    from rag.errors import ConfigError
    from rag.operators.generation.generate import Generate

    for node in flow.walk():
        if isinstance(node, Generate) and node.context is not None:
            if node.context.mode in ("full", "prefix", "craft"):
                raise ConfigError(
                    f"{node.context.mode!r} does not keep chunks by themselves: nothing to warm",
                    where="context.mode",
                    fix="choose one that does: context: {mode: focus}",
                )
            return node.system
    raise ConfigError(
        "no step of the pipeline reuses states",
        where="steps",
        fix="give the generation step a context: {use: generate, context: {mode: focus}}",
    )
