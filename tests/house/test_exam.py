"""What the exam asks, and that its judges see a wrong answer."""

import random

import pytest

from agent.catalogue import Catalogue
from agent.slots import BASE
from house.__main__ import new_writer
from house.exam.figures import FIGURES, Mark
from house.exam.films import does_not_know, of_suggestion, verdict
from house.exam.pairs import right_pair
from house.exam.run import COUNTED, SOURCES, exam
from house.exam.speed import exam_of_speed
from house.exam.told import recall, says
from house.people import USER, Fact
from house.world import World

ABSTAINS = "You haven't told me that yet."

WRONG = [
    "Hm, let me think.",
    "Noted, Zorblax.",
    "You said Zorblax.",
    "Zorblax it is.",
    "",
    "yes and no",
]
"""Right for nothing."""


MAY_ABSTAIN = {"never", "unknown films", "long", "verdicts"}
"""Sources with items that an abstention answers."""


@pytest.fixture(scope="module")
def final():
    return new_writer("final", novel=True)


@pytest.mark.parametrize("name", SOURCES)
def test_planted_wrong_answers_count_for_nothing(final, name):
    source = SOURCES[name](final, random.Random(3))
    found = set()
    for _ in range(40):
        item = next(source)
        assert item.messages[-1]["content"].strip()
        for reply in [*WRONG, ABSTAINS]:
            for figure, does_count in item.judge(reply).items():
                found.add(figure)
                is_meant = reply == ABSTAINS and (
                    name in MAY_ABSTAIN or figure == "wrongly abstains"
                )
                assert not does_count or is_meant, (figure, item.messages[-1], reply)
    assert found >= set(COUNTED[name])
    assert found <= set(FIGURES)


def test_every_figure_has_a_source():
    counted = {figure for figures in COUNTED.values() for figure in figures}
    beside = {
        "bleed",
        "stale",
        "wrongly abstains",
        "recommendations: fits the wish",
        "recommendations: none hated or seen",
    }
    pairs = {name for name in FIGURES if name.startswith("question-answer pairs")}
    speed = {name for name in FIGURES if name.startswith("decoding")}
    assert counted | beside | pairs | speed == set(FIGURES)


def test_an_old_value_counts_as_stale_and_not_as_right(final):
    world = World(final.grammar, random.Random(0))
    fact = Fact("home", USER, "Porto", earlier=["Turin"])
    world.facts.append(fact)
    judge = recall(world, fact, "Where do I live?", "", "own facts, direct").judge
    assert judge("You live in Porto.") == {"own facts, direct": True, "wrongly abstains": False}
    assert judge("You live in Turin.") == {"own facts, direct": False, "wrongly abstains": False}
    assert judge(ABSTAINS) == {"own facts, direct": False, "wrongly abstains": True}


@pytest.mark.parametrize(
    ("reply", "word"),
    [("Yes, you live in Porto.", "yes"), ("You live in Porto, so yes.", "yes"), ("No, you live in Porto.", "no"), ("You live in Porto, so no.", "no")],
)  # fmt: skip
def test_yes_and_no_are_told_apart(reply, word):
    assert says(reply, word)
    assert not says(reply, "no" if word == "yes" else "yes")
    assert not says(ABSTAINS, word)


def test_a_verdict_is_read_from_the_reply():
    assert verdict("Alien is a horror film. You love horror, so yes.") == "yes"
    assert verdict("Alien is a horror film. You can't stand horror, so probably not.") == "no"
    assert (
        verdict("Alien is a horror film. You haven't told me how you feel about those.") == "unsure"
    )
    assert verdict("No Country for Old Men is a thriller. You love thrillers, so yes.") == "yes"


def test_a_suggestion_is_judged_by_wish_hate_and_what_was_seen(final):
    world = World(final.grammar, random.Random(0))
    world.facts += [Fact("hated_genre", USER, "horror"), Fact("seen_film", USER, "Rio Bravo")]
    catalogue = Catalogue(final.films)

    def marks(reply):
        return list(of_suggestion(reply, world, {"western"}, catalogue).values())

    assert marks("How about High Noon?") == [True, True, True]
    assert marks("How about Rio Bravo?") == [True, True, False]
    assert marks("How about The Shining?") == [True, False, False]
    assert marks("How about The Great Zorblax?") == [False, False, False]


def test_a_pair_is_right_if_the_message_told_its_answer_and_the_question_does_not():
    told = [Fact("home", USER, "Porto"), Fact("job", USER, "a nurse")]
    assert right_pair("Where do I live?", "Porto", "direct", told)
    assert not right_pair("Where do I live?", "Turin", "direct", told)
    assert not right_pair("Do I live in Porto?", "Porto", "direct", told)
    assert right_pair("Do I live in Porto?", "yes", "yes or no", told)
    assert right_pair("Do I live in Turin?", "no", "yes or no", told)
    assert not right_pair("Do I live in Turin?", "yes", "yes or no", told)


def test_a_film_that_does_not_exist_must_not_get_a_year():
    assert does_not_know("I don't know a film called Zorblax.")
    assert not does_not_know("Zorblax came out in 1987.")
    assert not does_not_know("Zorblax is a western.")


def test_the_speed_is_that_of_single_replies_with_an_adapter(final, tiny_model, monkeypatch):
    """The tiny model is quick, but no model is as quick as that."""
    of_base = []
    real = tiny_model.stream
    monkeypatch.setattr(
        tiny_model, "stream",
        lambda messages, *, slot, **kwargs: of_base.append(slot == BASE) or real(messages, slot=slot, **kwargs),
    )  # fmt: skip
    name = "decoding: replies at 60 tokens/s"
    assert exam_of_speed(tiny_model, final, random.Random(0), 3)[name].asked == 3
    assert of_base
    assert not any(of_base)
    monkeypatch.setattr("house.exam.speed.TOKENS_PER_SECOND", 1e9)
    assert exam_of_speed(tiny_model, final, random.Random(0), 3)[name] == Mark(0, 3)
    tiny_model.slots.drop("exam@")


class Parrot:
    """Answers every prompt with the same words."""

    def generate(self, batch, *, slot, max_new_tokens, **sampling):
        return ["You haven't told me that yet."] * len(batch)


def test_the_exam_asks_each_figure_often_enough_and_marks_a_parrot_as_one(final):
    marks = exam(Parrot(), final, least=12, only=lambda name: name in {"own", "never"})
    assert marks["abstains when not told"].hits == marks["abstains when not told"].asked >= 12
    assert marks["own facts, direct"] == Mark(0, marks["own facts, direct"].asked)
    assert marks["wrongly abstains"].hits == marks["own facts, direct"].asked >= 12
