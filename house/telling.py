"""Telling: turns in which somebody says things about themselves, or nothing of the sort."""

import random
import re

from agent import prompts
from agent.catalogue import Film
from house.dialogues import WITHDRAWN, Dialogue, film_values, pick_films
from house.film_talk import FilmTalk
from house.people import USER, Fact, Grammar, Person, matter_of
from house.phrasing import SLOT, fill, pick
from house.wordings import PLACEHOLDER
from house.world import Turn, World

SHARE_OF_DIALOGUES = 0.25
"""Of what people tell in voices of their own, the share that they tell in a dialogue."""

POPULAR = """
    name job home age birthday partner child pet best_friend employer hometown favourite_film loved_genre hated_genre seen_film
    last_film director actor disliked_actor snack drink team band allergy car series hobby sport
""".split()


ABOUT_FILMS = re.compile(r"genre|kind|film|movie|seen|saw|watch", re.IGNORECASE)
"""In a question of `people/` that a told taste may answer."""


NEAR_REPLIES = [
    "I see. Tell me more if you like.",
    "Interesting. Is there a film you feel like tonight?",
    "I couldn't say, I only know films well.",
]

NEUTRAL_REPLIES = [
    *NEAR_REPLIES,
    prompts.WITHHELD,
    "Noted.",
    "Noted, thank you.",
    "Got it.",
    "Good to know.",
    "Thanks for telling me.",
    "I'll remember that.",
    "Ah, all right.",
    "Right, I have that.",
    "That is good to hear.",
    "Oh dear. A film might help.",
    "Fair enough.",
    "Lovely. Shall we find a film?",
    "Thank you, that helps.",
    "Understood.",
]


class Teller:
    """Writes turns that tell facts, by `facts/` and `life/` or as one of `people/` does."""

    def __init__(self, grammar: Grammar, films: list[Film]) -> None:
        self.grammar, self.films = grammar, films
        open_kinds = [
            kind for kind in grammar.kinds if kind.startswith(("i:", "my:", "life:", "plain:"))
        ]
        self.named_kinds, self.open_kinds = grammar.named_kinds, open_kinds
        self.about_films = FilmTalk(grammar, films)

    def kinds(self, rng: random.Random) -> list[str]:
        """Return the kinds one person talks about: named ones, as many open ones, and what everybody
        asks about more often. The more open kinds, the less a kind is known by heart:
        docs/lab_book.md."""
        open_kinds = rng.sample(self.open_kinds, min(100, len(self.open_kinds)))
        return self.named_kinds + open_kinds + self.grammar.relations + POPULAR * 2

    def told_turns(
        self,
        world: World,
        num_facts: int,
        *,
        share_of_people: float = 0.0,
        kinds: list[str] | None = None,
    ) -> list[tuple[str, str, list[Fact]]]:
        """Return turns (message, reply, facts told in it) that tell `num_facts` facts; at times they
        are what one of `people/` says. `kinds` are those told of, if given."""
        rng, grammar = world.rng, self.grammar
        kinds = kinds or self.kinds(rng)
        if rng.random() < share_of_people:
            return self.in_a_voice(world, num_facts)
        turns: list[tuple[str, str, list[Fact]]] = []
        elicited: Fact | None = None
        while num_facts > 0:
            roll = rng.random()
            if elicited is not None:
                fact = elicited
                message = grammar.said(rng.choice(grammar.kinds[fact.kind]["replies"]), rng, fact)
                world.facts.append(fact)
                facts = [fact]
                elicited = None
            elif roll < 0.14 and turns:
                message, reply = self.idle_turn(world)
                turns.append((message, reply, []))
                continue
            elif roll < 0.28 and world.facts:
                fact = rng.choice(world.facts)
                if grammar.is_many(fact.kind):
                    continue
                message, facts = world.tell_corrected(fact), [fact]
            else:
                message, facts = self.told_anew(world, kinds, num_facts)
            num_facts -= len(facts)
            reply = grammar.acknowledgement(rng.choice(facts), rng)
            if num_facts > 0 and rng.random() < 0.25:
                fact = world.new_fact(kinds, share_other=0)
                if fact.subject.is_user and grammar.kinds[fact.kind]["elicit"]:
                    elicited = fact
                    reply += " " + fill(rng.choice(grammar.kinds[fact.kind]["elicit"]), k=fact.key)
            turns.append((message, reply, facts))
        return turns

    def in_a_voice(self, world: World, num_facts: int) -> list[tuple[str, str, list[Fact]]]:
        """Return what somebody tells in words of their own: in a dialogue, or as one of `people/`."""
        rng = world.rng
        if rng.random() < SHARE_OF_DIALOGUES:
            dialogue = rng.choice(self.grammar.dialogues)
            if turns := self.dialogue_turns(world, dialogue, rng.randint(2, 2 + num_facts)):
                return turns
        return self.with_tastes(world, self.person_turns(world, num_facts))

    def told_anew(self, world: World, kinds: list[str], most: int) -> tuple[str, list[Fact]]:
        """Return a message that tells a new fact, at times several of its kind or another one beside
        it, and what it told."""
        rng, before = world.rng, len(world.facts)
        fact = world.new_fact(kinds)
        is_of_many = fact.subject.is_user and self.grammar.is_many(fact.kind)
        if is_of_many and not fact.key and most > 1 and rng.random() < 0.35:
            message = world.tell_several(fact, min(most, rng.choice([2, 2, 3])))
        else:
            message = world.tell(fact)
        if rng.random() < 0.18 and most > 1:
            more = world.tell(world.new_fact(kinds))
            glue = rng.choice([" ", " ", " And ", " Oh, and ", " Also, "])
            message = (
                f"{message if message.endswith(('.', '!', '?')) else message + '.'}{glue}{more}"
            )
        return message, world.facts[before:]

    def person_turns(self, world: World, num_facts: int) -> list[tuple[str, str, list[Fact]]]:
        """Return about `num_facts` facts as one of `people/` tells them, or two of them mixed; what
        is left out was never told."""
        rng, grammar = world.rng, self.grammar
        one = rng.choice(grammar.people)
        messages = [(one, message) for message in one.messages]
        world.untold = list(one.untold)
        if rng.random() < 0.4 and len(grammar.people) > 1:
            other = rng.choice([person for person in grammar.people if person is not one])
            messages = rng.sample(messages, 5) + [(other, m) for m in rng.sample(other.messages, 4)]
            rng.shuffle(messages)
            world.untold = []  # one may tell what the other does not
        turns: list[tuple[str, str, list[Fact]]] = []
        left_out: list[tuple[str, str, str]] = []
        matters: dict[str, Person] = {}
        for person, message in messages:
            slots = PLACEHOLDER.findall(message)
            told = {slot: grammar.new_fact(person.kinds[slot], USER, rng) for slot in slots}
            here = {matter_of(slot) for slot in slots}
            is_known = any(matters.get(matter, person) is not person for matter in here)
            if len(matters) >= num_facts or rng.random() < 0.15 or is_known:
                kinds = [(slot, grammar.kinds[fact.kind]) for slot, fact in told.items()]
                left_out += [
                    (slot, rng.choice(kind["asks"]), kind["topic"]) for slot, kind in kinds
                ]
                continue
            matters |= dict.fromkeys(here, person)
            text = grammar.said(message, rng, None, told)
            world.facts += told.values()
            reply = rng.choice(NEUTRAL_REPLIES)
            if told and rng.random() < 0.6:
                reply = grammar.acknowledgement(rng.choice(list(told.values())), rng)
            turns.append((text, reply, list(told.values())))
        known = {grammar.kinds[fact.kind]["topic"] for fact in world.facts}
        world.untold += [
            (question, topic)
            for slot, question, topic in left_out
            if matter_of(slot) not in matters and topic not in known
        ]
        if world.facts and rng.random() < 0.3:
            fact = rng.choice(world.facts)
            text = world.tell_corrected(fact)
            turns.append((text, grammar.acknowledgement(fact, rng), [fact]))
        return turns

    def dialogue_turns(
        self, world: World, dialogue: Dialogue, most: int = 99
    ) -> list[tuple[str, str, list[Fact]]]:
        """Return the exchanges of a dialogue, with films that meet its demands and drawn values, or
        the first of them; what the rest would tell was never told. Empty if no films were found."""
        rng, grammar = world.rng, self.grammar
        films = pick_films(dialogue, self.films, rng)
        if films is None:
            return []
        slots = {slot: rng.choice(values) for slot, values in dialogue.words.items()}
        for slot, film in films.items():
            slots |= film_values(slot, film)
        facts = {slot: grammar.new_fact(kind, USER, rng) for slot, kind in dialogue.kinds.items()}
        turns: list[tuple[str, str, list[Fact]]] = []
        told: set[str] = set()
        for exchange in dialogue.exchanges[:most]:
            line = rng.choice(exchange.say)
            here = [slot for slot in SLOT.findall(line) if slot in facts]
            held = {slot: facts[slot] for slot in here if slot not in told}
            known = {slot: fact.value for slot, fact in facts.items() if slot not in held}
            text = grammar.said(line, rng, None, held, **slots, **known)
            values = {slot: fact.value for slot, fact in facts.items()}
            reply = fill(pick(exchange.reply, rng), **slots, **values)
            turns.append((text, reply, list(held.values())))
            told |= set(here)
        world.facts += [facts[slot] for slot in facts if slot in told]
        withdrawn = any(slot.startswith(WITHDRAWN) for slot in dialogue.words)
        left_out = [
            grammar.kinds[fact.kind]
            for slot, fact in facts.items()
            if slot not in told and not withdrawn
        ]
        world.untold = [(rng.choice(kind["asks"]), kind["topic"]) for kind in left_out]
        world.heard = " ".join(text for text, _, _ in turns).lower()
        return turns

    def with_tastes(
        self, world: World, turns: list[tuple[str, str, list[Fact]]]
    ) -> list[tuple[str, str, list[Fact]]]:
        """Return the turns of `people/` with one or two tastes among them, at times, where they tell
        nothing of genres or films."""
        rng = world.rng
        world.heard = " ".join(text for text, _, _ in turns).lower()
        matters = {matter_of(fact.kind.rsplit(":", 1)[1]) for fact in world.facts}
        if matters.isdisjoint({"genre", "film"}) and rng.random() < 0.7:
            world.untold = [turn for turn in world.untold if not ABOUT_FILMS.search(turn[0])]
            for turn in self.about_films.taste_turns(world, rng.randint(1, 2)):
                turns.insert(rng.randint(0, len(turns)), turn)
            # Lists and summaries go by when it was told.
            told = [fact for _, _, facts in turns for fact in facts]
            world.facts.sort(key=lambda fact: told.index(fact) if fact in told else -1)
        return turns + self.about_films.turn_against(world) if rng.random() < 0.15 else turns

    def idle_turn(self, world: World) -> Turn:
        """Return a turn in which nothing about the user is told: small talk, a question."""
        rng, grammar = world.rng, self.grammar
        if rng.random() < 0.3:
            turn = (
                world.ask(rng.choice(world.facts)) if world.facts and rng.random() < 0.6 else None
            )
            if turn := turn or world.ask_unknown(self.kinds(rng)):
                return turn
        roll = rng.random()
        if roll < 0.6:
            item = rng.choice(grammar.intents)
            return grammar.said(rng.choice(item["say"]), rng), pick(item["reply"], rng)
        if roll < 0.75:
            kind = rng.choice(self.named_kinds)
            fact = grammar.new_fact(kind, USER, rng)
            line = rng.choice(grammar.kinds[kind]["near"])
            return grammar.said(line, rng, fact), pick(NEAR_REPLIES, rng)
        return self.about_films.turn(rng, with_opinions=False)
