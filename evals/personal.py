"""What the paper leaves out: does a memory abstain, follow corrections, keep people apart, leak, do damage?

A person tells, in two chats, facts of their own, the same kinds about others, and a taste; the second chat
corrects two of the facts. The figures are those of docs/method.md.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agent.catalogue import GENRES
from agent.memory.probe import grade, holds, is_abstention
from evals.damage import Unharmed
from evals.data import Item, Question, Turns
from evals.examiner import Answer, Examiner
from house.documents import Writer
from house.exam.films import verdict
from house.exam.told import world_subject
from house.people import USER, Fact
from house.world import World

NUM_OWN, NUM_TWINS, NUM_CORRECTED, NUM_UNTOLD, NUM_NOW, NUM_VERDICTS, NUM_FILMS = (
    4,
    2,
    2,
    8,
    3,
    6,
    24,
)
"""Of a person: facts of their own, facts told of them and of somebody else, facts corrected, questions about
what was not told, facts told anew in the chat, films that may please, films asked about."""


@dataclass(frozen=True)
class Person:
    """An invented user, and what is asked."""

    items: list[Item]
    own: list[Question]
    corrected: list[Question]
    others: list[tuple[Question, tuple[str, ...]]]
    """Each with what the user told of themselves."""
    untold: list[str]
    now: list[tuple[tuple[str, str], Question]]
    """Each with the turn that has just given another value."""
    verdicts: list[tuple[str, str]]
    """Questions whether an unseen film would please, each with yes or no."""


def person(writer: Writer, seed: str) -> Person:
    """Return an invented person."""
    rng = random.Random(f"person {seed}")
    grammar, world = writer.grammar, World(writer.grammar, rng)
    single = [kind for kind in writer.teller.named_kinds if not grammar.is_many(kind)]
    shared = [kind for kind in single if grammar.kinds[kind].get("other")]
    twins: list[tuple[Fact, Fact]] = []
    own: list[Fact] = []
    turns: list[tuple[str, str]] = []

    def tell(fact: Fact) -> Fact:
        turns.append((world.tell(fact), grammar.acknowledgement(fact, rng)))
        return fact

    for kind in rng.sample(shared, NUM_TWINS):
        mine = world.fact_about(kind, USER)
        twins.append((tell(mine), tell(world.fact_about(kind, world_subject(world, kind)))))
    while len(own) < NUM_OWN:
        fact = world.new_fact(single, share_other=0)
        if fact.subject.is_user:
            own.append(tell(fact))
    for turn in writer.about_films.taste_turns(world, 3):
        turns.append(turn[:2])
    rng.shuffle(turns)
    corrections = own[:NUM_CORRECTED]
    second = tuple(
        (world.tell_corrected(fact), grammar.acknowledgement(fact, rng)) for fact in corrections
    )

    def asked(fact: Fact, *rivals: str) -> Question:
        text = grammar.question(fact, rng, indirect=0)
        return Question(text, (fact.value,), (fact.value,), (*fact.earlier, *rivals))

    now = []
    for fact in (
        own[NUM_CORRECTED:] + [twin[0] for twin in twins][: NUM_NOW - NUM_OWN + NUM_CORRECTED]
    ):
        anew = Fact(fact.kind, fact.subject, fact.value, fact.key)
        message = world.tell_corrected(anew)
        now.append(((message, "Noted."), asked(anew)))
    untold = [
        turn[0] for _ in range(NUM_UNTOLD) if (turn := world.ask_unknown(writer.teller.named_kinds))
    ]
    first, rest = tuple(turns), second
    return Person(
        [Item(f"{seed}/1", first, ()), Item(f"{seed}/2", rest, ())],
        [asked(fact) for fact in [*own[NUM_CORRECTED:], *(twin[0] for twin in twins)] for _ in range(2)],
        [asked(fact) for fact in corrections for _ in range(3)],
        [(asked(other, mine.value), (mine.value,)) for mine, other in twins for _ in range(3)],
        list(dict.fromkeys(untold)), now, verdicts_of(world, writer),
    )  # fmt: skip


def verdicts_of(world: World, writer: Writer) -> list[tuple[str, str]]:
    """Return questions whether a film that was not seen would please, half to be answered with yes, half
    with no."""
    seen = world.taste()[2]
    found: dict[str, list[tuple[str, str]]] = {"yes": [], "no": []}
    for _ in range(200):
        if not (turn := world.ask_would_like(writer.films)):
            continue
        right = verdict(turn[1])
        has_room = right in found and len(found[right]) < NUM_VERDICTS // 2
        if has_room and not any(holds(turn[0], title) for title in seen):
            found[right].append((turn[0], right))
    return found["yes"] + found["no"]


def personal(examiner: Examiner, who: Person, stranger: Person, writer: Writer, seed: int) -> dict:
    """Return counts [hits, asked] of each figure, the damage in nats, and the cost."""
    examiner.reset(seed)
    examiner.learn(stranger.items[:1])  # of whom nothing may be left
    examiner.reset(seed)
    films = film_questions(writer, random.Random(f"films {who.items[0].name}"))
    unharmed = Unharmed(examiner)
    before = examiner.ask(films)
    # The ceiling sees one context: all that was said.
    for item in [as_one(who.items)] if examiner.arm.is_oracle else who.items:
        examiner.learn([item])

    def ask(questions: Sequence[Question], chat: Turns = ()) -> list[Answer]:
        return examiner.ask(questions, own=0, chat=chat)

    recalled, corrected = ask(who.own), ask(who.corrected)
    others = ask([question for question, _ in who.others])
    untold = ask([open_question(text) for text in who.untold])
    now = [answer for turn, question in who.now for answer in ask([question], (turn,))]
    verdicts = ask([open_question(text) for text, _ in who.verdicts])
    said = " ".join(message for message, _ in as_one(who.items).turns)
    foreign = [q for q in stranger.own if not any(holds(said, value) for value in q.expect)]
    found = {
        "recall": [answer.is_right for answer in recalled],
        "latest value": [answer.is_right for answer in corrected],
        "stale": [grade(answer.reply, answer.question.reject) for answer in corrected],
        "others": [answer.is_right for answer in others],
        "bleed": [
            grade(answer.reply, mine) for answer, (_, mine) in zip(others, who.others, strict=True)
        ],
        "abstention": [is_abstention(answer.reply) for answer in untold],
        "context beats weights": [answer.is_right for answer in now],
        "leak": [answer.is_right for answer in ask(foreign)],
        "taste on unseen films": [
            verdict(answer.reply) == right
            for answer, (_, right) in zip(verdicts, who.verdicts, strict=True)
        ],
        "film questions before": [answer.is_right for answer in before],
        "film questions after": [answer.is_right for answer in ask(films)],
    }
    return {
        "cost": examiner.cost(),
        "damage_nats": round(unharmed.damage(), 5),
        "memory_tokens": sum(answer.memory_tokens for answer in recalled) / len(recalled),
        "counts": {name: [sum(hits), len(hits)] for name, hits in found.items()},
        "replies": [
            [answer.question.text, answer.question.expect, answer.reply]
            for answer in [*recalled, *corrected, *others, *untold, *now]
        ],
    }  # fmt: skip


def as_one(items: Sequence[Item]) -> Item:
    """Return all contexts as one, in which the later ones follow."""
    return Item(items[0].name, tuple(turn for item in items for turn in item.turns), ())


def open_question(text: str) -> Question:
    """Return a question whose reply is judged otherwise than by a value."""
    return Question(text, (), ("",))


def film_questions(writer: Writer, rng: random.Random) -> list[Question]:
    """Return questions about well-known films."""
    films = rng.sample(writer.best_known, NUM_FILMS)
    asked = [Question(f"Who directed {f.title}?", f.directors, f.directors) for f in films[::2]]
    return asked + [
        Question(f"What genre is {f.title}?", names := tuple(n for g in f.genres for n in GENRES[g]), names)
        for f in films[1::2]
    ]  # fmt: skip
