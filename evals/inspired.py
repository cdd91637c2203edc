"""Real people: conversations of INSPIRED (Hayati et al., EMNLP 2020), replayed as users.

The person's lines are said one after the other in one chat; then they are consolidated, and every
probe of the generation is asked again.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from agent import prompts
from agent.catalogue import Catalogue
from agent.errors import ConfigError
from agent.memory.probe import grade
from agent.model import LanguageModel
from agent.movie_agent import MovieAgent
from agent.recommend import recommend
from agent.settings import Settings
from agent.slots import BASE
from evals.conversations import keep_settings, open_in
from evals.figures import share
from evals.jsonl import read_lines
from evals.protocol import name_of, read_entities


@dataclass(frozen=True)
class Conversation:
    dialog_id: str
    lines: tuple[str, ...]
    """What the person said, in order."""


def longest(path: Path, number: int) -> list[Conversation]:
    """Return the conversations with most lines; of each the point with the longest context."""
    points = read_points(path, ("dialog_id", "context", "input"))
    best: dict[str, dict] = {}
    for point in points:
        held = best.get(point["dialog_id"])
        if held is None or len(point["context"]) > len(held["context"]):
            best[point["dialog_id"]] = point
    found = [
        Conversation(dialog_id, tuple(re.findall(r"^User: (.*\S)\s*$", point["input"], re.MULTILINE)))
        for dialog_id, point in best.items()
    ]  # fmt: skip
    found.sort(key=lambda one: (-len(one.lines), one.dialog_id))
    return found[:number]


def run(
    conversations: list[Conversation], out: Path, settings: Settings,
    *, show: Callable[[str], None] = print,
) -> None:  # fmt: skip
    """Replay those not replayed yet as users of one app; write one JSON file each into `out`.

    Raises:
        ConfigError: What is there was run with other settings.
    """
    keep_settings(out, settings)
    left = [one for one in conversations if not (out / f"{one.dialog_id}.json").exists()]
    if not left:
        return
    with open_in(out / "data", settings) as agent:
        for conversation in left:
            agent.forget(conversation.dialog_id)
            found = replay(agent, conversation)
            (out / f"{conversation.dialog_id}.json").write_text(
                json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            show(f"{conversation.dialog_id}: {[report['reason'] for report in found['reports']]}")


def replay(agent: MovieAgent, conversation: Conversation) -> dict:
    """Say everything, consolidate, ask every probe; return what happened."""
    user_id = conversation.dialog_id
    turns = []
    for line in conversation.lines:
        reply = agent.reply(user_id, "inspired", line)
        turns.append({"message": line, "reply": "".join(reply)})
    reports = [report.as_dict() for report in agent.consolidate(user_id)]
    pairs = [
        {
            "question": pair.question, "value": pair.value, "teacher": pair.answer, "kind": pair.kind,
            "is_probe": pair.is_probe,
        }
        for pair in agent.buffer.pairs(user_id)
    ]  # fmt: skip
    for pair in pairs:
        if pair["is_probe"]:
            pair["memory"] = agent.probe(user_id, pair["question"]).text
            pair["passed"] = grade(pair["memory"], [pair["value"]])
    return {"user": user_id, "turns": turns, "reports": reports, "pairs": pairs}


def table(conversations: list[Conversation], out: Path) -> str:
    """Return a row for each user replayed so far, and the sum, as a Markdown table.

    Raises:
        ConfigError: If nobody was.
    """
    done = [one for one in conversations if (out / f"{one.dialog_id}.json").exists()]
    if not done:
        raise ConfigError(f"There are no results in {out} yet. Run it without --show.")
    head = [
        "user",
        "lines",
        "learned",
        "pairs",
        "doubtful",
        "probes right",
        "recall",
        "abstention",
        "damage",
    ]
    rows, probes = [], []
    for conversation in done:
        found = json.loads((out / f"{conversation.dialog_id}.json").read_text(encoding="utf-8"))
        asked = [pair["passed"] for pair in found["pairs"] if pair["is_probe"]]
        probes += asked
        for report in found["reports"]:
            figure = [_figure(report[name]) for name in ("recall", "abstention", "damage_nats")]
            learned = "yes" if report["published"] else report["reason"]
            counts = [len(conversation.lines), learned, report["num_pairs"], report["num_doubtful"]]
            rows.append([conversation.dialog_id, *counts, f"{sum(asked)} of {len(asked)}", *figure])
    rows.append(["all", sum(len(one.lines) for one in done), "", "", "", share(probes), "", "", ""])
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


# -- the corpus's own protocol: 20 films at each point of a conversation ------------------------

NUM_FILMS = 20


def predict(
    data: Path, candidates: Path, out: Path, settings: Settings, *, show: Callable[[str], None] = print
) -> None:  # fmt: skip
    """Recommend at each point of test.jsonl, with the conversation so far as the current chat, and write the
    replies in the format that `evals.protocol` scores. Points that `out` holds are not asked again.

    Raises:
        ConfigError: A file is missing or damaged.
    """
    points = read_points(data, ("input", "rec", "prev_entity"))
    names = {number: name_of(entity) for entity, number in read_entities(candidates).items()}
    done = _done(out, settings.model)
    if done == len(points):
        return
    model = LanguageModel.load(settings.model, quantize=settings.quantize, num_slots=2)
    catalogue = Catalogue.load()
    show(f"{len(points) - done} of {len(points)} points to reply to.")
    with out.open("a", encoding="utf-8") as file, typer.progressbar(points[done:], label="points") as bar:  # fmt: skip
        for point in bar:
            turns = chat_of(point["input"], model)
            found = recommend(
                model, catalogue, slot=BASE, ask=lambda question, turns=turns: prompts.chat(turns, question), number=NUM_FILMS
            )  # fmt: skip
            row = {
                "model": settings.model,
                "text": "\n".join(f"{i}. {one.film.title}" for i, one in enumerate(found, start=1)),
                "gt": [names[number] for number in point["rec"]],
                "seen": [names[number] for number in point["prev_entity"]],
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()


def _done(out: Path, model: str) -> int:
    """Return how many points a file holds the replies of; a line that was not written to its end is cut off.

    Raises:
        ConfigError: It holds another model's.
    """
    if not out.exists():
        return 0
    whole, _, _ = out.read_bytes().rpartition(b"\n")
    out.write_bytes(whole + b"\n" if whole else b"")
    models = (
        read_lines(out, lambda row: row["model"], what="a reply with its model") if whole else []
    )
    if other := set(models) - {model}:
        raise ConfigError(
            f"{out} holds replies of {other.pop()}, not of {model}. Give another --predictions."
        )
    return len(models)


def read_points(path: Path, keys: Sequence[str]) -> list[dict]:
    """Return the points of test.jsonl, which have these keys.

    Raises:
        ConfigError: There is no such file, or a line is no point; it gives the line and the reason.
    """

    def parse(row: dict) -> dict:
        return {key: row[key] for key in keys}

    return read_lines(path, parse, what=f"a point of INSPIRED: {', '.join(keys)}")


def chat_of(text: str, model: LanguageModel) -> list[tuple[str, str]]:
    """Return the turns of "System: ... User: ..." lines, as many of the last as fit beside a question."""
    turns: list[list[str]] = []
    for speaker, said in re.findall(r"^(System|User): (.*\S)\s*$", text, re.MULTILINE):
        if speaker == "User":
            turns.append([said, prompts.WITHHELD])
        elif turns:
            turns[-1][1] = said
    found = [(message, reply) for message, reply in turns]
    while found and len(model.encode(prompts.chat(found, ""))) > model.max_context_tokens - ROOM:
        found = found[1:]
    return found


ROOM = 160
"""Tokens left for a question about a film."""
