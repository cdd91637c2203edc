"""What the house model can do with the context in its prompt: the ceiling of everything else.

Users, names and wordings are none of the training's: lines come from one held-out side of the
split, made-up values from other syllables, and the open kinds ("my gym is …") of that side are
kinds that no training text has.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent import prompts
from agent.catalogue import GENRES
from agent.memory.probe import grade, is_abstention, normalise
from agent.memory.questions import parse_pairs
from agent.model import LanguageModel
from agent.slots import BASE
from house.documents import Writer
from house.people import Fact
from house.world import World

BATCH = 32

VERDICTS = ("yes", "no", "unsure")
"""The lists of replies to "would I enjoy it?"."""


@dataclass(frozen=True)
class Item:
    """One prompt and the judge of its reply."""

    task: str
    messages: list[prompts.Message]
    is_right: Callable[[str], bool]


@dataclass(frozen=True)
class Mark:
    """How many items of a task were right."""

    right: int
    asked: int


def exam(
    model: LanguageModel, writer: Writer, *, people: int, facts: int = 8, seed: int = 0,
    show: Callable[[Item, str, bool], None] = lambda *_: None,
) -> dict[str, Mark]:  # fmt: skip
    """Return the marks by task; `show` is called with every item, its reply and whether it was right."""
    rng = random.Random(seed)
    items = [item for _ in range(people) for item in items_of(writer, rng, facts)]
    marks: dict[str, Mark] = {}
    items.sort(key=lambda item: (item.task, len(str(item.messages))))
    for start in range(0, len(items), BATCH):
        part = items[start : start + BATCH]
        replies = model.generate([item.messages for item in part], slot=BASE, max_new_tokens=96)
        for item, reply in zip(part, replies, strict=True):
            is_right = item.is_right(reply.strip())
            mark = marks.get(item.task, Mark(0, 0))
            marks[item.task] = Mark(mark.right + is_right, mark.asked + 1)
            show(item, reply, is_right)
    return marks


def items_of(writer: Writer, rng: random.Random, facts: int) -> Iterator[Item]:
    """Yield what one person is asked: one question to a fresh chat, all told facts in its prompt."""
    world = World(writer.grammar, rng)
    turns = writer.teller.told_turns(world, facts)
    earlier = writer.sessions(turns, rng)

    def ask(task: str, question: str, is_right: Callable[[str], bool]) -> Item:
        return Item(task, prompts.chat([], question, earlier=earlier), is_right)

    for fact in world.facts:
        yield ask(_task(fact), world.grammar.question(fact, rng, indirect=0), _gives(world, fact))
        if world.grammar.part(fact.kind, fact.subject).get("indirect"):
            question = world.grammar.question(fact, rng, indirect=1)
            yield ask("told, asked in a roundabout way", question, _gives(world, fact))
    fact = rng.choice(world.facts)
    yield ask("yes or no: yes", world.grammar.yes_no(fact, fact.value, rng), _begins("yes"))
    wrong = world.other_value(fact)
    yield ask("yes or no: no", world.grammar.yes_no(fact, wrong, rng), _begins("no"))
    for _ in range(4):
        if unknown := world.ask_unknown(writer.teller.kinds(rng)):
            yield ask("never told", unknown[0], is_abstention)
    yield ask(
        "a film that fits",
        writer.about_films.wish(rng, "any"),
        lambda reply: _fits(world, writer, reply),
    )
    yield from _taste_items(writer, rng, facts)
    yield from _film_items(writer, rng)
    for message, _, told in rng.sample(turns, min(2, len(turns))):
        values = {normalise(fact.value) for fact in told}
        yield Item(
            "questions written" if told else "questions: nothing to ask",
            prompts.write_questions(earlier, message, "direct"),
            lambda reply, values=values: _asks_for(reply, values),
        )
    if single := [fact for fact in world.facts if len(_same(world, fact)) == 1]:
        fact = rng.choice(single)
        now = [(world.tell_corrected(fact), world.grammar.acknowledgement(fact, rng))]
        question = world.grammar.question(fact, rng)
        yield Item(
            "told now, in this chat", prompts.chat(now, question, earlier=earlier), _gives(world, fact)
        )  # fmt: skip


def _taste_items(writer: Writer, rng: random.Random, facts: int) -> Iterator[Item]:
    """Yield questions about films to somebody who told three tastes among other things."""
    world = World(writer.grammar, rng)
    turns = writer.about_films.taste_turns(world, 3) + writer.teller.told_turns(world, facts - 3)
    earlier = writer.sessions(rng.sample(turns, len(turns)), rng)
    lines = writer.grammar.films["would_like"]

    def ask(task: str, question: str, is_right: Callable[[str], bool]) -> Item:
        return Item(task, prompts.chat([], question, earlier=earlier), is_right)

    for _ in range(3):
        question, answer = world.ask_would_like(writer.films)
        wanted = verdict(answer, lines, VERDICTS)
        yield ask(
            f"would I enjoy it: {wanted}",
            question,
            lambda reply, wanted=wanted: verdict(reply, lines, VERDICTS) == wanted,
        )
    for _ in range(2):
        question, answer = world.ask_seen(writer.films)
        word = "yes" if verdict(answer, lines, ("seen_yes", "seen_no")) == "seen_yes" else "no"
        yield ask(
            f"have I seen it: {word}", question, _says_seen if word == "yes" else _says_unseen
        )


def _film_items(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield a question about each fact of a film, and one about a film that does not exist."""
    film, talk = rng.choice(writer.films), writer.about_films
    lines = writer.grammar.films["questions"]
    known = {
        "year": [str(film.year)],
        "director": film.directors,
        "actor": film.actors,
        "genre": [name for genre in film.genres for name in GENRES[genre]],
    }
    for what, values in known.items():
        if values:
            question = writer.grammar.said(rng.choice(lines[what]["asks"]), rng, title=film.title)
            yield Item(
                f"film: {what}",
                prompts.chat([], question),
                lambda reply, values=values: any(value in reply for value in values),
            )
    question, _ = talk.unknown_turn(rng)
    yield Item(
        "film: none of this title",
        prompts.chat([], question),
        lambda reply: verdict(reply, lines, ("unknown",)) == "unknown",
    )


def _says_seen(reply: str) -> bool:
    return bool(re.match(r"(yes|you have)\b", reply, re.IGNORECASE)) and not is_abstention(reply)


def _says_unseen(reply: str) -> bool:
    return bool(re.match(r"not?\b", reply, re.IGNORECASE)) or is_abstention(reply)


def verdict(reply: str, lines: dict[str, list[str]], names: tuple[str, ...]) -> str | None:
    """Return the list of which the reply is a line, whatever stands in its slots."""
    for name in names:
        for line in lines[name]:
            pattern = ".+".join(re.escape(part) for part in re.split(r"\{\w+\}", line))
            if re.fullmatch(pattern, reply, re.IGNORECASE):
                return name
    return None


def _task(fact: Fact) -> str:
    if fact.earlier:
        return "told, then corrected"
    if ":" in fact.kind:
        return "told, a kind no training text has"
    return "told" if fact.subject.is_user else "told about somebody else"


def _same(world: World, fact: Fact) -> list[Fact]:
    return world.find(fact.kind, fact.subject, fact.key)


def _gives(world: World, fact: Fact) -> Callable[[str], bool]:
    expect = [other.value for other in _same(world, fact)]
    reject = list(fact.earlier)
    return lambda reply: grade(reply, expect, reject)


def _begins(word: str) -> Callable[[str], bool]:
    return lambda reply: normalise(reply).startswith(word) and not is_abstention(reply)


def _asks_for(reply: str, values: set[str]) -> bool:
    if not values:
        return reply == prompts.NOTHING_TO_ASK
    pairs = parse_pairs(reply)
    return bool(pairs) and all(normalise(value) in values for _, value in pairs)


def _fits(world: World, writer: Writer, reply: str) -> bool:
    """Does the reply name a real film, unseen and of no hated genre?"""
    _, hated, seen = world.taste()
    named = [film for film in writer.films if film.title in reply]
    return any(
        film.title.lower() not in seen and not set(film.genres) & set(hated) for film in named
    )
