"""What one invented user has told, and how it is asked for: the matter of a document."""

import random

from agent import prompts
from agent.catalogue import GENRES, Film, join_and
from house.fame import come_to_mind
from house.people import USER, Fact, Grammar, Subject, listed
from house.phrasing import fill, is_about, opened, pick

Turn = tuple[str, str]

GENRE_OF_TASTE = {taste: genre for genre, (taste, _) in GENRES.items()}
SAYS_SEEN = {"seen_film", "last_film", "favourite_film", "hated_film", "comfort_film", "first_film",
             "sad_film", "scary_film", "film_opinion", "film_rating"}  # fmt: skip
"""Kinds of fact that imply that the film was seen."""

TASTES = {"loved_genre", "hated_genre", "favourite_film", "director", "actor"}
"""Kinds of fact that answer what somebody likes to watch."""

MORE_OF_MANY = 0.3
"""Where somebody told a film they saw, how likely the next fact is another one: lists want practice."""

NAMES_SOMEBODY = {"partner", "flatmate", "best_friend", "child"}


class World:
    """What one user has told so far, and how it is asked for."""

    def __init__(self, grammar: Grammar, rng: random.Random) -> None:
        self.grammar, self.rng = grammar, rng
        self.facts: list[Fact] = []
        self.untold: list[Turn] | None = None
        """Questions that somebody of `people/` gives no answer to, each with its topic. Where there
        are any, nothing else is known to be untold: their facts are of no kind of `facts/`."""
        self.heard = ""
        """What somebody of `people/` said, in lower case: it may hold a taste that no fact holds."""
        self._used: set[str] = set()

    # -- telling ---------------------------------------------------------------

    def new_fact(self, kinds: list[str], *, share_other: float = 0.22) -> Fact:
        """Return a fact not told yet, with a value that nothing else has."""
        rng, grammar = self.rng, self.grammar
        while True:
            kind, subject = rng.choice(kinds), USER
            several = [
                told.kind for told in self.facts
                if told.subject.is_user and grammar.is_many(told.kind)
            ]  # fmt: skip
            if several and rng.random() < MORE_OF_MANY:
                kind = rng.choice(several)
            elif rng.random() < share_other and grammar.kinds[kind].get("other"):
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
            if kind == "name" and subject.my and not subject.my.startswith("my "):
                continue
            if subject.role and (
                kind == "name" or (self.find("name", subject) and rng.random() < 0.5)
            ):
                subject = Subject(subject.role, subject.your)
            is_many = subject.is_user and grammar.is_many(kind)
            fact = grammar.new_fact(kind, subject, rng)
            if not is_many and self.find(kind, subject, fact.key):
                continue
            if fact.value.lower() in self._used:
                continue
            self._used.add(fact.value.lower())
            return fact

    def fact_about(self, kind: str, subject: Subject) -> Fact:
        """Return a fact of this kind about somebody, with a value that nothing else has."""
        while (fact := self.grammar.new_fact(kind, subject, self.rng)).value.lower() in self._used:
            pass
        self._used.add(fact.value.lower())
        return fact

    def find(self, kind: str, subject: Subject, key: str = "") -> list[Fact]:
        return [
            fact for fact in self.facts
            if fact.kind == kind and fact.subject.whom == subject.whom and fact.key.lower() == key.lower()
        ]  # fmt: skip

    def tell(self, fact: Fact) -> str:
        """Return a message that states the fact, and remember it."""
        text = self.grammar.statement(fact, self.rng)
        self.facts.append(fact)
        self.facts += self.named(fact)
        return text

    def tell_several(self, fact: Fact, number: int) -> str:
        """Return a message that states the fact and others of its kind at once: "I speak Urdu, Farsi
        and Dutch"."""
        facts = [fact, *(self.new_fact([fact.kind], share_other=0) for _ in range(number - 1))]
        facts = [other for other in facts if other.kind == fact.kind and other.subject.is_user]
        line, joined = self.rng.choice(self.grammar.kinds[fact.kind]["states"]), listed(facts)
        text = self.grammar.framed(self.grammar.said(line, self.rng, v=joined), self.rng)
        if joined not in text:
            for other in facts:
                other.value = other.value.lower()
        self.facts += facts
        return text

    def named(self, fact: Fact) -> list[Fact]:
        """Return the name that a telling gives away beside: "my friend Oona lives in Oslo"."""
        subject = fact.subject
        if not subject.role or self.find("name", subject):
            return []
        return [Fact("name", Subject(subject.role, subject.your), subject.short)]

    def tell_corrected(self, fact: Fact) -> str:
        """Return a message that gives a told fact a new value."""
        new = self.grammar.new_fact(fact.kind, fact.subject, self.rng).value
        while new.lower() in {*self._used, fact.value.lower()}:
            new = self.grammar.new_fact(fact.kind, fact.subject, self.rng).value
        self._used.add(new.lower())
        fact.earlier.append(fact.value)
        fact.value = new
        return self.grammar.correction(fact, self.rng)

    def tell_turned(self, fact: Fact) -> str:
        """Return a message that hates a loved genre, or loves a hated one: the old taste is gone."""
        kind = "hated_genre" if fact.kind == "loved_genre" else "loved_genre"
        self.facts.remove(fact)
        new = Fact(kind, fact.subject, fact.value)
        self.facts.append(new)
        opener = self.rng.choice(self.grammar.talk["corrections"]["prefixes"])
        line = self.rng.choice(self.grammar.kinds[kind]["states"])
        return self.grammar.said(opened(opener, line), self.rng, new)

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
        others = [other.value for other in self.facts if other.kind == fact.kind]
        same = self.find(fact.kind, fact.subject, fact.key)
        true = {other.value.lower() for other in [fact, *same]}
        pool = [value for value in [*fact.earlier, *others] if value.lower() not in true]
        if pool and self.rng.random() < 0.6:
            return self.rng.choice(pool)
        while True:
            value = self.grammar.new_fact(fact.kind, fact.subject, self.rng).value
            if value.lower() not in self._used | true:
                return value

    def ask_unknown(self, kinds: list[str]) -> Turn | None:
        """Ask for something that was not told; near misses preferred: the same kind of somebody
        else, or a neighbouring kind."""
        grammar, rng = self.grammar, self.rng
        has_seen = any(fact.kind in SAYS_SEEN for fact in self.facts)
        if self.untold is not None:
            return self._ask_look_alike()
        if rng.random() < 0.25 and (turn := self._ask_look_alike()):
            return turn
        for _ in range(20):
            fact = self._near_miss(kinds)
            kind, subject = fact.kind, fact.subject
            if kind == "seen_film" and has_seen:
                continue
            if self.find(kind, subject, fact.key) or self._implied(kind, subject):
                continue
            answer = grammar.unknown(kind, subject, rng, fact.key)
            if rng.random() < 0.15:
                return grammar.yes_no(fact, fact.value, rng), rng.choice(
                    [answer, rng.choice(grammar.talk["unknown"]["yesno"])]
                )
            return grammar.question(fact, rng), answer
        return None

    def _near_miss(self, kinds: list[str]) -> Fact:
        """Return a fact like the told ones: of the same kind or person, or about the same thing."""
        grammar, rng = self.grammar, self.rng
        keys = [told.key for told in self.facts if told.kind.startswith("thing:")]
        if keys and rng.random() < 0.2:
            fact = grammar.new_fact(rng.choice(grammar.relations), USER, rng)
            fact.key = rng.choice(keys)
            return fact
        kind, subject = rng.choice(kinds), USER
        roll = rng.random()
        if self.facts and roll < 0.35:
            twin = rng.choice(self.facts)
            if grammar.kinds[twin.kind].get("other"):
                is_other = twin.subject.is_user or rng.random() > 0.6
                kind, subject = twin.kind, grammar.new_subject(rng) if is_other else USER
        elif self.facts and roll < 0.5:
            subject = rng.choice(self.facts).subject
        elif roll < 0.6:
            subject = grammar.new_subject(rng)
        if not subject.is_user and not grammar.kinds[kind].get("other"):
            subject = USER
        if subject.role:  # a name that was never said tells nobody who is meant
            subject = Subject(subject.role, subject.your)
        return grammar.new_fact(kind, subject, rng)

    def _ask_look_alike(self) -> Turn | None:
        """Ask a question that sounds like one about a told fact and is about something else."""
        grammar, rng = self.grammar, self.rng
        others = [fact.subject.my for fact in self.facts if not fact.subject.is_user]
        found = (self.untold or []) + [
            (question, topic)
            for fact in self.facts
            for question, topic in grammar.kinds[fact.kind].get("look_alikes", [])
            if not any(my in question for my in others)
        ]
        if not found:
            return None
        question, topic = rng.choice(found)
        topic = rng.choice([topic, "that"]) if is_about(question, topic) else "that"
        return grammar.said(question, rng), grammar.not_told(topic, rng)

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
        return any(fact.kind in near and fact.subject.whom == subject.whom for fact in self.facts)

    def ask_summary(self) -> Turn | None:
        """Ask for everything; none where only other people were spoken of."""
        grammar, rng = self.grammar, self.rng
        summary = grammar.talk["summary"]
        question = grammar.said(rng.choice(summary["asks"]), rng)
        mine = [fact for fact in self.facts if fact.subject.is_user]
        if not mine and self.facts:
            return None
        if not mine:
            return question, grammar.talk["unknown"]["summary"][0]
        said = [
            fill(_in_a_sentence(grammar.kinds[fact.kind]), v=fact.value, k=fact.key)
            for fact in mine[-5:]
        ]
        return question, summary["openers"][0].strip() + " " + " ".join(said)

    def ask_taste(self) -> Turn | None:
        """Ask for the taste in films; none where somebody of `people/` may have told some of it."""
        grammar, rng = self.grammar, self.rng
        question = grammar.said(rng.choice(grammar.talk["summary"]["taste_asks"]), rng)
        told = [fact for fact in self.facts if fact.kind in TASTES and fact.subject.is_user]
        if told:
            return question, " ".join(grammar.answer(fact, rng) for fact in told[-4:])
        if self.untold is not None:
            return None
        return question, grammar.not_told("what kind of films you like", rng)

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
        self, films: list[Film], *, wish: str = "", avoid: set[str] = frozenset(),
        never: set[str] = frozenset(),
    ) -> tuple[str, Film] | None:  # fmt: skip
        """Return a suggestion and its film, which fits the wish (a genre, or empty) and the taste, none of the titles
        in `avoid` and of the genres in `never`."""
        rng, lines = self.rng, self.grammar.films["suggestions"]
        loved, hated, seen = self.taste()
        genres = {wish} if wish else set(loved)
        fitting = [
            film for film in films
            if film.title.lower() not in seen | avoid
            and not set(film.genres) & (never | set(hated) - {wish})
            and (not genres or film.genres[0] in genres)
        ]  # fmt: skip
        if not fitting:
            return None
        film = come_to_mind(fitting, rng)
        slots = film_slots(film)
        reasons = [genre for genre in film.genres if genre in loved]
        if reasons:
            slots["genre"] = GENRES[reasons[0]][1]
            line = pick(lines["because"], rng)
            return fill(line, because=f"you love {loved[reasons[0]]}", **slots), film
        if wish:
            slots["genre"] = GENRES[wish][1]
        return fill(pick(lines["plain"], rng), **slots), film

    def ask_would_like(self, films: list[Film]) -> Turn | None:
        """Ask whether a film would please; none where what was heard may say more than the facts."""
        rng, grammar = self.rng, self.grammar
        lines = grammar.films["would_like"]
        loved, hated, _ = self.taste()
        pool = films
        if rng.random() < 0.4 and (loved or hated):  # else any film: which genre it is must matter
            wanted = set(rng.choice([group for group in (loved, hated) if group]))
            pool = [film for film in films if set(film.genres) & wanted] or films
        film = rng.choice(pool)
        if any(genre[:5] in self.heard for genre in film.genres):
            return None
        slots = film_slots(film)
        title = slots["title"] if rng.random() < 0.4 else film_in_full(film)
        question = (prompts.WOULD_LIKE.format(film=title) if rng.random() < 0.3
                    else grammar.said(rng.choice(lines["asks"]), rng, title=title))  # fmt: skip
        slots["genres"] = join_and([GENRES[genre][1] for genre in film.genres])
        for taste, name in ((hated, "no"), (loved, "yes")):
            for genre in film.genres:
                if genre in taste:
                    return question, fill(pick(lines[name], rng), taste=taste[genre], **slots)
        return question, fill(pick(lines["unsure"], rng), **slots)

    def ask_other_taste(self) -> Turn | None:
        """Ask what genre is hated where one is loved, or the other way round, if nothing told it."""
        loved, hated, _ = self.taste()
        if bool(loved) == bool(hated) or any(genre[:5] in self.heard for genre in GENRES):
            return None
        kind = "hated_genre" if loved else "loved_genre"
        if self.find(kind, USER):
            return None
        fact = self.grammar.new_fact(kind, USER, self.rng)
        return self.grammar.question(fact, self.rng), self.grammar.unknown(kind, USER, self.rng)

    def ask_seen(self, films: list[Film]) -> Turn | None:
        """Ask whether a film was seen; none where it was spoken of otherwise."""
        rng, grammar = self.rng, self.grammar
        lines = grammar.films["would_like"]
        told = [
            fact.key or fact.value
            for fact in self.facts
            if fact.kind in SAYS_SEEN and fact.subject.is_user
        ]
        is_seen = bool(told) and rng.random() < 0.75
        title = rng.choice(told) if is_seen else rng.choice(films).title
        is_seen = title.lower() in {name.lower() for name in told}
        if not is_seen and title.lower() in self.heard:
            return None
        question = (prompts.HAVE_SEEN.format(title=title) if rng.random() < 0.4
                    else grammar.said(rng.choice(lines["seen_asks"]), rng, title=title))  # fmt: skip
        return question, fill(pick(lines["seen_yes" if is_seen else "seen_no"], rng), title=title)


def _in_a_sentence(kind: dict) -> str:
    return kind.get("told", kind["answers"][0])


def film_slots(film: Film) -> dict[str, str]:
    return {
        "title": film.title, "year": str(film.year), "genre": GENRES[film.genres[0]][1],
        "director": join_and(list(film.directors)),
    }  # fmt: skip


def film_in_full(film: Film) -> str:
    return prompts.FILM_IN_FULL.format(
        title=film.title, year=film.year, genres=", ".join(film.genres)
    )
