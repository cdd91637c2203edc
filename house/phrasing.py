"""Ways of writing a line: filled, put together, slipped, in other words."""

import random
import re

SLOT = re.compile(r"\{([\w.]+)\}")
"""A slot of a line; a dot asks for a part of what it stands for."""

SAYS_NOTHING = set(
    """
    what which who whom whose where when why how did does are was were have has had can could would will should the and for
    with that this from you your mine our tell told said say remember remind please know called
    """.split()
)
"""Words that do not show what a question is about."""

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
        r"\b([Aa]) \{([\w.]+)\}",
        lambda match: (
            f"{match[1]}{'n' if slots[match[2]][:1].lower() in 'aeiou' else ''} {slots[match[2]]}"
        ),
        template,
    )
    text = SLOT.sub(slot, text)
    if lower:
        return text.lower()
    return text[:1].upper() + text[1:] if template.startswith("{") else text


def pick(lines: list[str], rng: random.Random) -> str:
    """Return the first line seven times in ten, else any. A reply that is drawn among many cannot be
    learned: a small model mixes them."""
    return lines[0] if rng.random() < 0.7 else rng.choice(lines)


def is_about(question: str, told: str) -> bool:
    """Do at least half of the words of a question that mean something stand in what was told?"""
    asked, known = (
        {word[:5].rstrip("s") for word in set(re.findall(r"\w{3,}", line.lower())) - SAYS_NOTHING}
        for line in (question, told)
    )
    return bool(asked) and 2 * len(asked & known) >= len(asked)


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
    """Return the text with a full stop; nothing and what ends otherwise stay."""
    return text if not text or text.endswith((".", "!", "?", "…")) else text + "."


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


def careless(template: str, typing: dict, rng: random.Random) -> str:
    """Return the template as somebody types it who does not care: small letters, few stops, short
    forms, slips, at times a word or a picture before or after. Slots stay."""

    def short(match: re.Match[str]) -> str:
        forms = typing["words"].get(match[0].lower())
        return rng.choice(forms) if forms and rng.random() < 0.5 else match[0]

    text = template.lower()
    text = re.sub(r"(?<![\w{.'])[\w']+(?![\w}.'])", short, text)
    for _ in range(rng.choice([0, 1, 1, 2])):
        text = typo(text, rng)
    keep = "?" if rng.random() < 0.3 else ""
    text = re.sub(r"(?<![\d{])[.,;:!](?=\s|$)" if keep else r"(?<![\d{])[.,;:!?](?=\s|$)", "", text)
    if rng.random() < 0.15:
        text = f"{rng.choice(typing['openers'])} {text}"
    if rng.random() < 0.2:
        text = f"{text} {rng.choice(typing['closers'])}"
    return text.strip() or template


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
