"""Results that need no computing: those of an earlier run, and those of this run before a crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

from rag.flow.compile.builder import Builder
from rag.flow.compile.built import Built
from rag.flow.memory.fingerprint import Fingerprints, Unstable, fingerprint
from rag.flow.memory.step_cache import NAME, Result, StepCache, key_of
from rag.flow.node import Node
from rag.flow.operator import Operator
from rag.flow.place import Place
from rag.flow.policies import Cache
from rag.flow.resources import Resource
from rag.flow.run.events import Event, Reused, Token
from rag.flow.run.run import Run, State


def cached(
    builder: Builder,
    built: Built,
    node: Node,
    place: Place,
    cache: Cache | None,
    reads: list[tuple[str, str]],
    resources: tuple[tuple[str, type[Resource]], ...],
) -> Built:
    """The node, its result taken from the flow's step cache where equal inputs were seen.

    Args:
        builder: The builder.
        built: The compiled node, policies included.
        node: The node.
        place: Its place.
        cache: How; None: not at all.
        reads: Pairs (name in the key, channel).
        resources: What its result depends on: name and kind.
    """
    if cache is None:
        return built
    runner = built.run
    kinds = {name: channel.type for name, channel in built.writes.items()}
    # Results are stored by position, so that the same step under other names finds them.
    ports = {name: str(number) for number, name in enumerate(kinds)}
    builder.use(NAME)
    plain = node
    if isinstance(node, Operator):  # the same step under other channels' names is the same
        plain = node.model_copy(update={"inputs": {}, "outputs": {}})
    try:
        fingerprint(plain)
    except Unstable as error:
        fix = "leave out cache:, or give it what can be told apart"
        builder.report(node, place, f"its results cannot be cached: {error}", "cache", fix)
        return built

    async def run_cached(state: State, run: Run) -> dict[str, Any]:
        store = await run.resource(NAME, StepCache)
        inputs = {name: state[channel] for name, channel in reads if channel in state}
        versions = {}
        for name, kind in resources:
            opened = await run.resource(name, kind)
            versions[name] = [run.resources.identity(name), opened.version()]
        changed = {
            str(where): fingerprint(step)
            for where, step in (run.config or {}).items()
            if where.is_within(place)
        }
        try:
            # Taken now: what a closure holds may have changed since the flow was built.
            key = key_of(fingerprint(plain), cache.version, inputs, versions, changed)
        except Unstable as error:
            run.warn(place, f"its result is not cached: {error}")
            return await runner(state, run)

        async def compute() -> Result:
            tokens: list[tuple[Place, str]] = []

            def listen(event: Event) -> None:
                if isinstance(event, Token):
                    tokens.append((event.place, event.text))

            wrote = await runner(state, run.heard_by(listen))
            here = len(run.at(place))
            return Result(
                {ports[name]: value for name, value in wrote.items()},
                [(str(Place(where[here:])), text) for where, text in tokens],
            )

        types = {ports[name]: kind for name, kind in kinds.items()}
        result, computed = await store.get_or_compute(
            key, types, compute, cache.ttl, lambda why: run.warn(place, why)
        )
        names = {port: name for name, port in ports.items()}
        wrote = {names[port]: value for port, value in result.writes.items()}
        if not computed:
            for below, text in result.tokens:
                run.notify(Token, place.below(*Place.parse(below)), text=text)
            run.notify(Reused, place, writes=wrote, source="cache")
        return wrote

    return replace(built, run=run_cached, waits=True)


def journalled(built: Built, node: Operator, place: Place) -> Built:
    """The step, its writes taken from the journal of a resumed run where they still count."""
    runner = built.run
    kinds: Mapping[str, Any] = {name: channel.type for name, channel in built.writes.items()}
    fingerprints = Fingerprints()

    async def run_journalled(state: State, run: Run) -> dict[str, Any]:
        journal, trail = run.journal, run.trail
        assert journal is not None  # noqa: S101 - see below
        where = run.at(place)
        now = fingerprints.of((run.config or {}).get(place, node))
        if trail is None or not trail.fresh:
            found = await journal.recall(where, kinds, now)
            if found is not None:
                run.notify(Reused, place, writes=found, source="checkpoint")
                return found
        inside = run
        if trail is not None:
            inside, trail.fresh = run.view(recalls=not trail.fresh), True
        started = perf_counter()
        wrote = await runner(state, inside)
        await journal.record(where, kinds, wrote, perf_counter() - started, now)
        return wrote

    def run_plain_or_journalled(state: State, run: Run) -> Any:
        # Not async itself: a run without a journal pays no second coroutine per step.
        return runner(state, run) if run.journal is None else run_journalled(state, run)

    return replace(built, run=run_plain_or_journalled)
