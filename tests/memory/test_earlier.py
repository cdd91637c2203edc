"""What was learned before, beside a new slice: wordings stay apart, corrections replace."""

import random

import pytest

from agent.memory.bank import QuestionBank
from agent.memory.earlier import (
    MAX_COMPARED,
    admitted,
    never_told,
    number_of,
    superseded,
    to_compare,
    to_rehearse,
    up_to_date,
)
from agent.memory.questions import QAPair
from agent.memory.synthesis import Synthesis
from agent.memory.tables import StoredPair
from agent.slots import BASE
from tests.memory.test_bank import BANK
from tests.memory.test_synthesis import Teacher, turn


def new(question, value="Turin", use="train", kind="direct"):
    return QAPair(question, "", value, kind, use, (9,))


def old(question, value="Turin", *, is_probe=False, source=1, number=1):
    return StoredPair("ada", question, f"It is {value}.", value, "direct", is_probe, (source,), 1, 1, id=number)  # fmt: skip


def material(pairs=(), negatives=()):
    return Synthesis("x", "x", {9: "x"}, list(pairs), list(negatives), 0, 1.0)


def nothing(*_):
    pass


def test_what_trained_once_never_probes_and_what_probes_never_trains():
    found = admitted(
        material([new("Where do I live?", use="probe"), new("my town?", use="stop"), new("My home?"), new("Home?")]),
        [old("where do I live"), old("My town?"), old("my home!", is_probe=True)],
    )  # fmt: skip
    assert [(pair.question, pair.use) for pair in found.pairs] == [
        ("Where do I live?", "train"), ("my town?", "train"), ("Home?", "train"),
    ]  # fmt: skip


def test_a_correction_supersedes_all_that_was_learned_of_the_fact():
    earlier = [
        old("Where do I live?", number=1), old("my town?", number=2, is_probe=True), old("Do I live in Turin?", "yes", number=3),
        old("What's my name?", "Ada", source=2, number=4), old("Is my name Ada?", "yes", source=2, number=5),
    ]  # fmt: skip
    teacher = Teacher({"Oslo": "You live in Oslo."})
    turns = [turn(9, "I moved to Oslo.")]
    found = superseded(earlier[:3], material(), turns, teacher, checkpoint=nothing)
    assert found == {1, 2, 3}
    # "You live in Oslo" is no answer that the message gives to "What's my name?" elsewhere.
    teacher = Teacher({"Oslo": "You haven't told me that yet."})
    assert superseded(earlier, material(), turns, teacher, checkpoint=nothing) == set()


def test_a_question_that_has_another_answer_now_is_superseded():
    teacher = Teacher({"": "You haven't told me that yet."})
    pairs = [new("where do I live?", "Oslo"), new("my name?", "Ada")]
    earlier = [old("Where do I live?", number=1), old("My name?", "Ada", number=2)]
    assert superseded(earlier, material(pairs), [turn(9, "x")], teacher, checkpoint=nothing) == {1}


def test_what_is_no_fact_supersedes_none():
    teacher = Teacher({"": "You haven't told me that yet."})
    told_now = QAPair(
        "Where do I live?", "In Oslo.", "", "told now", "train", before=(("I moved.", "Ok."),)
    )
    pairs = [new("Where do I live?"), told_now, QAPair("Have I seen Heat?", "Yes.", "", "taste", "train")]  # fmt: skip
    earlier = [old("Where do I live?", number=1), old("Have I seen Heat?", "yes", number=2)]
    assert superseded(earlier, material(pairs), [turn(9, "x")], teacher, checkpoint=nothing) == set()  # fmt: skip


def test_an_old_slice_that_is_tried_again_does_not_undo_its_correction():
    pairs = [new("Where do I live?"), new("My town?", use="probe"), new("My name?", "Ada")]
    later = [old("where do I live?", "Oslo", source=12), old("My name?", "Ada", source=12)]
    assert up_to_date(material(pairs), later).pairs == pairs[2:]
    # The bank's words may ask for two things at once: they say nothing about a fact.
    in_bank = [new("Where do I live?", kind="bank"), new("My home?")]
    assert up_to_date(material(in_bank), later).pairs == in_bank
    before = [old("where do I live?", "Oslo", source=3)]
    assert up_to_date(material(pairs), before).pairs == pairs


def test_what_this_slice_answers_is_no_negative():
    negatives = [QAPair(question, "", "", "negative", "train") for question in ("Where do I live?", "My age?")]  # fmt: skip
    found = never_told(
        material([new("where do I live?")], negatives), [], "", BASE, Teacher({}), BANK, checkpoint=nothing
    )  # fmt: skip
    assert [pair.question for pair in found] == ["My age?"]
    known = [old("What town is my home in?")]  # in the bank's other words
    found = never_told(material(negatives=negatives), known, "", BASE, Teacher({}), BANK, checkpoint=nothing)  # fmt: skip
    assert [pair.question for pair in found] == ["My age?"]


def test_what_is_known_of_somebody_named_is_no_negative_in_any_way_of_asking():
    bank = QuestionBank(
        others=[["Where does my {who} live?", "In which town is my {who}?"], ["What is my {who} called?", "My {who}?"]],
        people=["sister", "brother"],
    )  # fmt: skip
    for first, other in [*bank.about("sister"), *bank.about("brother")]:
        negatives = [QAPair(first, "", "", "negative", "train")]
        kept = never_told(material(negatives=negatives), [old(other)], "", BASE, Teacher({}), bank, checkpoint=nothing)  # fmt: skip
        assert kept == []


def test_what_earlier_turns_answer_is_no_negative():
    negatives = [
        QAPair(question, "", "", "negative", "train")
        for question in ("Where do I live?", "What's my dog called?", "How old am I?")
    ]

    class Knows:
        def generate(self, batch, *, slot, **options):
            def answer(messages):
                asked, context = messages[-1]["content"], messages[0]["content"]
                if slot != BASE and "live" in asked:
                    return "You live in Turin."
                if "Pizmo" in context and "dog" in asked:
                    return "Your dog is called Pizmo."
                return "You haven't told me that yet."

            return [answer(messages) for messages in batch]

    found = never_told(
        material(negatives=negatives), [], "User: my dog is Pizmo", "slot0", Knows(), BANK, checkpoint=nothing
    )  # fmt: skip
    assert [pair.question for pair in found] == ["How old am I?"]
    found = never_told(  # the earlier turns may have been refused: no generation yet
        material(negatives=negatives), [], "User: my dog is Pizmo", BASE, Knows(), BANK, checkpoint=nothing
    )  # fmt: skip
    assert [pair.question for pair in found] == ["Where do I live?", "How old am I?"]
    known = [old("How old am I?", "44")]
    assert never_told(material(negatives=negatives), known, "", "slot0", Knows(), BANK, checkpoint=nothing) != found  # fmt: skip


def test_a_third_of_the_negatives_probes_always_the_same():
    questions = [f"Which {thing} do I like?" for thing in "abcdefghijklmnopqrstuvwxyz"]
    negatives = [QAPair(question, "", "", "negative", "train") for question in questions]
    found = never_told(
        material(negatives=negatives), [], "", BASE, Teacher({}), BANK, checkpoint=nothing
    )
    uses = {pair.question: pair.use for pair in found}
    again = never_told(
        material(negatives=negatives[::-1]), [], "", BASE, Teacher({}), BANK, checkpoint=nothing
    )
    assert uses == {pair.question: pair.use for pair in again}
    assert 3 <= sum(use == "probe" for use in uses.values()) <= 15
    assert number_of("Where do I live?") == number_of("where  do I live?")


@pytest.mark.parametrize("number", [1, 3])
def test_only_pairs_with_a_value_that_do_not_probe_are_rehearsed(number):
    pairs = [old(f"question {i}?", number=i) for i in range(number)]
    others = [old("Probe?", is_probe=True, number=8), old("What should I watch?", "", number=9)]
    assert to_rehearse([*others, *pairs]) == pairs


@pytest.mark.parametrize(("probes", "trained"), [(4, 16), (20, 0), (60, 0)])
def test_earlier_probes_are_compared_and_trained_wordings_where_they_are_few(probes, trained):
    pairs = [old(f"probe {i}?", is_probe=True, number=i) for i in range(probes)]
    pairs += [old(f"trained {i}?", number=100 + i) for i in range(30)]
    pairs += [old("Do I live in Turin?", "yes", number=200), old("A film?", "", number=201)]
    found = to_compare(pairs, random.Random(0))
    assert sum(pair.is_probe for pair in found) == min(probes, MAX_COMPARED)
    assert sum(not pair.is_probe for pair in found) == trained
    assert {pair.value for pair in found} == {"Turin"}
    assert len({pair.id for pair in found}) == len(found)
