"""Documents: what the house model reads, as lists of chat messages.

    chat        a transcript of earlier chats in the prompt, or none; then a chat with questions
    questions   a transcript, then the task of writing question-answer pairs about its messages
    films       what films are about, who made them, wishes and suggestions

Every assistant message of the chat is trained; the transcript in the system message is not.
"""

import random
import re
from collections.abc import Callable

from agent import prompts
from agent.catalogue import Film
from house.fame import best_known, by_fame
from house.people import Fact, Grammar
from house.phrasing import fill
from house.telling import NEUTRAL_REPLIES, Teller
from house.wordings import normalise
from house.world import SAYS_SEEN, TASTES, Turn, World

SHARE_OF_PEOPLE = 0.5
"""Of what is told earlier, the share that somebody of `people/` tells: the text nearest to use. Chosen: at three
quarters, the kinds of `facts/` were told too seldom to be known (docs/lab_book.md)."""

SHARES = [0.36, 0.22, 0.16, 0.13, 0.13]
"""Of chats with questions, wandering ones, dialogues, questions written about a message, film talk."""

TELLS_OF_FILMS = SAYS_SEEN | TASTES | {"watchlist", "disliked_actor"}
"""Kinds of fact that a suggestion in a dialogue might go against."""

RECALLED = re.compile(r"You(r|'re|'ve)? (?!haven't)")
"""How an answer begins that gives what was told."""


class Writer:
    """Writes documents of every sort; `level` in 0..1 makes them longer and harder (curriculum)."""

    def __init__(self, grammar: Grammar, films: list[Film]) -> None:
        self.grammar, self.films = grammar, by_fame(films)
        self.best_known = best_known(films)
        self.teller = Teller(grammar, self.films)
        self.about_films = self.teller.about_films

    def document(self, rng: random.Random, level: float = 1.0) -> list[prompts.Message]:
        """Return a document, of a side's own lines alone: put together of parts, a line may be one
        that is held out."""
        sorts = [self.chat, self.wandering, self.dialogue, self.questions, self.film_talk]
        sort = rng.choices(sorts, SHARES)[0]
        while True:
            messages = sort(rng, level)
            if not any(
                normalise(part["content"]) in self.grammar.held_out for part in messages[1:]
            ):
                return messages

    def chat(self, rng: random.Random, level: float) -> list[prompts.Message]:
        """Earlier chats in the prompt or not; then a chat that tells, asks and wanders."""
        world = World(self.grammar, rng)
        most = 2 + round(8 * level)
        roll = rng.random()
        num_earlier = 0 if roll < 0.22 else rng.randint(1, most)
        told = (
            self.teller.told_turns(world, num_earlier, share_of_people=SHARE_OF_PEOPLE)
            if num_earlier
            else []
        )
        earlier = self.sessions(told, rng) if told else ""
        if earlier == "" and rng.random() < 0.1:
            earlier = self.sessions(
                [(*self.teller.idle_turn(world), []) for _ in range(rng.randint(1, 3))], rng
            )
        turns: list[Turn] = []
        # What somebody of people/ told has no kind: a fact of `facts/` beside it might be a rival.
        if world.untold is None and ((roll < 0.22 and rng.random() < 0.75) or rng.random() < 0.12):
            share = 0.0 if world.facts else 0.5
            told_here = self.teller.told_turns(
                world, rng.randint(1, 1 + round(3 * level)), share_of_people=share
            )
            turns += [turn[:2] for turn in told_here]
        turns += self.asking_turns(world, rng, rng.randint(3, 5 + round(7 * level)))
        return to_messages(turns, earlier)

    def wandering(self, rng: random.Random, level: float) -> list[prompts.Message]:
        """A chat that goes from one thing to another, as first chats do: talk, wishes, facts."""
        world = World(self.grammar, rng)
        turns: list[Turn] = []
        for _ in range(rng.randint(3, 5 + round(4 * level))):
            roll = rng.random()
            if roll < 0.45:
                turns.append(self.teller.idle_turn(world))
            elif roll < 0.7:
                turns += self.about_films.wish_turns(world, rng)
            elif roll < 0.85 or not world.facts:
                told = self.teller.told_turns(world, 1, kinds=self.grammar.named_kinds)
                turns += [turn[:2] for turn in told]
            else:
                turns.append(world.ask(rng.choice(world.facts)))
        return to_messages(turns, "")

    def dialogue(self, rng: random.Random, level: float) -> list[prompts.Message]:
        """One of `dialogues/`, at times after earlier chats that tell no taste; then what it told is
        asked for, and other questions."""
        world = World(self.grammar, rng)
        earlier, talked = "", []
        if rng.random() < 0.4:
            kinds = [kind for kind in self.teller.kinds(rng) if kind not in TELLS_OF_FILMS]
            told = self.teller.told_turns(world, rng.randint(1, 2 + round(4 * level)), kinds=kinds)
            earlier = self.sessions(told, rng)
        before = list(world.facts)
        while not talked:
            dialogue = rng.choice(self.grammar.dialogues)
            most = rng.randint(3, 14)
            talked = [turn[:2] for turn in self.teller.dialogue_turns(world, dialogue, most)]
        # Afterwards the dialogue may have told the same matter anew, as a kind of its own.
        if before and rng.random() < 0.5:
            talked.insert(0, world.ask(rng.choice(before)))
        here = [fact for fact in world.facts if fact not in before]
        if here and rng.random() < 0.6:
            for fact in rng.sample(here, min(len(here), rng.randint(1, 3))):
                talked.append(world.ask(fact))
                if not before and rng.random() < 0.3 and (unknown := world.ask_unknown([])):
                    talked.append(unknown)
        return to_messages(talked, earlier)

    def asking_turns(self, world: World, rng: random.Random, num_turns: int) -> list[Turn]:
        """Return turns of questions about what was told and what was not, wishes, and talk."""
        kinds = self.teller.kinds(rng)
        is_of_kinds, has_taste = world.untold is None, any(world.taste()[:2])
        sorts: list[tuple[float, Callable[[], list[Turn | None]]]] = [
            (
                0.50,
                lambda: [world.ask(rng.choice(fresh.pop() or world.facts))] if world.facts else [],
            ),
            # Beside people/, what is untold sounds like what was told: too much of it and the model
            # abstains on plain facts (docs/lab_book.md).
            (0.28 if is_of_kinds else 0.18, lambda: [world.ask_unknown(kinds)]),
            (0.07, lambda: self.told_now(world, rng)),
            (0.03, lambda: [world.ask_summary()]),
            (0.03, lambda: [world.ask_taste()]),
            (0.03, lambda: [self.thanks(rng)] if turns and RECALLED.match(turns[-1][1]) else []),
            (0.06, lambda: self.about_films.wish_turns(world, rng)),
            (0.16 if has_taste else 0.02, lambda: [world.ask_would_like(self.films)]),
            (0.06 * has_taste, lambda: [world.ask_other_taste()]),
            (0.05, lambda: [world.ask_seen(self.films)]),
            (0.07, lambda: [self.teller.idle_turn(world)]),
        ]
        # A corrected fact is asked for twice as often: which value is the latest must be read.
        fresh = _Deck(world.facts + [fact for fact in world.facts if fact.earlier], rng)
        turns: list[Turn] = []
        while len(turns) < num_turns:
            (_, make) = rng.choices(sorts, [weight for weight, _ in sorts])[0]
            turns += [turn for turn in make() if turn is not None]
        return turns

    def thanks(self, rng: random.Random) -> Turn:
        lines = self.grammar.talk["recall_frames"]
        return self.grammar.said(rng.choice(lines["thanks"]), rng), rng.choice(
            lines["thanks_replies"]
        )

    def told_now(self, world: World, rng: random.Random) -> list[Turn]:
        """A value given in this chat, then asked for: it wins over the transcript."""
        if rng.random() < 0.15 and (turned := self.about_films.turn_against(world)):
            return [turned[0][:2], world.ask(world.facts[-1]), world.ask_would_like(self.films)]
        single = [fact for fact in world.facts if not self.grammar.is_many(fact.kind)]
        if not single:
            return []
        fact = rng.choice(single)
        return [
            (world.tell_corrected(fact), self.grammar.acknowledgement(fact, rng)),
            world.ask(fact),
        ]

    def sessions(self, turns: list, rng: random.Random) -> str:
        """Return turns as the transcript of one to three sessions. In two of three transcripts
        replies say nothing of what was told, so that the user's message must be understood."""
        style = rng.random()
        told = [
            (
                message,
                self.weak_reply(message, rng, style) or reply if not reply.endswith("?") else reply,
            )
            for message, reply, _ in turns
        ]
        cuts = sorted(
            rng.sample(range(1, len(turns)), min(len(turns) - 1, rng.choice([0, 0, 1, 2])))
        )
        parts = [told[i:j] for i, j in zip([0, *cuts], [*cuts, len(turns)], strict=True)]
        return prompts.transcript(parts)

    def weak_reply(self, message: str, rng: random.Random, style: float) -> str:
        """Return a reply that carries no fact: the word for withheld ones, a neutral one, one about
        another matter, an echo of any words; or empty, to keep the good one. `style` in 0..1 is the
        transcript's."""
        if style < 0.35:
            return prompts.WITHHELD
        if style < 0.6 and rng.random() < 0.6:
            if rng.random() < 0.7:
                return rng.choice(NEUTRAL_REPLIES)
            kind = self.grammar.kinds[rng.choice(self.teller.named_kinds)]
            return rng.choice([line for line in kind["acks"] if "{" not in line] or [""])
        if 0.5 < style < 0.85 and rng.random() < 0.3:
            words = message.split()
            start = rng.randrange(len(words))
            echo = " ".join(words[start : start + rng.randint(1, 3)]).strip(".,!?")
            return fill(rng.choice(["Noted, {v}.", "{v}, got it.", "{v}, noted."]), v=echo)
        return ""

    def questions(self, rng: random.Random, level: float) -> list[prompts.Message]:
        """A transcript, then question-answer pairs about some of its messages."""
        world = World(self.grammar, rng)
        turns = self.teller.told_turns(
            world, rng.randint(1, 2 + round(8 * level)), share_of_people=SHARE_OF_PEOPLE
        )
        if rng.random() < 0.5:
            turns.insert(rng.randrange(len(turns) + 1), (*self.teller.idle_turn(world), []))
        earlier = self.sessions(turns, rng)
        tasks = []
        for message, _, facts in rng.sample(turns, min(len(turns), rng.randint(1, 4))):
            kind = rng.choice(prompts.QUESTION_KINDS)
            # A value that a later message replaced is not asked for here.
            here = [fact for fact in facts if fact.value.lower() in message.lower()]
            spread = _Deck(here, rng)
            lines = [
                self.pair(world, fact, kind, message, rng)
                for _ in range(4 if here else 0)
                for fact in spread.pop() or [rng.choice(here)]
            ]
            lines = list(dict.fromkeys(lines)) or [prompts.NOTHING_TO_ASK]
            tasks.append(
                (prompts.WRITE_QUESTIONS.format(message=message, kind=kind), "\n".join(lines))
            )
        return to_messages(tasks, earlier)

    def film_talk(self, rng: random.Random, level: float) -> list[prompts.Message]:
        number = rng.randint(4, 6 + round(4 * level))
        return to_messages(self.about_films.talk(rng, number), "")

    def pair(self, world: World, fact: Fact, kind: str, message: str, rng: random.Random) -> str:
        """Return one line: question | short answer."""
        grammar = self.grammar
        if kind == "yes or no":
            if rng.random() < 0.5:
                return f"{plain(grammar, fact, rng, 'yesno', fact.value)} | yes"
            return f"{plain(grammar, fact, rng, 'yesno', world.other_value(fact))} | no"
        part = grammar.part(fact.kind, fact.subject)
        if kind == "indirect" and part.get("indirect"):
            question = plain(grammar, fact, rng, "indirect")
        elif kind == "indirect":  # of a kind of its own: in other words than the message's
            question = min(
                (plain(grammar, fact, rng, "asks") for _ in range(3)),
                key=lambda line: len(_words(line) & _words(message)) + rng.random(),
            )
        # What a question asks for must differ, not how it begins: docs/lab_book.md.
        elif rng.random() < 0.1:
            clause = fill(rng.choice(part["clauses"]), k=fact.key, my=fact.subject.my)
            question = fill(rng.choice(grammar.talk["carriers"]["carriers"]), c=clause)
        else:
            question = plain(grammar, fact, rng, "asks")
        return f"{question} | {fact.value}"


class _Deck:
    """Facts in random order, each once; after that all of them, again and again."""

    def __init__(self, facts: list[Fact], rng: random.Random) -> None:
        self._left = rng.sample(facts, len(facts))

    def pop(self) -> list[Fact]:
        """Return the next fact alone, none when all were had."""
        return [self._left.pop()] if self._left else []


def _words(text: str) -> set[str]:
    """Return the words of a line that are long enough to mean something."""
    return {word for word in normalise(text).split() if len(word) > 3}


def plain(grammar: Grammar, fact: Fact, rng: random.Random, name: str, value: str = "") -> str:
    """Return a line of the fact's wordings without careless typing."""
    part = grammar.part(fact.kind, fact.subject)
    return fill(rng.choice(part[name]), v=value or fact.value, k=fact.key, my=fact.subject.my)


def to_messages(turns: list[Turn], earlier: str) -> list[prompts.Message]:
    messages = prompts.chat(turns[:-1], turns[-1][0], earlier=earlier)
    return [*messages, {"role": "assistant", "content": turns[-1][1]}]


DocumentSource = Callable[[random.Random, float], list[prompts.Message]]
