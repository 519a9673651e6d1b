"""`rag cache`: manage the stored KV states of chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.config import Config, Json, load
from rag.cli.output import print_fields, print_json

if TYPE_CHECKING:
    from rag.flow import Flow
    from rag.kvcache.store import KVStore
    from rag.models.local.model import LocalLLM

app = typer.Typer(help="Manage the stored KV states of chunks.", no_args_is_help=True)


@contextmanager
def _store(config: str | None) -> Iterator[KVStore]:
    from rag.errors import ConfigError
    from rag.kvcache.store import open_store

    flow = load(config)
    spec = flow.resources.specs.get("llm")
    kv = spec.get("kv") if isinstance(spec, dict) else None
    if kv is None:
        raise ConfigError(
            "the pipeline stores states in memory only",
            where="resources.llm",
            fix="give the model a folder: llm: {model: ..., kv: ./kv}",
        )
    store = open_store(kv, flow.resources.base)
    try:
        yield store
    finally:
        store.close()


@app.command()
def stats(config: Config = None, as_json: Json = False) -> None:
    """Show the size and the hits of each tier."""
    with _store(config) as store:
        tiers = store.stats()
    if as_json:
        print_json(tiers)
        return
    from rich.table import Table

    from rag.cli.output import console

    columns = ("entries", "bytes", "max_bytes", "hits", "misses", "evictions", "errors")
    table = Table("tier", *columns, box=None, pad_edge=False)
    for name, tier in tiers.items():
        cells = (f"{tier[c]:,}" if tier[c] is not None else "-" for c in columns)
        table.add_row(name, *cells)
    console().print(table)


@app.command()
def verify(config: Config = None, as_json: Json = False) -> None:
    """Read and check every stored state; damaged ones are moved to `quarantine`."""
    with _store(config) as store:
        damaged = store.verify()
        count = len(store.keys())
    if as_json:
        print_json({"good": count, "damaged": damaged})
    else:
        print_fields({"good": count, "damaged": ", ".join(damaged) or "none"}, as_json=False)


@app.command()
def clear(config: Config = None, as_json: Json = False) -> None:
    """Delete all stored states."""
    with _store(config) as store:
        count = store.clear()
    print_fields({"deleted": count}, as_json=as_json)


@app.command()
def prune(
    max_bytes: Annotated[
        str | None, typer.Option("--max-bytes", help="Keep so much in each folder, such as 20GB.")
    ] = None,
    idle_days: Annotated[
        float | None,
        typer.Option("--idle-days", min=0, help="Delete what was not used for so many days."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Evict stored states from the folders now, the least valuable first."""
    from rag.errors import InputError
    from rag.kvcache.store.spec import size_of

    if max_bytes is None and idle_days is None:
        raise InputError("nothing says what to delete", fix="--max-bytes 20GB, or --idle-days 30")
    try:
        most = None if max_bytes is None else size_of(max_bytes)
    except ValueError as error:
        raise InputError(str(error), where="--max-bytes", fix="--max-bytes 20GB") from error
    with _store(config) as store:
        deleted = store.prune(None if idle_days is None else idle_days * 86400, most)
    deleted.pop("memory", None)
    print_fields(deleted, as_json=as_json)


@app.command()
def pin(
    keys: Annotated[list[str], typer.Argument(help="Keys, or unique beginnings of keys.")],
    config: Config = None,
    undo: Annotated[bool, typer.Option("--undo", help="Allow their eviction again.")] = False,
    as_json: Json = False,
) -> None:
    """Exempt stored states from eviction."""
    from rag.errors import InputError

    with _store(config) as store:
        known = store.keys()
        for key in keys:
            matches = [one for one in known if one.startswith(key)]
            if len(matches) != 1:
                what = f"{len(matches)} keys begin with {key!r}"
                raise InputError(what, fix="`rag cache keys` lists them")
            store.pin(matches[0], not undo)
    print_fields({"pinned" if not undo else "released": len(keys)}, as_json=as_json)


@app.command()
def keys(config: Config = None, as_json: Json = False) -> None:
    """List the keys of all stored states."""
    with _store(config) as store:
        stored = store.keys()
    if as_json:
        print_json({"keys": stored})
    else:
        typer.echo("\n".join(stored))


@app.command()
def warm(config: Config = None, as_json: Json = False) -> None:
    """Compute the states of all chunks of the index that are not stored yet.

    For modes that store chunks independently of each other, such as `focus` or `parallel`. It can
    be stopped and started again. It pays off if the generation step gets whole chunks, not
    sentences extracted from them.
    """
    from rich.progress import track

    from rag.cli.output import console
    from rag.index import IndexBinding
    from rag.models import Prompt

    flow = load(config)
    system = _system(flow)
    llm = _local(flow)
    index = IndexBinding(flow.resources).open()
    computed = seen = 0
    try:
        batches = list(index.batches(64))
        for batch in track(batches, "Computing", console=console(stderr=True), transient=True):
            texts = tuple(chunk.embedding_text for chunk in batch)
            prefix, chunks, _ = llm.template.tokenize(Prompt("?", system, texts, numbered=False))
            computed += llm.engine.warm(prefix, chunks)
            seen += len(chunks)
    finally:
        index.close()
        flow.close()
    print_fields({"chunks": seen, "computed": computed}, as_json=as_json)


@app.command()
def calibrate(
    data: Annotated[
        Path, typer.Option("--data", help="A data set in BEIR's format, with answers.")
    ],
    target: Annotated[
        float, typer.Option(min=0, max=1, help="Share of full prefill's likelihood to reach.")
    ] = 0.95,
    limit: Annotated[int, typer.Option(min=1, help="Number of questions.")] = 30,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Fit settings to the model: T and S of `ape`, the share that `focus` recomputes."""
    from rag.eval.beir import load_dataset
    from rag.eval.contexts import parts, samples
    from rag.kvcache.calibrate import calibrate as fit
    from rag.kvcache.calibrate import save

    flow = load(config)
    llm = _local(flow)
    chosen = samples(load_dataset(data), limit, seed=1)
    prompts = [parts(llm, one.question, one.chunks) for one in chosen]
    try:
        fitted = fit(
            llm.engine,
            prompts,
            target,
            llm.ends,
            lambda done, count: typer.echo(f"{done} of {count}", err=True),
        )
        path = save(fitted, llm.engine.view.fingerprint())
    finally:
        flow.close()
    print_fields({**fitted.__dict__, "saved to": str(path)}, as_json=as_json)


def _local(flow: Flow) -> LocalLLM:
    from rag.errors import ConfigError
    from rag.models import LLM
    from rag.models.local.model import LocalLLM

    llm = flow.resources.get("llm", LLM)
    if not isinstance(llm, LocalLLM):
        raise ConfigError(
            "the pipeline's model is not a local one: its states cannot be stored",
            where="resources.llm",
            fix="name a local model",
        )
    return llm


def _system(flow: Flow) -> str:
    """The system prompt of the step that reuses states."""
    from rag.errors import ConfigError
    from rag.kvcache.composers.registry import warmable
    from rag.operators.generation.generate import Generate

    for node in flow.steps.values():
        if isinstance(node, Generate) and node.reuse is not None:
            if node.reuse.composer.stores != "chunks":
                raise ConfigError(
                    f"{node.reuse.mode!r} does not store chunks independently: nothing to warm",
                    where="reuse.mode",
                    fix=f"choose one that does: {', '.join(warmable())}",
                )
            return node.system
    raise ConfigError(
        "no step of the pipeline reuses states",
        where="steps",
        fix="give the generation step `reuse`: {use: generate, reuse: {mode: focus}}",
    )
