"""Items about films: what is known of them, suggestions, whether one would please."""

import random
from collections.abc import Iterator

from agent import prompts
from agent.catalogue import GENRES, Catalogue, Film
from agent.memory.probe import holds, is_abstention
from house.documents import Writer
from house.exam.figures import Item
from house.film_talk import GENRE_TASTES
from house.world import World


def best_known(writer: Writer, rng: random.Random) -> Iterator[Item]:
    yield from film_items(writer, rng, writer.best_known, "films: the best known")  # fmt: skip


def whole_catalogue(writer: Writer, rng: random.Random) -> Iterator[Item]:
    yield from film_items(writer, rng, writer.films, "films: the whole catalogue")


def film_items(writer: Writer, rng: random.Random, films: list[Film], figure: str) -> Iterator[Item]:  # fmt: skip
    """Yield a question about the year, the director, the genre and a leading actor of each film."""
    lines, said = writer.grammar.films["questions"], writer.grammar.said
    while True:
        for film in rng.sample(films, len(films)):
            known = {
                "year": [str(film.year)],
                "director": film.directors,
                "actor": film.actors,
                "genre": [name for genre in film.genres for name in GENRES[genre]],
            }
            for what, values in known.items():
                if values:
                    yield Item(
                        prompts.chat([], said(rng.choice(lines[what]["asks"]), rng, title=film.title)),
                        lambda reply, values=values: {figure: any(holds(reply, v) for v in values)},
                    )  # fmt: skip


def unknown_films(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield questions about films that do not exist."""
    while True:
        question, _ = writer.about_films.unknown_turn(rng)
        yield Item(
            prompts.chat([], question),
            lambda reply: {"films: says that it does not know one": does_not_know(reply)},
        )


def does_not_know(reply: str) -> bool:
    """Does the reply say that it does not know a film, and name none of its years?"""
    return is_abstention(reply) and not any(char.isdigit() for char in reply)


def recommendations(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield wishes of somebody who loves a genre, hates another and has seen some films."""
    grammar, catalogue = writer.grammar, Catalogue(writer.films)
    while True:
        world = World(grammar, rng)
        turns = writer.about_films.taste_turns(world, 4)
        turns += writer.teller.told_turns(world, 3, kinds=writer.teller.named_kinds)
        earlier = writer.sessions(rng.sample(turns, len(turns)), rng)
        loved, hated, _ = world.taste()
        wish = rng.choice(["", *sorted(set(GENRES) - set(hated))])
        asked = writer.about_films.wish(rng, wish or "any")
        wanted = {wish} if wish else set(loved)
        yield Item(
            prompts.chat([], asked, earlier=earlier),
            lambda reply, world=world, wanted=wanted: of_suggestion(reply, world, wanted, catalogue),
        )  # fmt: skip


def of_suggestion(reply: str, world: World, wanted: set[str], catalogue: Catalogue) -> dict[str, bool]:  # fmt: skip
    """Return what is right about a suggestion: a film of the catalogue, of a wanted genre if there
    are any, and none that is hated or seen."""
    _, hated, seen = world.taste()
    mentioned = catalogue.mentioned(reply)
    named = [film for film in mentioned if len(film.title) > 3] or mentioned  # "It", "Up", "Her"
    return {
        "recommendations: a real title": bool(named),
        "recommendations: fits the wish": bool(named)
        and all(not wanted or bool(set(film.genres) & wanted) for film in named),
        "recommendations: none hated or seen": bool(named)
        and all(not set(film.genres) & set(hated) and film.title.lower() not in seen for film in named),
    }  # fmt: skip


def verdicts(writer: Writer, rng: random.Random) -> Iterator[Item]:
    """Yield questions whether a film would please somebody who told three tastes."""
    while True:
        world = World(writer.grammar, rng)
        turns = writer.about_films.taste_turns(world, 3)
        turns += writer.teller.told_turns(world, 4, kinds=[k for k in writer.teller.named_kinds if k not in GENRE_TASTES])  # fmt: skip
        earlier = writer.sessions(rng.sample(turns, len(turns)), rng)
        for _ in range(3):
            if asked := world.ask_would_like(writer.films):
                question, answer = asked
                yield Item(
                    prompts.chat([], question, earlier=earlier),
                    lambda reply, answer=answer: {
                        "would it please: the right verdict": verdict(reply) == verdict(answer)
                    },
                )


def verdict(reply: str) -> str:
    """Return "yes", "no" or "unsure": what a reply says about a film that may please; else nothing."""
    if holds(reply, "haven't told me"):
        return "unsure"
    reply = reply.rpartition(". You ")[2]  # "No Time to Die is an action film. You ..."
    says_yes, says_no = holds(reply, "yes"), holds(reply, "no") or holds(reply, "not")
    return "" if says_yes == says_no else "yes" if says_yes else "no"
