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
from house.people import USER, Fact, Grammar, Subject, fill, listed
from house.values import GENRES as GENRE_FORMS
from house.values import join_and

Turn = tuple[str, str]

GENRE_OF_TASTE = {taste: genre for genre, (taste, _) in GENRE_FORMS.items()}
SAYS_SEEN = {"seen_film", "last_film", "favourite_film", "hated_film", "comfort_film", "first_film",
             "sad_film", "scary_film", "film_opinion", "film_rating"}  # fmt: skip
"""Kinds of fact that imply that the film was seen."""

NAMES_SOMEBODY = {"partner", "flatmate", "best_friend", "child"}


class World:
    """What one user has told so far, and how it is asked for."""

    def __init__(self, grammar: Grammar, rng: random.Random) -> None:
        self.grammar, self.rng = grammar, rng
        self.facts: list[Fact] = []
        self._used: set[str] = set()

    # -- telling ---------------------------------------------------------------

    def new_fact(self, kinds: list[str], *, share_other: float = 0.22) -> Fact:
        """Return a fact not told yet, with a value that nothing else has."""
        rng, grammar = self.rng, self.grammar
        while True:
            kind, subject = rng.choice(kinds), USER
            if rng.random() < share_other and grammar.kinds[kind].get("other"):
                told = [fact.subject for fact in self.facts if not fact.subject.is_user]
                subject = (
                    rng.choice(told) if told and rng.random() < 0.4 else grammar.new_subject(rng)
                )
            elif self.facts and rng.random() < 0.12:
                # The same kind about somebody else: what keeps people apart.
                twin = rng.choice(self.facts)
                if grammar.kinds[twin.kind].get("other"):
                    kind, subject = (
                        twin.kind,
                        (grammar.new_subject(rng) if twin.subject.is_user else USER),
                    )
            is_many = grammar.kinds[kind].get("many") == "true" and subject.is_user
            fact = grammar.new_fact(kind, subject, rng)
            if not is_many and self.find(kind, subject, fact.key):
                continue
            if fact.value.lower() in self._used:
                continue
            self._used.add(fact.value.lower())
            return fact

    def find(self, kind: str, subject: Subject, key: str = "") -> list[Fact]:
        return [
            fact for fact in self.facts
            if fact.kind == kind and fact.subject == subject and fact.key.lower() == key.lower()
        ]  # fmt: skip

    def tell(self, fact: Fact) -> str:
        """Return a message that states the fact, and remember it."""
        text = self.grammar.statement(fact, self.rng)
        self.facts.append(fact)
        return text

    def tell_corrected(self, fact: Fact) -> str:
        """Return a message that gives a told fact a new value."""
        new = self.grammar.new_fact(fact.kind, fact.subject, self.rng).value
        while new.lower() in {*self._used, fact.value.lower()}:
            new = self.grammar.new_fact(fact.kind, fact.subject, self.rng).value
        self._used.add(new.lower())
        fact.earlier.append(fact.value)
        fact.value = new
        return self.grammar.correction(fact, self.rng)

    # -- asking: each returns (question, answer) ---------------------------------

    def ask(self, fact: Fact) -> Turn:
        grammar, rng = self.grammar, self.rng
        same = self.find(fact.kind, fact.subject, fact.key)
        part = grammar.part(fact.kind, fact.subject)
        roll = rng.random()
        if len(same) > 1:
            if roll < 0.5 and part.get("list_asks"):
                question = grammar.said(rng.choice(part["list_asks"]), rng)
            else:
                question = grammar.question(fact, rng)
            return question, grammar.answer(fact, rng, name="list_answers", value=listed(same))
        if roll < 0.10:
            return grammar.yes_no(fact, fact.value, rng), grammar.answer(fact, rng, name="yes")
        if roll < 0.20:
            wrong = self.other_value(fact)
            return grammar.yes_no(fact, wrong, rng), grammar.answer(fact, rng, name="no")
        return grammar.question(fact, rng), grammar.answer(fact, rng)

    def other_value(self, fact: Fact) -> str:
        """Return a value the fact does not have: its old one, somebody else's, or a new one."""
        others = [
            other.value for other in self.facts if other.kind == fact.kind and other is not fact
        ]
        pool = [value for value in [*fact.earlier, *others] if value.lower() != fact.value.lower()]
        if pool and self.rng.random() < 0.6:
            return self.rng.choice(pool)
        while True:
            value = self.grammar.new_fact(fact.kind, fact.subject, self.rng).value
            if value.lower() not in self._used:
                return value

    def ask_unknown(self, kinds: list[str]) -> Turn | None:
        """Ask for something that was not told; near misses preferred: the same kind of somebody
        else, or a neighbouring kind."""
        grammar, rng = self.grammar, self.rng
        has_seen = any(fact.kind in SAYS_SEEN for fact in self.facts)
        for _ in range(20):
            kind, subject = rng.choice(kinds), USER
            roll = rng.random()
            if self.facts and roll < 0.35:
                twin = rng.choice(self.facts)
                if grammar.kinds[twin.kind].get("other"):
                    kind = twin.kind
                    subject = (
                        USER
                        if not twin.subject.is_user and rng.random() < 0.6
                        else grammar.new_subject(rng)
                    )
            elif self.facts and roll < 0.5:
                subject = rng.choice(self.facts).subject
            elif roll < 0.6:
                subject = grammar.new_subject(rng)
            if not subject.is_user and not grammar.kinds[kind].get("other"):
                continue
            if kind == "seen_film" and has_seen:
                continue
            fact = grammar.new_fact(kind, subject, rng)
            if self.find(kind, subject, fact.key) or self._implied(kind, subject):
                continue
            answer = grammar.unknown(kind, subject, rng, fact.key)
            if rng.random() < 0.15:
                return grammar.yes_no(fact, fact.value, rng), rng.choice(
                    [answer, rng.choice(grammar.talk["unknown"]["yesno"])]
                )
            return grammar.question(fact, rng), answer
        return None

    def _implied(self, kind: str, subject: Subject) -> bool:
        """Is there a told fact that would answer this kind too?"""
        near = {
            "home": {"neighbourhood"}, "neighbourhood": {"home"}, "flatmate": {"best_friend"},
            "watchlist": {"seen_film"}, "languages": {"learning", "nationality"}, "studies": {"job"},
            "film_opinion": {"film_rating"}, "film_rating": {"film_opinion"}, "hobby": {"sport"}, "sport": {"hobby"},
        }.get(kind, set())  # fmt: skip
        if (
            kind == "name"
            and not subject.is_user
            and any(fact.kind in NAMES_SOMEBODY for fact in self.facts)
        ):
            return True  # "my husband is called" may be the partner
        if kind in NAMES_SOMEBODY and any(
            fact.kind == "name" and not fact.subject.is_user for fact in self.facts
        ):
            return True
        return any(fact.kind in near and fact.subject == subject for fact in self.facts)

    def ask_summary(self) -> Turn:
        grammar, rng = self.grammar, self.rng
        summary = grammar.talk["summary"]
        question = grammar.said(rng.choice(summary["asks"]), rng)
        mine = [fact for fact in self.facts if fact.subject.is_user]
        if not mine:
            return question, grammar.talk["unknown"]["summary"][0]
        said = [
            fill(grammar.kinds[fact.kind]["answers"][0], v=fact.value, k=fact.key)
            for fact in mine[-5:]
        ]
        return question, summary["openers"][0].strip() + " " + " ".join(said)

    # -- taste ---------------------------------------------------------------------

    def taste(self) -> tuple[dict[str, str], dict[str, str], set[str]]:
        """Return loved genres, hated genres (genre → as told), and titles that were seen."""
        loved, hated, seen = {}, {}, set()
        for fact in self.facts:
            if not fact.subject.is_user:
                continue
            genre = GENRE_OF_TASTE.get(fact.value.lower())
            if genre and fact.kind == "loved_genre":
                loved[genre] = fact.value
            if genre and fact.kind == "hated_genre":
                hated[genre] = fact.value
            if fact.kind in SAYS_SEEN:
                seen.add((fact.key or fact.value).lower())
        return loved, hated, seen

    def suggest(
        self, films: list[Film], *, wish: str = "", avoid: set[str] = frozenset()
    ) -> str | None:
        """Return a suggestion that fits the wish (a genre, or empty) and the taste."""
        rng, lines = self.rng, self.grammar.films["suggestions"]
        loved, hated, seen = self.taste()
        genres = {wish} if wish else set(loved)
        fitting = [
            film for film in films
            if film.title.lower() not in seen | avoid
            and not set(film.genres) & (set(hated) - {wish})
            and (not genres or film.genres[0] in genres or (set(film.genres) & genres and rng.random() < 0.3))
        ]  # fmt: skip
        if not fitting:
            return None
        film = rng.choice(fitting)
        slots = film_slots(film)
        reasons = [genre for genre in film.genres if genre in loved]
        if reasons:
            slots["genre"] = ONE_OF_GENRE[reasons[0]]
            line = rng.choice(lines["because"])
            return fill(line, because=f"you love {loved[reasons[0]]}", **slots)
        if wish:
            slots["genre"] = ONE_OF_GENRE[wish]
        return fill(rng.choice(lines["plain"]), **slots)

    def ask_would_like(self, films: list[Film]) -> Turn:
        rng, grammar = self.rng, self.grammar
        lines = grammar.films["would_like"]
        loved, hated, _ = self.taste()
        pool = films
        if rng.random() < 0.7 and (loved or hated):
            wanted = set(rng.choice([group for group in (loved, hated) if group]))
            pool = [film for film in films if set(film.genres) & wanted] or films
        film = rng.choice(pool)
        slots = film_slots(film)
        title = slots["title"] if rng.random() < 0.4 else film_in_full(film)
        question = (prompts.WOULD_LIKE.format(film=title) if rng.random() < 0.3
                    else grammar.said(rng.choice(lines["asks"]), rng, title=title))  # fmt: skip
        for taste, name, verb in ((hated, "no", "can't stand"), (loved, "yes", "love")):
            for genre in film.genres:
                if genre in taste:
                    slots |= {"genre": ONE_OF_GENRE[genre], "because": f"you {verb} {taste[genre]}"}
                    return question, fill(pick(lines[name], rng), **slots)
        return question, fill(pick(lines["unsure"], rng), **slots)

    def ask_seen(self, films: list[Film]) -> Turn:
        rng, grammar = self.rng, self.grammar
        lines = grammar.films["would_like"]
        told = [
            fact.key or fact.value
            for fact in self.facts
            if fact.kind in SAYS_SEEN and fact.subject.is_user
        ]
        is_seen = bool(told) and rng.random() < 0.6
        title = rng.choice(told) if is_seen else rng.choice(films).title
        is_seen = title.lower() in {name.lower() for name in told}
        question = (prompts.HAVE_SEEN.format(title=title) if rng.random() < 0.4
                    else grammar.said(rng.choice(lines["seen_asks"]), rng, title=title))  # fmt: skip
        return question, fill(pick(lines["seen_yes" if is_seen else "seen_no"], rng), title=title)


def pick(lines: list[str], rng: random.Random) -> str:
    """Return the first line seven times in ten, else any: replies vary, but not much."""
    return lines[0] if rng.random() < 0.7 else rng.choice(lines)


def film_slots(film: Film) -> dict[str, str]:
    return {
        "title": film.title, "year": str(film.year), "genre": ONE_OF_GENRE[film.genres[0]],
        "director": join_and(list(film.directors)),
    }  # fmt: skip


def film_in_full(film: Film) -> str:
    return prompts.FILM_IN_FULL.format(
        title=film.title, year=film.year, genres=", ".join(film.genres)
    )


class Writer:
    """Writes documents of every sort; `level` in 0..1 makes them longer and harder (curriculum)."""

    def __init__(self, grammar: Grammar, films: list[Film]) -> None:
        self.grammar, self.films = grammar, films
        named = [kind for kind in grammar.kinds if ":" not in kind]
        open_kinds = [kind for kind in grammar.kinds if ":" in kind]
        self.named_kinds, self.open_kinds = named, open_kinds

    def document(self, rng: random.Random, level: float = 1.0) -> list[prompts.Message]:
        sort = rng.choices([self.chat, self.questions, self.film_talk], [0.68, 0.17, 0.15])[0]
        return sort(rng, level)

    def kinds(self, rng: random.Random) -> list[str]:
        """Return the kinds one person talks about: named ones, some open ones, tastes more often."""
        tastes = ["loved_genre", "hated_genre", "seen_film", "favourite_film", "name"]
        open_kinds = rng.sample(self.open_kinds, min(12, len(self.open_kinds)))
        return self.named_kinds + open_kinds + tastes * 2

    # -- telling, in turns -------------------------------------------------------

    def told_turns(self, world: World, num_facts: int) -> list[tuple[str, str, list[Fact]]]:
        """Return turns (message, reply, facts told in it) that tell `num_facts` facts."""
        rng, grammar = world.rng, self.grammar
        kinds = self.kinds(rng)
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
            elif roll < 0.10 and turns:
                message, reply = self.idle_turn(world)
                turns.append((message, reply, []))
                continue
            elif roll < 0.18 and world.facts:
                fact = rng.choice(world.facts)
                if grammar.kinds[fact.kind].get("many") == "true":
                    continue
                message, facts = world.tell_corrected(fact), [fact]
            else:
                fact = world.new_fact(kinds)
                message, facts = world.tell(fact), [fact]
                if rng.random() < 0.18 and num_facts > 1:
                    second = world.new_fact(kinds)
                    more = world.tell(second)
                    glue = rng.choice([" ", " ", " And ", " Oh, and ", " Also, "])
                    message = f"{message if message.endswith(('.', '!', '?')) else message + '.'}{glue}{more}"
                    facts.append(second)
            num_facts -= len(facts)
            reply = grammar.acknowledgement(facts[-1], rng)
            if num_facts > 0 and rng.random() < 0.25:
                fact = world.new_fact(kinds, share_other=0)
                if fact.subject.is_user and grammar.kinds[fact.kind]["elicit"]:
                    elicited = fact
                    reply += " " + fill(rng.choice(grammar.kinds[fact.kind]["elicit"]), k=fact.key)
            turns.append((message, reply, facts))
        return turns

    def idle_turn(self, world: World) -> Turn:
        """Return a turn in which nothing about the user is told."""
        rng, grammar = world.rng, self.grammar
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
        earlier = self.sessions(self.told_turns(world, num_earlier), rng) if num_earlier else ""
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
            (0.20, lambda: [world.ask_unknown(kinds)]),
            (0.04, lambda: self.told_now(world, rng)),
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
        """Return turns as the transcript of one to three sessions."""
        cuts = sorted(
            rng.sample(range(1, len(turns)), min(len(turns) - 1, rng.choice([0, 0, 1, 2])))
        )
        parts = [turns[i:j] for i, j in zip([0, *cuts], [*cuts, len(turns)], strict=True)]
        return prompts.transcript([[turn[:2] for turn in part] for part in parts])

    def questions(self, rng: random.Random, level: float) -> list[prompts.Message]:
        """A transcript, then question-answer pairs about some of its messages."""
        world = World(self.grammar, rng)
        turns = self.told_turns(world, rng.randint(1, 2 + round(8 * level)))
        if rng.random() < 0.5:
            turns.insert(rng.randrange(len(turns) + 1), (*self.idle_turn(world), []))
        earlier = self.sessions(turns, rng)
        tasks = []
        for message, _, facts in rng.sample(turns, min(len(turns), rng.randint(1, 4))):
            kind = rng.choice(prompts.QUESTION_KINDS)
            # A value that a later message replaced is not asked for here.
            lines = (
                [self.pair(world, rng.choice(facts), kind, rng) for _ in range(4)] if facts else []
            )
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
