"""The question bank: which of its questions are about a fact, and what was never told."""

import pytest

from agent.memory.bank import (
    QuestionBank,
    ask_generally,
    in_other_words,
    named,
    never_answered,
    told_besides,
    ways_to_ask,
)
from tests.memory.test_synthesis import pair, turn

BANK = QuestionBank(
    questions=[
        ["Where do I live?", "What town is my home in?"], ["Which team do I support?"], ["Which car do I own?"],
        ["Who is my closest friend?", "Who is my best mate?"],
    ],
    others=[["Where does my {who} live?", "In which town is my {who}?"], ["What is my {who} called?"]],
    people=["sister", "mother", "best friend", "friend"],
    rare=["How tall am I?"],
)  # fmt: skip


@pytest.mark.parametrize(
    ("questions", "first_ways"),
    [
        (["My home, where do I live?", "Oona?"], ["Where do I live?"]),
        (["What car do I own?", "Which team do I support?"], ["Which team do I support?", "Which car do I own?"]),
        (["Which instrument can I play?"], []),
        (["Where does my sister live?"], ["Where does my sister live?"]),
        (["What is my best friend called?"], ["What is my best friend called?", "Where does my best friend live?"]),
        (["Who is my closest friend?"], ["Who is my closest friend?"]),
        # Of two people, of nobody's mother, and not of the user: with nothing.
        (["Where does my sister's best friend live?"], []),
        (["Where does Oona live?"], []),
        # One that names somebody does not decide for the others.
        (["Which team do I support, like my sister?", "Which car do I own?"], ["Which car do I own?"]),
    ],
)  # fmt: skip
def test_the_bank_knows_other_ways_to_ask_what_the_model_asked_and_of_whom(
    encoder, questions, first_ways
):
    other = ["What is my mother-in-law called?"]
    found, _ = ways_to_ask([questions, other], BANK, encoder)
    assert [ways[0] for ways in found] == first_ways


def test_whom_a_question_names():
    people = ["mother", "friend", "best friend", "mother-in-law"]
    assert named("Where's my best friend?", people) == {"best friend"}
    assert named("Where's my Mother-in-law's friend?", people) == {"mother-in-law", "friend"}
    assert named("Which friendly film did my grandmother like?", people) == set()
    assert named("My friend Ada and my best friend Oona", people) == {"friend", "best friend"}
    assert named("My friend", []) == set()


def test_everybody_is_asked_the_same():
    assert [ways[0] for ways in BANK.asked_of_all()] == [
        "Where do I live?", "Which team do I support?", "Which car do I own?", "Who is my closest friend?",
        "Where does my sister live?", "What is my mother called?", "Where does my best friend live?",
        "What is my friend called?", "How tall am I?",
    ]  # fmt: skip


class Answers:
    """A teacher that answers by the question."""

    def __init__(self, answers):
        self.answers = answers

    def generate(self, batch, **options):
        unknown = "You haven't told me that yet."
        return [self.answers.get(messages[-1]["content"], unknown) for messages in batch]


def test_the_bank_asks_of_a_fact_what_the_teacher_answers_with_it_in_most_ways():
    near = [
        [
            ["car 1", "car 2", "car 3"],
            ["work 1", "work 2", "work 3", "work 4", "Turin 5"],
            ["late"],
        ],
        [["work 1", "work 4"]],
        [["yes 1"]],
    ]
    facts = [[pair("What's my town?", "Turin"), pair("Work 2!", "Turin")], [pair("Where?", "Turin", 2)], [pair("Yes?", "yes")]]  # fmt: skip
    told = dict.fromkeys(("car 1", "car 2", "work 1", "work 2", "work 3", "work 4", "late"), "It is Turin.")  # fmt: skip

    def ask(answers):
        found = in_other_words(
            Answers(answers), facts, near, {1: "x", 2: "y"}, checkpoint=lambda *_: None
        )
        return [(found.question, found.turn_ids) for found in found]

    # Two of three are not most; what holds the value is not asked; "Work 2!" is a wording already; what
    # two facts share is the first's.
    assert ask(told) == [("work 1", (2,)), ("work 4", (2,)), ("work 3", (1,))]
    assert ask(told | {"work 1": "It is Oslo."}) == [("late", (1,))]
    assert ask(told | {"car 3": "Turin."}) == [
        ("car 1", (1,)), ("car 2", (1,)), ("car 3", (1,)), ("work 1", (2,)), ("work 4", (2,)),
    ]  # fmt: skip


def test_what_is_near_to_a_fact_is_not_asked_as_never_told():
    answers = {"Which team do I support?": "You said Turin."}
    told = [BANK.questions[0], BANK.about("mother")[1]]
    general = ask_generally(Answers(answers), BANK, told, "x", checkpoint=lambda *_: None)
    assert [negative.question for negative in never_answered(general)] == [
        "Which car do I own?", "Who is my closest friend?", "Where does my sister live?",
        "Where does my best friend live?", "What is my friend called?", "How tall am I?",
    ]  # fmt: skip
    assert "How tall am I?" not in {
        pair.question for pair in never_answered(general, [["How tall am I?"]])
    }


def test_of_whom_the_context_names_everything_is_asked():
    general = ask_generally(Answers({}), BANK, [], "My sister rang.", checkpoint=lambda *_: None)
    asked = {ways[0] for ways, _ in general}
    assert {"Where does my sister live?", "What is my sister called?"} <= asked
    assert "Where does my mother live?" not in asked


def test_a_fact_without_a_question_of_the_models_own_is_found_by_a_general_one():
    turns = [
        turn(1, "Turin is where I live."),
        turn(2, "I support the Rovers, my best friend Oona too."),
    ]
    fact = [pair("Where?", "Turin")]

    def found(answers):
        general = [
            (ways, answers.get(ways[0], "You haven't told me that yet."))
            for ways in BANK.asked_of_all()
        ]
        facts = told_besides(
            Answers(answers),
            general,
            [fact, [pair("Noon?", "no", 2)]],
            turns,
            {1: "x", 2: "y"},
            checkpoint=lambda *_: None,
        )
        return [(pair.question, pair.value, pair.turn_ids) for pairs in facts for pair in pairs]

    friend = {"Who is my closest friend?": "You said Oona.", "Who is my best mate?": "Oona."}
    assert found(friend) == [(way, "oona", (2,)) for way in friend]
    assert found(friend | {"Who is my best mate?": "You said Rovers."}) == []  # not in every way
    assert found(dict.fromkeys(friend, "You said Turin.")) == []  # a fact already
    assert found(dict.fromkeys(friend, "You said Oslo.")) == []  # in no message
    assert found({"Which team do I support?": "You said Rovers."}) == []  # one way shows nothing
    assert found(dict.fromkeys(friend, "You said no.")) == []
