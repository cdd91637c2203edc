"""The sentence encoder that tells near-duplicate questions apart from new ones.

It is blind to negation and names ("my sister Anna" and "my sister Maria" are nearly one to it),
so it compares *questions*, those about the same value or with those of the bank, and never judges an answer.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from agent.errors import ModelError

BUNDLED_DIR = Path(__file__).parent.parent / "data" / "encoder"


class SentenceEncoder:
    """A sentence-transformers model, loaded when it is first used.

    Threads: one at a time, the consolidator's.
    """

    def __init__(self, name: str = "bundled") -> None:
        self._name = name

    def similarities(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the cosine of every pair of texts."""
        vectors = self._model.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=False
        )
        return (vectors @ vectors.T).tolist()

    def load(self) -> None:
        """Load it now: it takes seconds.

        Raises:
            ModelError: If there is no such encoder.
        """
        _ = self._model

    @cached_property
    def _model(self) -> object:
        # Imported late: nobody waits for it before the first consolidation.
        from sentence_transformers import SentenceTransformer

        path = str(BUNDLED_DIR) if self._name == "bundled" else self._name
        try:
            return SentenceTransformer(path, device="cpu")
        except (OSError, ValueError) as error:
            raise ModelError(
                f"The sentence encoder {self._name!r} cannot be loaded ({error}). Set IMPRINT_ENCODER to "
                f"bundled, a folder, or a hub id."
            ) from error
