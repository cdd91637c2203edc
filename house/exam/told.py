"""Items about what somebody told: everything of it stands in the prompt."""

import random
from collections.abc import Iterator

from agent import prompts
from agent.memory.probe import grade, holds, is_abstention, normalise
from house.documents import Writer
from house.exam.figures import FIGURES, Item
from house.people import USER, Fact, Subject
from house.world import World

LONG_TRANSCRIPT = 40
"""Turns of the longest transcripts that are asked about."""


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
