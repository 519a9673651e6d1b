"""What single operators are worth: each in a small flow, beside the same flow without it.

    python benchmarks/operators.py --data DIR [--limit 100] [--only mmr ...] [--out DIR]

Rankings are measured on all questions, answers on `--limit` of them: containment, and its gain over
`base` with the paired bootstrap's interval. What the ready-made flows are made of is measured by
`rag bench pipelines`. Not here, for want of a model or of data: `cross_rerank`, `learned_sparse`,
`verify_nli`; `construct_query`, `text_to_sql`, `sql`, `rule_rerank`; `neighbours`, `parents`, since
a passage of this data is one chunk.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

COMMAND = "from rag.cli.main import main; main()"
SEARCHES = {"sparse": "bm25", "dense": "dense"}
RESOURCES = {"index": "./index", "embedder": "all-minilm-l6-v2", "llm": "smollm2-135m-instruct"}


def use(name: str, **fields: Any) -> dict[str, Any]:
    return {"use": name, **fields}


def both(**fields: Any) -> dict[str, Any]:
    """Words and meaning, fused."""
    return {
        "parallel": {name: use(of, k=100, **fields) for name, of in SEARCHES.items()},
        "join": use("rrf"),
    }


def drawn(join: dict[str, Any]) -> dict[str, Any]:
    """Three answers, two of them drawn by chance."""
    branches = {f"b{n}": use("generate", temperature=0.7, seed=n) for n in (1, 2)}
    return {"parallel": {"b0": use("generate"), **branches}, "join": join}


EXTRACT, GENERATE, CITE = use("select_sentences", sentences=3), use("generate"), use("cite")
FIND = [both(), use("rerank", k=4)]
READ = [EXTRACT, GENERATE, CITE]
TEN = [both(), use("rerank", k=10)]
WAYS = {"words": use("bm25", k=50), "meaning": use("dense", k=50)}

RANKINGS: dict[str, list[Any]] = {
    "dense": [use("dense", k=100)],
    "bm25": [use("bm25", k=100)],
    "max_sim": [use("max_sim", k=100)],
    "rrf": [both()],
    "weighted_sum": [{**both(), "join": use("weighted_sum")}],
    "hybrid": [use("hybrid", k=100)],
    "rerank": [both(), use("rerank", k=100)],
    "rerank_prior": [use("hybrid", k=100), use("rerank", k=100, prior=1)],
    "mmr": [use("dense", k=20), use("mmr", k=20)],
    "dedupe": [use("dense", k=100), use("dedupe")],
    "dedupe_semantic": [use("dense", k=20), use("dedupe_semantic")],
}
ANSWERS: dict[str, list[Any]] = {
    "base": [*FIND, *READ],
    "step_back": [
        use("step_back"),
        {"map": {"over": "queries", "as": "query"}, "body": both(), "join": use("rrf")},
        use("rerank", k=4), *READ,
    ],
    "verification_queries": [
        *FIND, EXTRACT, GENERATE, use("verification_queries", n=2),
        {"map": {"over": "queries", "as": "query"}, "body": both(), "join": use("rrf")},
        use("rerank", k=4), *READ,
    ],
    "mmr": [*TEN, use("mmr", k=4), *READ],
    "dedupe": [*TEN, use("dedupe"), use("rerank", k=4), *READ],
    "dedupe_semantic": [*TEN, use("dedupe_semantic"), use("rerank", k=4), *READ],
    "threshold": [*FIND, use("threshold", share=0.8), *READ],
    "whole": [*FIND, GENERATE, CITE],
    "reorder": [*FIND, use("reorder"), GENERATE, CITE],
    "compress": [*FIND, use("compress", ratio=0.5), GENERATE, CITE],
    "pack": [*TEN, use("pack", tokens=300), GENERATE, CITE],
    "pointwise_rerank": [both(), use("rerank", k=5), use("pointwise_rerank", k=1), *READ],
    "listwise_rerank": [both(), use("rerank", k=5), use("listwise_rerank", k=1), *READ],
    "grade_documents": [*FIND, use("grade_documents"), *READ],
    "refine": [*FIND, use("refine"), CITE],
    "map_reduce": [*FIND, use("map_reduce"), CITE],
    "structured_answer": [*FIND, EXTRACT, use("structured_answer"), CITE],
    "verify_abstain": [*FIND, EXTRACT, GENERATE, use("verify"), use("abstain"), CITE],
    "verify_llm_abstain": [
        *FIND, EXTRACT, GENERATE, use("verify_llm"), use("abstain", threshold=0.15), CITE
    ],
    "vote": [*FIND, EXTRACT, drawn(use("vote")), CITE],
    "llm_fusion": [*FIND, EXTRACT, drawn(use("llm_fusion")), CITE],
    "rank_answers": [
        *FIND, EXTRACT, drawn(use("rank_answers", k=1)),
        use("llm_fusion", inputs={"answer": "answers"}), CITE,
    ],
    "confidence_judge": [
        *FIND, EXTRACT, use("generate", logprobs=True), use("confidence_judge"),
        {"route": {"by": "sufficient", "cases": {
            True: [], False: [both(), use("rerank", k=1), EXTRACT, GENERATE]}}}, CITE,
    ],
    "rule_judge": [
        *FIND, use("rule_judge", min_overlap=0.5),
        {"route": {"by": "sufficient", "cases": {
            True: [], False: [use("rewrite", outputs={"query": "search"}),
                              both(inputs={"query": "search"}), use("rerank", k=4)]}}}, *READ,
    ],
    "llm_judge": [
        *FIND, use("llm_judge", aspect="relevant"),
        {"route": {"by": "verdict", "cases": {
            True: [], False: [use("rewrite", outputs={"query": "search"}),
                              both(inputs={"query": "search"}), use("rerank", k=4)]}}}, *READ,
    ],
    "knowledge_judge": [
        use("knowledge_judge"),
        {"route": {"by": "known", "cases": {True: FIND, False: [*FIND, EXTRACT, GENERATE]}}}, CITE,
    ],
    "route_by_metadata": [
        {"route": {"by": use("route_by_metadata", routes={
            "words": ["who", "name"], "meaning": ["why", "how"]}), "cases": WAYS,
            "default": both()}}, use("rerank", k=4), *READ,
    ],
    "route_semantic": [
        {"route": {"by": use("route_semantic", routes={
            "words": ["who played the role"], "meaning": ["why does it happen"]}), "cases": WAYS,
            "default": both()}}, use("rerank", k=4), *READ,
    ],
    "route_llm": [
        {"route": {"by": use("route_llm", routes={
            "words": "names a person or a thing", "meaning": "asks why or how"}), "cases": WAYS,
            "default": both()}}, use("rerank", k=4), *READ,
    ],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--only", nargs="*", help="operators; `base` is always there")
    parser.add_argument("--kind", choices=["rankings", "answers"], nargs="*")
    parser.add_argument("--out", type=Path, help="keep results here, and go on from there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = given.out or Path(scratch)
        kinds = given.kind or ["rankings", "answers"]
        if "rankings" in kinds and (flows := chosen(RANKINGS, given.only, "dense")):
            rows = measured("retrieval", flows, given.data, out, [])
            print("| operator | nDCG@10 | recall@10 | MRR@10 | nDCG@10, gain | ms |")
            print("|---|---|---|---|---|---|")
            for row in rows:
                means = row["means"]
                numbers = [f"{means[m]:.3f}" for m in ("ndcg_at_10", "recall_at_10", "mrr_at_10")]
                print(
                    f"| `{row['pipeline']}` | {' | '.join(numbers)} | {gain(row['gain'])} "
                    f"| {row['milliseconds']:.0f} |"
                )
        if "answers" in kinds and (flows := chosen(ANSWERS, given.only, "base")):
            rows = measured(
                "answers",
                flows,
                given.data,
                out,
                ["--limit", str(given.limit), "--concurrency", "8"],
            )
            print("| operator | contains | gain | F1 | faithful | LLM calls | tokens |")
            print("|---|---|---|---|---|---|---|")
            for row in rows:
                means = row["means"]
                print(
                    f"| `{row['pipeline']}` | {means['containment']:.2f} "
                    f"| {gain(row['gains']['containment'])} | {means['token_f1']:.3f} "
                    f"| {number(means['faithfulness'])} | {means['llm_calls']:.1f} "
                    f"| {means['tokens']:.0f} |"
                )


def chosen(flows: dict[str, list[Any]], only: list[str] | None, base: str) -> dict[str, list[Any]]:
    """The flows that are measured, the base first; none where none of them is wanted."""
    if only and not flows.keys() & set(only):
        return {}
    return {name: steps for name, steps in flows.items() if not only or name in (base, *only)}


def measured(
    kind: str, flows: dict[str, list[Any]], data: Path, out: Path, options: list[str]
) -> list[dict[str, Any]]:
    """The rows that `rag eval` prints for the flows."""
    folder = out / kind
    folder.mkdir(parents=True, exist_ok=True)
    configs = []
    for name, steps in flows.items():
        file = folder / f"{name}.yaml"
        file.write_text(pipeline(name, steps))
        configs += ["-c", str(file)]
    command = [
        sys.executable, "-c", COMMAND, "eval", kind, "--data", str(data), "--json",
        "--out", str(folder / "results"), "--index", str(out / "indexes"), *options, *configs,
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout)["pipelines"]
    return rows


def pipeline(name: str, steps: list[Any]) -> str:
    """A pipeline file: JSON is YAML."""
    return json.dumps({"name": name, "resources": RESOURCES, "steps": steps}, indent=1)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def gain(found: dict[str, float] | None) -> str:
    """A mean difference with its interval."""
    if found is None:
        return "-"
    return f"{found['mean']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"


if __name__ == "__main__":
    main()
