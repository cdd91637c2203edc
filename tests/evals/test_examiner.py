"""An arm that cheats is caught; an honest one is counted."""

import pytest

from agent import prompts
from evals.arms.arm import Arm, CheatError, Context
from evals.arms.prompted import Ceiling
from evals.data import Item, Question
from evals.examiner import Answer, Examiner, watched
from evals.taste import checked

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


class ChangesThePrompt(Hides):
    """Asks with the text in the prompt, and takes it out afterwards."""

    def answer(self, questions, chat=()):
        asked = [self.prompt(question) for question in questions]
        replies = self.model.generate(asked, slot=self.slot, max_new_tokens=8)
        for prompt in asked:
            prompt[0]["content"] = prompts.PERSONA
        return [reply.strip() for reply in replies]


class TriesAgain(Arm):
    """Asks until a reply is in the text that it kept."""

    def learn(self, contexts):
        self.text = contexts[0].text

    def answer(self, questions, chat=()):
        return [super(TriesAgain, self).answer([q] * 2, chat)[0] for q in questions]


class Samples(Arm):
    def answer(self, questions, chat=()):
        asked = [self.prompt(question) for question in questions]
        return self.model.generate(asked, slot=self.slot, max_new_tokens=8, temperature=1.0)


class LearnsWhileItAnswers(Arm):
    def answer(self, questions, chat=()):
        self.model.answer_logits([], slot=self.slot)
        return super().answer(questions, chat)


@pytest.mark.parametrize(
    ("cheat", "reason"),
    [
        (Peeks, "outside of learn"), (Hides, "keeps no text"), (LooksUp, "none that the model gave"),
        (AsksAnother, "none that the model gave"), (ChangesThePrompt, "keeps no text"),
        (TriesAgain, "2 prompts made"), (Samples, "not greedily"), (LearnsWhileItAnswers, "otherwise than to reply"),
    ],
)  # fmt: skip
def test_an_arm_that_cheats_is_caught(tiny_model, cheat, reason):
    examiner = Examiner(cheat(tiny_model))
    examiner.learn([ITEM])
    with pytest.raises(CheatError, match=reason):
        examiner.ask([ASKED])


class PutsItsOwnModelThere(Arm):
    """Replaces what the model does while it learns."""

    def learn(self, contexts):
        text = contexts[0].text
        self.model.generate = lambda batch, **options: [text for _ in batch]
        self.model.encode = lambda messages: [0]


def test_what_an_arm_puts_in_the_place_of_the_model_is_not_used(tiny_model):
    examiner, honest = Examiner(PutsItsOwnModelThere(tiny_model)), Examiner(Arm(tiny_model))
    (right,) = honest.ask([ASKED])
    try:
        examiner.learn([ITEM])
        (answer,) = examiner.ask([ASKED])
        assert answer == right
    finally:
        del tiny_model.generate, tiny_model.encode


def test_nothing_can_be_read_by_asking_in_the_middle_of_learning(tiny_model):
    class Asks(Peeks):
        def learn(self, contexts):
            super().learn(contexts)
            assert contexts[0].turns
            with pytest.raises(CheatError, match="outside of learn"):
                examiner.ask([ASKED])
            assert contexts[0].turns

    examiner = Examiner(Asks(tiny_model))
    examiner.learn([ITEM])


def test_recommendations_and_damage_are_watched_too(tiny_model):
    examiner = Examiner(Hides(tiny_model))
    examiner.learn([ITEM])
    with pytest.raises(CheatError, match="keeps no text"):
        examiner.prompt(ASKED.text)
    with pytest.raises(CheatError, match="keeps no text"), checked(examiner):
        tiny_model.encode(examiner.arm.prompt(ASKED.text))


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
        with examiner.asking(1):
            assert examiner.arm.own == told
        assert examiner.arm.own is None


def test_an_answer_is_judged_by_its_value_and_its_words():
    answer = Answer(ASKED, "You live in Turin.", 0)
    assert (answer.is_right, answer.f1, answer.exact) == (True, 1.0, 1.0)
    answer = Answer(ASKED, "You live in Oslo, not Turin.", 0)
    assert not answer.is_right
    assert 0 < answer.f1 < 1
    stale = Question("Where do I live?", ("Oslo",), ("Oslo",), reject=("Turin",))
    assert not Answer(stale, "You live in Turin and Oslo.", 0).is_right


def test_a_model_that_was_watched_is_as_before(tiny_model):
    before = set(vars(tiny_model))
    with watched(Arm(tiny_model)) as given:
        tiny_model.generate([prompts.chat([], "Hi")], slot="__base__", max_new_tokens=1)
    assert len(given) == 1
    assert set(vars(tiny_model)) == before
