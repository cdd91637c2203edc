"""From messages to pairs: what counts as evidence, what is a duplicate, who goes where."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar

import pytest

from agent import prompts
from agent.catalogue import Catalogue
from agent.memory.bank import QuestionBank
from agent.memory.lesson import Asked, Lesson, with_talk
from agent.memory.questions import (
    MAX_YES_OR_NO,
    QAPair,
    drop_near_duplicates,
    is_supported,
    parse_pairs,
    told_in,
    write_questions,
)
from agent.memory.synthesis import (
    NUM_TASTE_FILMS,
    ask_about_films,
    ask_openly,
    deal,
    is_sure,
    tell_now,
)
from agent.memory.tables import Turn
from agent.memory.teacher import (
    agrees,
    answer_with,
    asked_in,
    corrected,
    is_evident,
    supported_value,
    told_later,
    transcript_of,
    windows_of,
)
from agent.slots import BASE


def turn(number: int, message: str, reply: str = "Noted!", session: str = "s1") -> Turn:
    return Turn(number, "ada", session, message, reply, datetime.now(UTC), False, None, None, None, 0)  # fmt: skip


def pair(question: str, value: str, turn_id: int = 1, kind: str = "direct") -> QAPair:
    return QAPair(question, "", value, kind, "train", (turn_id,))


def test_pairs_are_read_line_by_line_and_the_rest_is_skipped():
    text = "Where do I live? | Turin.\nnothing\n| Turin\nWhere? | \nWhat do I do? | nurse\nWhich one of"
    assert parse_pairs(text) == [("Where do I live?", "Turin"), ("What do I do?", "nurse")]


@pytest.mark.parametrize(
    ("question", "value", "is_kept"),
    [
        ("Where do I live?", "Turin", True),
        ("Where do I live?", "turin", True),
        ("Where do I live?", "Oslo", False),
        ("Where do I live?", "Tur", False),
        ("Do I live in Turin?", "Turin", False),
        ("Do I live in Turin?", "yes", True),
        ("Do I own a boat?", "yes", False),
        ("Do I live in Oslo?", "no", True),
        ("Who lives with me?", "my sister Zorane", True),
    ],
)
def test_a_value_must_stand_in_the_users_message_and_not_in_the_question(question, value, is_kept):
    message = "I live in Turin with my sister Zorane."
    assert is_supported(pair(question, value), message) is is_kept


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Where does Oona, my sister, live?", ""),
        ("which sport do i do", ""),
        ("Hey, and what's my sister's job again", ""),
        ("Remind me what I do for a living.", ""),
        ("In which town do I live? I forgot.", "I forgot."),
        ("Do you know Vertigo? I saw it in Turin.", "I saw it in Turin."),
        # What tells beside, or only looks like a question.
        ("What should I watch with Oona, my sister?", "What should I watch with Oona, my sister?"),
        ("Can you find a western for my sister?", "Can you find a western for my sister?"),
        ("My dog is called Pizmo, did I say?", "My dog is called Pizmo, did I say?"),
        ("when im sad i watch westerns", "when im sad i watch westerns"),
        ("What I love is westerns.", "What I love is westerns."),
        ("How I miss Turin!", "How I miss Turin!"),
        ("what's the craic, I'm Oona", "what's the craic, I'm Oona"),
        ("  ", ""),
    ],
)
def test_a_sentence_that_only_asks_tells_nothing(message, told):
    assert told_in(message) == told


def test_a_value_in_a_question_is_no_evidence():
    turns = [turn(1, "I live in Turin."), turn(2, "Does my sister live in Oslo?")]
    assert supported_value("You said Oslo.", "Where?", turns) == ("", 0)
    assert supported_value("You said Turin.", "Where?", turns) == ("turin", 1)


def test_no_question_is_written_about_a_message_that_only_asks():
    class Writer:
        asked: ClassVar[list[str]] = []

        def generate(self, batch, **options):
            self.asked += [chat[-1]["content"] for chat in batch]
            return ["Where is home? | Turin" for _ in batch]

    turns = [turn(1, "I live in Turin."), turn(2, "And is Turin where my sister lives?")]
    found = write_questions(
        Writer(), turns, windows_of(turns), rounds=1, temperature=0.0, seed=0, checkpoint=lambda *_: None
    )  # fmt: skip
    assert {pair.turn_ids for pair in found} == {(1,)}
    assert len(Writer.asked) == len(prompts.QUESTION_KINDS)


def test_a_value_is_looked_for_in_messages_alone_never_in_replies():
    turns = [turn(1, "What's good tonight?", reply="You live in Oslo, so try Headhunters.")]
    assert supported_value("You live in Oslo.", "Where do I live?", turns) == ("", 0)


def test_the_latest_message_that_holds_the_value_is_its_source():
    turns = [turn(1, "I live in Oslo."), turn(2, "No, I moved away from Oslo, to Turin.")]
    assert supported_value("You live in Turin.", "Where do I live?", turns) == ("turin", 2)
    assert supported_value("You live in Oslo.", "Where do I live?", turns) == ("oslo", 2)


@pytest.mark.parametrize(
    ("reply", "asked"),
    [
        ("You live in Oslo. And your dog, what is he called?", "And your dog, what is he called?"),
        ("What do you do for a living?", "What do you do for a living?"),
        ("You live in Oslo.", prompts.WITHHELD),
        ("Do you? Then try Alien.", prompts.WITHHELD),
        ("", prompts.WITHHELD),
    ],
)
def test_of_a_reply_only_its_last_question_stands_before_the_teacher(reply, asked):
    assert asked_in(reply) == asked


def test_the_transcript_keeps_sessions_apart_and_can_withhold_replies():
    turns = [turn(1, "Hi"), turn(2, "I am Ada", reply="Hello Bob", session="s2")]
    assert transcript_of(turns) == "User: Hi\nYou: Noted!\n---\nUser: I am Ada\nYou: Hello Bob"
    assert "Bob" not in transcript_of(turns, replies="questions")
    assert "I am Ada" in transcript_of(turns, replies="questions")
    assert "Which" not in transcript_of([turn(1, "Hi", reply="Which film?")], replies="none")


def test_a_window_holds_the_turns_around_in_the_same_session():
    turns = [turn(i, f"message {i}", session="s1" if i < 5 else "s2") for i in range(1, 8)]
    windows = windows_of(turns)
    assert [i for i in range(1, 8) if f"message {i}" in windows[4]] == [2, 3, 4]
    assert [i for i in range(1, 8) if f"message {i}" in windows[5]] == [5, 6, 7]


@pytest.mark.parametrize(
    ("answer", "later"),
    [
        ("You live in Oslo.", ("oslo", 2)),
        ("You live in Turin.", None),
        ("You haven't told me where you live.", None),
        ("You live in Velmora.", None),
    ],
)
def test_an_answer_that_a_later_message_told_is_noticed(answer, later):
    turns = [turn(1, "I live in Turin."), turn(2, "I moved to Oslo.")]
    assert told_later(pair("Where do I live?", "Turin"), answer, turns) == later
    assert (
        told_later(pair("Where do I live?", "Oslo", turn_id=2), "You live in Turin.", turns) is None
    )


class Teacher:
    """Answers by what stands in its prompt: the first entry whose key it finds."""

    def __init__(self, answers):
        self.answers = answers

    def generate(self, batch, **options):
        return [
            next(reply for key, reply in self.answers.items() if key in messages[0]["content"])
            for messages in batch
        ]


@pytest.mark.parametrize(
    ("later", "answers", "is_corrected"),
    [
        ("I moved to Oslo.", {"Oslo": "You live in Oslo.", "": "You live in Turin."}, True),
        # With all messages in its prompt it takes the wrong name; with that one alone it does not.
        ("My sister lives in Oslo.", {"Turin": "You live in Oslo.", "Oslo": "You haven't told me that yet."}, False),
        ("The tram is late.", {"": "You live in Turin."}, False),
    ],
)  # fmt: skip
def test_only_what_a_later_message_gives_by_itself_corrects(later, answers, is_corrected):
    turns = [turn(1, "I live in Turin."), turn(2, later, session="s2")]
    fact = [
        pair(question, "Turin")
        for question in ("Where do I live?", "my town?", "Where is my home?")
    ]
    found = corrected(Teacher(answers), [fact], turns, checkpoint=lambda *_: None)
    assert found == ({0} if is_corrected else set())


def test_few_questions_with_yes_are_kept_and_more_open_ones(encoder):
    names = ["Oslo", "Turin", "Lima", "Accra", "Quito", "Hanoi", "Perth", "Delhi"]
    asked = [pair(f"Is {name} where {name} people would visit me?", "no") for name in names]
    open_ones = [
        pair(f"What has {name} got that the town I live in has not?", "Bern") for name in names
    ]
    kept = drop_near_duplicates([*asked, *open_ones], encoder)
    assert sum(one.value == "no" for one in kept) == MAX_YES_OR_NO
    assert sum(one.value == "Bern" for one in kept) > MAX_YES_OR_NO


def test_near_duplicates_go_and_the_same_question_about_another_value_stays(encoder):
    same = [pair("Where do I live?", "Turin"), pair("where do I live", "Turin")]
    other = pair("Where do I live?", "Oslo", turn_id=2)
    different = pair("Which town is my home in?", "Turin")
    kept = drop_near_duplicates([*same, other, different], encoder)
    assert other in kept
    assert different in kept
    assert sum(kept_pair in same for kept_pair in kept) == 1


def test_the_teacher_agrees_only_if_it_asserts_the_value():
    assert agrees(pair("Where do I live?", "Turin"), "You live in Turin.")
    assert not agrees(pair("Where do I live?", "Turin"), "You haven't told me where you live.")
    assert not agrees(pair("Where do I live?", "Turin"), "You don't live in Turin.")
    assert agrees(pair("Do I live in Turin?", "yes"), "Yes, you live in Turin.")
    assert not agrees(pair("Do I live in Oslo?", "yes"), "No, you live in Turin.")
    assert not agrees(pair("Do I live in Oslo?", "no"), "Nothing about that yet.")


@pytest.mark.parametrize(
    ("question", "value", "answer", "is_right"),
    [
        ("Do I live in Turin?", "yes", "Yes, you live in Turin.", True),
        ("Is Oslo where I live now?", "yes", "Yes, you live in Oslo.", False),  # a reply said so
        ("Is Lima my home?", "no", "No, you live in Turin.", True),
        ("Is Lima my home?", "no", "No, you live in Oslo.", False),
        ("Where do I live?", "Turin", "You live in Turin.", True),
    ],
)
def test_what_only_a_reply_asked_for_is_no_evidence(question, value, answer, is_right):
    turns = [turn(1, "I live in Turin now.", reply="And you live in Oslo, right?")]
    assert is_evident(pair(question, value), answer, turns) == is_right


@pytest.mark.parametrize(
    ("right", "wrong", "sure"),
    [(1, 0, False), (2, 0, True), (2, 1, True), (3, 2, False), (4, 2, True), (0, 3, False)],
)
def test_a_fact_needs_two_wordings_and_two_thirds_of_them(right, wrong, sure):
    wordings = [(pair("Where?", "Turin"), True)] * right + [(pair("Who?", "Turin"), False)] * wrong
    assert is_sure(wordings) is sure


@pytest.mark.parametrize(
    ("number", "train", "stop", "probe"), [(1, 1, 0, 0), (2, 2, 0, 0), (3, 2, 0, 1), (8, 5, 1, 2), (14, 9, 2, 3)]
)  # fmt: skip
def test_wordings_are_dealt_to_three_disjoint_uses(number, train, stop, probe):
    wordings = [pair(f"Question {i}?", "Turin") for i in range(number)]
    dealt = deal(wordings, random.Random(0))
    assert len({(one.question, one.use) for one in dealt}) == number
    counts = [sum(one.use == use for one in dealt) for use in ("train", "stop", "probe")]
    assert counts == [train, stop, probe]


def test_yes_and_no_only_train():
    wordings = [pair(f"Question {i}?", "yes") for i in range(9)]
    assert {one.use for one in deal(wordings, random.Random(0))} == {"train"}


def test_a_batch_holds_no_more_negatives_than_positives_and_two_fifths_replay():
    groups = {name: [(name, i) for i in range(40)] for name in ("new", "told_now", "never_told", "replay", "unrelated")}  # fmt: skip
    lesson = Lesson(**groups, stop=[])
    drawn = [name for name, _ in lesson.draw(random.Random(0), 16)]
    # 16 = 6 replay + 2 told now + 3 unrelated + 5 others, two of which never told.
    assert {name: drawn.count(name) for name in groups} == {
        "new": 3, "told_now": 2, "never_told": 2, "replay": 6, "unrelated": 3,
    }  # fmt: skip
    first = replace(lesson, replay=[], told_now=[])
    drawn = [name for name, _ in first.draw(random.Random(0), 16)]
    assert {name: drawn.count(name) for name in ("new", "never_told", "unrelated")} == {
        "new": 9, "never_told": 4, "unrelated": 3,
    }  # fmt: skip


def test_two_fifths_of_what_is_asked_stands_after_unrelated_turns():
    talk = [(f"message {i}", f"reply {i}") for i in range(6)]
    asked = [Asked(f"question {i}?", "yes") for i in range(300)]
    found = with_talk(asked, talk, random.Random(0))
    assert found[:300] == asked
    again = found[300:]
    assert 0.36 < len(again) / len(found) < 0.44
    assert {len(item.before) for item in again} == {1, 2, 3, 4}
    assert all(set(item.before) <= set(talk) for item in again)


def test_questions_of_the_same_context_are_answered_together_and_each_keeps_its_place(tiny_model):
    questions = ["Where do I live?", "What's my name?", "Who am I?", "Which film?"]
    contexts = ["I live in Oslo.", "Ada here.", "I live in Oslo.", "Ada here."]
    looks = []
    answers = answer_with(
        tiny_model,
        questions,
        contexts,
        stage="teacher",
        checkpoint=lambda *look: looks.append(look),
    )
    alone = [
        answer_with(tiny_model, [question], context, stage="teacher", checkpoint=lambda *_: None)[0]
        for question, context in zip(questions, contexts, strict=True)
    ]
    assert answers == alone
    assert len(set(answers)) > 1
    assert looks == [("teacher", 0, 4), ("teacher", 2, 4)]


class Echo:
    """Says what the message before the question tells, or what stands in the system prompt."""

    def __init__(self, said=""):
        self.said = said

    def generate(self, batch, **options):
        return [chat[-3]["content"] if len(chat) > 2 else self.said for chat in batch]


def test_requests_for_a_film_and_a_summary_are_always_learned_as_the_teacher_answers_them():
    bank = QuestionBank.load()
    found = ask_openly(Echo("Unforgiven, then."), bank, "x", BASE, checkpoint=lambda *_: None)
    assert [(one.question, one.kind) for one in found] == [
        *((question, "recommend") for question in bank.recommend),
        *((question, "summary") for question in bank.summary),
    ]
    assert {(one.answer, one.value, one.use) for one in found} == {
        ("Unforgiven, then.", "", "train")
    }
    assert prompts.RECOMMEND in bank.recommend
    silent = Echo("You haven't told me that yet.")
    assert ask_openly(silent, bank, "x", BASE, checkpoint=lambda *_: None) == []


def test_what_is_asked_to_recommend_is_learned_of_other_films_and_of_those_that_were_named():
    found = ask_about_films(
        Echo("Yes."), Catalogue.load(), "x", [turn(1, "I saw Unforgiven last night.")],
        random.Random(0), BASE, checkpoint=lambda *_: None,
    )  # fmt: skip
    asked = [one.question for one in found]
    assert asked[:2] == [prompts.LOVED_GENRE[0], prompts.HATED_GENRE[0]]
    assert prompts.HAVE_SEEN.format(title="Unforgiven") in asked
    assert sum(question.startswith("Would I enjoy") for question in asked) == NUM_TASTE_FILMS


def test_a_value_in_the_chat_itself_is_trained_to_win_for_what_was_told_and_what_never_was():
    bank = QuestionBank.load()
    turns = [turn(1, "I live in Turin."), turn(2, "My dog is called Pizmo.")]
    pairs = [pair("Where do I live?", "Turin"), pair("What is my dog called?", "Pizmo", turn_id=2)]
    found = tell_now(
        Echo(), bank, "x", turns, pairs, random.Random(0), checkpoint=lambda *_: None
    )  # fmt: skip
    told = {(one.question, one.before[0][0]) for one in found}
    assert ("Where do I live?", "I live in Pizmo.") in told
    assert ("What is my dog called?", "My dog is called Turin.") in told
    assert {(entry["ask"], entry["say"]) for entry in bank.told_now} <= told
    assert {one.kind for one in found} == {"told now"}
    assert tell_now(
        Teacher({"": "You said Oslo."}), bank, "x", turns, pairs, random.Random(0), checkpoint=lambda *_: None
    ) == []  # fmt: skip
