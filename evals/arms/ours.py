"""Ours, as the app runs it: its buffer, its gate, its generations on disk. What it could not learn stays in
the prompt, and is counted."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from agent import prompts
from agent.catalogue import Catalogue
from agent.memory.adapters import AdapterStore
from agent.memory.buffer import ExperienceBuffer
from agent.memory.learning import Learner
from agent.memory.teacher import transcript_of
from agent.model import LanguageModel
from agent.movie_agent import MovieAgent
from agent.recommend import recommend
from agent.settings import Settings
from agent.slots import BASE
from evals.arms.arm import Arm, Context, Cost, counted, new_job, new_user
from evals.conversations import adapter_of
from evals.data import Turns

LONG = "film " * 100
"""A question with the turns of its chat is not longer."""


class Ours(Arm):
    """The app, as it runs."""

    keeps_text = True
    seconds_a_context = 60.0

    def __init__(self, model: LanguageModel, settings: Settings) -> None:
        super().__init__(model)
        self._settings = settings
        self._shared = Learner(model, Catalogue.load(), settings)
        self._shared.prepare(new_job())  # as the app does when it starts
        self._held = ExitStack()
        self.reset(settings.seed)

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self.close()
        self.slot, self._num_chats = BASE, 0
        self._user = new_user()
        self._open = ExitStack()
        folder = Path(self._open.enter_context(TemporaryDirectory(prefix="imprint-evals-")))
        buffer, store = (
            ExperienceBuffer(folder / "experience.db"),
            AdapterStore(folder / "adapters"),
        )
        self._agent = MovieAgent(
            self.model, buffer, store, self._settings.model_copy(update={"seed": seed})
        )
        self._open.callback(self._agent.close)
        learner = self._agent.consolidator._consolidation.learner
        learner.encoder, learner.unrelated = self._shared.encoder, self._shared.unrelated

    def learn(self, contexts: Sequence[Context]) -> None:
        agent, user = self._agent, self._user
        for context in contexts:
            self._num_chats += 1
            for message, reply in context.turns:
                agent.buffer.append(user, f"chat{self._num_chats}", message=message, reply=reply)
        with counted(self.model, self.spent):
            reports = agent.consolidator.run(user)
        self.spent.steps += sum(report.num_steps for report in reports)
        self.spent.slices += [
            [report.published, report.num_turns, report.reason] for report in reports
        ]
        self._held.close()
        self.slot = self._held.enter_context(adapter_of(agent, user))

    def take_as_learned(self, chats: Sequence[Turns]) -> None:
        """Put turns into the buffer as if a generation knew them: for what a long past costs."""
        buffer, ids = self._agent.buffer, []
        for turns in chats:
            self._num_chats += 1
            for message, reply in turns:
                turn = buffer.append(
                    self._user, f"chat{self._num_chats}", message=message, reply=reply
                )
                ids.append(turn.id)
        fence = buffer.leases.take(self._user, "evals", seconds=60)
        buffer.skip(self._user, fence, turn_ids=ids, report={})
        buffer.leases.release(self._user, fence)

    def prompt(self, question: str, chat: Sequence[tuple[str, str]] = ()) -> list[prompts.Message]:
        live, _ = self._agent.usable_generation(self._user)
        waits, _ = self._agent._prompt_turns(self._user, "", "on", live)
        waits, _, _ = self._agent._fit(waits, [], LONG, live)
        return prompts.chat(chat, question, earlier=transcript_of(waits) if waits else "")

    def recommend(self, catalogue: Catalogue, number: int) -> list[str]:
        # The app ranks by the weights and the current chat alone: what waits is not in its prompts.
        found = recommend(self.model, catalogue, slot=self.slot, number=number)
        return [one.film.title for one in found]

    def cost(self) -> Cost:
        buffer, live = self._agent.buffer, self._agent.usable_generation(self._user)[0]
        self.spent.kept_bytes = {
            "adapter": self._agent.store.card(self._user, live)["adapter_bytes"] if live else 0,
            "turns": sum(
                len((turn.message + turn.reply).encode()) for turn in buffer.turns(self._user)
            ),
            "pairs": sum(
                len((pair.question + pair.answer + pair.value).encode())
                for pair in buffer.pairs(self._user)
            ),
        }
        return self.spent

    def close(self) -> None:
        self._held.close()
        if hasattr(self, "_open"):
            self.model.slots.drop(f"{self._user}@")
            self._open.close()
