"""What each arm keeps, shows and trains."""

import random
import warnings

import pytest
import torch

from agent import prompts
from agent.catalogue import Catalogue
from agent.errors import ConfigError, ModelError
from agent.memory.distillation import answer_kl, mean_kl
from agent.memory.learning import Study
from agent.memory.lesson import Lesson
from agent.memory.questions import QAPair
from agent.memory.synthesis import Synthesis
from agent.model import LanguageModel
from agent.packing import Answered
from agent.settings import Settings
from agent.slots import BASE, TRAINING
from evals.arms import registry
from evals.arms.arm import Arm, Context, one_hot
from evals.arms.merged import (
    ALPHA,
    RANK,
    FineTunedOnContext,
    Recipe,
    SelfParam,
    all_layers,
    unrelated_chunks,
)
from evals.arms.ours import Ours
from evals.arms.prompted import FOUND, Ceiling, Dense, FullHistory, Lexical
from evals.arms.registry import ABLATIONS, ARMS, MAIN, NOT_ARMS, Bench, arm_of, names_of
from evals.arms.varied import any_as_many, in_all, together, what_holds
from evals.arms.weights import Weights
from evals.cost import latency, to_recall
from evals.data import Item, Question
from evals.examiner import Examiner
from evals.experiments import Experiment, put_through
from evals.injection import LAGS, batch, sequential, single
from evals.personal import person, personal
from evals.runs import read_run
from evals.tables import PERSONAL
from evals.taste import taste, taster

TOLD = (
    ("I live in Turin.", "I see."), ("My dog is called Pizmo.", "I see."), ("I work as a nurse.", "I see."),
    ("My sister plays the violin.", "I see."), ("I love westerns.", "I see."), ("It rained all day.", "I see."),
)  # fmt: skip


def learned(arm, *chats):
    arm.reset(0)
    with Context.opened(chats) as contexts:
        arm.learn(contexts)
    return arm


@pytest.fixture(scope="module")
def full_model(tiny_folder):
    """The tiny model in full precision, adapters where SELF-PARAM has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LanguageModel.load(
            str(tiny_folder), quantize="none", num_slots=2, lora_rank=RANK, lora_alpha=ALPHA,
            adapted=all_layers, compute=torch.float32,
        )  # fmt: skip


# -- text in the prompt --------------------------------------------------------------------------


def test_a_search_by_words_finds_the_turn_with_the_words(tiny_model):
    arm = learned(Lexical(tiny_model), TOLD[:3], TOLD[3:])
    (shown,) = arm.shown("What instrument does my sister play? The violin?")
    assert TOLD[3] in shown
    assert len(shown) == FOUND
    assert list(shown) == sorted(shown, key=TOLD.index)
    assert set(arm.cost().kept_bytes) == {"turns", "index"}


def test_a_search_by_meaning_finds_the_turn_that_means_it(tiny_model):
    arm = learned(Dense(tiny_model), TOLD[:3], TOLD[3:])
    (shown,) = arm.shown("Which town is my home?")
    assert TOLD[0] in shown
    assert arm.search("Which film genre do I adore?", 1) == [4]


def test_the_whole_history_is_cut_at_its_beginning_and_fits(tiny_model):
    chats = [((f"In year {i} I lived in Turin. " * 8, "I see."),) for i in range(60)]
    arm = learned(FullHistory(tiny_model), *chats)
    assert 0 < arm.cost().num_cut < 60
    assert arm.shown("?")[-1] == chats[-1]
    prompt = arm.prompt("Where do I live?")
    assert len(tiny_model.encode(prompt)) < tiny_model.max_context_tokens
    arm.reset(0)
    assert arm.prompt("Where do I live?") == prompts.chat([], "Where do I live?")


# -- merged into the weights ------------------------------------------------------------------------


def test_a_sure_teacher_makes_the_divergence_a_cross_entropy(tiny_model):
    answered = Answered((1, 2, 3), (5, 6, 7))
    with torch.inference_mode():
        logits = tiny_model.answer_logits([answered], slot=BASE)
    right = torch.nn.functional.cross_entropy(logits.float(), torch.tensor(answered.answer))
    assert answer_kl(one_hot(answered).teacher, logits).item() == pytest.approx(
        right.item(), rel=1e-5
    )


def test_fine_tuning_on_a_context_learns_its_tokens_and_a_reset_takes_all_back(full_model):
    arm = FineTunedOnContext(full_model, Settings(), Recipe(60, 2e-3), unrelated=None)
    before = {
        name: t.clone()
        for name, t in full_model.slots.model.state_dict().items()
        if "lora_" not in name
    }
    sentence = arm.as_it_is(tuple(full_model.encode_text("User: I live in Turin.\nYou: I see.")))
    nats = mean_kl(full_model, [sentence], slot=BASE)
    learned(arm, TOLD[:1])
    assert mean_kl(full_model, [sentence], slot=BASE) < 0.2 * nats
    assert (arm.cost().steps, arm.cost().kept_bytes) == (60, {})
    assert all(not parameter.any() for parameter in full_model.slots.training_parameters())
    arm.close()
    after = full_model.slots.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


class KnowsItsQuestions(SelfParam):
    """A tiny model writes no question; what is trained of one is the same."""

    def questions(self, context, rng):
        return [("Where do I live?", "You live in Turin.")]


def test_self_param_comes_nearer_to_the_model_with_the_context(full_model, writer):
    arm = KnowsItsQuestions(
        full_model,
        Settings(),
        Recipe(90, 2e-3),
        unrelated=lambda model: unrelated_chunks(model, writer),
    )
    arm.reset(0)
    text = arm.asked("Where do I live?", "You live in Turin.")
    earlier = prompts.transcript([TOLD[:1]])
    sentence = arm.distilled(text, earlier)
    assert sentence.student.prompt == arm.start()
    whole = tuple(full_model.encode(prompts.chat([], "Where do I live?", earlier=earlier)))
    assert (arm.start(earlier) + text)[: len(whole)] == whole  # the teacher reads the real prompt
    before = mean_kl(full_model, [sentence], slot=BASE)
    learned(arm, TOLD[:1])
    assert mean_kl(full_model, [sentence], slot=BASE) < 0.5 * before
    assert arm.cost().steps == 90
    assert arm.cost().teacher_tokens > 0
    arm.close()


def test_a_merged_update_answers_as_the_adapter_did(full_model):
    arm = FineTunedOnContext(full_model, Settings(), Recipe(1, 2e-3), unrelated=None)
    arm.reset(0)
    full_model.slots.start_training(None, seed=0)
    for parameter in full_model.slots.training_parameters():
        parameter.data.normal_(0, 0.02, generator=torch.Generator().manual_seed(0))
    answered = [Answered((1, 2, 3), (5, 6, 7))]
    with torch.inference_mode():
        adapted = full_model.answer_logits(answered, slot=TRAINING)
        base = full_model.answer_logits(answered, slot=BASE)
        arm._merge()
        merged = full_model.answer_logits(answered, slot=BASE)
    assert torch.allclose(merged, adapted, atol=1e-4)
    assert not torch.allclose(merged, base, atol=1e-2)
    full_model.slots.end_training()
    arm.close()


# -- ours and its variants -------------------------------------------------------------------------


def test_as_many_wordings_of_each_fact_are_drawn_as_diversity_would_keep():
    class AllAlike:
        def similarities(self, texts):
            return [[1.0] * len(texts) for _ in texts]

    pairs = [QAPair(f"Where {i}?", "", "Turin", "direct", "train", (1,)) for i in range(9)]
    pairs += [QAPair(f"Who {i}?", "", "Pizmo", "direct", "train", (2,)) for i in range(3)]
    found = any_as_many(pairs, AllAlike())
    assert sorted(pair.value for pair in found) == ["Pizmo", "Turin"]
    assert set(found) <= set(pairs)


def test_a_changed_lesson_keeps_its_groups():
    lesson = Lesson(new=[1], told_now=[2], never_told=[3], replay=[4], unrelated=[5], stop=[6])
    assert in_all(lesson, lambda one: 10 * one) == Lesson([10], [20], [30], [40], [50], [60])
    both = together([lesson, lesson])
    assert (both.new, both.unrelated, both.stop) == ([1, 1], [5], [6, 6])


def test_a_batch_without_a_group_has_more_of_the_others():
    sentences = [object() for _ in range(100)]
    whole = Lesson(sentences[:40], [], sentences[40:60], [], sentences[60:], [])
    rng = random.Random(0)
    assert len(whole.draw(rng, 16)) == 16
    for lesson in (
        Lesson(sentences[:40], [], [], [], sentences[60:], []),
        Lesson(sentences[:40], [], sentences[40:60], [], [], []),
    ):
        assert len(lesson.draw(rng, 16)) == 16


def test_ours_keeps_what_it_could_not_learn_in_the_prompt(tiny_model):
    """The tiny model writes no question, so there is nothing that it is sure of."""
    arm = Ours(tiny_model, Settings(question_rounds=1))
    try:
        learned(arm, TOLD[:2])
        assert arm.slot == BASE
        assert arm.cost().slices == [[False, 2, "nothing to learn"]]
        assert arm.cost().kept_bytes["turns"] == sum(len(a) + len(b) for a, b in TOLD[:2])
        assert arm.cost().teacher_tokens > 0
    finally:
        arm.close()
    assert "generate" not in vars(tiny_model)


def test_a_long_past_is_taken_as_learned_and_costs_no_prompt_tokens(tiny_model):
    arm = Ours(tiny_model, Settings(question_rounds=1))
    try:
        arm.take_as_learned([TOLD[:3], TOLD[3:]])
        assert arm.prompt("Where do I live?") == prompts.chat([], "Where do I live?")
        assert len(arm._agent.buffer.turns(arm._user)) == 6
    finally:
        arm.close()


# -- experiments ------------------------------------------------------------------------------------


def items_of(number):
    question = Question("Where do I live?", ("Turin",), ("Turin",))
    return [Item(f"t/{i}", TOLD[:1], (question,) * 2) for i in range(number)]


def test_the_retention_matrix_of_a_short_sequence_is_whole_and_of_a_long_one_has_the_lags(
    tiny_model,
):
    examiner = Examiner(arm_of_base(tiny_model))
    short = sequential(examiner, items_of(3), 0)
    assert [row[:2] for row in short["matrix"]] == [[0, 0], [1, 0], [1, 1], [2, 0], [2, 1], [2, 2]]
    assert all(row[3] == 2 for row in short["matrix"])
    long = sequential(examiner, items_of(22), 0)
    assert {row[0] - row[1] for row in long["matrix"]} == {lag for lag in LAGS if lag < 22}


def test_single_and_batch_give_a_row_for_each_question_and_context(tiny_model):
    examiner = Examiner(arm_of_base(tiny_model))
    alone = single(examiner, items_of(1)[0], 0)
    assert [row["expect"] for row in alone["answers"]] == [["Turin"]] * 2
    assert set(alone["cost"]) == {
        "seconds", "steps", "trained_tokens", "teacher_tokens", "more_bytes", "kept_bytes", "num_cut", "slices",
    }  # fmt: skip
    assert len(batch(examiner, items_of(4), 0)["contexts"]) == 4


def arm_of_base(model):
    return Arm(model)


@pytest.mark.parametrize("kind", [Arm, Ceiling, Lexical])
def test_two_people_taste_and_cost_with_every_sort_of_arm(tiny_model, final_writer, kind):
    """The figures are the tiny model's; that every part runs, twice, is not."""
    examiner = Examiner(kind(tiny_model))
    for number in range(2):
        who, stranger = (person(final_writer, f"{name} {number}") for name in ("who", "stranger"))
        found = personal(examiner, who, stranger, final_writer, seed=0)
        assert found["counts"]["recall"][1] == len(who.own)
        assert set(found["counts"]) >= set(PERSONAL)
        assert (found["memory_tokens"] > 0) == (kind is not Arm)
        assert (found["damage_nats"] > 0) == (kind is not Arm)
    few = Catalogue(final_writer.films[:30])
    ranks = taste(examiner, taster(final_writer, "0/0"), few, seed=0)
    assert (ranks["memory_tokens"] > 0) == (kind is not Arm)
    assert to_recall(examiner, items_of(3), 0)["curve"][-1]["seconds"] >= 0
    assert latency(examiner.arm, items_of(12), 10)["turns"] == 10


def test_an_arm_is_asked_while_it_trains_and_the_asking_is_off_the_clock(full_model):
    arm = FineTunedOnContext(full_model, Settings(), Recipe(30, 2e-5), unrelated=None)
    found = to_recall(Examiner(arm), items_of(3), 0)
    steps = [point["steps"] for point in found["curve"]]
    assert steps == [25, 50, 75, 90]
    tokens = [point["trained_tokens"] for point in found["curve"]]
    assert 0 < tokens[0] < tokens[-1] == found["cost"]["trained_tokens"]
    assert found["cost"]["teacher_tokens"] == 0  # looks are not counted
    seconds = [point["seconds"] for point in found["curve"]]
    assert seconds == sorted(seconds)
    arm.close()


def test_an_arm_that_fails_does_not_keep_the_others_from_running(
    tiny_folder, tmp_path, monkeypatch
):
    def fails(bench):
        raise ModelError("This model cannot.")

    monkeypatch.setitem(registry.ARMS, "broken", (registry.FORM, fails))
    unit = Experiment("single", ["0/0"], lambda examiner, key, tick: {"cost": {}}, 1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths, num_failed = put_through(
            unit,
            ["broken", "base"],
            Settings(model=str(tiny_folder)),
            tmp_path,
            data="test",
            hours=1,
        )
    assert (len(paths), num_failed) == (1, 1)
    assert read_run(paths[0])["about"]["form"]["quantize"] == "nf4"


def test_what_holds_of_earlier_slices_is_neither_corrected_nor_told_since():
    def study(pairs, negatives):
        pairs = [QAPair(q, "", v, "direct", "train", (1,)) for q, v in pairs]
        negatives = [QAPair(q, "", "", "negative", "train") for q in negatives]
        return Study(Synthesis("", "", {}, pairs, [], 0, None), negatives, [], [])

    first = study(
        [("Where do I live?", "Oslo"), ("Who am I?", "Ada")], ["What is my job?", "What is my car?"]
    )
    second = study(
        [("where do I live", "Turin"), ("What is my job?", "nurse")], ["What is my dog?"]
    )
    one, two = what_holds([first, second])
    assert [pair.value for pair in one.material.pairs] == ["Ada"]
    assert [pair.question for pair in one.negatives] == ["What is my car?"]
    assert [pair.value for pair in two.material.pairs] == ["Turin", "nurse"]


# -- the registry -------------------------------------------------------------------------------------


def test_arms_are_chosen_by_name_group_or_setting():
    assert names_of(["main"]) == list(MAIN)
    assert names_of(["ours", "ablations", "ours"]) == ["ours", *ABLATIONS]
    assert names_of(["self-param@150@2e-3", "bm25@8"]) == ["self-param@150@2e-3", "bm25@8"]
    assert len(names_of(["grid"])) == 3 * 9 + 2 * 3
    for name in ("nothing", "self-param@x@y", "ours@150@2e-3", "self-param@150", "bm25@x"):
        with pytest.raises(ConfigError, match="There is no arm"):
            names_of([name])
    assert not set(NOT_ARMS) & set(ARMS)


def test_a_setting_reaches_the_arm(tiny_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arm = arm_of("ft-context@7@2e-5", Bench(Settings(model=str(tiny_folder))))
    learned(arm, TOLD[:1])
    assert arm.cost().steps == 7
    arm.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weights", "weights-rebuild"])
def test_a_variant_learns_two_contexts_with_the_house_model(house_model, name):
    arm = arm_of(name, bench := Bench(Settings()))
    assert isinstance(arm, Weights)
    examiner = Examiner(arm)
    examiner.reset(0)
    home = Question("Where do I live?", ("Velmora",), ("Velmora",))
    for turns in ((("I live in Velmora.", "I see."),), (("I work as a nurse.", "I see."),)):
        examiner.learn([Item("x", turns, ())])
    (answer,) = examiner.ask([Question("What is my job?", ("nurse",), ("nurse",))])
    assert answer.is_right, answer.reply
    assert answer.memory_tokens == 0
    assert examiner.ask([home])[0].reply
    assert examiner.cost()["kept_bytes"]["adapter"] > 100_000
    examiner.reset(1)
    assert "Velmora" not in examiner.ask([home])[0].reply
    arm.close()
    assert bench
