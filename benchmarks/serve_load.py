"""A server under load: many clients over the example corpus, stored states off and on.

    python benchmarks/serve_load.py [--clients 1 8 32] [--requests 2] [--overhead] [--soak MINUTES]

Each client asks questions over the same few contexts of about 2,000 tokens, streams the answer
(8 tokens), and notes when its first token came. Off: `mode: full`. On: everything was seen before,
and `mode: craft` (the default) finds the contexts as they were, while `mode: focus` repairs a tenth
of them each time, as if they came in another order. `--overhead`: the router over a flow without a
model. `--soak`: eight clients for so many minutes, and the slope of the server's memory.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx

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

uvicorn.run(app(Flow(find() >> say(), name="toy"), settings=Settings(data=Path(sys.argv[2]))),
            port=int(sys.argv[1]), log_level="warning")
"""
MODES = {"off": "full", "on": "craft", "repaired": "focus"}
FRACTION = {"repaired": ", fraction: 0.1"}
PORT = 8791
ADDRESS = f"http://127.0.0.1:{PORT}"


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


async def load(pipeline: str, clients: int, requests: int) -> dict[str, Any]:
    """So many clients at once, each with so many questions, one after another."""
    errors: list[str] = []
    firsts: list[float] = []
    per_client: list[float] = []

    async def one(number: int, http: httpx.AsyncClient) -> None:
        times = []
        for turn in range(requests):
            question = QUESTIONS[(number + turn) % len(QUESTIONS)]
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
        started = perf_counter()
        await asyncio.gather(*(one(number, http) for number in range(clients)))
        spent = perf_counter() - started
    firsts.sort()
    return {
        "clients": clients,
        "requests/s": clients * requests / spent,
        "p50": statistics.median(firsts),
        "p95": firsts[int(0.95 * (len(firsts) - 1))],
        "errors": len(errors),
        "slowest/mean": min(per_client) / statistics.fmean(per_client),
    }


async def overhead(folder: Path) -> None:
    script = folder / "toy.py"
    script.write_text(TOY)
    process = subprocess.Popen([sys.executable, str(script), str(PORT), str(folder / "toy")])
    try:
        await ready(process)
        async with httpx.AsyncClient() as http:
            took = []
            for _ in range(400):
                started = perf_counter()
                (await http.post(f"{ADDRESS}/ask", json={"query": "x"})).raise_for_status()
                took.append(perf_counter() - started)
            print(f"router without a model: p50 {statistics.median(took[100:]) * 1000:.2f} ms")
    finally:
        process.terminate()
        process.wait()


async def soak(process: subprocess.Popen[bytes], minutes: float) -> None:
    import psutil

    server = psutil.Process(process.pid)
    seen: list[tuple[float, float]] = []
    stop = perf_counter() + minutes * 60

    async def client(number: int, http: httpx.AsyncClient) -> None:
        turn = number
        while perf_counter() < stop:
            await asked(http, "on", QUESTIONS[turn % len(QUESTIONS)])
            turn += 1

    async def watch() -> None:
        while perf_counter() < stop:
            seen.append((perf_counter(), server.memory_info().rss / 2**20))
            await asyncio.sleep(5)

    async with httpx.AsyncClient(timeout=600) as http:
        await asyncio.gather(watch(), *(client(number, http) for number in range(8)))
    settled = seen[len(seen) // 4 :]
    slope = statistics.linear_regression(*zip(*settled, strict=True)).slope * 60
    print(f"soak of {minutes:g} minutes: {settled[-1][1]:.0f} MB, slope {slope:+.2f} MB a minute")


async def run(options: argparse.Namespace, folder: Path) -> None:
    if options.overhead:
        await overhead(folder)
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
    serve = [*rag, "serve", *map(str, files), "--port", str(PORT), "--data", str(folder / "data")]
    process = subprocess.Popen(serve)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in MODES}
    try:
        await ready(process)
        async with httpx.AsyncClient(timeout=600) as http:
            for question in QUESTIONS * 2:
                for name in results:
                    await asked(http, name, question)
        for clients in options.clients:
            for name, rows in results.items():
                rows.append(await load(name, clients, options.requests))
        if options.soak:
            await soak(process, options.soak)
    finally:
        process.terminate()
        process.wait()
    head = ("clients", "requests/s", "p50", "p95", "errors", "slowest/mean")
    print(f"{'states':10}" + "".join(f"{name:>14}" for name in head))
    for name, rows in results.items():
        for row in rows:
            print(f"{name:10}" + "".join(f"{row[one]:14.2f}" for one in head))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=2)
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--soak", type=float, default=0.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(options, Path(folder)))


if __name__ == "__main__":
    main()
