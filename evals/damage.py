"""How much a memory changes what has nothing to do with it."""

import torch

from agent import prompts
from agent.memory.distillation import answer_kl, ask_teacher, merged
from agent.memory.unrelated import Unrelated
from agent.packing import Answered
from evals.data import Question
from evals.examiner import Examiner

TOP_K = 16


class Unharmed:
    """The replies of an arm that has learned nothing yet to the measured prompts of
    `agent/data/unrelated.yaml`, with its opinion of each token."""

    def __init__(self, examiner: Examiner) -> None:
        self._examiner, model = examiner, examiner.arm.model
        self._messages = Unrelated().prompts["measured"]
        asked = [Question(message, (), ("",)) for message in self._messages]
        replies = [answer.reply for answer in examiner.ask(asked)]
        self._replies = [tuple(model.encode_answer(reply)) for reply in replies]
        seen = [tuple(model.encode(prompts.chat([], message))) for message in self._messages]
        batch = [Answered(*both) for both in zip(seen, self._replies, strict=True)]
        self._opinions = ask_teacher(model, batch, k=TOP_K, slot=examiner.arm.slot)

    def damage(self) -> float:
        """Return the mean KL(before ‖ now) in nats per token, with all that the arm puts into a prompt."""
        arm, total, number = self._examiner.arm, 0.0, 0
        with torch.inference_mode():
            for message, reply, opinion in zip(
                self._messages, self._replies, self._opinions, strict=True
            ):
                prompt = tuple(arm.model.encode(self._examiner.prompt(message)))
                logits = arm.model.answer_logits([Answered(prompt, reply)], slot=arm.slot)
                total += answer_kl(merged([opinion]), logits).item() * len(reply)
                number += len(reply)
        return total / number
