"""What the arms are told and asked: invented users of the house exam, or a file of contexts.

life      one user; its contexts are chats of a few turns, no two of which contradict each other
context   what is learned: turns (message, reply)
question  about one context, with the values that a right reply asserts
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent import prompts
from agent.errors import ConfigError
from evals.jsonl import read_lines
from house.documents import Writer
from house.people import Fact
from house.world import World

FACTS_A_CONTEXT = 3
WORDINGS_A_FACT = 2
SHARE_IDLE = 0.25
"""Of the turns of a context, those that only ask about films."""

MAX_WORDS = 80
"""Of a message, where a context of a file is cut into messages at ends of sentences."""

Turns = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    expect: tuple[str, ...]
    """Values, any of which a right reply asserts."""
    gold: tuple[str, ...]
    """Texts that QA-F1 and exact match compare a reply with, the best of which counts."""
    reject: tuple[str, ...] = ()
    """Values, none of which a right reply asserts."""


@dataclass(frozen=True, slots=True)
class Item:
    """A context with its questions, which no arm sees before it is asked."""

    name: str
    turns: Turns
    questions: tuple[Question, ...]


def life(writer: Writer, seed: str, number: int) -> list[Item]:
    """Return the contexts of one invented user; the first ones do not depend on their number."""
    rng = random.Random(f"life {seed}")
    world = World(writer.grammar, rng)
    items: list[Item] = []
    for i in range(number):
        facts: list[Fact] = []
        turns: list[tuple[str, str]] = []
        while len(facts) < FACTS_A_CONTEXT:
            if rng.random() < SHARE_IDLE:
                turns.append(writer.about_films.turn(rng, with_opinions=False))
                continue
            fact = world.new_fact(writer.teller.named_kinds)
            if fact.subject.is_user and writer.grammar.is_many(fact.kind):
                continue  # a later context would add to its answer
            turns.append((world.tell(fact), writer.grammar.acknowledgement(fact, rng)))
            facts.append(fact)
        questions = tuple(question for fact in facts for question in questions_about(world, fact))
        items.append(Item(f"{seed}/{i}", tuple(turns), questions))
    return items


def questions_about(world: World, fact: Fact) -> Iterator[Question]:
    """Yield direct questions about a fact, each in other words. A reply that lists what others are told to
    have of this kind is not right."""
    rng, grammar, texts = world.rng, world.grammar, set()
    others = {other.value for other in world.facts if other.kind == fact.kind} - {fact.value}
    answer = grammar.answer(fact, random.Random(0))  # the likeliest
    for _ in range(20):
        text = grammar.question(fact, rng, indirect=0)
        if text not in texts:
            texts.add(text)
            yield Question(text, (fact.value,), (fact.value, answer), tuple(sorted(others)))
        if len(texts) == WORDINGS_A_FACT:
            return


def read_contexts(path: Path) -> list[Item]:
    """Return the contexts of a file of {context, question, answer}, one JSON object a line; lines of the
    same context make one item.

    Raises:
        ConfigError: If there is no such file, or a line is none; it gives the line and the reason.
    """
    found: dict[str, list[Question]] = {}

    def add(row: dict) -> None:
        context, question, answer = (_text(row, key) for key in ("context", "question", "answer"))
        found.setdefault(context, []).append(Question(question, (answer,), (answer,)))

    read_lines(path, add, what="an object of context, question and answer")
    if not found:
        raise ConfigError(f"{path} has no line.")
    return [
        Item(f"{path.stem}/{i}", tuple((part, prompts.WITHHELD) for part in messages(context)), tuple(questions))
        for i, (context, questions) in enumerate(found.items())
    ]  # fmt: skip


def _text(row: dict, key: str) -> str:
    if not isinstance(row[key], str) or not row[key].strip():
        raise ValueError(f"{key} is {row[key]!r}, no text")
    return row[key].strip()


def messages(text: str) -> list[str]:
    """Return a text in messages of at most `MAX_WORDS` words, cut at ends of sentences where that is
    possible."""
    parts: list[list[str]] = [[]]
    for word in text.split():
        last = parts[-1]
        is_end = bool(last) and last[-1].endswith((".", "!", "?"))
        if len(last) >= MAX_WORDS or (is_end and len(last) >= MAX_WORDS // 2):
            parts.append([])
        parts[-1].append(word)
    return [" ".join(words) for words in parts if words]
