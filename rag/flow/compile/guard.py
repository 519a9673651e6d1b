"""Policies around a node: time limit, further attempts, another node instead, limits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from rag.errors import Interrupted, StepError
from rag.flow.compile.budget import within_budget
from rag.flow.compile.builder import Builder
from rag.flow.compile.built import Built
from rag.flow.compile.recall import cached
from rag.flow.constructs.guard import Guard
from rag.flow.memory.fingerprint import Fingerprints
from rag.flow.node import Node
from rag.flow.operator import Operator
from rag.flow.place import Place
from rag.flow.policies import Budget, Retry
from rag.flow.run.events import FellBack, NodeFailed, Retried
from rag.flow.run.limiter import Limiter
from rag.flow.run.run import Run, Runner, State
from rag.flow.run.threads import Job
from rag.flow.scope import Channel, Scope, written_after_one_of
from rag.flow.types import fits, show


@dataclass(frozen=True)
class Policies:
    """The policies of a node (see `Guard`), without its fallback and its cache."""

    timeout: float | None = None
    retry: Retry | None = None
    concurrency: int | None = None
    budget: Budget | None = None

    @classmethod
    def of(cls, node: Any) -> Policies:
        """Those of a step or a `Guard`."""
        return cls(node.timeout, node.retry, node.concurrency, node.budget)


def build_guard(builder: Builder, node: Guard, scope: Scope, place: Place) -> Built:
    """Any node under policies."""
    body = builder.child(node, place, "", scope)
    built = guarded(builder, node, body, scope, place, Policies.of(node), node.fallback)
    reads = [(name, name) for name in sorted(built.reads)]
    resources = builder.resources_below(place)
    return cached(builder, built, node, place, node.cache, reads, resources)


def guarded(
    builder: Builder,
    node: Node,
    built: Built,
    scope: Scope,
    place: Place,
    policies: Policies,
    fallback: Node | None,
) -> Built:
    """The node under its policies."""
    if policies == Policies() and fallback is None:
        return built
    runner = built.run
    if policies.budget is not None:
        runner = within_budget(runner, place, policies.budget)
    if policies.concurrency is not None:
        runner = _limited(runner, Limiter(policies.concurrency))
    reads, writes, instead = built.reads, built.writes, None
    if fallback is not None:
        other = _fallback(builder, node, built, scope, place)
        reads, instead = reads | (other.reads - {"error", "error_type"}), other.run
        either = written_after_one_of({"it": writes, "its fallback": other.writes}, str(place))
        writes = {name: either[name] for name in writes}
    runner = _attempts(runner, place, policies)
    if instead is not None:
        runner = _or_instead(runner, instead, node, place, frozenset(writes))
    return replace(built, run=runner, reads=reads, writes=writes, waits=True)


def _fallback(builder: Builder, node: Node, built: Built, scope: Scope, place: Place) -> Built:
    """The node in the place of one that failed.

    That of a step must write the same channels; what that of another node does not write is
    optional behind it.
    """
    error = {name: Channel(str, str(place)) for name in ("error", "error_type")}
    other = builder.child(node, place, ".fallback", scope.after(error))
    for name, channel in built.writes.items():
        found = other.writes.get(name)
        if found is None or (found.optional and not channel.optional):
            if not channel.optional and isinstance(node, Operator):
                what = f"the fallback does not write {name!r}"
                fix = "rename with outputs: in the fallback"
                builder.report(node, place, what, "fallback", fix)
        elif not fits(found.type, channel.type):
            what = f"the fallback writes {name!r} as {show(found.type)}"
            builder.report(node, place, what, "fallback", f"{show(channel.type)} is wanted")
    return other


def _attempts(runner: Runner, place: Place, policies: Policies) -> Runner:
    timeout, retry = policies.timeout, policies.retry

    async def attempt(state: State, run: Run) -> dict[str, Any] | StepError:
        try:
            async with asyncio.timeout(timeout):
                return await runner(state, run)
        except TimeoutError as error:
            where = run.at(place)
            failed = StepError(f"took longer than {timeout:g} s", where=str(where), place=where)
            failed.__cause__ = error
            run.notify(NodeFailed, place, error=failed, seconds=timeout or 0.0)
            return failed
        except StepError as error:
            return error

    async def run_guarded(state: State, run: Run) -> dict[str, Any]:
        number = 1
        while True:
            jobs: list[Job] = []
            result = await attempt(state, run.view(jobs=jobs))
            if isinstance(result, dict):
                return result
            left = [job for job in jobs if not job.ended.is_set]
            if left:
                run.warn(place, "its thread cannot be stopped and goes on by itself")
            again = retry is not None and retry.covers(result.__cause__ or result)
            if retry is None or not again or number > retry.times:
                break
            run.notify(Retried, place, attempt=number, error=result)
            if left and not retry.overlap:
                await asyncio.gather(*(job.ended.wait() for job in left))
            await asyncio.sleep(retry.wait * 2 ** (number - 1))
            number += 1
        raise result

    return run_guarded


def _or_instead(
    runner: Runner, fallback: Runner, node: Node, place: Place, promised: frozenset[str]
) -> Runner:
    """The runner; where it failed for good, the fallback."""
    fingerprints = Fingerprints()

    async def run_or_instead(state: State, run: Run) -> dict[str, Any]:
        error = await _failed_before(run, place, fingerprints, node)
        if error is None:
            try:
                return await runner(state, run)
            except StepError as failed:
                run.notify(FellBack, place, error=failed)
                cause = failed.__cause__ or failed
                error = {"error": failed.what, "error_type": type(cause).__name__}
        try:
            wrote = await fallback({**state, **error}, run)
        except Interrupted:
            await _record_failed(run, place, fingerprints, node, error)
            raise
        await _record_failed(run, place, fingerprints, node, error)
        return {name: value for name, value in wrote.items() if name in promised}

    return run_or_instead


_FAILED: dict[str, Any] = {"error": str, "error_type": str}


async def _failed_before(
    run: Run, place: Place, fingerprints: Fingerprints, node: Node
) -> dict[str, Any] | None:
    """Why the node failed before the run was resumed: its fallback's writes count."""
    if run.journal is None or (run.trail is not None and run.trail.fresh):
        return None
    return await run.journal.recall(run.at(place).below(".failed"), _FAILED, fingerprints.of(node))


async def _record_failed(
    run: Run, place: Place, fingerprints: Fingerprints, node: Node, error: dict[str, Any]
) -> None:
    if run.journal is not None:
        where = run.at(place).below(".failed")
        await run.journal.record(where, _FAILED, error, 0.0, fingerprints.of(node))


def _limited(runner: Runner, limiter: Limiter) -> Runner:
    async def run_limited(state: State, run: Run) -> dict[str, Any]:
        async with limiter:
            return await runner(state, run)

    return run_limited
