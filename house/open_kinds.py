"""Open kinds of fact: one entry of `life/`, `people/` or `talk/` each, made into a kind like those
of `facts/`. There are thousands, so that none is learned by heart: docs/lab_book.md.
"""

import re

from agent.memory.probe import grade

SAID = "You said {v}."
"""The answer to nearly all open kinds: the value alone has to be found. A model that answers each
in a sentence of its own learns the sentences by heart: docs/lab_book.md."""

ACKS = [
    "Noted, {v}.", "{v}, got it.", "{v}, I'll keep that in mind.", "Thanks, {v} it is.", "{v}, that's worth knowing.",
    "Good to know.", "I'll remember that.", "Thanks for telling me.", "That's a detail worth keeping.",
    "I like knowing that.", "Thanks, now I know you a little better.", "That goes into my memory tonight.",
    "{v}, noted. Tell me more if you like.", "Noted. And what are you in the mood for?",
    "Good to know. Shall we find a film for tonight?", "Thanks. Is there a film you have in mind?",
]  # fmt: skip
"""What is said after any fact."""


def attribute_kind(item: dict, frames: dict) -> dict:
    """Return "my gym is …" as a kind of fact."""

    def named(data: object) -> object:
        if isinstance(data, dict):
            return {key: named(value) for key, value in data.items()}
        if isinstance(data, list):
            return [named(line) for line in data]
        return data.replace(
            " a {n}", f" {'an' if item['noun'][0] in 'aeiou' else 'a'} {item['noun']}"
        ).replace("{n}", item["noun"])

    kind = named(frames)
    noun = item["noun"]
    kind["other"]["topic"] = f"the {noun} of {{your}}"
    return kind | {
        "group": "life", "topic": f"your {noun}", "values": item["values"], "indirect": [],
        "made_up": item.get("made_up", "true"),
        "elicit": [f"And your {noun}?", f"What is your {noun}?"], "replies": ["{v}", "It's {v}.", "That's {v}."],
    }  # fmt: skip


def activity_kind(item: dict) -> dict:
    """Return "I collect …" as a kind of fact."""
    told = item["told"].rstrip(".")
    rest = told.removeprefix("You ").replace("{v}", "").replace("  ", " ").strip()
    state = item["state"].rstrip(".")
    question = item["ask"].rstrip("?")
    mine = state.replace("{v}", "").replace("  ", " ").strip()
    # "How many cousins do I have?" is not "what you have cousins".
    is_object = re.match("What (?:do|did|have|can|must) ", question)
    topic = (
        f"what you {rest}"
        if is_object and told.startswith("You ") and not told.startswith("You're")
        else "that"
    )
    clause = (
        f"what {mine}"
        if is_object and state.startswith("I ")
        else f"the answer to this: {question}"
    )
    return open_kind(
        item, topic, [item["state"], *item["other_ways"]], [item["ask"], *item["other_asks"]], [clause]
    )  # fmt: skip


def relation_kind(item: dict, things: list[str]) -> dict:
    """Return "what my … is made of" as a kind of fact, with things as its keys."""
    entry = item | {"made_up": item.get("made_up", "true"), "values": item.get("values", [])}
    kind = open_kind(entry, item["topic"], item["states"], item["asks"], item["clauses"])
    value = {"value": item["value"]} if "value" in item else {}
    return kind | value | {"yesno": item["yesno"], "keys": things, "answers": [item["told"], SAID]}


def life_kind(item: dict) -> dict:
    """Return a small fact of everyday life as a kind of fact."""
    mine = first_person(item["topic"])
    clauses = [mine] if mine else [f"the answer to this: {item['asks'][0].rstrip('?')}"]
    kind = open_kind(item, item["topic"], item["says"], item["asks"], clauses)
    return kind | {
        "look_alikes": [tuple(line.split(" | ")) for line in item["near"]],
    }


def open_kind(
    item: dict, topic: str, states: list[str], asks: list[str], clauses: list[str]
) -> dict:
    told, state = item["told"].rstrip("."), states[0].rstrip(".")
    state = state[0].lower() + state[1:] if state.startswith(("My ", "Our ", "The ")) else state
    yesno = [f"Is it true that {state}?", f"Did I say {state}?", f"{states[0].rstrip('.')}, right?"]
    corrections = [f"Correction: {state} now.", f"Actually not {{old}}. {states[0].rstrip('.')}.", f"That has changed, {state} these days."]  # fmt: skip
    if asked := re.match(r"(.*\?) \{v\}\.$", states[0]):  # told as a question with its answer
        yesno = [f"{asked[1]} Is it {{v}}?", f"{asked[1]} Did I say {{v}}?"]
        corrections = [f"{asked[1]} It's {{v}} now.", f"{asked[1]} Not {{old}}, {{v}}."]
    # What sounds like a denial ("You never gave back …") would be judged as one.
    is_plain = grade(item["told"].replace("{v}", "Zorblax"), ["Zorblax"])
    # "my skis" would have to become "your skis" in an answer, and would be no copy.
    values = [
        value for value in item["values"] if not re.search(r"\b(?:my|our|me|i)\b", value.lower())
    ]
    return {
        "group": "life", "topic": topic, "values": values or ["a secret"], "made_up": item.get("made_up", "true"),
        "states": states, "asks": asks, "indirect": [], "clauses": clauses,
        "yesno": yesno,
        "told": item["told"], "answers": [SAID, item["told"], item["told"]] if is_plain else [SAID],
        "yes": ["Yes, you said {v}.", f"Yes, {_lower_you(told)}."][: 1 + is_plain],
        "no": ["No, you said {v}.", f"No, {_lower_you(told)}."][: 1 + is_plain],
        "near": ["Somebody was talking about {v} today.", "What do you think of {v}?"],
        "acks": ACKS,
        "corrections": item.get("changes") or corrections,
        "elicit": [], "replies": [],
    }  # fmt: skip


PREPOSITION = "(?:to|for|of|with|from|near|by|at|behind|beside|on|about|around|after|before|above|below|under|opposite|against|without|between|than|and)"


def first_person(topic: str) -> str:
    """Return "what you keep in your shed" as the user says it, empty where "you" is an object."""
    if re.search(
        rf"\b(?:who|what|which \w+) \w+(?:s|ed|t|ve|ld) you\b|\byou$|\b{PREPOSITION} you\b"
        r"|\w you (?:\{v\}|to|for|with|as|in|on|at|from|about)(?!\w)",
        topic,
    ):
        return ""
    for yours, mine in (("you're", "I'm"), ("you've", "I've"), ("you'd", "I'd"), ("yourself", "myself"),
                        ("yours", "mine"), ("your", "my"), ("you were", "I was"), ("you are", "I am"), ("you", "I")):  # fmt: skip
        topic = re.sub(rf"\b{yours}\b", mine, topic)
    return topic


def _lower_you(told: str) -> str:
    return told[0].lower() + told[1:] if told.startswith("You") else told
