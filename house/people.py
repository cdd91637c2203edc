"""Facts about invented people: how they are told, asked, answered, denied.

A `Fact` is one kind of `house/wordings/facts/` with a subject and a value; a
`Grammar` knows the lines of one side of the split (train, dev or final) and makes
sentences of them. User lines are split; the assistant's own lines are not.
"""

import functools
import random
from dataclasses import dataclass, field
from pathlib import Path

from agent.catalogue import join_and
from house.dialogues import Dialogue, Exchange
from house.open_kinds import (
    activity_kind,
    attribute_kind,
    first_person,
    life_kind,
    open_kind,
    relation_kind,
)
from house.phrasing import Thesaurus, careless, fill, is_about, opened, pick, stopped, typo
from house.values import NAMES, Values, invented_word
from house.wordings import WORDINGS_DIR, normalise, read_yaml, split
from house.wordings import side as side_of

USER_FIELDS = {
    "states", "replies", "near", "asks", "clauses", "indirect", "yesno", "corrections", "list_asks",
    "fillers", "carriers", "prefixes", "suffixes", "say", "taste_asks", "reject", "accept",
    "user_opinions", "seen_asks", "theme_asks", "which_asks", "before", "thanks",
}  # fmt: skip
"""Lists of lines that the user says: these are split into train, dev and final."""


CARELESS = 0.15
"""Share of the user's lines that are typed carelessly."""

VARIED = 0.15
"""Share of the user's lines in training in which phrases are exchanged."""


@dataclass(frozen=True)
class Subject:
    """Whom a fact is about: `my` is how the user names them ("my friend Oona"), `your` how the
    assistant does; later the user may say `short` ("Oona") or `role` ("my friend") as well."""

    my: str = ""
    your: str = ""
    short: str = ""
    role: str = ""

    @property
    def is_user(self) -> bool:
        return not self.my

    @property
    def whom(self) -> str:
        """The same for the same person, named or not."""
        return self.role or self.my


USER = Subject()


@dataclass
class Fact:
    kind: str
    subject: Subject
    value: str
    key: str = ""
    earlier: list[str] = field(default_factory=list)
    """Values it had before it was corrected, oldest first."""


@dataclass(frozen=True)
class Person:
    """One of `people/`: a person's messages, with slots; slot → kind of fact; what they never tell."""

    messages: list[str]
    kinds: dict[str, str]
    untold: list[tuple[str, str]]
    """Questions, each with its topic."""


class Grammar:
    """Makes sentences out of the wordings of one side."""

    def __init__(self, values: Values, *, side: str = "train") -> None:
        self.values, self.side = values, side
        self.carelessness = CARELESS
        folders = {
            name: dict(_read_folder(WORDINGS_DIR / name))
            for name in ("facts", "talk", "films", "intents")
        }
        self.held_out = held_out_lines(folders) if side == "train" else set()
        synonyms = folders["talk"].pop("synonyms")
        self.thesaurus = Thesaurus(synonyms if side == "train" else {})
        self.kinds = only_side(folders["facts"], side)
        self.named_kinds = list(self.kinds)
        """Those of `facts/`."""
        self._named_asks = {
            normalise(line) for kind in self.kinds.values() for line in kind["asks"]
        }
        for kind in self.kinds.values():
            if more := NAMES.get(kind.get("more", "")):
                kind["values"] = list(dict.fromkeys([*kind["values"], *more]))
        self.talk = only_side(folders["talk"], side)
        self.films = only_side(folders["films"], side)
        intents = only_side(folders["intents"], side)
        self.intents = [
            *self.talk["small_talk"],
            *(item for items in intents.values() for item in items),
        ]
        """What people say that is about no film and tells nothing, each with replies that fit."""
        self.wishes: dict[str, list[str]] = {}
        for item in self.films["wishes"]:
            self.wishes.setdefault(item["wish"], []).extend(item["say"])
        for item in of_side(self.talk.pop("attributes"), side, "noun"):
            self.kinds[f"my:{item['noun']}"] = attribute_kind(item, self.talk["attribute_frames"])
        for item in of_side(self.talk.pop("activities", []), side, "verb"):
            self.kinds[f"i:{item['verb']}"] = activity_kind(item)
        relations = self.talk.pop("relations")
        self.things = split(relations["things"].split(", "), side)
        for item in relations["relations"]:
            self.kinds[f"thing:{item['name']}"] = relation_kind(item, self.things)
        self.relations = [kind for kind in self.kinds if kind.startswith("thing:")]
        self.people = [
            self._person(item)
            for items in _read_folder(WORDINGS_DIR / "people").values()
            for item in items
            if side_of(item["messages"][0]) == side
        ]
        self.dialogues = [
            self._dialogue(item)
            for items in _read_folder(WORDINGS_DIR / "dialogues").values()
            for item in items
            if side_of(item["turns"][0]["say"][0]) == side
        ]
        for items in _read_folder(WORDINGS_DIR / "life").values():
            for item in of_side(items, side, "told"):
                asks = [line for line in item["asks"] if normalise(line) not in self.held_out]
                self.kinds[f"life:{item['told']}"] = life_kind(item | {"asks": asks})

    def _person(self, item: dict) -> "Person":
        """Return one of `people/`, each of its facts a kind of its own."""
        kinds = {fact["slot"]: self._own_kind(fact, item["messages"][0]) for fact in item["facts"]}
        untold = [tuple(line.split(" | ")) for line in item["untold"]]
        return Person(item["messages"], kinds, untold)

    def _dialogue(self, item: dict) -> Dialogue:
        """Return one of `dialogues/`, each of its facts a kind of its own."""
        first = item["turns"][0]["say"][0]
        kinds = {fact["slot"]: self._own_kind(fact, first) for fact in item.get("facts") or []}
        exchanges = [Exchange(turn["say"], turn["reply"]) for turn in item["turns"]]
        films = {slot: wanted or {} for slot, wanted in (item.get("films") or {}).items()}
        return Dialogue(films, item.get("words") or {}, kinds, exchanges)

    def _own_kind(self, fact: dict, whose: str) -> str:
        """Make a fact of one person a kind of its own; return its name. As "plain:" it is told in one
        sentence, without the message, and asked for with the questions that this sentence answers;
        not if it might be taken for a kind of `facts/`."""
        name = f"person:{whose}:{fact['slot']}"
        mine = first_person(fact["topic"])
        clauses = [mine] if mine else [f"the answer to this: {fact['asks'][0].rstrip('?')}"]
        state = first_person(fact["told"][0].lower() + fact["told"][1:])
        state = state[:1].upper() + state[1:] or f"{fact['asks'][0]} {{v}}."
        self.kinds[name] = open_kind(fact, fact["topic"], [state], fact["asks"], clauses)
        plain = [line for line in fact["asks"] if is_about(line, f"{fact['told']} {fact['topic']}")]
        if plain and self._named_asks.isdisjoint(map(normalise, fact["asks"])):
            fact = fact | {"changes": []}
            self.kinds[f"plain:{name}"] = open_kind(fact, fact["topic"], [state], plain, clauses)
        return name

    def is_many(self, kind: str) -> bool:
        """Can the user have several values of this kind?"""
        return self.kinds[kind].get("many") == "true"

    def part(self, kind: str, subject: Subject) -> dict:
        """Return the wordings of a kind for a subject."""
        return self.kinds[kind] if subject.is_user else self.kinds[kind]["other"]

    # -- the user speaks -------------------------------------------------------

    def said(
        self,
        template: str,
        rng: random.Random,
        fact: Fact | None = None,
        told: dict[str, Fact] | None = None,
        /,
        **slots: str,
    ) -> str:
        """Return a user's line as typed: at times in other words, in lower case (the values of
        `fact` and of `told`, slot → fact, then too), without a final stop, or with a slip."""
        if rng.random() < VARIED:
            varied = self.thesaurus.vary(template, rng)
            template = template if normalise(varied) in self.held_out else varied
        roll = rng.random()
        lower = roll < self.carelessness
        if lower:
            template = careless(template, self.talk["typing"], rng)
        elif roll > 0.95:
            template = typo(template, rng)
        elif roll > 0.88:
            lower = True
        if lower or rng.random() < 0.15:
            template = template.rstrip(".") or template
        told = {"v": fact, **(told or {})} if fact is not None else told or {}
        for held in told.values() if lower else ():
            held.value, held.key = held.value.lower(), held.key.lower()
        slots = {name: held.value for name, held in told.items()} | slots
        if fact is not None:
            slots = {"k": fact.key, "my": fact.subject.my} | slots
        return fill(template, lower=lower, **slots)

    def statement(self, fact: Fact, rng: random.Random) -> str:
        line = rng.choice(self.part(fact.kind, fact.subject)["states"])
        return self.framed(self.said(line, rng, fact), rng)

    def framed(self, text: str, rng: random.Random) -> str:
        """Put an opener, a closer or a sentence about nothing around a statement, at times."""
        intros = self.talk["intros"]
        if rng.random() < 0.15:
            opener = rng.choice(intros["prefixes"])
            text = opened(opener, text)
        if rng.random() < 0.12:
            text = stopped(text) + " " + rng.choice(intros["suffixes"])
        while rng.random() < 0.25:
            filler = rng.choice(self.talk["fillers"])
            text = (
                stopped(filler) + " " + text if rng.random() < 0.6 else stopped(text) + " " + filler
            )
        return text

    def question(self, fact: Fact, rng: random.Random, *, indirect: float = 0.15) -> str:
        """Return a question that the fact answers."""
        part = self.part(fact.kind, fact.subject)
        subject = fact.subject
        names = [name for name in (subject.my, subject.short, subject.role) if name]
        slots = {"k": fact.key, "my": rng.choice(names) if names else ""}
        roll = rng.random()
        if roll < indirect and part.get("indirect"):
            return self.said(rng.choice(part["indirect"]), rng, **slots)
        if roll < indirect + 0.3:
            clause = rng.choice(part["clauses"])
            if rng.random() < VARIED:
                clause = self.thesaurus.vary(clause, rng)
            carrier = rng.choice(self.talk["carriers"]["carriers"])
            return self.said(carrier, rng, c=fill(clause, **slots))
        text = self.said(rng.choice(part["asks"]), rng, **slots)
        carriers = self.talk["carriers"]
        if rng.random() < 0.12:
            opener = rng.choice(carriers["prefixes"])
            text = opened(opener, text)
        elif rng.random() < 0.10:
            text = stopped(text) + " " + rng.choice(carriers["suffixes"])
        return text

    def yes_no(self, fact: Fact, value: str, rng: random.Random) -> str:
        line = rng.choice(self.part(fact.kind, fact.subject)["yesno"])
        return self.said(line, rng, v=value, k=fact.key, my=fact.subject.my)

    def correction(self, fact: Fact, rng: random.Random) -> str:
        """Return a line that replaces `fact.earlier[-1]` by `fact.value`."""
        around = self.talk["corrections"]
        if fact.subject.is_user and (rng.random() < 0.6 or fact.kind.startswith("person:")):
            line = rng.choice(self.kinds[fact.kind]["corrections"])
        elif rng.random() < 0.8:
            line = rng.choice(self.part(fact.kind, fact.subject)["states"])
            opener = rng.choice(around["prefixes"])
            line = opened(opener, line)
        else:
            line = stopped(rng.choice(self.part(fact.kind, fact.subject)["states"]))
            line += " " + rng.choice(around["suffixes"])
        return self.said(line, rng, fact, old=fact.earlier[-1])

    # -- the assistant speaks --------------------------------------------------

    def answer(
        self, fact: Fact, rng: random.Random, *, name: str = "answers", value: str = ""
    ) -> str:
        lines = self.part(fact.kind, fact.subject)[name]
        line = pick(lines, rng)
        return fill(line, v=value or fact.value, k=fact.key, your=fact.subject.your)

    def acknowledgement(self, fact: Fact, rng: random.Random) -> str:
        line = pick(self.part(fact.kind, fact.subject)["acks"], rng)
        return fill(line, v=fact.value, k=fact.key, your=fact.subject.your)

    def topic(self, kind: str, subject: Subject, key: str = "") -> str:
        return fill(self.part(kind, subject)["topic"], k=key, your=subject.your)

    def unknown(self, kind: str, subject: Subject, rng: random.Random, key: str = "") -> str:
        """Return what is said about a thing that was never told."""
        is_open = "told" in self.part(kind, subject)
        topic = self.topic(kind, subject, key)
        return self.not_told("that" if is_open and rng.random() < 0.6 else topic, rng)

    def not_told(self, topic: str, rng: random.Random) -> str:
        lines = self.talk["unknown"]["answers"]
        return fill(pick(lines, rng), t=topic)

    # -- making facts ----------------------------------------------------------

    def new_fact(self, kind: str, subject: Subject, rng: random.Random) -> Fact:
        wordings = self.kinds[kind]
        key = rng.choice(wordings["keys"]) if wordings.get("keys") else ""
        if kind.startswith("thing:") and rng.random() < 0.3:
            key = invented_word(rng)  # whatever it is, it is the same word in message and question
        return Fact(kind, subject, self.values.draw(wordings, rng), key)

    def new_subject(self, rng: random.Random) -> Subject:
        if rng.random() < 0.35:
            name = self.values.person_name(rng)
            if rng.random() < 0.3:
                name = f"{rng.choice(NAMES['titles'])} {self.values.surname(rng)}"
            if rng.random() < 0.3:
                return Subject(name, name)
            role = rng.choice(NAMES["relations"])
            return Subject(f"my {role} {name}", f"your {role}", name, f"my {role}")
        relation = rng.choice(NAMES["relations"])
        return Subject(f"my {relation}", f"your {relation}")


@functools.cache
def _read_folder(folder: Path) -> dict:
    """Return the files of a folder by name, read once: it takes seconds, and nobody changes them."""
    return {path.stem: read_yaml(path) for path in sorted(folder.glob("*.yaml"))}


def held_out_lines(data: object, name: str = "") -> set[str]:
    """Return the user's lines of dev and final in a tree, normalised."""
    if isinstance(data, dict):
        return set().union(*(held_out_lines(value, key) for key, value in data.items()))
    if not isinstance(data, list):
        return set()
    lines = [line for line in data if isinstance(line, str) and name in USER_FIELDS]
    found = {normalise(line) for line in lines if side_of(line) != "train"}
    return found.union(*(held_out_lines(item, name) for item in data if not isinstance(item, str)))


def only_side(data: object, side: str, name: str = "") -> object:
    """Return the same tree with the user's lists cut to one side of the split. A list with no
    line on that side is kept whole: it must be said somehow."""
    if isinstance(data, dict):
        return {key: only_side(value, side, key) for key, value in data.items()}
    if isinstance(data, list) and name in USER_FIELDS and all(isinstance(x, str) for x in data):
        return split(data, side) or data
    if isinstance(data, list):
        return [only_side(item, side, name) for item in data]
    return data


def of_side(items: list[dict], side: str, field: str) -> list[dict]:
    """Return the open kinds of one side: those of dev and final are kinds no training text has."""
    return [item for item in items if side_of(item[field]) == side]


def listed(facts: list[Fact]) -> str:
    return join_and([fact.value for fact in facts])


MATTERS = {
    "animal": "dog cat pet horse goat hen parrot rabbit fish budgie hamster donkey pony ferret",
    "place": "town city village place home country where street island station district suburb",
    "friend": "friend mate pal bestie buddy flatmate roommate housemate lodger",
    "partner": "wife husband partner boyfriend girlfriend fiance spouse crush",
    "child": "son daughter child kid girl boy baby eldest youngest twin toddler",
    "family": "brother sister cousin niece nephew aunt uncle nan gran grandson granddaughter sibling",
    "work": "job employer firm boss shop work office company trade colleague assistant apprentice",
    "genre": "genre kind",
    "film": "film movie favfilm comfort hated planned star actor actress",
    "food": "snack food dish treat sweet meal breakfast lunch dinner soup diet cake nibble",
    "drink": "drink tea coffee brew beer glass",
    "trip": "trip holiday travel dream destination journey",
    "number": "age birthday years since lucky",
    "pastime": "hobby sport team club collection craft game",
    "vehicle": "car van bike vehicle scooter lorry truck",
}
"""Words in the names of the slots of `people/` that may stand for the same thing."""


def matter_of(slot: str) -> str:
    """Return what a slot of `people/` is about, itself where no list knows it."""
    return next(
        (
            matter
            for matter, parts in MATTERS.items()
            if any(part in slot for part in parts.split())
        ),
        slot,
    )
