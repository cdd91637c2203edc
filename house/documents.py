"""Documents: what the house model reads, as lists of chat messages.

    chat        a transcript of earlier chats in the prompt, or none; then a chat with questions
    questions   a transcript, then the task of writing question-answer pairs about its messages
    films       what films are about, who made them, wishes and suggestions

Every assistant message of the chat is trained; the transcript in the system message is not.
"""

import random
from collections.abc import Callable

from agent import prompts
from agent.catalogue import GENRES as ONE_OF_GENRE
from agent.catalogue import Film
from house.people import USER, Fact, Grammar, fill
from house.values import join_and
from house.wordings import PLACEHOLDER, normalise
from house.world import Turn, World, film_slots, pick

POPULAR = """
    name job home age birthday partner child pet best_friend employer hometown favourite_film loved_genre hated_genre seen_film
    last_film director actor disliked_actor snack drink team band allergy car series hobby sport
""".split()


class Writer:
    """Writes documents of every sort; `level` in 0..1 makes them longer and harder (curriculum)."""

    def __init__(self, grammar: Grammar, films: list[Film]) -> None:
        self.grammar, self.films = grammar, films
        named = [kind for kind in grammar.kinds if ":" not in kind]
        open_kinds = [
            kind for kind in grammar.kinds if ":" in kind and kind not in grammar.relations
        ]
        self.named_kinds, self.open_kinds = named, open_kinds

    def document(self, rng: random.Random, level: float = 1.0) -> list[prompts.Message]:
        """Return a document, of a side's own lines alone: put together of parts, a line may be one
        that is held out."""
        sort = rng.choices([self.chat, self.questions, self.film_talk], [0.68, 0.17, 0.15])[0]
        while True:
            messages = sort(rng, level)
            if not any(
                normalise(part["content"]) in self.grammar.held_out for part in messages[1:]
            ):
                return messages

    def kinds(self, rng: random.Random) -> list[str]:
        """Return the kinds one person talks about: named ones, as many open ones, and what everybody
        asks about more often. The more open kinds, the less a kind is known by heart:
        docs/lab_book.md."""
        open_kinds = rng.sample(self.open_kinds, min(100, len(self.open_kinds)))
        return self.named_kinds + open_kinds + self.grammar.relations + POPULAR * 2

    # -- telling, in turns -------------------------------------------------------

    def told_turns(
        self, world: World, num_facts: int, *, share_of_people: float = 0.0
    ) -> list[tuple[str, str, list[Fact]]]:
        """Return turns (message, reply, facts told in it) that tell `num_facts` facts; at times they
        are what one of `people/` says."""
        rng, grammar = world.rng, self.grammar
        kinds = self.kinds(rng)
        turns: list[tuple[str, str, list[Fact]]] = []
        if grammar.people and rng.random() < share_of_people:
            turns = self.person_turns(world)
            num_facts -= len(world.facts)
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
            elif roll < 0.24 and world.facts:
                fact = rng.choice(world.facts)
                if grammar.kinds[fact.kind].get("many") == "true":
                    continue
                message, facts = world.tell_corrected(fact), [fact]
            else:
                fact = world.new_fact(kinds)
                before = len(world.facts)
                message, facts = world.tell(fact), world.facts[before:]
                if rng.random() < 0.18 and num_facts > 1:
                    second = world.new_fact(kinds)
                    more = world.tell(second)
                    glue = rng.choice([" ", " ", " And ", " Oh, and ", " Also, "])
                    message = f"{message if message.endswith(('.', '!', '?')) else message + '.'}{glue}{more}"
                    facts = world.facts[before:]
            num_facts -= len(facts)
            reply = grammar.acknowledgement(rng.choice(facts), rng)
            if num_facts > 0 and rng.random() < 0.25:
                fact = world.new_fact(kinds, share_other=0)
                if fact.subject.is_user and grammar.kinds[fact.kind]["elicit"]:
                    elicited = fact
                    reply += " " + fill(rng.choice(grammar.kinds[fact.kind]["elicit"]), k=fact.key)
            turns.append((message, reply, facts))
        return turns

    def person_turns(self, world: World) -> list[tuple[str, str, list[Fact]]]:
        """Return what one of `people/` says, some of it left out: that is never told then."""
        rng, grammar = world.rng, self.grammar
        person = rng.choice(grammar.people)
        world.untold += person.untold
        turns = []
        for message in person.messages:
            slots = PLACEHOLDER.findall(message)
            told = {slot: grammar.new_fact(person.kinds[slot], USER, rng) for slot in slots}
            if rng.random() < 0.2:
                world.untold += [
                    (rng.choice(kind["asks"]), kind["topic"])
                    for kind in (grammar.kinds[fact.kind] for fact in told.values())
                ]
                continue
            text = grammar.said(message, rng, told=told)
            world.facts += told.values()
            reply = rng.choice(NEUTRAL_REPLIES)
            if told and rng.random() < 0.5:
                reply = grammar.acknowledgement(rng.choice(list(told.values())), rng)
            turns.append((text, reply, list(told.values())))
        return turns

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
        if roll < 0.45:
            item = rng.choice(grammar.talk["small_talk"])
            return grammar.said(rng.choice(item["say"]), rng), pick(item["reply"], rng)
        if roll < 0.70:
            kind = rng.choice(self.named_kinds)
            fact = grammar.new_fact(kind, USER, rng)
            line = rng.choice(grammar.kinds[kind]["near"])
            return grammar.said(line, rng, fact), rng.choice(NEAR_REPLIES)
        return self.film_turn(rng, with_opinions=False)

    # -- documents ----------------------------------------------------------------

    def chat(self, rng: random.Random, level: float) -> list[prompts.Message]:
        """Earlier chats in the prompt or not; then a chat that tells, asks and wanders."""
        world = World(self.grammar, rng)
        most = 2 + round(8 * level)
        roll = rng.random()
        num_earlier = 0 if roll < 0.22 else rng.randint(1, most)
        told = self.told_turns(world, num_earlier, share_of_people=0.3) if num_earlier else []
        earlier = self.sessions(told, rng) if told else ""
        if earlier == "" and rng.random() < 0.1:
            earlier = self.sessions(
                [(*self.idle_turn(world), []) for _ in range(rng.randint(1, 3))], rng
            )
        turns: list[Turn] = []
        if (roll < 0.22 and rng.random() < 0.75) or rng.random() < 0.12:
            turns += [
                turn[:2] for turn in self.told_turns(world, rng.randint(1, 1 + round(3 * level)))
            ]
        turns += self.asking_turns(world, rng, rng.randint(3, 5 + round(7 * level)))
        return to_messages(turns, earlier)

    def asking_turns(self, world: World, rng: random.Random, num_turns: int) -> list[Turn]:
        """Return turns of questions about what was told and what was not, wishes, and talk."""
        kinds = self.kinds(rng)
        sorts: list[tuple[float, Callable[[], list[Turn | None]]]] = [
            (
                0.50,
                lambda: [world.ask(rng.choice(fresh.pop() or world.facts))] if world.facts else [],
            ),
            (0.28, lambda: [world.ask_unknown(kinds)]),
            (0.07, lambda: self.told_now(world, rng)),
            (0.03, lambda: [world.ask_summary()]),
            (0.06, lambda: self.wish_turns(world, rng)),
            (0.06, lambda: [world.ask_would_like(self.films)]),
            (0.04, lambda: [world.ask_seen(self.films)]),
            (0.07, lambda: [self.idle_turn(world)]),
        ]
        fresh = _Deck(world.facts, rng)
        turns: list[Turn] = []
        while len(turns) < num_turns:
            (_, make) = rng.choices(sorts, [weight for weight, _ in sorts])[0]
            turns += [turn for turn in make() if turn is not None]
        return turns

    def told_now(self, world: World, rng: random.Random) -> list[Turn]:
        """A value given in this chat, then asked for: it wins over the transcript."""
        single = [
            fact for fact in world.facts if self.grammar.kinds[fact.kind].get("many") != "true"
        ]
        if not single:
            return []
        fact = rng.choice(single)
        return [
            (world.tell_corrected(fact), self.grammar.acknowledgement(fact, rng)),
            world.ask(fact),
        ]

    def wish_turns(self, world: World, rng: random.Random) -> list[Turn]:
        """A wish with a suggestion, at times turned down or welcomed."""
        wish = rng.choice(list(ONE_OF_GENRE)) if rng.random() < 0.4 else ""
        reply = world.suggest(self.films, wish=wish)
        if reply is None:
            return []
        turns = [(self.wish(rng, wish or "any"), reply)]
        lines, said = self.grammar.films["suggestions"], self.grammar.said
        if rng.random() < 0.2:
            turns.append(
                (said(rng.choice(lines["accept"]), rng), pick(lines["accept_replies"], rng))
            )
        elif rng.random() < 0.25:
            title = next((film.title for film in self.films if film.title in reply), "")
            other = world.suggest(self.films, wish=wish, avoid={title.lower()})
            if other is not None:
                turns.append((said(rng.choice(lines["reject"]), rng), other))
        return turns

    def sessions(self, turns: list, rng: random.Random) -> str:
        """Return turns as the transcript of one to three sessions. In two of three transcripts
        replies say nothing of what was told, so that the user's message must be understood."""
        style = rng.random()
        told = [
            (message, self.weak_reply(rng, style) or reply if not reply.endswith("?") else reply)
            for message, reply, _ in turns
        ]
        cuts = sorted(
            rng.sample(range(1, len(turns)), min(len(turns) - 1, rng.choice([0, 0, 1, 2])))
        )
        parts = [told[i:j] for i, j in zip([0, *cuts], [*cuts, len(turns)], strict=True)]
        return prompts.transcript(parts)

    def weak_reply(self, rng: random.Random, style: float) -> str:
        """Return a reply that carries no fact: the word for withheld ones, a neutral one, one about
        another matter; or empty, to keep the good one. `style` in 0..1 is the transcript's."""
        if style < 0.35:
            return prompts.WITHHELD
        if style < 0.65 and rng.random() < 0.6:
            if rng.random() < 0.7:
                return rng.choice(NEUTRAL_REPLIES)
            kind = self.grammar.kinds[rng.choice(self.named_kinds)]
            return rng.choice([line for line in kind["acks"] if "{" not in line] or [""])
        return ""

    def questions(self, rng: random.Random, level: float) -> list[prompts.Message]:
        """A transcript, then question-answer pairs about some of its messages."""
        world = World(self.grammar, rng)
        turns = self.told_turns(world, rng.randint(1, 2 + round(8 * level)), share_of_people=0.3)
        if rng.random() < 0.5:
            turns.insert(rng.randrange(len(turns) + 1), (*self.idle_turn(world), []))
        earlier = self.sessions(turns, rng)
        tasks = []
        for message, _, facts in rng.sample(turns, min(len(turns), rng.randint(1, 4))):
            kind = rng.choice(prompts.QUESTION_KINDS)
            # A value that a later message replaced is not asked for here.
            here = [fact for fact in facts if fact.value.lower() in message.lower()]
            lines = [self.pair(world, rng.choice(here), kind, rng) for _ in range(4) if here]
            lines = list(dict.fromkeys(lines)) or [prompts.NOTHING_TO_ASK]
            tasks.append(
                (prompts.WRITE_QUESTIONS.format(message=message, kind=kind), "\n".join(lines))
            )
        return to_messages(tasks, earlier)

    def pair(self, world: World, fact: Fact, kind: str, rng: random.Random) -> str:
        """Return one line: question | short answer."""
        grammar = self.grammar
        if kind == "yes or no":
            if rng.random() < 0.5:
                return f"{plain(grammar, fact, rng, 'yesno', fact.value)} | yes"
            return f"{plain(grammar, fact, rng, 'yesno', world.other_value(fact))} | no"
        name = (
            "indirect"
            if kind == "indirect" and grammar.part(fact.kind, fact.subject).get("indirect")
            else "asks"
        )
        if name == "asks" and rng.random() < 0.35:
            clause = fill(
                rng.choice(grammar.part(fact.kind, fact.subject)["clauses"]),
                k=fact.key,
                my=fact.subject.my,
            )
            question = fill(rng.choice(grammar.talk["carriers"]["carriers"]), c=clause)
        else:
            question = plain(grammar, fact, rng, name)
        return f"{question} | {fact.value}"

    def film_talk(self, rng: random.Random, level: float) -> list[prompts.Message]:
        turns = [self.film_turn(rng) for _ in range(rng.randint(4, 6 + round(4 * level)))]
        return to_messages(turns, "")

    def film_turn(self, rng: random.Random, *, with_opinions: bool = True) -> Turn:
        """Return a question about a film, a wish, or an opinion, with its answer. An opinion tells
        that the film was seen, so it is no idle talk."""
        grammar = self.grammar
        film = rng.choice(self.films)
        slots = film_slots(film)
        roll = rng.random() * (1 if with_opinions else 0.88)
        lines = grammar.films["questions"]
        if roll < 0.55:
            what = rng.choice(["year", "director", "genre", "actor", "about"])
            values = {
                "year": str(film.year),
                "director": slots["director"],
                "genre": join_and([ONE_OF_GENRE[genre] for genre in film.genres[:2]]),
                "actor": join_and(list(film.actors[:2])) if film.actors else "",
                "about": join_and([ONE_OF_GENRE[genre] for genre in film.genres[:2]]),
            }
            if not values[what]:
                what = "year"
            question = grammar.said(rng.choice(lines[what]["asks"]), rng, title=film.title)
            return question, fill(
                pick(lines[what]["answers"], rng), title=film.title, v=values[what]
            )
        if roll < 0.60:
            title = self.grammar.values.invented_title(rng)
            what = rng.choice(["year", "director", "genre", "actor"])
            question = grammar.said(rng.choice(lines[what]["asks"]), rng, title=title)
            return question, fill(pick(lines["unknown"], rng), title=title)
        if roll < 0.70:
            by = rng.choice(["director", "actor"])
            names = film.directors if by == "director" else film.actors or film.directors
            by = by if names is not film.directors else "director"
            name = rng.choice(names)
            question = grammar.said(rng.choice(lines[f"by_{by}"]["asks"]), rng, v=name)
            return question, fill(pick(lines[f"by_{by}"]["answers"], rng), v=name, title=film.title)
        if roll < 0.76:
            return self.particular_wish(film, rng)
        if roll < 0.88:
            wish = rng.choice(["", film.genres[0], film.genres[0], film.genres[0]])
            return self.wish(rng, wish or "any"), fill(
                rng.choice(grammar.films["suggestions"]["plain"]), **slots
            )
        opinions = grammar.films["opinions"]
        asks, replies = rng.choice([("asks", "answers"), ("user_opinions", "opinion_replies")])
        question = grammar.said(rng.choice(opinions[asks]), rng, title=film.title)
        return question, fill(rng.choice(opinions[replies]), **slots)

    def particular_wish(self, film: Film, rng: random.Random) -> Turn:
        """Return a wish for a decade, a director, an actor, or a film like another, and a film."""
        decade = DECADES[film.year // 10 * 10]
        alike = [
            other for other in self.films if other is not film and other.genres[0] == film.genres[0]
        ]
        wishes = {
            "decade": decade,
            "director": rng.choice(film.directors),
            "like": rng.choice(alike).title,
        }
        if film.actors:
            wishes["actor"] = rng.choice(film.actors)
        wish = rng.choice(list(wishes))
        said = self.grammar.said(rng.choice(self.grammar.wishes[wish]), rng, v=wishes[wish])
        return said, fill(
            rng.choice(self.grammar.films["suggestions"]["plain"]), **film_slots(film)
        )

    def wish(self, rng: random.Random, wish: str) -> str:
        if wish == "any" and rng.random() < 0.25:
            return prompts.RECOMMEND
        return self.grammar.said(rng.choice(self.grammar.wishes[wish]), rng)


DECADES = {
    1920: "the twenties", 1930: "the thirties", 1940: "the forties", 1950: "the fifties", 1960: "the sixties",
    1970: "the seventies", 1980: "the eighties", 1990: "the nineties", 2000: "the 2000s", 2010: "the 2010s",
    2020: "the 2020s",
}  # fmt: skip

NEAR_REPLIES = [
    "I couldn't say, I only know films well.",
    "Interesting. Is there a film you feel like tonight?",
    "Hm, that's a bit outside my reels.",
    "I see. Tell me more if you like.",
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


class _Deck:
    """Facts in random order, each once; after that all of them, again and again."""

    def __init__(self, facts: list[Fact], rng: random.Random) -> None:
        self._left = rng.sample(facts, len(facts))

    def pop(self) -> list[Fact]:
        """Return the next fact alone, none when all were had."""
        return [self._left.pop()] if self._left else []


def plain(grammar: Grammar, fact: Fact, rng: random.Random, name: str, value: str = "") -> str:
    """Return a line of the fact's wordings without careless typing."""
    part = grammar.part(fact.kind, fact.subject)
    return fill(rng.choice(part[name]), v=value or fact.value, k=fact.key, my=fact.subject.my)


def to_messages(turns: list[Turn], earlier: str) -> list[prompts.Message]:
    messages = prompts.chat(turns[:-1], turns[-1][0], earlier=earlier)
    return [*messages, {"role": "assistant", "content": turns[-1][1]}]


DocumentSource = Callable[[random.Random, float], list[prompts.Message]]
