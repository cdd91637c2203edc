"""What the exam asks."""

import random

from house.__main__ import new_writer
from house.exam import items_of


def test_every_task_of_the_card_is_asked_and_every_item_can_be_wrong():
    writer, rng = new_writer("final", novel=True), random.Random(0)
    items = [item for _ in range(30) for item in items_of(writer, rng, 8)]
    assert {item.task for item in items} == {
        "told", "told about somebody else", "told, a kind no training text has", "told, then corrected",
        "told, asked in a roundabout way", "told now, in this chat", "never told", "yes or no: yes", "yes or no: no",
        "would I enjoy it: yes", "would I enjoy it: no", "would I enjoy it: unsure",
        "have I seen it: yes", "have I seen it: no", "a film that fits", "questions written", "questions: nothing to ask",
        "film: year", "film: director", "film: actor", "film: genre", "film: none of this title",
    }  # fmt: skip
    assert not any(item.is_right("Hm, let me think.") for item in items)
