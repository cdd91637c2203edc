"""One consolidation, first stage to last: a slice of turns becomes a generation, or a reason why not.

    synthesize ▶ teacher ▶ train ▶ probe ▶ gate ─▶ publish
                                           └─▶ keep pending, report

Nothing is remembered between two runs but what never changes: the base's own replies.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch
import yaml

from agent import prompts
from agent.catalogue import Catalogue
from agent.memory import probe, synthesis
from agent.memory.adapters import AdapterStore, served_name
from agent.memory.buffer import ExperienceBuffer
from agent.memory.distillation import TargetSentence, answer_kl, ask_teacher, merged, train_adapter
from agent.memory.encoder import SentenceEncoder
from agent.memory.job import Job, Report
from agent.memory.probe import Figures, grade, is_abstention
from agent.memory.synthesis import DATA_DIR, QAPair, QuestionBank, Synthesis
from agent.memory.tables import StoredPair, Turn, User
from agent.model import BASE, TRAINING, Answered, LanguageModel
from agent.settings import Settings

logger = logging.getLogger(__name__)

MAX_PROBES = 32
MAX_OTHER_PROBES = 24
"""Probes of earlier facts, and of things never told (`design.md` 6, rule 7)."""

MAX_REPLAY = 64
"""Earlier pairs rehearsed in one consolidation: bounded, whatever the length of the past."""

STOP_EVERY = 10
"""Steps between two looks at the stop wordings."""


class _BreathingModel:
    """The model as a consolidation sees it: every token of a long generation gives way."""

    def __init__(self, model: LanguageModel, job: Job) -> None:
        self._model, self._job = model, job

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def generate(self, batch: Sequence, **options: object) -> list[str]:
        return self._model.generate(batch, on_token=self._job.breathe, **options)


class Consolidation:
    """Turns one slice of a user's turns into a published generation, or into a reason why not.

    Holds what does not change between users: model, settings, bank, encoder, the base's own
    replies to unrelated prompts.

    Threads: one at a time; the training slot belongs to it.
    """

    def __init__(
        self,
        model: LanguageModel,
        buffer: ExperienceBuffer,
        store: AdapterStore,
        catalogue: Catalogue,
        settings: Settings,
    ) -> None:
        self.model, self.buffer, self.store, self.settings = model, buffer, store, settings
        self.catalogue = catalogue
        self.bank = QuestionBank.load()
        self.encoder = SentenceEncoder(settings.encoder)
        data = yaml.load(
            (DATA_DIR / "unrelated.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader
        )
        self._unrelated_prompts: list[str] = data["trained"]
        self._measured_prompts: list[str] = data["measured"]
        self._small_talk: list[tuple[str, str]] = [tuple(turn) for turn in data["small_talk"]]
        self._unrelated: list[TargetSentence] | None = None
        self._measured: list[TargetSentence] | None = None

    def run(self, user: User, turns: Sequence[Turn], fence: int, job: Job) -> Report:
        """Learn one slice. The old generation stays live unless the candidate passes its gate.

        Raises:
            ConsolidationError: If it was cancelled, or the training diverged.
        """
        live, _ = self.store.usable(
            user.user_id, user.live_generation, base_hash=self.model.base_hash
        )
        settings, model = self.settings, _BreathingModel(self.model, job)
        material = synthesis.synthesize(
            model, turns, bank=self.bank, encoder=self.encoder,
            catalogue=self.catalogue, rounds=settings.question_rounds,
            temperature=settings.question_temperature, seed=settings.seed + turns[-1].id, checkpoint=job.step,
        )  # fmt: skip
        if not settings.use_question_bank:
            material = replace(
                material, pairs=[pair for pair in material.pairs if pair.kind != "bank"]
            )
        if not any(pair.value for pair in material.pairs):
            return self._nothing_to_learn(user, live, turns, fence, material, job)

        with self._adapter(user.user_id, live) as old_slot:
            earlier = self.buffer.pairs(user.user_id)
            negatives = self._negatives(material, earlier, old_slot, model, job)
            replay = self._replay(earlier, old_slot, job)
            tensors = (
                self.store.load(user.user_id, live, base_hash=self.model.base_hash)
                if live
                else None
            )
            self.model.start_training(tensors, seed=settings.seed)
            trained = self._train(
                material, negatives, replay, job, seed=settings.seed + turns[-1].id
            )
            figures = self._measure(material, negatives, earlier, old_slot, model, job)

        generation = self.store.next_generation(user.user_id)
        report = Report(
            user_id=user.user_id, generation=generation, published=True, reason="it passed its probe",
            num_turns=len(turns), num_facts=material.num_facts, num_pairs=len(material.pairs),
            num_doubtful=material.num_doubtful, num_steps=trained.num_steps, trained_tokens=trained.trained_tokens,
            loss_nats=trained.loss, figures=figures, created_at=datetime.now(UTC).isoformat(),
        )  # fmt: skip
        failure = probe.gate(
            figures, min_recall_share=settings.min_recall_share, max_earlier_loss=settings.max_earlier_loss,
            min_abstention=settings.min_abstention, max_damage_nats=settings.max_damage_nats,
        )  # fmt: skip
        if failure is not None:
            return self._reject(
                replace(report, generation=None, published=False, reason=failure), turns, fence, job
            )
        job.step("publishing", 0, 1)
        return self._publish(
            report, material, turns, fence, job, seen=[pair.id for pair in replay.pairs]
        )

    # -- outcomes -------------------------------------------------------------------------

    def _nothing_to_learn(
        self,
        user: User,
        live: int,
        turns: Sequence[Turn],
        fence: int,
        material: Synthesis,
        job: Job,
    ) -> Report:
        report = Report(
            user_id=user.user_id, generation=None, published=False, reason="nothing to learn", num_turns=len(turns),
            num_doubtful=material.num_doubtful, created_at=datetime.now(UTC).isoformat(),
            seconds=job.finish(), stage_seconds=job.stage_seconds,
        )  # fmt: skip
        self.buffer.publish(
            user.user_id,
            fence,
            turn_ids=[turn.id for turn in turns],
            generation=live,
            report=report.as_dict(),
        )
        return report

    def _reject(self, report: Report, turns: Sequence[Turn], fence: int, job: Job) -> Report:
        report = replace(report, seconds=job.finish(), stage_seconds=job.stage_seconds)
        self.buffer.reject(
            report.user_id, fence, turn_ids=[turn.id for turn in turns], report=report.as_dict()
        )
        return report

    def _publish(
        self,
        report: Report,
        material: Synthesis,
        turns: Sequence[Turn],
        fence: int,
        job: Job,
        *,
        seen: list[int],
    ) -> Report:
        generation, user_id = report.generation, report.user_id
        settings = self.settings
        card = report.as_dict() | {
            "base_model": self.model.name,
            "base_hash": self.model.base_hash,
            "turns": [turn.id for turn in turns],
            "recipe": {
                name: getattr(settings, name)
                for name in (
                    "learning_rate",
                    "max_steps",
                    "batch_size",
                    "lora_rank",
                    "lora_alpha",
                    "seed",
                    "use_question_bank",
                )
            },
        }
        config = {
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": settings.lora_rank, "lora_alpha": settings.lora_alpha,
            "target_modules": "all-linear", "lora_dropout": 0.0, "base_model_name_or_path": self.model.name,
        }  # fmt: skip
        path = self.store.publish(
            user_id, generation, self.model.trained_tensors(), config=config, card=card
        )
        size = sum(file.stat().st_size for file in path.iterdir())
        report = replace(
            report, adapter_bytes=size, seconds=job.finish(), stage_seconds=job.stage_seconds
        )
        new_pairs = [
            StoredPair(
                user_id,
                pair.question,
                pair.answer,
                pair.value,
                pair.kind,
                pair.use == "probe",
                pair.turn_ids,
                generation,
                generation,
            )
            for pair in material.pairs
            if not pair.before
        ]
        is_live = self.buffer.publish(
            user_id, fence, turn_ids=[turn.id for turn in turns], generation=generation,
            new_pairs=new_pairs, rehearsed=seen, report=report.as_dict(),
        )  # fmt: skip
        if not is_live:
            return replace(
                report, published=False, generation=None, reason="the user was forgotten meanwhile"
            )
        logger.info(
            "Consolidated %s: generation %d, %d turns, %d facts, recall %s, %.1f s.",
            user_id, generation, len(turns), report.num_facts, report.figures.recall, report.seconds,
        )  # fmt: skip
        return report

    # -- target sentences -------------------------------------------------------------------

    def _negatives(
        self,
        material: Synthesis,
        earlier: Sequence[StoredPair],
        old_slot: str,
        model: _BreathingModel,
        job: Job,
    ) -> list[QAPair]:
        """Keep of the negatives what neither the earlier pairs nor the live generation answer
        (`design.md` 6, rule 5). A third of them only probes."""
        questions = [pair.question for pair in material.negatives]
        known = {probe.normalise(pair.question) for pair in earlier if pair.value}
        if old_slot != BASE:
            answers = synthesis.answer_with(
                model, questions, "", slot=old_slot, checkpoint=job.step, stage="negatives"
            )
            kept = [
                pair
                for pair, answer in zip(material.negatives, answers, strict=True)
                if is_abstention(answer)
            ]
        else:
            kept = material.negatives
        kept = [pair for pair in kept if probe.normalise(pair.question) not in known]
        rng = random.Random(self.settings.seed)
        held_out = {pair.question for pair in rng.sample(kept, len(kept) // 3)}
        return [
            replace(pair, use="probe" if pair.question in held_out else "train") for pair in kept
        ]

    def _replay(self, earlier: Sequence[StoredPair], old_slot: str, job: Job) -> "_Replay":
        pairs = [pair for pair in earlier if not pair.is_probe][:MAX_REPLAY]
        targets = self._targets(
            [(pair.question, pair.answer, (), "") for pair in pairs], job, slot=old_slot
        )
        return _Replay(pairs, targets)

    def _targets(
        self, items: Sequence[tuple[str, str, tuple, str]], job: Job, *, slot: str = BASE
    ) -> list[TargetSentence]:
        """Return target sentences for (question, answer, turns before, context of the teacher)."""
        sentences: list[TargetSentence] = []
        size = synthesis.MICRO_BATCH
        for start in range(0, len(items), size):
            job.step("target sentences", start, len(items))
            part = items[start : start + size]
            answers = [tuple(self.model.encode_answer(answer)) for _, answer, _, _ in part]
            asked = [
                tuple(self.model.encode(prompts.chat(before, question, earlier=context)))
                for question, _, before, context in part
            ]
            opinions = ask_teacher(
                self.model, [Answered(*both) for both in zip(asked, answers, strict=True)],
                k=self.settings.teacher_top_k, slot=slot,
            )  # fmt: skip
            for (question, _, before, _), answer, opinion in zip(
                part, answers, opinions, strict=True
            ):
                student = tuple(self.model.encode(prompts.chat(before, question)))
                sentences.append(TargetSentence(Answered(student, answer), opinion))
        return sentences

    def _train(
        self,
        material: Synthesis,
        negatives: Sequence[QAPair],
        replay: "_Replay",
        job: Job,
        *,
        seed: int,
    ) -> object:
        settings, rng = self.settings, random.Random(seed)
        context = material.context

        def with_small_talk(pair: QAPair) -> tuple[str, str, tuple, str]:
            turns = tuple(rng.sample(self._small_talk, rng.randint(1, 4)))
            return pair.question, pair.answer, turns, context

        learned = material.of_use("train")
        told_now = [pair for pair in learned if pair.before]
        positives = [
            (pair.question, pair.answer, (), context) for pair in learned if not pair.before
        ]
        positives += [
            with_small_talk(pair) for pair in learned if not pair.before and rng.random() < 0.43
        ]
        told = [(pair.question, pair.answer, pair.before, context) for pair in told_now]
        never = [pair for pair in negatives if pair.use == "train"]
        untold = [(pair.question, pair.answer, (), context) for pair in never]
        untold += [with_small_talk(pair) for pair in never if rng.random() < 0.43]
        groups = {
            "new": self._targets(positives, job),
            "told now": self._targets(told, job),
            "never told": self._targets(untold, job),
            "replay": replay.targets,
            "unrelated": self._unrelated_targets(job),
        }
        stop = self._targets(
            [(pair.question, pair.answer, (), context) for pair in material.of_use("stop")], job
        )
        shares = _shares(
            settings.batch_size, has_replay=bool(replay.targets), has_told_now=bool(told)
        )

        def draw(random_: random.Random) -> list[TargetSentence]:
            return [
                sentence
                for name, number in shares.items()
                if groups[name]
                for sentence in random_.sample(groups[name], min(number, len(groups[name])))
            ]

        def is_learned(step: int) -> bool:
            if not stop or step < 4 * STOP_EVERY or step % STOP_EVERY:
                return False
            with torch.inference_mode():
                logits = self.model.answer_logits(
                    [sentence.student for sentence in stop], slot=TRAINING
                )
                return (
                    answer_kl(merged(sentence.teacher for sentence in stop), logits).item() < 0.03
                )

        return train_adapter(
            self.model, draw, max_steps=settings.max_steps, learning_rate=settings.learning_rate, seed=seed,
            is_learned=is_learned, checkpoint=job.step,
        )  # fmt: skip

    def _unrelated_targets(self, job: Job) -> list[TargetSentence]:
        if self._unrelated is None:
            self._unrelated = self._of_base(self._unrelated_prompts, job)
            self._measured = self._of_base(self._measured_prompts, job)
        return self._unrelated

    def _of_base(self, messages: Sequence[str], job: Job) -> list[TargetSentence]:
        """Return the base's own replies, as target sentences."""
        model = _BreathingModel(self.model, job)
        replies = synthesis.answer_with(
            model, messages, "", checkpoint=job.step, stage="unrelated sentences"
        )
        return self._targets(
            [(message, reply, (), "") for message, reply in zip(messages, replies, strict=True)],
            job,
        )

    # -- figures ------------------------------------------------------------------------------

    def _measure(
        self, material: Synthesis, negatives: Sequence[QAPair], earlier: Sequence[StoredPair], old_slot: str,
        model: _BreathingModel, job: Job,
    ) -> Figures:  # fmt: skip
        rng = random.Random(self.settings.seed)

        def replies(questions: Sequence[str], slot: str) -> list[str]:
            return synthesis.answer_with(
                model, questions, "", slot=slot, checkpoint=job.step, stage="probing"
            )

        def share_right(pairs: Sequence[QAPair | StoredPair], slot: str) -> float | None:
            answers = replies([pair.question for pair in pairs], slot)
            right = [
                grade(answer, [pair.value]) for pair, answer in zip(pairs, answers, strict=True)
            ]
            return sum(right) / len(right) if right else None

        new = material.of_use("probe")
        new = (
            rng.sample(new, min(len(new), MAX_PROBES))
            or [pair for pair in material.of_use("train") if pair.value][:MAX_PROBES]
        )
        old = [pair for pair in earlier if pair.is_probe and pair.value]
        old = rng.sample(old, min(len(old), MAX_OTHER_PROBES))
        never = [pair.question for pair in negatives if pair.use == "probe"][:MAX_OTHER_PROBES]
        abstained = [is_abstention(answer) for answer in replies(never, TRAINING)]
        with torch.inference_mode():
            measured = self._measured or []
            logits = self.model.answer_logits(
                [sentence.student for sentence in measured], slot=TRAINING
            )
            damage = answer_kl(merged(sentence.teacher for sentence in measured), logits).item()
        return Figures(
            floor=share_right(new, BASE),
            teacher_agreement=material.teacher_agreement,
            recall=share_right(new, TRAINING),
            recall_earlier=share_right(old, TRAINING),
            recall_earlier_before=share_right(old, old_slot) if old else None,
            abstention=sum(abstained) / len(abstained) if abstained else None,
            damage_nats=damage,
            num_probes=len(new), num_earlier=len(old), num_never_told=len(never),
        )  # fmt: skip

    def _adapter(self, user_id: str, generation: int):
        name = served_name(user_id, generation) if generation else None
        return self.model.adapter(
            name, lambda: self.store.load(user_id, generation, base_hash=self.model.base_hash)
        )


@dataclass(frozen=True)
class _Replay:
    pairs: list[StoredPair]
    targets: list[TargetSentence]


def _shares(batch_size: int, *, has_replay: bool, has_told_now: bool) -> dict[str, int]:
    """Return how many target sentences of each group a batch holds: replay at most a third, as
    many negatives as positives at most, a tenth with the value in the chat."""
    replay = batch_size // 3 if has_replay else 0
    told_now = max(1, batch_size // 10) if has_told_now else 0
    unrelated = max(1, batch_size // 8)
    never_told = (batch_size - replay - told_now - unrelated) // 3
    new = batch_size - replay - told_now - unrelated - never_told
    return {
        "new": new,
        "told now": told_now,
        "never told": never_told,
        "replay": replay,
        "unrelated": unrelated,
    }
