"""Pipelines as tools of the Model Context Protocol, by its official SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, closing
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from rag.errors import RagError
from rag.extras import require
from rag.flow import Flow
from rag.flow.run.events import NodeFinished
from rag.index import Index
from rag.operators import Hybrid
from rag.serve.answer import Answer, AnswerSource
from rag.serve.answering.question import Question, checked_query
from rag.serve.errors import problem_of
from rag.serve.identity.identity import Identity
from rag.serve.identity.limits import check_permission
from rag.serve.pipelines.flows import Lease
from rag.serve.pipelines.pipeline import Pipeline
from rag.serve.service import Service

if TYPE_CHECKING:
    from mcp import types
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server

SEARCH = "search"
"""The tool that gives passages instead of an answer."""
SCHEME = "document:"
LISTED = 1000
"""Documents in a page of their list."""

Who = Callable[["ServerRequestContext[Any, Any]"], Identity]
"""Says who a request comes from."""
Link = Callable[["ServerRequestContext[Any, Any]", Identity, str], Callable[[AnswerSource], str]]
"""Says for a request, its user and a pipeline where the sources of an answer open."""


def mcp_server(service: Service, who: Who, link: Link | None = None) -> Server[Any]:
    """A server with a tool for each pipeline, one that searches, and documents as resources.

    A call is a question like any other: it waits in the service's queue, counts in the user's
    limits, and reports its steps as progress. The tool `search` and the documents are those of the
    first pipeline that has an index.

    Args:
        service: Started; answers.
        who: Says who calls.
        link: Says where sources open. None: nowhere but as resources, over a transport that has
            no address.

    Raises:
        ConfigError: The SDK is not installed.
    """
    require("mcp", "mcp")
    from mcp.server.lowlevel import Server

    import rag

    tools = _Tools(service, who, link)
    return Server(
        "modular-rag",
        version=rag.__version__,
        instructions="Answers questions from indexed documents, with sources.",
        on_list_tools=tools.listed,
        on_call_tool=tools.called,
        on_list_resources=tools.documents,
        on_read_resource=tools.document,
    )


class _Tools:
    def __init__(self, service: Service, who: Who, link: Link | None) -> None:
        self._service, self._who, self._link = service, who, link
        indexed = (one for one in service.pipelines.values() if one.indexes)
        first = next(indexed, None)
        self._search = None if first is None else _search_of(first, first.indexes[0])
        self._tools = dict(service.pipelines)
        if self._search is not None:
            self._tools.setdefault(SEARCH, self._search)

    async def listed(self, context: Any, _: Any) -> types.ListToolsResult:
        from mcp import types

        check_permission(self._who(context), "ask")
        tools = [_tool(pipeline) for pipeline in self._service.pipelines.values()]
        if self._searches(SEARCH):
            passages = TypeAdapter(list[AnswerSource]).json_schema()
            tools.append(
                types.Tool(
                    name=SEARCH,
                    description="Passages of the documents about a question, best first.",
                    input_schema=_schema({"query": {"type": "string"}}, ["query"]),
                    output_schema=_schema({"passages": passages}, ["passages"]),
                )
            )
        return types.ListToolsResult(tools=tools)

    async def called(
        self, context: ServerRequestContext[Any, Any], call: types.CallToolRequestParams
    ) -> types.CallToolResult:
        from mcp import types

        identity = self._who(context)
        try:
            answer = await self._answer(context, identity, call.name, dict(call.arguments or {}))
        except RagError as error:
            problem = problem_of(error).seen_by(identity)
            text = f"{problem.what}; {problem.fix}" if problem.fix else problem.what
            return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)
        data = answer.model_dump(mode="json")
        if self._searches(call.name):
            data = {"passages": data["sources"]}
            text = "\n\n".join(f"[{one.number}] {one.place}\n{one.text}" for one in answer.sources)
        else:
            text = answer.answer or ""
        content: list[Any] = [types.TextContent(text=text)]
        return types.CallToolResult(content=content, structured_content=data)

    async def _answer(
        self,
        context: ServerRequestContext[Any, Any],
        identity: Identity,
        name: str,
        arguments: dict[str, Any],
    ) -> Answer:
        check_permission(identity, "ask")
        pipeline = self._tools.get(name) or self._service.pipelines.named(name)
        query = checked_query(
            str(arguments.pop("query", None) or ""), self._service.settings.max_question
        )
        question = Question(query, pipeline, identity, inputs=arguments)
        run = await self._service.answering.admit(question)
        answer, steps = None, 0
        with closing(run):
            async with aclosing(run.events()) as events:
                async for event in events:
                    if isinstance(event, Answer):
                        answer = event
                    elif isinstance(event, NodeFinished):
                        steps += 1
                        await context.session.report_progress(steps, message=event.node)
        assert answer is not None  # noqa: S101 - a run that does not fail ends with its answer
        return self._opening(context, identity, pipeline, answer)

    def _opening(
        self, context: Any, identity: Identity, pipeline: Pipeline, answer: Answer
    ) -> Answer:
        """The answer with links that open where the client is."""
        address = self._link and self._link(context, identity, pipeline.documents_of)

        def link(source: AnswerSource) -> str | None:
            if source.link is None or urlsplit(source.link).scheme:
                return source.link
            return address(source) if address is not None else None

        opening = [one.model_copy(update={"link": link(one)}) for one in answer.sources]
        return answer.model_copy(update={"sources": opening})

    def _searches(self, name: str) -> bool:
        """Whether the tool of this name gives passages; a pipeline may be called so as well."""
        return self._search is not None and self._tools.get(name) is self._search

    async def documents(
        self, context: Any, page: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        from mcp import types
        from mcp.shared.exceptions import MCPError

        after = page.cursor if page is not None else None
        start = int(after) if after and after.isdecimal() and len(after) < 12 else 0
        if after is not None and not start:
            raise MCPError(code=types.INVALID_PARAMS, message=f"there is no cursor {after!r}")

        def listed(index: Index) -> list[types.Resource]:
            return [
                types.Resource(name=source.uri, uri=SCHEME + quote(source.uri))
                for source in islice(index.sources(), start, start + LISTED + 1)
            ]

        found = await self._of_index(context, listed) if self._search else []
        more = str(start + LISTED) if len(found) > LISTED else None
        return types.ListResourcesResult(resources=found[:LISTED], next_cursor=more)

    async def document(
        self, context: Any, wanted: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        from mcp import types
        from mcp.shared.exceptions import MCPError

        uri = str(wanted.uri)
        name = unquote(uri.removeprefix(SCHEME))
        chunks = await self._of_index(context, lambda index: index.of_source(name))
        if not chunks or not uri.startswith(SCHEME):
            raise MCPError(code=types.INVALID_PARAMS, message=f"there is no document {name!r}")
        text = "\n\n".join(chunk.text for chunk in chunks)
        content = types.TextResourceContents(uri=uri, mime_type="text/plain", text=text)
        return types.ReadResourceResult(contents=[content])

    async def _of_index(self, context: Any, read: Callable[[Index], Any]) -> Any:
        """What is read of the index that the caller may see."""
        identity = self._who(context)
        check_permission(identity, "ask")
        if self._search is None:
            return []
        (key,) = self._search.indexes
        lease: Lease = await self._service.flows.lease(self._search, identity)
        with closing(lease):
            return await asyncio.to_thread(read, lease.flow.resources.get(key, Index))


def _search_of(pipeline: Pipeline, index: str) -> Pipeline:
    """A pipeline that finds what another one would search, and does not answer."""
    flow = Flow(Hybrid(k=8, resources={"index": index}), resources=pipeline.flow.resources)
    return Pipeline(f"{pipeline.name}:{SEARCH}", flow, documents_of=pipeline.name)


def _tool(pipeline: Pipeline) -> types.Tool:
    from mcp import types

    flow = pipeline.flow
    properties = {name: _type_schema(kind) for name, kind in flow.inputs.items()}
    needed = [name for name in flow.inputs if name not in flow.defaults]
    return types.Tool(
        name=pipeline.name,
        description=flow.description or "Answers a question from the documents.",
        input_schema=_schema(properties, needed),
        output_schema=Answer.model_json_schema(),
    )


def _schema(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """An object's JSON Schema; what its properties refer to stands beside them."""
    definitions: dict[str, Any] = {}
    for one in properties.values():
        definitions |= one.pop("$defs", {})
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        **({"$defs": definitions} if definitions else {}),
    }


def _type_schema(kind: Any) -> dict[str, Any]:
    try:
        return TypeAdapter(kind).json_schema()
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        return {}
