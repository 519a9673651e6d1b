"""The operator `newest_first`, by itself and in a flow."""

from datetime import date
from typing import Any

from langchain_core.documents import Document
from rag_newest_first import NewestFirst

from rag import Flow
from rag.flow.run.events import Warned


def ordered(*dates: object, **settings: Any) -> list[str]:
    documents = [
        Document(page_content=str(number), metadata={} if value is None else {"date": value})
        for number, value in enumerate(dates)
    ]
    flow = Flow(NewestFirst(**settings), inputs={"documents": list[Document]})
    return [found.page_content for found in flow.invoke(documents=documents)["documents"]]


def test_the_newest_comes_first_and_what_has_no_date_last() -> None:
    assert ordered("2024-01-01", None, "2025-06-30T12:00:00Z", date(2025, 1, 1)) == list("2301")


def test_equal_dates_keep_their_order() -> None:
    assert ordered("2024-01-01", "2024-01-01", k=1) == ["0"]
    assert ordered() == []


def test_an_invalid_date_is_reported_as_a_warning() -> None:
    documents = [Document(page_content="a", metadata={"date": "soon"})]
    flow = Flow(NewestFirst(), inputs={"documents": list[Document]})
    events = list(flow.stream(documents=documents))
    assert [e.message for e in events if isinstance(e, Warned)] == [
        "'soon' in 'date' is not a date"
    ]
