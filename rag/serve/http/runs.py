"""Runs: start in the background, follow, cancel, read, list, delete."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response

from rag.serve.answering.background import BackgroundRuns
from rag.serve.errors import Problem
from rag.serve.http.ask import EXAMPLES, AskBody, question_of, wants_events
from rag.serve.http.authentication import asks
from rag.serve.http.route import Endpoints
from rag.serve.http.schemas import PROBLEMS, Id
from rag.serve.http.sse import EventStream, event
from rag.serve.identity.identity import Identity
from rag.serve.observe.audit import audit
from rag.serve.pipelines.pipeline import Pipelines
from rag.serve.runs.follow import Follow, missing
from rag.serve.runs.runs import Runs
from rag.serve.runs.table import RunEvent, RunResult, ServedRun
from rag.serve.settings.settings import Settings

_EVENTS: dict[int | str, dict[str, Any]] = {
    **PROBLEMS,
    200: {"content": {"text/event-stream": {}}, "description": "Events, each with its number"},
    204: {"description": "The run has ended, and all its events were read"},
}


def routes(
    shared: Endpoints,
    runs: Runs,
    background: BackgroundRuns,
    follow: Follow,
    pipelines: Pipelines,
    settings: Settings,
) -> APIRouter:
    """The endpoints under `/runs`."""
    router = shared.router(prefix="/runs", tags=["runs"], responses=PROBLEMS)
    Asker = Annotated[Identity, Depends(asks)]  # noqa: N806 - a type

    @router.post(
        "",
        status_code=202,
        response_model=ServedRun,
        responses={200: _EVENTS[200]},
    )
    async def start(
        request: Request, body: Annotated[AskBody, Body(openapi_examples=EXAMPLES)], who: Asker
    ) -> Response:
        """Ask a question whose run goes on when the client leaves; follow its events."""
        run = await background.start(question_of(body, who, pipelines, settings))
        headers = {"X-Run-Id": run.id, "Location": f"{request.url.path}/{run.id}"}
        if wants_events(body, request):
            found = await follow.events(who.user, run.id, 0)
            if found is not None:
                return EventStream(_sent(found), headers)
        return JSONResponse(run.model_dump(), 202, headers)

    @router.get("")
    async def listed(who: Asker) -> list[ServedRun]:
        """The runs, the latest first, without their steps."""
        return await runs.listed(who.user)

    @router.get("/{run}")
    async def read(run: Id, who: Asker) -> RunResult:
        """A run: its steps, what they took, how it ended."""
        found = await runs.get(who.user, run)
        if found is None:
            raise missing(run)
        return found

    @router.get("/{run}/events", response_class=Response, responses=_EVENTS)
    async def events(
        run: Id,
        who: Asker,
        after: Annotated[int, Query(ge=0, description="number of the last event read")] = 0,
        last_event_id: Annotated[int | None, Header(ge=0, description="the same")] = None,
    ) -> Response:
        """The events of a background run, from the first or behind another one, to its end."""
        read = after if last_event_id is None else last_event_id
        found = await follow.events(who.user, run, read)
        return Response(status_code=204) if found is None else EventStream(_sent(found))

    @router.post("/{run}/cancel")
    async def cancel(run: Id, who: Asker) -> RunResult:
        """End a run, wherever it goes on; one that has ended stays as it is."""
        found = await runs.cancel(who.user, run)
        if found is None:
            raise missing(run)
        return found

    @router.delete("/{run}", status_code=204)
    async def delete(run: Id, who: Asker) -> None:
        """Delete a run with its answer and events; one that goes on is cancelled."""
        if not await runs.delete(who.user, run):
            raise missing(run)
        audit("delete_run", who.user, run=run)

    return router


async def _sent(events: AsyncGenerator[RunEvent]) -> AsyncGenerator[str]:
    """The events as they are sent. Where they cannot be read any longer, the stream ends.

    A client that has not read `done` or `error` asks again, from the last number that it has.
    """
    async with aclosing(events):
        try:
            async for one in events:
                yield f"id: {one.number}\n{event(one.name, one.data)}"
        except Problem:
            return
