"""What several tests of the method share."""

import pytest

from agent.memory.encoder import SentenceEncoder


@pytest.fixture(scope="session")
def encoder() -> SentenceEncoder:
    return SentenceEncoder("bundled")
