"""What the house model can do with the context in its prompt: the ceiling of everything else.

Users, names and wordings are none of the training's: lines come from one held-out side of the
split, real and made-up values are those kept from training, and the open kinds ("my gym is …")
of that side are kinds that no training text has.

A *figure* is a share of items, with what it should be at least, or at most. One item may count
for two: a question about the user's sister is right or not, and shows the user's own value or not.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent import prompts
from agent.catalogue import GENRES, Catalogue, Film
from agent.memory.probe import grade, holds, is_abstention, normalise
from agent.memory.questions import parse_pairs
from agent.model import LanguageModel
from agent.slots import BASE
from house.documents import Writer
from house.film_talk import GENRE_TASTES
from house.people import USER, Fact, Subject
from house.world import World

BATCH = 32

MAX_NEW_TOKENS = 96

LONG_TRANSCRIPT = 40
"""Turns of the longest transcripts that are asked about."""


@dataclass(frozen=True)
class Figure:
    """What a figure should be: at least, or at most if it counts mistakes."""

    name: str
    wanted: float
    is_mistake: bool = False

    def is_reached(self, share: float) -> bool:
        return share <= self.wanted if self.is_mistake else share >= self.wanted


FIGURES = {
    figure.name: figure
    for figure in [
        Figure("own facts, direct", 0.97),
        Figure("own facts, indirect", 0.90),
        Figure("own facts, yes or no", 0.90),
        Figure("own facts, lists: all items", 0.90),
        Figure("other people's facts", 0.95),
        Figure("bleed", 0.02, is_mistake=True),
        Figure("corrections: the latest value", 0.95),
        Figure("stale", 0.03, is_mistake=True),
        Figure("a value given in this chat wins", 0.95),
        Figure("abstains when not told", 0.97),
        Figure("wrongly abstains", 0.02, is_mistake=True),
        Figure("kinds that no training text has", 0.75),
        Figure("films: the best known", 0.90),
        Figure("films: the whole catalogue", 0.90),
        Figure("films: says that it does not know one", 0.90),
        Figure("recommendations: a real title", 0.99),
        Figure("recommendations: fits the wish", 0.93),
        Figure("recommendations: none hated or seen", 0.98),
        Figure("would it please: the right verdict", 0.90),
        Figure("question-answer pairs: right", 0.95),
        Figure("question-answer pairs: facts with three wordings", 0.95),
        Figure("40 turns: all of it", 0.90),
        Figure("typed carelessly, own facts", 0.90),
    ]
}

Judge = Callable[[str], dict[str, bool]]


@dataclass(frozen=True)
class Item:
    """One prompt, and the judge of its reply: figure → does it count?"""

    messages: list[prompts.Message]
    judge: Judge


@dataclass(frozen=True)
class Mark:
    """How many items counted for a figure, of how many."""

    hits: int
    asked: int


Show = Callable[[str, Item, str], None]


def exam(
    model: LanguageModel, writer: Writer, *, least: int, seed: int = 0,
    only: Callable[[str], bool] = lambda name: True,
    show: Show = lambda name, item, reply: None, progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Mark]:  # fmt: skip
    """Return the mark of every figure, over at least `least` items each. `show` is called with
    every reply that was wrong."""
    marks: dict[str, Mark] = {}
    for name, source in SOURCES.items():
        if not only(name):
            continue
        began = time.monotonic()
        rng = random.Random(f"{seed}/{name}")
        for item, reply in replies_of(model, source(writer, rng), _is_enough(marks, name, least)):
            for figure, does_count in item.judge(reply).items():
                mark = marks.get(figure, Mark(0, 0))
                marks[figure] = Mark(mark.hits + does_count, mark.asked + 1)
                if does_count == FIGURES[figure].is_mistake:
                    show(figure, item, reply)
        progress(f"{name}: {time.monotonic() - began:.0f} s")
    if only("pairs"):
        marks |= exam_of_pairs(model, writer, random.Random(f"{seed}/pairs"), least, show)
    return marks


def _is_enough(marks: dict[str, Mark], name: str, least: int) -> Callable[[], bool]:
    """Has every figure of a source been asked for often enough?"""
    return lambda: all(marks.get(figure, Mark(0, 0)).asked >= least for figure in COUNTED[name])


def replies_of(
    model: LanguageModel, items: Iterator[Item], is_enough: Callable[[], bool]
) -> Iterator[tuple[Item, str]]:
    """Yield items with their replies, a chunk at a time, prompts of like length together."""
    while not is_enough():
        chunk = sorted((next(items) for _ in range(2 * BATCH)), key=lambda i: len(str(i.messages)))
        for start in range(0, len(chunk), BATCH):
            part = chunk[start : start + BATCH]
            replies = model.generate(
                [item.messages for item in part], slot=BASE, max_new_tokens=MAX_NEW_TOKENS
            )
            yield from zip(part, (reply.strip() for reply in replies), strict=True)


# -- what somebody told ----------------------------------------------------------


def own_facts(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield direct and indirect questions, and ones to be answered by yes or no, about eight facts of known kinds."""
    while True:
        world, earlier = told_world(writer, rng, 8)
        for fact in _settled(world):
            if fact.subject.is_user:
                yield from about_fact(world, fact, earlier, "own facts, direct")


def careless_facts(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield direct questions where everything was typed carelessly."""
    grammar = writer.grammar
    while True:
        usual, grammar.carelessness = grammar.carelessness, 1.0
        world, earlier = told_world(writer, rng, 8)
        asked = [(fact, world.grammar.question(fact, rng, indirect=0)) for fact in _settled(world)]
        grammar.carelessness = usual
        for fact, question in asked:
            if fact.subject.is_user:
                yield recall(world, fact, question, earlier, "typed carelessly, own facts")


def lists(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield questions for all values of a kind of which two to four were told."""
    grammar = writer.grammar
    many = [
        kind for kind in writer.teller.named_kinds
        if grammar.kinds[kind].get("list_asks") and not grammar.kinds[kind].get("keys")
    ]  # fmt: skip
    while True:
        world, kind = World(grammar, rng), rng.choice(many)
        turns = writer.teller.told_turns(world, 4, kinds=writer.teller.named_kinds)
        for _ in range(rng.randint(2, 4)):
            fact = world.new_fact([kind], share_other=0)
            if fact.subject.is_user:
                turns.append((world.tell(fact), grammar.acknowledgement(fact, rng), [fact]))
        same = world.find(kind, USER)
        if len(same) < 2:
            continue
        earlier = writer.sessions(rng.sample(turns, len(turns)), rng)
        question = grammar.said(rng.choice(grammar.kinds[kind]["list_asks"]), rng)
        values = [fact.value for fact in same]
        yield Item(
            prompts.chat([], question, earlier=earlier),
            lambda reply, values=values: {
                "own facts, lists: all items": all(grade(reply, [value]) for value in values)
            },
        )


def others(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield questions about somebody else, of kinds in which the user has a value too."""
    grammar = writer.grammar
    kinds = [kind for kind in writer.teller.named_kinds if grammar.kinds[kind].get("other")]
    while True:
        world, turns = World(grammar, rng), []
        for kind in rng.sample(kinds, 3):
            own = grammar.new_fact(kind, USER, rng)
            other = grammar.new_fact(kind, world_subject(world, kind), rng)
            for fact in (own, other):
                turns.append((world.tell(fact), grammar.acknowledgement(fact, rng), [fact]))
        earlier = writer.sessions(rng.sample(turns, len(turns)), rng)
        for fact in world.facts:
            mine = [own.value for own in world.find(fact.kind, USER)]
            if fact.subject.is_user or not mine or normalise(fact.value) in map(normalise, mine):
                continue
            question = grammar.question(fact, rng, indirect=0)
            yield Item(
                prompts.chat([], question, earlier=earlier),
                lambda reply, fact=fact, mine=mine: {
                    "other people's facts": grade(reply, [fact.value]),
                    "bleed": grade(reply, mine),
                },
            )


def world_subject(world: World, kind: str) -> Subject:
    """Return somebody the user has not spoken of yet, who can have a name of their own where the kind is one."""
    while True:
        subject = world.grammar.new_subject(world.rng)
        if all(fact.subject.whom != subject.whom for fact in world.facts) and (
            kind != "name" or (not subject.role and subject.my.startswith("my "))
        ):
            return subject


def corrections(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield questions about facts that were told and then replaced."""
    while True:
        world, earlier = told_world(writer, rng, 6, corrected=2)
        for fact in world.facts:
            if fact.earlier and fact.subject.is_user:
                yield Item(
                    prompts.chat([], world.grammar.question(fact, rng, indirect=0), earlier=earlier),
                    lambda reply, fact=fact: {
                        "corrections: the latest value": grade(reply, [fact.value], fact.earlier),
                        "stale": grade(reply, fact.earlier),
                    },
                )  # fmt: skip


def told_now(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield questions about facts of the transcript that the chat itself has just replaced."""
    grammar = writer.grammar
    while True:
        world, earlier = told_world(writer, rng, 6)
        single = [fact for fact in _settled(world) if len(_same(world, fact)) == 1]
        if not single:
            continue
        fact = rng.choice(single)
        now = [(world.tell_corrected(fact), rng.choice(["Noted.", "Thanks for telling me."]))]
        question = grammar.question(fact, rng, indirect=0)
        yield Item(
            prompts.chat(now, question, earlier=earlier),
            lambda reply, fact=fact: {
                "a value given in this chat wins": grade(reply, [fact.value], fact.earlier)
            },
        )


def never_told(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield questions of known kinds about what was not told, near misses among them."""
    while True:
        world, earlier = told_world(writer, rng, 8)
        for _ in range(4):
            if unknown := world.ask_unknown(writer.teller.named_kinds):
                yield Item(
                    prompts.chat([], unknown[0], earlier=earlier),
                    lambda reply: {"abstains when not told": is_abstention(reply)},
                )


def new_kinds(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield direct questions about facts of kinds that are of this side alone."""
    kinds = writer.teller.open_kinds
    while True:
        world, earlier = told_world(writer, rng, 6, kinds=kinds)
        for fact in _settled(world):
            if ":" in fact.kind:
                question = world.grammar.question(fact, rng, indirect=0)
                yield recall(world, fact, question, earlier, "kinds that no training text has")


def long_transcripts(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield questions of all sorts about a transcript of forty turns."""
    figure = "40 turns: all of it"

    def pooled(items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            yield Item(
                item.messages,
                lambda reply, judge=item.judge: {
                    figure: all(
                        hit != FIGURES[name].is_mistake for name, hit in judge(reply).items()
                    )
                },
            )

    while True:
        world, earlier = told_world(writer, rng, 18, turns=LONG_TRANSCRIPT)
        for fact in rng.sample(world.facts, 8):
            if len(_same(world, fact)) == 1 and not fact.earlier:
                yield from pooled(about_fact(world, fact, earlier, figure))
            elif fact.earlier:
                yield recall(world, fact, world.grammar.question(fact, rng, indirect=0), earlier, figure)  # fmt: skip
        for _ in range(3):
            if unknown := world.ask_unknown(writer.teller.named_kinds):
                yield Item(
                    prompts.chat([], unknown[0], earlier=earlier),
                    lambda reply: {figure: is_abstention(reply)},
                )


def told_world(
    writer: Writer, rng: random.Random, number: int, *, kinds: list[str] | None = None,
    corrected: int = 0, turns: int = 0,
) -> tuple[World, str]:  # fmt: skip
    """Return somebody who told `number` facts (of the named kinds, if no others are given), some
    of which were then corrected, and the transcript, filled with idle turns up to `turns`."""
    world = World(writer.grammar, rng)
    told = writer.teller.told_turns(world, number, kinds=kinds or writer.teller.named_kinds)
    single = [fact for fact in world.facts if len(_same(world, fact)) == 1 and not fact.earlier]
    for fact in rng.sample(single, min(corrected, len(single))):
        told.append((world.tell_corrected(fact), writer.grammar.acknowledgement(fact, rng), [fact]))
    while len(told) < turns:
        told.insert(rng.randrange(len(told) + 1), (*writer.teller.idle_turn(world), []))
    return world, writer.sessions(told, rng)


def about_fact(world: World, fact: Fact, earlier: str, figure: str) -> Iterator[Item]:
    """Yield what can be asked about one fact that was told once."""
    grammar, rng = world.grammar, world.rng
    yield recall(world, fact, grammar.question(fact, rng, indirect=0), earlier, figure)
    if not fact.subject.is_user:
        return
    if grammar.part(fact.kind, fact.subject).get("indirect"):
        question = grammar.question(fact, rng, indirect=1)
        yield recall(world, fact, question, earlier, "own facts, indirect")
    if len(_same(world, fact)) == 1:
        value, word = rng.choice([(fact.value, "yes"), (world.other_value(fact), "no")])
        yield Item(
            prompts.chat([], grammar.yes_no(fact, value, rng), earlier=earlier),
            lambda reply, word=word: {"own facts, yes or no": says(reply, word)},
        )


def recall(world: World, fact: Fact, question: str, earlier: str, figure: str) -> Item:
    """Return the item that asks a question whose answer is the fact's value."""
    expect, reject = [other.value for other in _same(world, fact)], list(fact.earlier)
    counts_abstentions = figure == "own facts, direct"

    def judge(reply: str) -> dict[str, bool]:
        marks = {figure: grade(reply, expect, reject)}
        return marks | {"wrongly abstains": is_abstention(reply)} if counts_abstentions else marks

    return Item(prompts.chat([], question, earlier=earlier), judge)


def says(reply: str, word: str) -> bool:
    """Does the reply say yes, or no, and claim to know?"""
    other = "no" if word == "yes" else "yes"
    return holds(reply, word) and not holds(reply, other) and not is_abstention(reply)


def _settled(world: World) -> list[Fact]:
    return [fact for fact in world.facts if not fact.earlier]


def _same(world: World, fact: Fact) -> list[Fact]:
    return world.find(fact.kind, fact.subject, fact.key)


# -- films -----------------------------------------------------------------------


def best_known(writer: Writer, rng: random.Random) -> Iterator[Item]:
    yield from film_items(writer, rng, writer.best_known, "films: the best known")  # fmt: skip


def whole_catalogue(writer: Writer, rng: random.Random) -> Iterator[Item]:
    yield from film_items(writer, rng, writer.films, "films: the whole catalogue")


def film_items(writer: Writer, rng: random.Random, films: list[Film], figure: str) -> Iterator[Item]:  # fmt: skip
    """Yield a question about the year, the director, the genre and a leading actor of each film."""
    lines, said = writer.grammar.films["questions"], writer.grammar.said
    while True:
        for film in rng.sample(films, len(films)):
            known = {
                "year": [str(film.year)],
                "director": film.directors,
                "actor": film.actors,
                "genre": [name for genre in film.genres for name in GENRES[genre]],
            }
            for what, values in known.items():
                if values:
                    yield Item(
                        prompts.chat([], said(rng.choice(lines[what]["asks"]), rng, title=film.title)),
                        lambda reply, values=values: {figure: any(holds(reply, v) for v in values)},
                    )  # fmt: skip


def unknown_films(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield questions about films that do not exist."""
    while True:
        question, _ = writer.about_films.unknown_turn(rng)
        yield Item(
            prompts.chat([], question),
            lambda reply: {"films: says that it does not know one": does_not_know(reply)},
        )


def does_not_know(reply: str) -> bool:
    """Does the reply say that it does not know a film, and name none of its years?"""
    return is_abstention(reply) and not any(char.isdigit() for char in reply)


def recommendations(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield wishes of somebody who loves a genre, hates another and has seen some films."""
    grammar, catalogue = writer.grammar, Catalogue(writer.films)
    while True:
        world = World(grammar, rng)
        turns = writer.about_films.taste_turns(world, 4)
        turns += writer.teller.told_turns(world, 3, kinds=writer.teller.named_kinds)
        earlier = writer.sessions(rng.sample(turns, len(turns)), rng)
        loved, hated, _ = world.taste()
        wish = rng.choice(["", *sorted(set(GENRES) - set(hated))])
        asked = writer.about_films.wish(rng, wish or "any")
        wanted = {wish} if wish else set(loved)
        yield Item(
            prompts.chat([], asked, earlier=earlier),
            lambda reply, world=world, wanted=wanted: of_suggestion(reply, world, wanted, catalogue),
        )  # fmt: skip


def of_suggestion(reply: str, world: World, wanted: set[str], catalogue: Catalogue) -> dict[str, bool]:  # fmt: skip
    """Return what is right about a suggestion: a film of the catalogue, of a wanted genre if there
    are any, and none that is hated or seen."""
    _, hated, seen = world.taste()
    mentioned = catalogue.mentioned(reply)
    named = [film for film in mentioned if len(film.title) > 3] or mentioned  # "It", "Up", "Her"
    return {
        "recommendations: a real title": bool(named),
        "recommendations: fits the wish": bool(named)
        and all(not wanted or bool(set(film.genres) & wanted) for film in named),
        "recommendations: none hated or seen": bool(named)
        and all(not set(film.genres) & set(hated) and film.title.lower() not in seen for film in named),
    }  # fmt: skip


def verdicts(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield questions whether a film would please somebody who told three tastes."""
    while True:
        world = World(writer.grammar, rng)
        turns = writer.about_films.taste_turns(world, 3)
        turns += writer.teller.told_turns(world, 4, kinds=[k for k in writer.teller.named_kinds if k not in GENRE_TASTES])  # fmt: skip
        earlier = writer.sessions(rng.sample(turns, len(turns)), rng)
        for _ in range(3):
            if asked := world.ask_would_like(writer.films):
                question, answer = asked
                yield Item(
                    prompts.chat([], question, earlier=earlier),
                    lambda reply, answer=answer: {
                        "would it please: the right verdict": verdict(reply) == verdict(answer)
                    },
                )


def verdict(reply: str) -> str:
    """Return "yes", "no" or "unsure": what a reply says about a film that may please; else nothing."""
    if holds(reply, "haven't told me"):
        return "unsure"
    reply = reply.rpartition(". You ")[2]  # "No Time to Die is an action film. You ..."
    says_yes, says_no = holds(reply, "yes"), holds(reply, "no") or holds(reply, "not")
    return "" if says_yes == says_no else "yes" if says_yes else "no"


# -- questions about a message -----------------------------------------------------


def exam_of_pairs(
    model: LanguageModel, writer: Writer, rng: random.Random, least: int, show: Show
) -> dict[str, Mark]:
    """Return how many of the question-answer pairs that the model writes about eight messages,
    sixty a person, are right, and to how many facts three wordings were written."""
    right, pairs, covered, facts = 0, 0, 0, 0
    while pairs < least or facts < least:
        world = World(writer.grammar, rng)
        turns = writer.teller.told_turns(world, 8, kinds=writer.teller.named_kinds)
        earlier = writer.sessions(turns, rng)
        tasks = [
            (message, told, kind)
            for kind in prompts.QUESTION_KINDS
            for message, _, told in turns
            if told and all(fact.value.lower() in message.lower() for fact in told)
        ]
        wordings: dict[str, set[str]] = {}
        number = 0
        for round_of_questions in range(3):
            messages = [prompts.write_questions(earlier, message, kind) for message, _, kind in tasks]  # fmt: skip
            written = model.generate(messages, slot=BASE, max_new_tokens=MAX_NEW_TOKENS, temperature=0.7, seed=round_of_questions)  # fmt: skip
            for (_, told, kind), asked, text in zip(tasks, messages, written, strict=True):
                for question, value in parse_pairs(text):
                    if number == QUESTIONS_A_PERSON:
                        break
                    number += 1
                    is_right = right_pair(question, value, kind, told)
                    right, pairs = right + is_right, pairs + 1
                    if is_right and kind != "yes or no":
                        wordings.setdefault(normalise(value), set()).add(normalise(question))
                    if not is_right:
                        line = f"{question} | {value}"
                        show("question-answer pairs: right", Item(asked, lambda reply: {}), line)
        values = {
            normalise(fact.value) for _, told, _ in tasks for fact in told if not fact.earlier
        }
        facts += len(values)
        covered += sum(len(wordings.get(value, ())) >= 3 for value in values)
    return {
        "question-answer pairs: right": Mark(right, pairs),
        "question-answer pairs: facts with three wordings": Mark(covered, facts),
    }


QUESTIONS_A_PERSON = 60


def right_pair(question: str, value: str, kind: str, told: list[Fact]) -> bool:
    """Is the answer what the message told, and does the question not give it away?"""
    values = [fact.value for fact in told]
    if kind == "yes or no":
        is_named = any(holds(question, one) for one in values)
        return normalise(value) == ("yes" if is_named else "no")
    is_told = normalise(value) in map(normalise, values)
    return is_told and not holds(question, value)


SOURCES: dict[str, Callable[[Writer, random.Random], Iterator[Item]]] = {
    "own": own_facts, "careless": careless_facts, "lists": lists, "others": others,
    "corrections": corrections, "now": told_now, "never": never_told, "new kinds": new_kinds,
    "long": long_transcripts, "best known": best_known, "catalogue": whole_catalogue,
    "unknown films": unknown_films, "recommendations": recommendations, "verdicts": verdicts,
}  # fmt: skip
"""Where the items come from, in the order they are asked."""

COUNTED = {
    "own": ["own facts, direct", "own facts, indirect", "own facts, yes or no"],
    "careless": ["typed carelessly, own facts"], "lists": ["own facts, lists: all items"],
    "others": ["other people's facts"], "corrections": ["corrections: the latest value"],
    "now": ["a value given in this chat wins"], "never": ["abstains when not told"],
    "new kinds": ["kinds that no training text has"], "long": ["40 turns: all of it"],
    "best known": ["films: the best known"], "catalogue": ["films: the whole catalogue"],
    "unknown films": ["films: says that it does not know one"],
    "recommendations": ["recommendations: a real title"],
    "verdicts": ["would it please: the right verdict"],
}  # fmt: skip
"""The figures of which a source must give enough."""
