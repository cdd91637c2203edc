"""Whole conversations and intents: complete, and filled with films that fit."""

import copy
import random
from collections import Counter

import pytest

from house.dialogues import check_dialogue, meets, pick_films
from house.wordings import WORDINGS_DIR, normalise, read_yaml
from house.world import World

DIALOGUES = sorted((WORDINGS_DIR / "dialogues").glob("*.yaml"))
INTENTS = sorted((WORDINGS_DIR / "intents").glob("*.yaml"))


@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
def test_every_dialogue_is_complete(path):
    assert [fault for entry in read_yaml(path) for fault in check_dialogue(entry)] == []


@pytest.fixture
def entry():
    return {
        "films": {"a": {"genre": "comedy"}, "b": {"like": "a"}},
        "facts": [{
            "slot": "town", "topic": "where you live", "told": "You live in {v}.",
            "asks": ["Where do I live?"] * 4, "values": ["Porto", "Oslo", "Lima", "Cork", "Bari"],
        }],
        "turns": [
            {"say": ["I'm in {town}.", "{town} here!", "Hi from {town}"], "reply": ["{town}, good.", "Nice."]},
            {"say": ["A film?", "film pls", "What now?"], "reply": ["{a} ({a.year}).", "Try {a}."]},
            {"say": ["Another?", "next", "More!"], "reply": ["{b}.", "{b} by {b.director}."]},
            {"say": ["Thanks", "ta", "Good."], "reply": ["Bye.", "Enjoy."]},
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda e: e["films"]["a"].update(genre="sitcom"), "unknown genres"),
        (lambda e: e["films"]["a"].update(like="b"), "earlier film slot"),
        (lambda e: e["films"]["a"].update(colour="red"), "unknown demands"),
        (lambda e: e["turns"][1]["reply"].append("{c} is fine."), "unknown slot {c}"),
        (lambda e: e["turns"][1]["reply"].append("{a.length} minutes"), "unknown slot {a.length}"),
        (lambda e: e["turns"][0]["say"].append("Hello."), "must tell the same facts"),
        (lambda e: e["turns"].insert(0, copy.deepcopy(e["turns"][1]) | {"reply": ["{town}?", "Hm."]}), "before it was told"),
        (lambda e: e["turns"].pop(0), "facts never told"),
        (lambda e: e["turns"][3]["say"].pop(), "3 says and 2 replies"),
        (lambda e: e["facts"][0].update(topic="where I live"), "no clause about you"),
    ],
)  # fmt: skip
def test_a_planted_fault_of_a_dialogue_is_found(entry, change, fault):
    assert check_dialogue(entry) == []
    change(entry)
    assert any(fault in found for found in check_dialogue(entry))


def test_films_meet_what_is_demanded_of_their_slots(writer):
    rng, found = random.Random(0), 0
    for dialogue in writer.grammar.dialogues:
        if not (films := pick_films(dialogue, writer.films, rng)):
            continue
        found += 1
        assert len(set(films.values())) == len(films)
        for slot, film in films.items():
            before = dict(list(films.items())[: list(films).index(slot)])
            assert meets(film, dialogue.films[slot], before)
    assert found > 0.8 * len(writer.grammar.dialogues)


def test_a_dialogue_cut_short_leaves_what_it_did_not_tell_untold(writer):
    rng, num_untold = random.Random(1), 0
    for dialogue in writer.grammar.dialogues:
        for most in (2, 99):
            world = World(writer.grammar, rng)
            turns = writer.teller.dialogue_turns(world, dialogue, most)
            assert len(turns) <= most
            assert not any("{" in text for turn in turns for text in turn[:2])
            told = [fact.kind for turn in turns for fact in turn[2]]
            assert sorted(told) == sorted(fact.kind for fact in world.facts)
            for message, _, facts in turns:
                assert all(fact.value.lower() in message.lower() for fact in facts)
            if most == 99:
                assert not world.untold
            num_untold += len(world.untold or [])
    assert num_untold > 100


def test_intents_are_said_in_many_ways_and_each_way_once():
    items = [item for path in INTENTS for item in read_yaml(path)]
    assert len(items) > 120
    assert all(len(item["say"]) >= 24 and len(item["reply"]) >= 4 for item in items)
    said = Counter(normalise(line) for item in items for line in item["say"])
    assert [line for line, number in said.items() if number > 1] == []
