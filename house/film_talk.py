"""Talk about films: what they are about, who made them, wishes and suggestions."""

import random

from agent import prompts
from agent.catalogue import GENRES, Film
from house.people import Fact, Grammar
from house.phrasing import fill
from house.values import join_and
from house.world import Turn, World, film_slots, pick

DECADES = {
    1920: "the twenties", 1930: "the thirties", 1940: "the forties", 1950: "the fifties", 1960: "the sixties",
    1970: "the seventies", 1980: "the eighties", 1990: "the nineties", 2000: "the 2000s", 2010: "the 2010s",
    2020: "the 2020s",
}  # fmt: skip

GENRE_TASTES = ("loved_genre", "hated_genre")


class FilmTalk:
    """Writes turns about the films of the catalogue."""

    def __init__(self, grammar: Grammar, films: list[Film]) -> None:
        self.grammar, self.films = grammar, films

    def wish_turns(self, world: World, rng: random.Random) -> list[Turn]:
        """A wish with a suggestion, at times turned down or welcomed."""
        wish = rng.choice(list(GENRES)) if rng.random() < 0.4 else ""
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

    def turn(self, rng: random.Random, *, with_opinions: bool = True) -> Turn:
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
                "genre": join_and([GENRES[genre][1] for genre in film.genres[:2]]),
                "actor": join_and(list(film.actors[:2])) if film.actors else "",
                "about": join_and([GENRES[genre][1] for genre in film.genres[:2]]),
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
