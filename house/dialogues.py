"""Whole conversations of `wordings/dialogues/`: read, check, fill with films and values.

A dialogue is a list of exchanges; each has several ways to say the user's line and several
replies. Slots stand for films of the catalogue ({a}, {a.year}), for facts about the user, and
for other words.
"""

import random
import re
from dataclasses import dataclass

from agent.catalogue import GENRES, Film, join_and
from house.fame import come_to_mind
from house.phrasing import SLOT

FILM_SLOTS = {"year", "decade", "director", "actor", "genre", "about", "theme"}
"""What can be said of a film: {a.year}."""

DEMANDS = {"genre", "not_genre", "before", "after", "like", "by", "theme", "with"}
"""What can be asked of a film slot; `like`, `by` and `with` name an earlier slot: of its first
genre, by its first director, with an actor of it."""

WITHDRAWN = ("old", "wrong", "full")
"""How the slot of a word begins that stands for a value which the user takes back later."""

LEAST_EXCHANGES, LEAST_SAYS, LEAST_REPLIES = 4, 3, 2


@dataclass(frozen=True)
class Exchange:
    """One exchange, with its alternatives."""

    say: list[str]
    reply: list[str]


@dataclass(frozen=True)
class Dialogue:
    """One conversation."""

    films: dict[str, dict[str, str]]
    """Film slot → what is demanded of it."""
    words: dict[str, list[str]]
    """Slots that are no facts about the user → their values."""
    kinds: dict[str, str]
    """Slots that are facts → their kinds."""
    exchanges: list[Exchange]


def pick_films(dialogue: Dialogue, films: list[Film], rng: random.Random) -> dict[str, Film] | None:
    """Return different films that meet the demands of a dialogue, slot → film; nothing if a slot
    found none this time."""
    lines = " ".join(line for turn in dialogue.exchanges for line in turn.say + turn.reply)
    chosen: dict[str, Film] = {}
    for slot, wanted in dialogue.films.items():
        needs_actor = f"{{{slot}.actor}}" in lines
        fitting = [
            film for film in films
            if film not in chosen.values() and (film.actors or not needs_actor)
            and meets(film, wanted, chosen)
        ]  # fmt: skip
        if not fitting:
            return None
        chosen[slot] = come_to_mind(fitting, rng)
    return chosen


def meets(film: Film, wanted: dict[str, str], chosen: dict[str, Film]) -> bool:
    """Does a film meet the demands on its slot, the slots before it being chosen?"""
    genres = _parts(wanted.get("genre", ""))
    return (
        (not genres or film.genres[0] in genres)
        and not set(film.genres) & set(_parts(wanted.get("not_genre", "")))
        and int(wanted.get("after", 0)) < film.year < int(wanted.get("before", 9999))
        and ("theme" not in wanted or bool(set(film.themes) & set(_parts(wanted["theme"]))))
        and ("like" not in wanted or film.genres[0] == chosen[wanted["like"]].genres[0])
        and ("by" not in wanted or film.directors[0] == chosen[wanted["by"]].directors[0])
        and ("with" not in wanted or bool(set(film.actors) & set(chosen[wanted["with"]].actors)))
    )


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def film_values(slot: str, film: Film) -> dict[str, str]:
    """Return what the slots of a film stand for."""
    return {
        slot: film.title,
        f"{slot}.year": str(film.year),
        f"{slot}.decade": f"the {film.year // 10 * 10}s",
        f"{slot}.director": join_and(list(film.directors)),
        f"{slot}.actor": film.actors[0] if film.actors else "",
        f"{slot}.genre": GENRES[film.genres[0]][1],
        f"{slot}.about": film.about,
        f"{slot}.theme": film.themes[0] if film.themes else "",
    }


def check_dialogue(entry: dict) -> list[str]:
    """Return the faults of an entry of `dialogues/`, none if it can be used."""
    if unknown := set(entry) - {"films", "facts", "words", "turns"}:
        return [f"unknown fields {sorted(unknown)}"]
    films, facts = entry.get("films") or {}, entry.get("facts") or []
    for fact in facts:
        if missing := {"slot", "topic", "told", "asks", "values"} - set(fact):
            return [f"a fact lacks {sorted(missing)}"]
    return [
        *(fault for slot in films for fault in _check_film(slot, films)),
        *(fault for fact in facts for fault in _check_fact(fact)),
        *_check_turns(entry),
    ]


def _check_film(slot: str, films: dict[str, dict | None]) -> list[str]:
    wanted, faults = films[slot] or {}, []
    if unknown := set(wanted) - DEMANDS:
        faults.append(f"film {slot}: unknown demands {sorted(unknown)}")
    named = _parts(wanted.get("genre", "")) + _parts(wanted.get("not_genre", ""))
    if unknown := set(named) - set(GENRES):
        faults.append(f"film {slot}: unknown genres {sorted(unknown)}")
    earlier = list(films)[: list(films).index(slot)]
    return faults + [
        f"film {slot}: {name} must name an earlier film slot"
        for name in ("like", "by", "with")
        if name in wanted and wanted[name] not in earlier
    ]


def _check_fact(fact: dict) -> list[str]:
    rules = [
        (len(fact["asks"]) < 4 or len(fact["values"]) < 5, "4 asks and 5 values wanted"),
        (
            re.findall(r"\{(.*?)\}", fact["told"]) != ["v"] or not fact["told"].startswith("You"),
            f"{fact['told']!r} must begin with You or Your and hold {{v}} once",
        ),
        (
            bool(re.search(r"\b(my|I)\b|[.?]$|\{", fact["topic"])),
            f"{fact['topic']!r} is no clause about you",
        ),
        (any("{" in line for line in fact["asks"]), "a question must not hold a slot"),
    ]
    return [f"fact {fact['slot']}: {fault}" for is_broken, fault in rules if is_broken]


def _check_turns(entry: dict) -> list[str]:
    """Return the faults of the exchanges: their form, their slots, what is told and when."""
    facts = {fact["slot"] for fact in entry.get("facts") or []}
    turns, faults, told = entry.get("turns") or [], [], set()
    if len(turns) < LEAST_EXCHANGES:
        faults.append(f"{len(turns)} exchanges, at least {LEAST_EXCHANGES} wanted")
    for turn in turns:
        if set(turn) != {"say", "reply"} or not all(
            isinstance(part, list) for part in turn.values()
        ):
            return [*faults, f"an exchange has the lists say and reply: {str(turn)[:80]}"]
        first = turn["say"][0]
        if len(turn["say"]) < LEAST_SAYS or len(turn["reply"]) < LEAST_REPLIES:
            faults.append(f"{first!r}: {LEAST_SAYS} says and {LEAST_REPLIES} replies wanted")
        faults += [
            fault for line in turn["say"] + turn["reply"] for fault in _check_line(line, entry)
        ]
        new = [set(SLOT.findall(line)) & facts - told for line in turn["say"]]
        if any(names != new[0] for names in new):
            faults.append(f"{first!r}: all ways to say it must tell the same facts")
        told |= new[0]
        if early := {name for line in turn["reply"] for name in SLOT.findall(line)} & facts - told:
            faults.append(f"{turn['reply'][0]!r}: knows {sorted(early)} before it was told")
        faults += [
            f"{line!r}: a reply has 45 words at most"
            for line in turn["reply"]
            if len(line.split()) > 45
        ]
    if missing := facts - told:
        faults.append(f"facts never told: {sorted(missing)}")
    return faults


def _check_line(line: str, entry: dict) -> list[str]:
    films = entry.get("films") or {}
    others = {fact["slot"] for fact in entry.get("facts") or []} | set(entry.get("words") or {})
    faults = []
    for name in SLOT.findall(line):
        base, _, part = name.partition(".")
        if not (base in films and (not part or part in FILM_SLOTS)) and name not in others:
            faults.append(f"{line!r}: unknown slot {{{name}}}")
    if line.count("{") != len(SLOT.findall(line)) or not line.strip():
        faults.append(f"{line!r}: a broken slot or an empty line")
    return faults
