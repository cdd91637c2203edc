"""What must stay as it is: the base's own replies to prompts that have nothing to do with a user.

Some of them are trained with every batch, as SELF-PARAM trains on unrelated text; the others only
measure what a candidate changes: the damage.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from agent.memory.distillation import TargetSentence, mean_kl
from agent.memory.lesson import Asked, SmallTalk, target_sentences
from agent.memory.questions import Checkpoint
from agent.memory.teacher import answer_with
from agent.model import LanguageModel

UNRELATED_PATH = Path(__file__).parent.parent / "data" / "unrelated.yaml"


class Unrelated:
    """The unrelated prompts of `agent/data/unrelated.yaml`. The base never changes, so it is asked
    once: by `ask_all`, or at the first use."""

    def __init__(self) -> None:
        data = yaml.load(UNRELATED_PATH.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        self.small_talk: SmallTalk = [tuple(turn) for turn in data["small_talk"]]
        """Turns that stand before a question in some of the training prompts."""
        self.prompts: dict[str, list[str]] = {name: data[name] for name in ("trained", "measured")}
        self._replies: dict[str, list[TargetSentence]] = {}

    def ask_all(self, model: LanguageModel, *, k: int, checkpoint: Checkpoint) -> None:
        for name in self.prompts:
            self._of(name, model, k, checkpoint)

    def trained(
        self, model: LanguageModel, *, k: int, checkpoint: Checkpoint
    ) -> list[TargetSentence]:
        return self._of("trained", model, k, checkpoint)

    def damage(self, model: LanguageModel, *, slot: str, k: int, checkpoint: Checkpoint) -> float:
        """Return the mean KL(base ‖ slot) on the measured replies, in nats per token."""
        measured = self._of("measured", model, k, checkpoint)
        return mean_kl(model, measured, slot=slot)

    def _of(
        self, name: str, model: LanguageModel, k: int, checkpoint: Checkpoint
    ) -> Sequence[TargetSentence]:
        if name not in self._replies:
            messages = self.prompts[name]
            replies = answer_with(
                model, messages, "", checkpoint=checkpoint, stage="unrelated sentences"
            )
            asked = [Asked(*both) for both in zip(messages, replies, strict=True)]
            self._replies[name] = target_sentences(model, asked, k=k, checkpoint=checkpoint)
        return self._replies[name]
