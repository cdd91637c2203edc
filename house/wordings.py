"""The hand-written lines everything else is expanded from: load, check, split.

`python -m house.wordings FILE…` checks files and prints one line for each
fault; the format is described in `house/wordings/README.md`.

A line belongs to *train*, *dev* or *final* by its own hash, so a line keeps its
side when others are added, and the same line is never on two sides.
"""

import hashlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

WORDINGS_DIR = Path(__file__).parent / "wordings"

PLACEHOLDER = re.compile(r"\{(\w+)\}")

LEAST = {
    "states": 24, "elicit": 4, "replies": 5, "near": 4, "acks": 6, "asks": 30, "clauses": 5,
    "indirect": 6, "yesno": 6, "answers": 3, "yes": 2, "no": 2, "corrections": 8,
}  # fmt: skip
"""The least number of lines of each list of a kind of fact."""

LEAST_OTHER = {
    "states": 12, "asks": 16, "clauses": 3, "yesno": 3, "answers": 2, "yes": 1, "no": 1, "acks": 4,
}  # fmt: skip
"""The same for the part about somebody else."""

NEEDS_VALUE = {
    "states",
    "replies",
    "near",
    "yesno",
    "answers",
    "yes",
    "no",
    "corrections",
    "list_answers",
}
FORBIDS_VALUE = {"elicit", "asks", "clauses", "indirect", "list_asks"}
NAMES_KEY = {"asks", "yesno", "clauses", "indirect"}
KNOWN_FIELDS = {
    *LEAST, "group", "topic", "value", "values", "more", "made_up", "keys", "many", "list_asks",
    "list_answers", "other",
}  # fmt: skip
PRONOUNS = re.compile(r"\b(he|she|they|his|her|hers|their|him|them)\b", re.IGNORECASE)


def normalise(line: str) -> str:
    """Return `line` in lower case, words only, one space between: two lines that
    differ in case or punctuation alone are the same line."""
    return " ".join(re.findall(r"[\w{}]+", line.lower())) or line


def side(line: str) -> str:
    """Return "train", "dev" or "final": 80, 10 and 10 % by the hash of the normalised line."""
    digest = hashlib.sha256(normalise(line).encode()).digest()
    bucket = int.from_bytes(digest[:4], "big") % 10
    return {0: "dev", 1: "final"}.get(bucket, "train")


def split(lines: Iterable[str], wanted: str) -> list[str]:
    """Return the lines on the side `wanted`; all of them if the side is empty and `wanted` is
    "train" (a list too short to be split must still be trained)."""
    lines = list(lines)
    chosen = [line for line in lines if side(line) == wanted]
    return chosen or (lines if wanted == "train" else [])


def check_line(name: str, line: str, allowed: set[str], keys: bool) -> list[str]:
    """Return the faults of one line of the list `name` ("asks", "other.asks")."""
    field, found = name.split(".")[-1], PLACEHOLDER.findall(line)
    who = {"my"} if field in {"states", "asks", "clauses", "yesno"} else {"your"}
    who = set() if field == "acks" else who
    rules = [
        (set(found) - allowed, "has an unknown or misplaced placeholder"),
        (len(found) != len(set(found)), "uses a placeholder twice"),
        (field in NEEDS_VALUE and "v" not in found, "lacks {v}"),
        (field in FORBIDS_VALUE and "v" in found, "must not give {v} away"),
        (keys and field in NAMES_KEY and "k" not in found, "lacks {k}, which a question must name"),
        (name.startswith("other.") and who - set(found), f"lacks {sorted(who)}"),
        (
            name.startswith("other.") and PRONOUNS.search(PLACEHOLDER.sub("", line)),
            "uses a pronoun",
        ),
    ]
    return [f"{name}: {line!r} {fault}" for is_broken, fault in rules if is_broken]


def check_list(name: str, lines: object, least: int, allowed: set[str], keys: bool) -> list[str]:
    """Return the faults of one list of a kind."""
    if not isinstance(lines, list) or any(not isinstance(line, str) for line in lines):
        return [f"{name}: must be a list of texts; put them in quotes"]
    faults = [] if len(lines) >= least else [f"{name}: {len(lines)} lines, at least {least} wanted"]
    seen: dict[str, str] = {}
    for line in lines:
        if normalise(line) in seen:
            faults.append(f"{name}: {line!r} repeats {seen[normalise(line)]!r}")
        seen[normalise(line)] = line
        faults += check_line(name, line, allowed, keys)
    return faults


def check_kind(kind: dict) -> list[str]:
    """Return the faults of a kind of fact, none if it can be used."""
    keys = bool(kind.get("keys"))
    slots = {"v", "k"} if keys else {"v"}
    faults = [
        f"{field}: missing" for field in ("group", "topic") if not isinstance(kind.get(field), str)
    ]
    if "value" not in kind and len(kind.get("values") or []) < 30:
        faults.append("values: at least 30 wanted, or value: the name of a generator")
    if unknown := set(kind) - KNOWN_FIELDS:
        faults.append(f"unknown fields {sorted(unknown)}")
    for field, least in LEAST.items():
        allowed = slots | ({"old"} if field == "corrections" else set())
        faults += check_list(field, kind.get(field), least, allowed, keys)
    if kind.get("many") == "true":
        faults += check_list("list_asks", kind.get("list_asks"), 6, slots, False)
        faults += check_list("list_answers", kind.get("list_answers"), 2, slots, False)
    if other := kind.get("other"):
        faults += check_other(other, slots, keys)
    return faults


def check_other(other: dict, slots: set[str], keys: bool) -> list[str]:
    """Return the faults of the part about somebody else."""
    faults = [] if "{your}" in other.get("topic", "") else ["other.topic: must name {your}"]
    for field, least in LEAST_OTHER.items():
        allowed = slots | {"my" if field in {"states", "asks", "clauses", "yesno"} else "your"}
        faults += check_list(f"other.{field}", other.get(field), least, allowed, keys)
    return faults


def check_life(entry: dict) -> list[str]:
    """Return the faults of an entry of `life/`, none if it can be used."""
    least = {"says": 4, "asks": 5, "near": 2, "values": 6}
    if set(entry) != {"told", "topic", *least}:
        return [f"fields {sorted(entry)}"]
    faults = [
        f"{name}: at least {number} wanted" for name, number in least.items() if len(entry[name]) < number
    ]  # fmt: skip
    looks = [
        (question, topic)
        for line in entry["near"]
        for question, _, topic in [line.partition(" | ")]
    ]
    told, clauses = entry["told"], [entry["topic"], *(topic for _, topic in looks)]
    faults += [
        f"{line!r} must hold {{v}} once"
        for line in [told, *entry["says"]]
        if PLACEHOLDER.findall(line) != ["v"]
    ]
    faults += [
        f"{line!r} must not hold a slot" for line in [*entry["asks"], *clauses] if "{" in line
    ]
    faults += [f"{clause!r} is no clause about you" for clause in clauses if not _is_clause(clause)]
    if not re.match(r"(You|Your|You're|You've)\b.*\.$", told):
        faults.append(f"{told!r} must begin with You or Your and end with a full stop")
    return faults


def check_person(person: dict) -> list[str]:
    """Return the faults of an entry of `people/`, none if it can be used."""
    if set(person) != {"messages", "facts", "untold"}:
        return [f"fields {sorted(person)}"]
    slots = [slot for message in person["messages"] for slot in PLACEHOLDER.findall(message)]
    named = [fact["slot"] for fact in person["facts"]]
    faults = [] if sorted(slots) == sorted(named) else [f"slots {slots} are not the facts {named}"]
    faults += [] if len(person["untold"]) >= 6 else ["untold: at least 6 wanted"]
    for fact in person["facts"]:
        faults += [f"{line!r} must not hold a slot" for line in fact["asks"] if "{" in line]
        if len(fact["asks"]) < 4 or len(fact["values"]) < 5:
            faults.append(f"{fact['slot']}: 4 asks and 5 values wanted")
        if not re.match(r"You.*\.$", fact["told"]) or PLACEHOLDER.findall(fact["told"]) != ["v"]:
            faults.append(f"{fact['told']!r} must begin with You or Your and hold {{v}} once")
        for line in fact.get("changes", []):
            if sorted(PLACEHOLDER.findall(line)) not in (["v"], ["old", "v"]):
                faults.append(f"{line!r} must hold {{v}} once, and {{old}} once at most")
    clauses = [fact["topic"] for fact in person["facts"]]
    clauses += [line.partition(" | ")[2] for line in person["untold"]]
    return faults + [
        f"{clause!r} is no clause about you" for clause in clauses if not _is_clause(clause)
    ]


def _is_clause(text: str) -> bool:
    return bool(text) and "{" not in text and not re.search(r"\b(my|I)\b|[.?]$", text)


_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""Ten times as fast where PyYAML was built with libyaml."""


def read_yaml(path: Path) -> dict:
    """Return a YAML file with every scalar as the text that stands there: `no` is "no"."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)


def load_kinds(folder: Path = WORDINGS_DIR / "facts") -> dict[str, dict]:
    """Return every kind of fact by name, in the order of the names."""
    return {path.stem: read_yaml(path) for path in sorted(folder.glob("*.yaml"))}


def main(paths: list[str]) -> int:
    from house.dialogues import check_dialogue

    num_faults = 0
    for path in map(Path, paths):
        try:
            data = read_yaml(path)
            check = (
                check_kind
                if isinstance(data, dict)
                else check_person
                if "messages" in data[0]
                else check_dialogue
                if "turns" in data[0]
                else check_life
            )
            faults = [
                fault
                for entry in ([data] if isinstance(data, dict) else data)
                for fault in check(entry)
            ]
        except (yaml.YAMLError, AttributeError) as error:
            faults = [f"cannot be read: {error}"]
        num_faults += len(faults)
        print(f"{path}: {len(faults)} faults", *faults, sep="\n  ")
    return int(num_faults > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
