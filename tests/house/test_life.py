"""Small facts of everyday life and relations to things: complete, and asked as they are told."""

import copy
import random
import re

import pytest

from agent.memory.probe import grade, is_abstention
from house.open_kinds import first_person
from house.people import USER, matter_of
from house.phrasing import careless
from house.wordings import WORDINGS_DIR, check_life, check_person, read_yaml
from house.world import World

FILES = sorted((WORDINGS_DIR / "life").glob("*.yaml"))
PEOPLE = sorted((WORDINGS_DIR / "people").glob("*.yaml"))

KEPT_FOR_TESTS = re.compile(
    r"\b(?:blood (?:type|group)|chess|house number|star sign|tattoo|thesis|shoe size|marathon)",
    re.IGNORECASE,
)
"""Kinds of `tests/conversations/` that no training text may have."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_entry_is_complete(path):
    entries = read_yaml(path)
    assert len(entries) > 30
    assert [fault for entry in entries for fault in check_life(entry)] == []


@pytest.mark.parametrize("path", PEOPLE, ids=lambda path: path.stem)
def test_every_person_is_complete(path):
    people = read_yaml(path)
    assert len(people) >= 20
    assert [fault for person in people for fault in check_person(person)] == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda person: person["messages"].pop(0), "are not the facts"),
        (lambda person: person["untold"].pop(), "at least 6"),
        (lambda person: person["untold"].append("What is my name?"), "no clause"),
        (lambda person: person["facts"][0]["asks"].append("Is it {v}?"), "must not hold a slot"),
        (lambda person: person["facts"][0].update(told="I am {v}."), "begin with You"),
        (lambda person: person["facts"][0].update(changes=["No more {old}."]), "hold {v} once"),
    ],
)
def test_a_planted_fault_of_a_person_is_found(change, fault):
    person = copy.deepcopy(read_yaml(PEOPLE[0])[0])
    person["messages"].sort(key=lambda message: "{" not in message)
    person["untold"] = person["untold"][:6]
    change(person)
    assert any(fault in found for found in check_person(person))


def test_what_a_person_said_is_answered_and_what_was_left_out_is_not(writer):
    rng = random.Random(3)
    num_asked = 0
    for _ in range(200):
        world = World(writer.grammar, rng)
        turns = writer.teller.person_turns(world, 10)
        told = {fact.kind: fact for _, _, told in turns for fact in told}
        assert list(told.values()) == world.facts
        for message, _, told in turns:
            said = message.lower()
            for fact in told:
                assert any(value.lower() in said for value in (fact.value, *fact.earlier))
        for fact in world.facts:
            assert grade(world.ask(fact)[1], [fact.value])
            num_asked += 1
        if world.untold:
            assert is_abstention(world.ask_unknown([])[1])
    assert num_asked > 800


def test_nobody_is_mixed_with_themselves(writer, monkeypatch):
    """Or the same fact would be told twice, with two values, and be asked for as a list."""
    monkeypatch.setattr(writer.grammar, "people", writer.grammar.people[:2])
    rng = random.Random(6)
    for _ in range(200):
        world = World(writer.grammar, rng)
        writer.teller.person_turns(world, 10)
        kinds = [fact.kind for fact in world.facts]
        assert len(set(kinds)) == len(kinds)


def test_of_two_mixed_people_one_alone_tells_of_a_matter(writer):
    rng = random.Random(7)
    num_mixed = 0
    for _ in range(300):
        world = World(writer.grammar, rng)
        writer.teller.person_turns(world, 10)
        tellers: dict[str, set[str]] = {}
        for fact in world.facts:
            _, first_message, slot = re.fullmatch(
                r"(person):(.*):(\w+)", fact.kind, re.DOTALL
            ).groups()
            tellers.setdefault(matter_of(slot), set()).add(first_message)
        assert all(len(people) == 1 for people in tellers.values())
        num_mixed += len(set.union(set(), *tellers.values())) > 1
    assert num_mixed > 30


def test_nothing_is_called_untold_that_somebody_of_people_told_in_other_words(writer):
    """A person's dog is of no kind of `facts/`, so "What is my pet called?" must not be asked."""
    rng = random.Random(4)
    asked = set()
    for _ in range(300):
        world = World(writer.grammar, rng)
        writer.teller.person_turns(world, 10)
        told = {
            topic for fact in world.facts for topic in [writer.grammar.kinds[fact.kind]["topic"]]
        }
        untold = {topic for _, topic in world.untold}
        assert not told & untold
        turn = world.ask_unknown(writer.teller.kinds(rng))
        asked.add(turn is None or any(topic in turn[1] or "that" in turn[1] for topic in untold))
    assert asked == {True}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("dog", "pet", True),
        ("nantown", "village", True),
        ("job", "employer", True),
        ("dog", "job", False),
    ],
)
def test_slots_that_may_stand_for_the_same_thing(one, other, same):
    assert (matter_of(one) == matter_of(other)) is same


def test_what_the_conversations_keep_for_themselves_is_not_taught():
    assert [
        path.stem for path in (*FILES, *PEOPLE) if KEPT_FOR_TESTS.search(path.read_text("utf-8"))
    ] == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda entry: entry["says"].pop(), "at least 4"),
        (lambda entry: entry["says"].append("I keep it there."), "hold {v} once"),
        (lambda entry: entry["asks"].append("Do I keep {v}?"), "must not hold a slot"),
        (lambda entry: entry["near"].append("What is my name?"), "no clause"),
        (lambda entry: entry.update(told="I keep {v}."), "begin with You"),
        (lambda entry: entry.update(colour="red"), "fields"),
    ],
)
def test_a_planted_fault_is_found(change, fault):
    entry = copy.deepcopy(read_yaml(FILES[0])[0])
    entry["says"] = entry["says"][:4]
    change(entry)
    assert any(fault in found for found in check_life(entry))


@pytest.mark.parametrize(
    ("topic", "mine"),
    [
        ("what you keep in your shed", "what I keep in my shed"),
        ("where you're going", "where I'm going"),
        ("what your aunt breeds", "what my aunt breeds"),
        ("who taught you to swim", ""),
        ("what annoys you", ""),
    ],
)
def test_a_topic_is_said_in_the_first_person_where_that_is_safe(topic, mine):
    assert first_person(topic) == mine


def test_careless_typing_keeps_the_slots():
    typing = read_yaml(WORDINGS_DIR / "talk" / "typing.yaml")
    rng = random.Random(0)
    line = "What's my {k} called, please, and is {a.title} from 9.30 for you and me?"
    found = [careless(line, typing, rng) for _ in range(200)]
    assert len(set(found)) > 100
    for text in found:
        assert "{k}" in text
        assert "{a.title}" in text
        assert "9.30" in text
        assert text == text.lower()
    assert any("whats" in text or "wats" in text for text in found)
    assert careless("!!!", typing, rng)


def test_a_relation_to_a_thing_is_asked_with_the_thing_it_was_told_of(writer):
    rng = random.Random(1)
    for kind in writer.grammar.relations * 5:
        world = World(writer.grammar, rng)
        fact = writer.grammar.new_fact(kind, USER, rng)
        world.tell(fact)
        question = writer.grammar.question(fact, rng, indirect=0)
        assert fact.key.lower() in question.lower()
        assert grade(writer.grammar.answer(fact, rng), [fact.value])


def test_questions_that_only_sound_alike_are_answered_by_an_abstention(writer):
    rng = random.Random(2)
    kinds = [kind for kind in writer.teller.open_kinds if kind.startswith("life:")]
    assert len(kinds) > 100
    for kind in kinds:
        world = World(writer.grammar, rng)
        world.tell(writer.grammar.new_fact(kind, USER, rng))
        _, answer = world._ask_look_alike()
        assert is_abstention(answer), answer
