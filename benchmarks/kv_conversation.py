"""The second and third turn of a conversation about the same sources.

    python benchmarks/kv_conversation.py [--model MODEL] [--chunks 4] [--words 180] [--rounds 3]
                                         [--json FILE] [--quick]

Each mode: tokens computed in each turn, and the context's share of them; milliseconds to the first
token, and how many times that of `prefix` it is, and `full` is of it. Sources, questions and turns
are made up, and go through the chat template and the scheduler, as those of a user.
"""

import argparse
import asyncio
import json
import random
import statistics
from pathlib import Path
from time import perf_counter
from typing import Any

MODES = ("full", "prefix", "align", "craft", "focus", "ape")
QUESTIONS = ("What is this about?", "And what else is there?", "Who did that, and when?")
WORDS = ("ferry", "harbour", "keeper", "lock", "gate", "river", "storm", "ticket", "anchor", "tide")


def source(chance: random.Random, words: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(words)) + "."


async def turn(llm: Any, prompt: Any, mode: str) -> tuple[float, Any]:
    """Seconds to the first token, and the whole answer."""
    from rag.kvcache.settings import ReuseSettings
    from rag.models import Generation, Sampling

    started, first, done = perf_counter(), None, None
    async for piece in llm.stream(prompt, Sampling(max_tokens=24), ReuseSettings(mode)):
        first = first or perf_counter()
        if isinstance(piece, Generation):
            done = piece
    return first - started, done


def conversation(llm: Any, mode: str, sources: tuple[str, ...]) -> list[dict[str, float]]:
    from rag.models import Prompt

    history: tuple[Any, ...] = ()
    rows = []
    steps, sizes = type(llm.engine.view).steps, []

    def counted(view: Any, passes: list[Any]) -> Any:
        sizes.extend(len(one.ids) for one in passes if one.logits == "last")
        return steps(view, passes)

    type(llm.engine.view).steps = counted
    try:
        for question in QUESTIONS:
            prompt = Prompt(question, "Answer.", sources, history, False, True)
            sizes.clear()
            seconds, done = asyncio.run(turn(llm, prompt, mode))
            context = sum(chunk["tokens"] for chunk in done.reuse["chunks"])
            rows.append(
                {
                    "ms": seconds * 1000,
                    "prompt": done.prompt_tokens,
                    "computed": sum(sizes),
                    "context computed": done.reuse["recomputed"] / context,
                }
            )
            history = (*history, ("user", question), ("assistant", done.text.strip()))
    finally:
        type(llm.engine.view).steps = steps
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--chunks", type=int, default=4)
    parser.add_argument("--words", type=int, default=180)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="short sources, one round")
    args = parser.parse_args()
    if args.quick:
        args.words, args.rounds = 60, 1
    from rag.models.llm import LLMSpec
    from rag.models.opening.llm import open_local

    llm = open_local(LLMSpec(model=args.model), Path())
    chance = random.Random(0)
    conversation(llm, "prefix", (source(chance, 20),))  # what is loaded at first use is
    found: dict[str, list[list[dict[str, float]]]] = {mode: [] for mode in MODES}
    for number in range(args.rounds):
        sources = tuple(source(chance, args.words) for _ in range(args.chunks))
        for mode in MODES:
            found[mode].append(conversation(llm.salted(f"{number} {mode}"), mode, sources))
    rows: dict[str, list[dict[str, float]]] = {}
    for mode, each in found.items():
        rows[mode] = [
            {key: statistics.median(one[at][key] for one in each) for key in each[0][at]}
            for at in range(len(QUESTIONS))
        ]
    for mode, turns in rows.items():
        for number, row in enumerate(turns):
            row["times prefix"] = row["ms"] / rows["prefix"][number]["ms"]
            row["full over it"] = rows["full"][number]["ms"] / row["ms"]
            shown = {key: round(value, 2) for key, value in row.items()}
            print(f"{mode:8} turn {number + 1}", shown, flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
