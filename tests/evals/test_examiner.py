"""An arm that cheats is caught; an honest one is counted."""

import pytest

from agent import prompts
from evals.arms.arm import Arm, CheatError, Context
from evals.arms.prompted import Ceiling
from evals.data import Item, Question
from evals.examiner import Answer, Examiner, watched

TURNS = (("I live in Turin.", "I see."), ("My dog is Pizmo.", "I see."))
ASKED = Question("Where do I live?", ("Turin",), ("Turin", "You live in Turin."))
ITEM = Item("one", TURNS, (ASKED,))


class Peeks(Arm):
    """Reads the context when it is asked."""

    def learn(self, contexts):
        self.contexts = contexts

    def prompt(self, question, chat=()):
        return prompts.chat(chat, question, earlier=self.contexts[0].text)


class Hides(Arm):
    """Keeps the text, though it says that it keeps none."""

    def learn(self, contexts):
        self.text = contexts[0].text

    def prompt(self, question, chat=()):
        return prompts.chat(chat, question, earlier=self.text)


class LooksUp(Arm):
    """Asks the model for form's sake, and replies with what it kept."""

    def learn(self, contexts):
        self.text = contexts[0].text

    def answer(self, questions, chat=()):
        super().answer(questions, chat)
        return [self.text for _ in questions]


class AsksAnother(Arm):
    """Puts the text into a question of its own, and gives the reply to that."""

    def learn(self, contexts):
        self.text = contexts[0].text

    def answer(self, questions, chat=()):
        return super().answer([f"{self.text} {question}" for question in questions], chat)


@pytest.mark.parametrize(
    ("cheat", "reason"),
    [
        (Peeks, "outside of learn"), (Hides, "keeps no text"), (LooksUp, "none that the model gave"),
        (AsksAnother, "none that the model gave"),
    ],
)  # fmt: skip
def test_an_arm_that_cheats_is_caught(tiny_model, cheat, reason):
    examiner = Examiner(cheat(tiny_model))
    examiner.learn([ITEM])
    with pytest.raises(CheatError, match=reason):
        examiner.ask([ASKED])


def test_what_stands_in_the_prompt_beside_the_question_is_counted(tiny_model):
    for kind in (Arm, Ceiling):
        examiner = Examiner(kind(tiny_model))
        examiner.reset(0)
        examiner.learn([ITEM])
        (answer,) = examiner.ask([ASKED], own=0)
        bare = len(tiny_model.encode(prompts.chat([], ASKED.text)))
        whole = len(
            tiny_model.encode(prompts.chat([], ASKED.text, earlier=prompts.transcript([TURNS])))
        )
        assert answer.memory_tokens == (whole - bare if kind is Ceiling else 0)


def test_a_context_can_be_read_only_while_it_is_learned():
    with Context.opened([TURNS]) as (context,):
        assert context.turns == TURNS
    with pytest.raises(CheatError):
        _ = context.text


def test_only_an_oracle_is_told_which_context_is_meant(tiny_model):
    for kind, told in ((Arm, None), (Ceiling, 1)):
        examiner = Examiner(kind(tiny_model))
        examiner.reset(0)
        examiner.learn([ITEM, ITEM])
        examiner.ask([ASKED], own=1)
        assert examiner.arm.own == told


def test_an_answer_is_judged_by_its_value_and_its_words():
    answer = Answer(ASKED, "You live in Turin.", 0)
    assert (answer.is_right, answer.f1, answer.exact) == (True, 1.0, 1.0)
    answer = Answer(ASKED, "You live in Oslo, not Turin.", 0)
    assert not answer.is_right
    assert 0 < answer.f1 < 1
    stale = Question("Where do I live?", ("Oslo",), ("Oslo",), reject=("Turin",))
    assert not Answer(stale, "You live in Turin and Oslo.", 0).is_right


def test_a_model_that_was_watched_is_as_before(tiny_model):
    with watched(tiny_model) as outer, watched(tiny_model) as inner:
        tiny_model.generate([prompts.chat([], "Hi")], slot="__base__", max_new_tokens=1)
    assert len(outer) == len(inner) == 1
    assert "generate" not in vars(tiny_model)
