"""A server under load, against its goals: one command prints every figure.

    python benchmarks/serve_load.py [--only overhead streams first soak page] [--json FILE]
    python benchmarks/serve_load.py --only states --clients 1 8 32

- `overhead`: what the router adds to a flow without a model: `POST /ask` against an endpoint of
  FastAPI that runs the same flow. Goal: 2 ms (median).
- `streams`: 16 clients that stream answers for `--seconds`. Goal: no error.
- `first`: time to the first token of one client and of eight, over contexts that repeat. Goal: the
  95th percentile of eight is at most 3 times that of one.
- `soak`: eight clients and one that uploads and deletes, for `--minutes`. Goal: memory grows by
  at most 0.2 MB a minute, behind the first fifth.
- `page`: the chat page in Chromium, from its address with an empty cache until it takes questions.
  Goal: 0.8 s (median).
- `states`: a table over the clients, stored states off (`mode: full`), on (`craft`: all was seen
  before) and repaired (`focus`: a tenth of each context is computed, as in another order).

Each client asks questions over the same few contexts of about 2,000 tokens and streams the answer
(8 tokens). The figures are those of a machine that does nothing else.
"""

import argparse
import asyncio
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent))
from chat_page import seconds_to_interactive

CORPUS = Path(__file__).parents[1] / "examples" / "handbook"
PIPELINE = """
name: {name}
resources:
  index: {index}
  embedder: all-minilm-l6-v2
  llm: {{model: smollm2-135m-instruct, kv: {{memory: 2GB}}}}
steps:
  - {{use: bm25, k: 12}}
  - {{use: generate, max_tokens: 8, reuse: {{mode: {mode}{more}}}}}
"""
QUESTIONS = (
    "How long does a full passage of the north lock take?",
    "By how much does the Heron raise vessels?",
    "What load does Quarry Bridge carry?",
    "How long do new lock keepers learn?",
)
TOY = """
import sys
from pathlib import Path
import uvicorn
from rag import Document, Flow, operator
from rag.serve import Settings, app

@operator(writes="documents")
def find(query: str) -> list[Document]:
    return [Document(id="1", page_content=query)]

@operator(writes="answer")
def say(query: str, documents: list[Document]) -> str:
    return query

flow = Flow(find() >> say(), name="toy")
made = app(flow, settings=Settings(data=Path(sys.argv[2])))

@made.post("/bare")
async def bare(query: dict[str, str]) -> dict[str, str]:
    return {"answer": (await flow.ainvoke(query=query["query"]))["answer"]}

uvicorn.run(made, port=int(sys.argv[1]), log_level="warning")
"""
MODES = {"off": "full", "on": "craft", "repaired": "focus"}
FRACTION = {"repaired": ", fraction: 0.1"}
PORT = 8791
ADDRESS = f"http://127.0.0.1:{PORT}"
GOALS = ("overhead", "streams", "first", "soak", "page")
UPLOADS = 5
"""Files that the soak replaces again and again: the index has as many documents at its end."""
UPLOAD_PAUSE = 2.0
"""Seconds between two uploads."""
Found = dict[str, Any]


async def ready(process: subprocess.Popen[bytes]) -> None:
    async with httpx.AsyncClient() as http:
        while process.poll() is None:
            try:
                if (await http.get(f"{ADDRESS}/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.2)
    raise SystemExit("the server did not start")


async def asked(http: httpx.AsyncClient, pipeline: str, question: str) -> tuple[float, float]:
    """Seconds to the first token and in all."""
    body = {"query": question, "pipeline": pipeline, "stream": True}
    started, first = perf_counter(), 0.0
    async with http.stream("POST", f"{ADDRESS}/ask", json=body) as told:
        told.raise_for_status()
        async for line in told.aiter_lines():
            if line == "event: token" and not first:
                first = perf_counter() - started
            if line == "event: error":
                raise RuntimeError(line)
    return first, perf_counter() - started


async def load(pipeline: str, clients: int, *, requests: int = 0, seconds: float = 0.0) -> Found:
    """So many clients at once, each with so many questions or for so long, one after another."""
    errors: list[str] = []
    firsts: list[float] = []
    per_client: list[float] = []
    started = perf_counter()

    async def one(number: int, http: httpx.AsyncClient) -> None:
        times, turn = [], 0
        while turn < requests or perf_counter() - started < seconds:
            question = QUESTIONS[(number + turn) % len(QUESTIONS)]
            turn += 1
            try:
                first, took = await asked(http, pipeline, question)
            except (httpx.HTTPError, RuntimeError) as error:
                errors.append(repr(error))
            else:
                firsts.append(first)
                times.append(took)
        per_client.append(len(times) / sum(times) if times else 0.0)

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=600, limits=limits) as http:
        await asyncio.gather(*(one(number, http) for number in range(clients)))
        spent = perf_counter() - started
    firsts.sort()
    return {
        "clients": clients,
        "answers": len(firsts),
        "requests/s": len(firsts) / spent,
        "p50": statistics.median(firsts),
        "p95": firsts[math.ceil(0.95 * len(firsts)) - 1],
        "errors": len(errors),
        "error": errors[0] if errors else None,
        "slowest/mean": min(per_client) / (statistics.fmean(per_client) or 1.0),
    }


async def overhead(folder: Path) -> Found:
    """What the router adds to a flow: medians in milliseconds."""
    script = folder / "toy.py"
    script.write_text(TOY)
    process = subprocess.Popen([sys.executable, str(script), str(PORT), str(folder / "toy")])
    took: dict[str, list[float]] = {"/ask": [], "/bare": []}
    try:
        await ready(process)
        async with httpx.AsyncClient() as http:
            for _ in range(400):
                for path, seen in took.items():  # in turn: what else the machine does hits both
                    started = perf_counter()
                    done = await http.post(f"{ADDRESS}{path}", json={"query": "x"})
                    seen.append(perf_counter() - started)
                    done.raise_for_status()
    finally:
        process.terminate()
        process.wait()
    whole, bare = (statistics.median(seen[100:]) * 1000 for seen in took.values())
    return {"whole": whole, "bare": bare, "ms": whole - bare}


async def soak(process: subprocess.Popen[bytes], minutes: float) -> Found:
    """Questions and uploads for so long; the slope of the server's memory."""
    import psutil

    server = psutil.Process(process.pid)
    seen: list[tuple[float, float]] = []
    stop, pause = perf_counter() + minutes * 60, minutes * 60 / 120
    counts = {"answers": 0, "uploads": 0, "errors": 0}

    async def client(number: int, http: httpx.AsyncClient) -> None:
        turn = number
        while perf_counter() < stop:
            try:
                await asked(http, "on", QUESTIONS[turn % len(QUESTIONS)])
                counts["answers"] += 1
            except (httpx.HTTPError, RuntimeError):
                counts["errors"] += 1
            turn += 1

    async def uploader(http: httpx.AsyncClient) -> None:
        while perf_counter() < stop:
            number = counts["uploads"]
            text = f"# Note {number}\n\nBerth {number} is free.\n\n" + "Boats wait. " * 500
            files = {"files": (f"note{number % UPLOADS}.md", text.encode())}
            try:
                done = await http.post(f"{ADDRESS}/documents", files=files)
                done.raise_for_status()
                counts["uploads"] += 1
                if number % UPLOADS == UPLOADS - 1:
                    (one,) = done.json()
                    (await http.delete(f"{ADDRESS}/documents/{one['id']}")).raise_for_status()
            except httpx.HTTPError:
                counts["errors"] += 1
            await asyncio.sleep(UPLOAD_PAUSE)

    async def watch() -> None:
        while perf_counter() < stop:
            seen.append((perf_counter(), server.memory_info().rss / 2**20))
            await asyncio.sleep(pause)

    async with httpx.AsyncClient(timeout=600) as http:
        await asyncio.gather(watch(), uploader(http), *(client(n, http) for n in range(8)))
    settled = seen[len(seen) // 5 :]
    slope = statistics.linear_regression(*zip(*settled, strict=True)).slope * 60
    return {"minutes": minutes, "MB": settled[-1][1], "slope": slope, **counts, "seen": seen}


async def first(requests: int) -> Found:
    """One client, then eight."""
    one, eight = [await load("on", clients, requests=requests) for clients in (1, 8)]
    return {"one": one, "eight": eight, "ratio": eight["p95"] / one["p95"]}


SAID: dict[str, Callable[[Found], str]] = {
    "overhead": lambda f: (
        f"router overhead: {f['ms']:.2f} ms (goal 2): {f['whole']:.2f} with it,"
        f" {f['bare']:.2f} without"
    ),
    "streams": lambda f: (
        f"{f['clients']} streaming clients: {f['errors']} errors (goal 0) in {f['answers']} answers"
        + (f", the first: {f['error']}" if f["error"] else "")
    ),
    "first": lambda f: (
        f"time to first token, p95: {f['ratio']:.2f} times one client's (goal 3):"
        f" {f['eight']['p95']:.3f} s with 8 clients, {f['one']['p95']:.3f} s with 1"
    ),
    "soak": lambda f: (
        f"soak of {f['minutes']:g} minutes: {f['slope']:+.2f} MB a minute (goal 0.2), at last"
        f" {f['MB']:.0f} MB; {f['answers']} answers, {f['uploads']} uploads, {f['errors']} errors"
    ),
    "page": lambda f: f"page interactive: {f['seconds']:.2f} s (goal 0.8)",
}


async def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What was asked for, each figure printed as soon as it is there."""
    found: dict[str, Any] = {}

    def told(name: str, figures: Found) -> None:
        found[name] = figures
        print(SAID[name](figures), flush=True)

    if "overhead" in options.only:
        told("overhead", await overhead(folder))
    if set(options.only) <= {"overhead"}:
        return found
    process = served(folder)
    try:
        await ready(process)
        async with httpx.AsyncClient(timeout=600) as http:
            for question in QUESTIONS * 2:
                for name in MODES if "states" in options.only else ("on",):
                    await asked(http, name, question)
        if "page" in options.only:
            told("page", {"seconds": await asyncio.to_thread(seconds_to_interactive, ADDRESS)})
        if "first" in options.only:
            told("first", await first(options.requests))
        if "streams" in options.only:
            told("streams", await load("on", 16, seconds=options.seconds))
        if "states" in options.only:
            found["states"] = await states(options.clients, options.requests)
        if "soak" in options.only:
            told("soak", await soak(process, options.minutes))
    finally:
        process.terminate()
        process.wait()
    return found


def served(folder: Path) -> subprocess.Popen[bytes]:
    """The server over the example corpus, a pipeline for each way of stored states."""
    rag = [sys.executable, "-c", "from rag.cli.main import main; main()"]
    files = []
    for name, mode in MODES.items():
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(
            PIPELINE.format(
                name=name, mode=mode, more=FRACTION.get(name, ""), index=folder / "index"
            )
        )
    subprocess.run([*rag, "ingest", str(CORPUS), "-c", str(files[0])], check=True)
    serve = ["serve", *map(str, files), "--port", str(PORT), "--data", str(folder / "data")]
    return subprocess.Popen([*rag, *serve, "--no-access-log"])


async def states(clients: list[int], requests: int) -> dict[str, list[Found]]:
    """The table over the clients."""
    results: dict[str, list[Found]] = {name: [] for name in MODES}
    for number in clients:
        for name, rows in results.items():
            rows.append(await load(name, number, requests=requests))
    head = ("clients", "requests/s", "p50", "p95", "errors", "slowest/mean")
    print(f"{'states':10}" + "".join(f"{name:>14}" for name in head))
    for name, rows in results.items():
        for row in rows:
            print(f"{name:10}" + "".join(f"{row[one]:14.2f}" for one in head), flush=True)
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=GOALS, choices=[*GOALS, "states"])
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 32], help="of `states`")
    parser.add_argument("--requests", type=int, default=12, help="of each client")
    parser.add_argument("--seconds", type=float, default=60.0, help="of `streams`")
    parser.add_argument("--minutes", type=float, default=10.0, help="of `soak`")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(options, Path(folder)))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
