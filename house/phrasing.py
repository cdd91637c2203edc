"""Ways of writing a line: filled, put together, slipped, garbled, in other words."""

import random
import re

from house.values import invented_word
from house.wordings import PLACEHOLDER

SOFT = set(
    """
    my the what where which who how do does did is am are have can could when in on a for there name tell if we so at our been
    """.split()
)
"""Words that are written small after an opener."""


def fill(template: str, *, lower: bool = False, **slots: str) -> str:
    """Return the template with its slots filled, "a" before a vowel made "an", and a capital at
    the start (unless `lower`)."""

    def slot(match: re.Match[str]) -> str:
        return slots[match.group(1)]

    text = re.sub(
        r"\b([Aa]) \{(\w+)\}",
        lambda match: (
            f"{match[1]}{'n' if slots[match[2]][:1].lower() in 'aeiou' else ''} {slots[match[2]]}"
        ),
        template,
    )
    text = PLACEHOLDER.sub(slot, text)
    if lower:
        return text.lower()
    return text[:1].upper() + text[1:] if template.startswith("{") else text


def opened(opener: str, text: str) -> str:
    """Return the text behind an opener, which may bring its own space."""
    return opener + ("" if opener.endswith(" ") else " ") + soften(text, opener)


def soften(text: str, opener: str) -> str:
    """Lower the first letter after an opener that does not end a sentence, except of "I" and names."""
    first = text.split(" ")[0]
    is_plain = first.isalpha() and first not in {"I"} and len(text) > 1 and text[1:2].islower()
    if not opener.rstrip().endswith((".", "!", "?")) and is_plain and first.lower() in SOFT:
        return text[0].lower() + text[1:]
    return text


def stopped(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else text + "."


def typo(template: str, rng: random.Random) -> str:
    """Return the template with one slip in one of its longer words, never in a slot."""
    words = template.split(" ")
    places = [
        i for i, word in enumerate(words) if len(word) > 3 and "{" not in word and word.isalpha()
    ]
    if not places:
        return template
    i = rng.choice(places)
    word, at = words[i], rng.randrange(1, len(words[i]) - 1)
    words[i] = rng.choice([
        word[:at] + word[at + 1 :],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at] + word[at:],
    ])  # fmt: skip
    return " ".join(words)


NEGATIONS = {"not", "no", "never", "nothing", "nobody", "without", "hardly", "neither", "nor"}


def garbled(template: str, rng: random.Random) -> str:
    """Return the template with some of its words gone, exchanged or made up, slots and negations
    apart: what stays must do, so that no line is known by one word alone."""
    words = []
    for word in template.split(" "):
        roll = rng.random()
        if "{" in word or word.lower().strip(".,!?") in NEGATIONS or "n't" in word or roll > 0.16:
            words.append(word)
        elif roll > 0.13:
            words.append(invented_word(rng))
        elif roll > 0.10 and words and "{" not in words[-1]:
            words.insert(-1, word)
    return " ".join(words) or template


class Thesaurus:
    """Exchanges words and phrases for others that mean the same, so that a wording that training
    never saw is made of words it did see (Wei and Zou 2019, arXiv:1901.11196, section 2)."""

    def __init__(self, entries: dict[str, list[str]]) -> None:
        self.entries = entries
        longest_first = sorted(entries, key=len, reverse=True)
        phrases = "|".join(re.escape(phrase) for phrase in longest_first)
        self.pattern = re.compile(rf"(?<![\w{{'’-])(an? )?({phrases})(?![\w}}'’-])", re.IGNORECASE)

    def vary(self, template: str, rng: random.Random, *, share: float = 0.5) -> str:
        """Return the template with a share of the known phrases exchanged; slots stay."""
        is_lower = template == template.lower()

        def other(match: re.Match[str]) -> str:
            if rng.random() >= share:
                return match[0]
            phrase = rng.choice(self.entries[match[2].lower()])
            if not is_lower:
                phrase = re.sub(r"\bi\b", "I", phrase)
            if match[1]:
                phrase = f"{match[1][0]}{'n' if phrase[0] in 'aeiou' else ''} {phrase}"
            return phrase[0].upper() + phrase[1:] if match[0][0].isupper() else phrase

        return self.pattern.sub(other, template) if self.entries else template
