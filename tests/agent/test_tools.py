"""Tools: what pipelines say of them, what they give, and what is wrong before anything runs."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore

from rag.connect.langchain import EmbedderEmbeddings
from rag.errors import BuildError, ConfigError
from rag.flow import Flow, load_flow, operator
from rag.index import Index
from rag.models import Embedder
from rag.operators import Agent
from rag.prompts.templates import prompts
from rag.tools import ToolError, Tools
from rag.tools.calculator import computed
from rag.tools.flows import FlowTool
from tests.agent.bricks import QUESTION, agent, run, scripted
from tests.pipelines import made


def calling(tools: Any, name: str, arguments: dict[str, Any], **resources: Any) -> Any:
    """The one use of a tool by an agent, and the documents that it gave."""
    decision = {"thought": "", "tool": name, "arguments": arguments}
    llm = scripted(decision, {"tool": "answer"})
    flow = Flow(Agent(), resources={"llm": llm, "tools": tools, **resources})
    result = flow.invoke(query=QUESTION)
    return result["tool_uses"][0], result["documents"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Index:
    texts = ["The north lock is 120 m long.", "Pumps are loud."]
    return made(tmp_path_factory.mktemp("tools") / "index", embedder, texts)


# Kinds


def test_an_operator_is_a_tool(index: Index, embedder: Embedder) -> None:
    tools = {"find": {"use": "bm25", "k": 1}}
    use, documents = calling(tools, "find", {"query": "lock"}, index=index, embedder=embedder)
    assert use.status == "done"
    assert [one.page_content for one in documents] == ["The north lock is 120 m long."]


def test_without_tools_there_is_a_search(index: Index, embedder: Embedder) -> None:
    llm = scripted({"tool": "search", "arguments": {"query": "lock"}}, {"tool": "answer"})
    resources = {"llm": llm, "index": index, "embedder": embedder}
    result = Flow(Agent(), resources=resources).invoke(query=QUESTION)
    assert result["documents"][0].page_content == "The north lock is 120 m long."


def test_a_flow_written_out_is_a_tool_with_its_inputs(index: Index, embedder: Embedder) -> None:
    steps = [{"use": "bm25", "inputs": {"query": "words"}}]
    tools = {"find": {"description": "finds", "flow": {"inputs": {"words": "str"}, "steps": steps}}}
    _, documents = calling(tools, "find", {"words": "lock"}, index=index, embedder=embedder)
    assert len(documents) == 1


def test_a_flow_of_a_file_is_a_tool(tmp_path: Path, index: Index, embedder: Embedder) -> None:
    (tmp_path / "other.yaml").write_text("description: finds things\nsteps: [{use: bm25}]\n")
    pipeline = "resources: {tools: {find: {flow: other.yaml}}}\nsteps: [{use: agent}]"
    flow = load_flow(pipeline, base=tmp_path)
    (tmp_path / "agent.yaml").write_text(pipeline)
    assert load_flow(tmp_path / "agent.yaml") == flow
    llm = scripted({"tool": "find", "arguments": {"query": "lock"}}, {"tool": "answer"})
    given = flow.with_resources(llm=llm, index=index, embedder=embedder)
    assert len(given.invoke(query=QUESTION)["documents"]) == 1
    assert "finds things" in llm.prompts[0].question


@operator(writes=("answer", "documents"))
def reply(query: str) -> tuple[str, list[Document]]:
    """Answer with marks."""
    return "It is 120 m long [1].", [Document(page_content="120 m", id="x")]


def test_a_flows_answer_is_a_source_before_its_documents() -> None:
    use, documents = calling({"ask": Flow(reply(), description="asks")}, "ask", {"query": "?"})
    assert [one.page_content for one in documents] == ["It is 120 m long.", "120 m"]
    assert documents[0].metadata["source"] == "ask"
    assert use.sources == [1, 2]


@operator(writes="total")
def total(numbers: list[int]) -> int:
    """A sum."""
    return sum(numbers)


def test_any_other_output_is_a_text() -> None:
    flow = Flow(total(), inputs={"numbers": list[int]}, outputs=["total"], description="adds")
    _, documents = calling({"add": flow}, "add", {"numbers": [1, 2]})
    assert [one.page_content for one in documents] == ['{"total": 3}']


def test_an_inner_flows_calls_count_in_the_run_and_are_its_events(
    index: Index, embedder: Embedder
) -> None:
    steps = [{"use": "rewrite"}, {"use": "bm25"}]
    tools = {"find": {"description": "finds", "flow": {"steps": steps}}}
    llm = scripted(
        {"tool": "find", "arguments": {"query": "?"}}, {"tool": "answer"},
        answers={"rewrite": "north lock"},
    )  # fmt: skip
    resources = {"llm": llm, "tools": tools, "index": index, "embedder": embedder}
    record = Flow(Agent(), resources=resources).run(query=QUESTION)
    assert record.llm_calls == 4
    assert [str(one.place) for one in record.at("rewrite")] == ["agent/.run#0/rewrite"]


@pytest.fixture
def tolls(tmp_path: Path) -> Path:
    path = tmp_path / "tolls.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE tolls (vessel TEXT, euros INTEGER)")
        connection.executemany("INSERT INTO tolls VALUES (?, ?)", [("barge", 12), ("yacht", 30)])
    connection.close()
    return path


def test_a_database_is_a_tool(tolls: Path) -> None:
    tools = {"tolls": {"sql": str(tolls)}}
    asked = {"sql": "SELECT euros FROM tolls WHERE vessel = 'barge'"}
    use, documents = calling(tools, "tolls", asked)
    assert use.status == "done"
    assert [one.page_content for one in documents] == ["euros: 12"]


def test_a_model_is_told_the_tables_and_the_one_parameter(tolls: Path) -> None:
    opened = Tools.load({"tolls": {"sql": str(tolls), "description": "tolls by vessel"}})
    told = opened.tools["tolls"].described(prompts())
    assert "CREATE TABLE tolls (vessel TEXT, euros INTEGER)" in told.description
    assert told.description.startswith("tolls by vessel")
    assert list(told.parameters["properties"]) == ["sql"]


def test_a_database_is_not_written_to(tolls: Path) -> None:
    use, _ = calling({"tolls": {"sql": str(tolls)}}, "tolls", {"sql": "DELETE FROM tolls"})
    assert use.status == "failed"
    with sqlite3.connect(tolls) as connection:
        assert connection.execute("SELECT count(*) FROM tolls").fetchone() == (2,)
    connection.close()


@tool
def depth(lock: str, metres: bool = True) -> str:
    """The depth of a lock."""
    if lock == "none":
        raise ValueError("there is no such lock")
    return f"The {lock} lock is 4 m deep."


def test_a_langchain_tool_is_a_tool() -> None:
    _, documents = calling({"depth": depth}, "depth", {"lock": "north"})
    assert [one.page_content for one in documents] == ["The north lock is 4 m deep."]


def test_a_langchain_tools_schema_is_its_own() -> None:
    told = Tools.load({"depth": depth}).tools["depth"].described(prompts())
    assert told.description == "The depth of a lock."
    assert told.parameters["required"] == ["lock"]
    assert list(told.parameters["properties"]) == ["lock", "metres"]


def test_a_langchain_tool_that_fails_says_why() -> None:
    use, _ = calling({"depth": depth}, "depth", {"lock": "none"})
    assert (use.status, use.result) == ("failed", "It failed: there is no such lock")


def test_a_langchain_tools_documents_are_documents(embedder: Embedder) -> None:
    store = InMemoryVectorStore(EmbedderEmbeddings(embedder))
    store.add_documents([Document(page_content="The lock is long.", id="d1")])

    @tool(response_format="content_and_artifact")
    def look(query: str) -> tuple[str, list[Document]]:
        """Search."""
        found = store.similarity_search(query, k=1)
        return "found", found

    _, documents = calling({"look": look}, "look", {"query": "lock"})
    assert [one.id for one in documents] == ["d1"]


# The calculator


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(120 - 8) * 3", "336"),
        ("1,200 * 2", "2400"),
        ("2 ^ 10", "1024"),
        ("10 / 4", "2.5"),
        ("7 // 2", "3"),
        ("0.1 + 0.2", "0.3"),
        ("max(1, 200) - min(3, 4)", "197"),
        ("round(2 / 3, 2)", "0.67"),
        ("3 \u00d7 4 \u2212 2", "10"),
        ("5 > 3", "True"),
    ],
)
def test_the_calculator_computes(text: str, value: str) -> None:
    assert computed(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "1 / 0", "9 ** 9 ** 9", "__import__('os')", "'a' * 9", "x + 1", "open(1)", "[1, 2]",
     "1 +", "(" * 500, "[x for x in (1, 2)]", "(1).real", "len", "lambda: 1"],
)  # fmt: skip
def test_the_calculator_refuses_everything_else(text: str) -> None:
    with pytest.raises(ToolError):
        computed(text)


def test_what_was_computed_can_be_cited() -> None:
    tools = {"calculator": {"use": "calculator"}}
    _, documents = calling(tools, "calculator", {"expression": "12 * 30"})
    assert [one.page_content for one in documents] == ["12 * 30 = 360"]


# What is wrong before anything runs


def problem(tools: Any, base: Path | None = None) -> str:
    """What building an agent with these tools says."""
    import json

    text = json.dumps({"resources": {"tools": tools}, "steps": [{"use": "agent"}]}) + "\n"
    with pytest.raises(BuildError) as caught:
        load_flow(text, base=base)
    return str(caught.value)


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ({"find": {"use": "bm26"}}, "did you mean 'bm25'"),
        ({"find": {"use": "bm25", "kk": 3}}, "bm25 has no field 'kk'"),
        ({"find": {"flow": {"steps": [{"use": "bm26"}]}}}, "bm26"),
        ({"find": {"flow": "nowhere.yaml"}}, "nowhere.yaml"),
        ({"find": {"mcp": {}}}, "either command or url"),
        ({"find": {"mcp": {"command": "x", "url": "y"}}}, "either command or url"),
        ({"find": {"sql": "a.sqlite", "rows": 3}}, "find"),
        ({"find": {"description": "nothing else"}}, "use"),
        ({"find it": {"use": "bm25"}}, "find it"),
        ({"answer": {"use": "bm25"}}, "answer"),
        ({"find": {"use": "rrf"}}, "a model cannot write"),
        ({"find": {"flow": {"steps": [{"use": "rewrite"}]}}}, "does not say what it is good for"),
    ],
)
def test_what_is_wrong_with_a_tool_is_said_when_the_flow_is_built(tools: Any, said: str) -> None:
    text = problem(tools)
    assert said in text
    assert "resources.tools" in text
    assert "find" in text or "answer" in text


def test_what_a_tool_takes_of_the_flow_is_a_need_of_the_flow() -> None:
    flow = Flow(Agent(), resources={"llm": "nowhere", "tools": {"find": {"use": "bm25"}}})
    assert "index" in {name for _, name, _ in flow.needs}
    assert "resources.index" in {error.where for error in flow.absent()}


def test_a_tool_with_resources_of_its_own_needs_none_of_the_flow() -> None:
    inner = {"resources": {"index": "./archive"}, "steps": [{"use": "bm25"}]}
    tools = {"find": {"description": "finds", "flow": inner}}
    flow = Flow(Agent(), resources={"llm": "nowhere", "tools": tools})
    assert "index" not in {name for _, name, _ in flow.needs}
    (error,) = [e for e in flow.absent() if e.where == "resources.tools"]
    assert error.what == "the tool 'find': there is no index here"


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ({"a": {"sql": "nowhere.sqlite"}}, "nowhere.sqlite"),
        ({"a": {"use": "langchain_nowhere.Tool"}}, "langchain_nowhere"),
        ({"a": {"use": "langchain_core.documents.Document"}}, "is not a BaseTool"),
        ({"a": {"use": "os.system"}}, "is not in a package of LangChain"),
        ({"a": {"mcp": {"command": "no-such-program"}}}, "no-such-program"),
    ],
)
def test_what_is_not_there_is_said_before_the_run(tools: Any, said: str) -> None:
    flow = Flow(Agent(), resources={"llm": scripted(), "tools": tools})
    with pytest.raises(ConfigError, match=said):
        flow.invoke(query="?")


def test_a_flow_that_has_itself_as_a_tool_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(
        "description: asks itself\nresources: {tools: {me: {flow: agent.yaml}}}\n"
        "steps: [{use: agent}]\n"
    )
    with pytest.raises(BuildError, match="has itself as a tool"):
        load_flow(file)


def test_what_is_no_tool_is_refused() -> None:
    with pytest.raises(ConfigError, match="the tool 'a' is 3"):
        Tools.load({"a": 3})


def test_a_tool_that_was_given_open_is_used_as_it_is() -> None:
    flow = Flow(reply(), description="asks")
    opened = Tools.load({"ask": flow})
    assert Tools.load(opened) is opened
    assert isinstance(opened.tools["ask"], FlowTool)
    assert run(agent(scripted(), *opened.tools.values()))[0]["answer"]
