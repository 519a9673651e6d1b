"""`rag cache`: manage the stored KV states of chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    """Show what each tier holds, and what it has saved since it was made."""
    with _store(config) as store:
        tiers = store.contents()
    if as_json:
        print_json(tiers)
        return
    from rich.table import Table

    from rag.cli.output import console

    columns = ("entries", "bytes", "max_bytes", "reads", "saved_seconds")
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
def warm(
    related: Annotated[
        int, typer.Option(min=0, help="For craft: chunks that each one is computed behind.")
    ] = 3,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Compute the states of all chunks of the index that are not stored yet.

    For modes that store chunks alone, such as `align` or `focus`, or behind others (`craft`): there
    each chunk is computed behind those whose words are most like its own. It can be stopped and
    started again. It pays off if the generation step gets whole chunks, not sentences extracted
    from them.
    """
    from rag.cli.warming import reusing_step, warmed
    from rag.index import IndexBinding

    flow = load(config)
    step = reusing_step(flow)
    llm = _local(flow)
    index = IndexBinding(flow.resources).open()
    try:
        seen, computed = warmed(llm, index, step, related)
    finally:
        index.close()
        flow.close()
    print_fields({"chunks": seen, "computed": computed}, as_json=as_json)


@app.command()
def calibrate(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="A data set in BEIR's format, with answers; default: the index's chunks."
        ),
    ] = None,
    target: Annotated[
        float, typer.Option(min=0, max=1, help="Share of full prefill's likelihood to reach.")
    ] = 0.95,
    limit: Annotated[int, typer.Option(min=4, help="Number of prompts.")] = 60,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Fit to the model what modes of reuse need: the map of `align`, and numbers of the others.

    Prompts are made of the pipeline's index, with sentences of its chunks as questions, or of
    `--data`. The map is fitted to three quarters of them. On the others it is compared with full
    prefill, and stored if it brings states nearer; there, T and S of `ape`, the layers in which the
    question chooses tokens, and the share that `focus` recomputes are found too.
    """
    from dataclasses import replace

    from rag.errors import InputError
    from rag.eval.contexts import made_up, parts, samples
    from rag.eval.loading import load_dataset
    from rag.kvcache.align import file
    from rag.kvcache.align.fit import fit_alignment
    from rag.kvcache.calibrate import calibrate as fit
    from rag.kvcache.calibrate import save

    flow = load(config)
    try:
        llm = _local(flow)
        if data is not None:
            chosen = samples(load_dataset(data), limit, seed=1)
        else:
            chosen = made_up(_texts(flow, 8 * limit), limit, seed=1)
        prompts = [parts(llm, one.question, one.chunks) for one in chosen]
        prompts = [one for one in prompts if one.total + 32 <= llm.window]
        if len(prompts) < 4:
            raise InputError(
                f"{len(prompts)} prompts fit the model's window, 4 are needed",
                where="--limit",
                fix="use smaller chunks, or a model with a larger window",
            )
        compared = prompts[::4]
        fitted = [one for number, one in enumerate(prompts) if number % 4]
        view = llm.engine.view
        fingerprint = view.fingerprint()
        plain = [one.plain for one in fitted]
        alignment = fit_alignment(view, plain, progress=_counted("fitted to"))
        engine = replace(llm.engine, defaults=replace(llm.engine.defaults, alignment=alignment))
        found = fit(engine, compared, target, llm.ends, _counted("compared"))
        saved = [save(found, fingerprint)]
        if found.aligns:
            saved.append(file.save(alignment, fingerprint))
    finally:
        flow.close()
    stored = "stored" if found.aligns else "not stored: it brings states no nearer to full prefill"
    fields = {**found.__dict__, "layers": "{} to {}".format(*found.layers), "alignment": stored}
    fields["saved to"] = ", ".join(map(str, saved))
    print_fields(fields, as_json=as_json)


def _counted(what: str) -> Callable[[int, int], None]:
    return lambda done, count: typer.echo(f"{what} {done} of {count}", err=True)


def _texts(flow: Flow, count: int) -> list[str]:
    """Chunks of the pipeline's index as prompts have them, drawn at random."""
    import random

    from rag.errors import InputError
    from rag.index import IndexBinding

    index, seen = IndexBinding(flow.resources).open(), 0
    drawn: list[str] = []
    rng = random.Random(0)  # noqa: S311 - a sample, no secret
    try:
        for batch in index.batches(256):
            for chunk in batch:
                seen += 1
                place = seen - 1 if seen <= count else rng.randrange(seen)
                if place < count:
                    drawn[place : place + 1] = [chunk.embedding_text]
    finally:
        index.close()
    if len(drawn) < 2:
        fix = "ingest more, or name a data set: --data"
        raise InputError(f"the index has {len(drawn)} chunks, two are needed", fix=fix)
    return drawn


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
