"""Talk about films: what they are about, who made them, wishes and suggestions."""

import random
from collections.abc import Callable

from agent import prompts
from agent.catalogue import GENRES, Film, join_and
from house.fame import come_to_mind
from house.people import Fact, Grammar
from house.phrasing import fill, pick, stopped
from house.world import Turn, World, film_slots

DECADES = {
    1920: "the twenties", 1930: "the thirties", 1940: "the forties", 1950: "the fifties", 1960: "the sixties",
    1970: "the seventies", 1980: "the eighties", 1990: "the nineties", 2000: "the 2000s", 2010: "the 2010s",
    2020: "the 2020s",
}  # fmt: skip

GENRE_TASTES = ("loved_genre", "hated_genre")

FACTS_OF_A_FILM = ["director", "year", "actor", "about", "genre"]

LIGHT = {"comedy", "family", "animation", "musical", "romance"}
DARK = {"thriller", "horror", "crime", "film noir", "war"}
"""Genres of which a lighter and a darker film must have one as its first, which replies name, and none of the other
side."""

TURNS_FROM_A_FILM: dict[str, Callable[[Film, Film], bool]] = {
    "another": lambda other, film: other.genres[0] == film.genres[0],
    "lighter": lambda other, film: other.genres[0] in LIGHT and not DARK & set(other.genres),
    "darker": lambda other, film: other.genres[0] in DARK and not LIGHT & set(other.genres),
    "older": lambda other, film: other.genres[0] == film.genres[0] and other.year < film.year - 5,
    "newer": lambda other, film: other.genres[0] == film.genres[0] and other.year > max(film.year + 5, 2000),
}  # fmt: skip
"""What is asked for after a film was named → does the other film fit?"""


def suits(film: Film, mood: dict) -> bool:
    """Is the film one for a mood of `films/moods.yaml`?"""
    return film.genres[0] in mood["genres"] and not set(film.genres) & set(mood["never"])


class FilmTalk:
    """Writes turns about the films of the catalogue."""

    def __init__(self, grammar: Grammar, films: list[Film]) -> None:
        self.grammar, self.films = grammar, films

    def wish_turns(self, world: World, rng: random.Random) -> list[Turn]:
        """A wish with a suggestion, at times told together with a fact; then what people say to a
        suggestion: no, yes, who made it?"""
        said, lines = self.grammar.said, self.grammar.films["suggestions"]
        roll, never, opening, before = rng.random(), set(), "", ""
        wish = rng.choice(list(GENRES)) if roll < 0.35 else ""
        if roll > 0.7 and world.untold is None:
            kinds = GENRE_TASTES if rng.random() < 0.5 else world.grammar.named_kinds
            fact = world.new_fact([*kinds], share_other=0.2)
            before, opening = world.tell(fact), world.grammar.acknowledgement(fact, rng)
            opening = "" if opening.endswith("?") else opening
        asked = self.wish(rng, wish or "any")
        if roll > 0.8:
            mood = rng.choice(self.grammar.films["moods"])
            hated = world.taste()[1]
            fitting = [genre for genre in mood["genres"] if genre not in hated]
            if fitting:
                wish, never = rng.choice(fitting), set(mood["never"])
                asked = said(rng.choice(mood["say"]), rng)
        suggested = world.suggest(self.films, wish=wish, never=never)
        if suggested is None:
            return []
        reply, film = suggested
        named = {film.title.lower()}
        turns = [(f"{stopped(before)} {asked}".strip(), f"{opening} {reply}".strip())]
        while rng.random() < 0.55:
            roll = rng.random()
            if roll < 0.3:
                reply = pick(lines["accept_replies"], rng)
                return [*turns, (said(rng.choice(lines["accept"]), rng), reply)]
            if roll < 0.7:
                other = world.suggest(self.films, wish=wish, avoid=named, never=never)
                if other is None:
                    break
                reply, film = other
                named.add(film.title.lower())
                turns.append((said(rng.choice(lines["reject"]), rng), reply))
            else:
                what = rng.choice(FACTS_OF_A_FILM)
                asks = self.grammar.films["follow_ups"][what]["asks"]
                turns.append((said(rng.choice(asks), rng), self.fact_answer(film, what, rng)))
        return turns

    def taste_turns(self, world: World, number: int) -> list[tuple[str, str, list[Fact]]]:
        """Return turns that tell what the user loves, hates, or has seen."""
        rng, grammar = world.rng, self.grammar
        turns = []
        for _ in range(number):
            fact = world.new_fact([*GENRE_TASTES * 2, "seen_film"], share_other=0)
            message = world.tell(fact)
            turns.append((message, grammar.acknowledgement(fact, rng), [fact]))
        return turns

    def turn_against(self, world: World) -> list[tuple[str, str, list[Fact]]]:
        """Return a turn that hates what was loved or the other way round; none without a taste."""
        tastes = [f for f in world.facts if f.kind in GENRE_TASTES and f.subject.is_user]
        if not tastes:
            return []
        message = world.tell_turned(world.rng.choice(tastes))
        fact = world.facts[-1]
        return [(message, world.grammar.acknowledgement(fact, world.rng), [fact])]

    def talk(self, rng: random.Random, number: int) -> list[Turn]:
        """Return about `number` turns: a film, what follows from it, the next one."""
        turns: list[Turn] = []
        while len(turns) < number:
            film = rng.choice(self.films)
            turns.append(self.turn_about(film, rng))
            while film.title in turns[-1][1] and rng.random() < 0.4:
                turn, film = self.follow_up(film, rng)
                turns.append(turn)
        return turns

    def turn(self, rng: random.Random, *, with_opinions: bool = True) -> Turn:
        """Return a question about a film, a wish, or an opinion, with its answer. An opinion tells
        that the film was seen, so it is no idle talk."""
        return self.turn_about(rng.choice(self.films), rng, with_opinions=with_opinions)

    def turn_about(self, film: Film, rng: random.Random, *, with_opinions: bool = True) -> Turn:
        """Return such a turn whose film is `film`, where it has one."""
        sorts: list[tuple[float, Callable[[], Turn]]] = [
            (0.42, lambda: self.fact_turn(film, rng)),
            (0.05, lambda: self.unknown_turn(rng)),
            (0.09, lambda: self.by_turn(film, rng)),
            (0.08, lambda: self.particular_wish(film, rng)),
            (0.09, lambda: self.theme_turn(film, rng)),
            (0.06, lambda: self.mood_turn(film, rng)),
            (0.09, lambda: self.genre_turn(film, rng)),
            (0.12 * with_opinions, lambda: self.opinion_turn(film, rng)),
        ]  # fmt: skip
        (_, make) = rng.choices(sorts, [weight for weight, _ in sorts])[0]
        return make()

    def suggestion(self, film: Film, rng: random.Random) -> str:
        return fill(pick(self.grammar.films["suggestions"]["plain"], rng), **film_slots(film))

    def fact_turn(self, film: Film, rng: random.Random) -> Turn:
        what = rng.choice(["year", "director", "genre", "actor", "about"])
        question = self.grammar.said(
            rng.choice(self.grammar.films["questions"][what]["asks"]), rng, title=film.title
        )
        return question, self.fact_answer(film, what, rng)

    def fact_answer(self, film: Film, what: str, rng: random.Random) -> str:
        """Return what is known of a film: its "year", "director", "genre", "actor", or "about"."""
        lines = self.grammar.films["questions"]
        genres = join_and([GENRES[genre][1] for genre in film.genres[:2]])
        if what == "actor" and not film.actors:
            return fill(pick(lines["unknown"], rng), title=film.title)
        if what == "about" and film.about and rng.random() < 0.75:
            lines = self.grammar.films["themes"]["about_answers"]
            return fill(pick(lines, rng), title=film.title, about=film.about)
        values = {
            "year": str(film.year),
            "director": join_and(list(film.directors)),
            "genre": genres,
            "actor": join_and(list(film.actors[:2]) or [""]),
            "about": genres,
        }
        return fill(pick(lines[what]["answers"], rng), title=film.title, v=values[what])

    def unknown_turn(self, rng: random.Random) -> Turn:
        lines, title = self.grammar.films["questions"], self.grammar.values.invented_title(rng)
        what = rng.choice(["year", "director", "genre", "actor", "about"])
        question = self.grammar.said(rng.choice(lines[what]["asks"]), rng, title=title)
        return question, fill(pick(lines["unknown"], rng), title=title)

    def by_turn(self, film: Film, rng: random.Random) -> Turn:
        is_actor = bool(film.actors) and rng.random() < 0.5
        lines = self.grammar.films["questions"]["by_actor" if is_actor else "by_director"]
        name = rng.choice(film.actors if is_actor else film.directors)
        film = come_to_mind([o for o in self.films if name in (o.actors if is_actor else o.directors)], rng)  # fmt: skip
        question = self.grammar.said(rng.choice(lines["asks"]), rng, v=name)
        return question, fill(pick(lines["answers"], rng), v=name, title=film.title)

    def theme_turn(self, film: Film, rng: random.Random) -> Turn:
        """A wish for a theme; what the themes of a film are; which film a description is of."""
        lines, grammar, roll = self.grammar.films["themes"], self.grammar, rng.random()
        if roll < 0.5:
            theme = rng.choice(film.themes)
            film = come_to_mind([other for other in self.films if theme in other.themes], rng)
            question = grammar.said(rng.choice(lines["asks"]), rng, v=theme)
            return question, fill(
                pick(lines["suggestions"], rng), about=film.about, **film_slots(film)
            )
        if roll < 0.75:
            question = grammar.said(rng.choice(lines["theme_asks"]), rng, title=film.title)
            themes = join_and(list(film.themes))
            return question, fill(pick(lines["theme_answers"], rng), title=film.title, v=themes)
        question = grammar.said(rng.choice(lines["which_asks"]), rng, about=film.about)
        return question, fill(
            pick(lines["which_answers"], rng), title=film.title, year=str(film.year)
        )

    def mood_turn(self, film: Film, rng: random.Random) -> Turn:
        """A wish by mood or company that this film suits, if there is one, and a film that suits it."""
        moods = [mood for mood in self.grammar.films["moods"] if suits(film, mood)]
        mood = rng.choice(moods or self.grammar.films["moods"])
        film = come_to_mind([other for other in self.films if suits(other, mood)], rng)
        return self.grammar.said(rng.choice(mood["say"]), rng), self.suggestion(film, rng)

    def opinion_turn(self, film: Film, rng: random.Random) -> Turn:
        opinions = self.grammar.films["opinions"]
        asks, replies = rng.choice([("asks", "answers"), ("user_opinions", "opinion_replies")])
        question = self.grammar.said(rng.choice(opinions[asks]), rng, title=film.title)
        return question, fill(pick(opinions[replies], rng), **film_slots(film))

    def follow_up(self, film: Film, rng: random.Random) -> tuple[Turn, Film]:
        """Return a turn about the film just named, which the user does not name, and the film that is
        spoken of then."""
        lines, grammar = self.grammar.films["follow_ups"], self.grammar
        what = rng.choice(FACTS_OF_A_FILM * 2 + ["why", "shown", *TURNS_FROM_A_FILM])
        question = grammar.said(rng.choice(lines[what]["asks"]), rng)
        if what in FACTS_OF_A_FILM:
            return (question, self.fact_answer(film, what, rng)), film
        if what == "why":
            return (question, fill(pick(lines["why"]["answers"], rng), **film_slots(film))), film
        wanted = TURNS_FROM_A_FILM.get(what, TURNS_FROM_A_FILM["another"])
        alike = [other for other in self.films if other is not film and wanted(other, film)]
        if not alike:
            return self.follow_up(film, rng)
        near = [other for other in alike if set(other.themes) & set(film.themes)]
        other = come_to_mind(near if near and rng.random() < 0.5 else alike, rng)
        if what == "shown":
            reply = pick(lines["shown"]["replies"], rng)
            return (question, fill(reply, old=film.title, **film_slots(other))), other
        return (question, fill(pick(lines["turns"], rng), **film_slots(other))), other

    def particular_wish(self, film: Film, rng: random.Random) -> Turn:
        """Return a wish for a decade, a director, an actor, or a film like another, and a film."""
        wishes: dict[str, tuple[str, Callable[[Film], bool]]] = {}
        decade, director = film.year // 10, rng.choice(film.directors)
        wishes["decade"] = DECADES[10 * decade], lambda other: other.year // 10 == decade
        wishes["director"] = director, lambda other: director in other.directors
        wishes["like"] = film.title, lambda other: other is not film and other.genres[0] == film.genres[0]  # fmt: skip
        if film.actors:
            actor = rng.choice(film.actors)
            wishes["actor"] = actor, lambda other: actor in other.actors
        wish = rng.choice(list(wishes))
        value, fits = wishes[wish]
        said = self.grammar.said(rng.choice(self.grammar.wishes[wish]), rng, v=value)
        return said, self.suggestion(come_to_mind(list(filter(fits, self.films)), rng), rng)

    def genre_turn(self, film: Film, rng: random.Random) -> Turn:
        """Return a wish for the film's genre, or for any film, and a film."""
        wish = rng.choice(["any", *film.genres[:1] * 3])
        fitting = [other for other in self.films if wish in ("any", other.genres[0])]
        return self.wish(rng, wish), self.suggestion(come_to_mind(fitting, rng), rng)

    def wish(self, rng: random.Random, wish: str) -> str:
        if wish == "any" and rng.random() < 0.25:
            return prompts.RECOMMEND
        return self.grammar.said(rng.choice(self.grammar.wishes[wish]), rng)
