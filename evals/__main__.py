"""The paper's experiments and ours, with every baseline.

python -m evals single                  one context at a time
python -m evals batch --contexts 50     many at once into one memory
python -m evals sequential --length 20  one after the other: what is left of the first?
python -m evals recommend               films that simulated users would love (taste)
python -m evals personal                abstention, corrections, bleed, leak, damage
python -m evals cost                    to the same recall; latency and bytes of a long past
python -m evals report                  tables and plots into docs/evaluation.md

Each runs every arm (--arm chooses), on two cores at most two hours an arm (--hours), and goes on where it was
interrupted. Beside them, on data of others and on whole conversations:

python -m evals recommend --predictions FILE --candidates entity2id.json     INSPIRED's own protocol
python -m evals recommend --generate test.jsonl --predictions FILE --candidates entity2id.json     ours there
python -m evals conversations RESULTS   tests/conversations, three modes, every row
python -m evals inspired RESULTS --data test.jsonl    INSPIRED's longest conversations as users
python -m evals speed                   seconds, tokens a second, bytes
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.__main__ import run_app
from agent.errors import ConfigError
from agent.settings import Settings, model_folder

if TYPE_CHECKING:  # imported late: it takes seconds
    from evals.experiments import Experiment, Source

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

ROOT = Path(__file__).parent.parent

RESULTS = ROOT / "evals" / "results"

Arms = Annotated[
    list[str], typer.Option("--arm", help="main, ablations, or one by name; may be repeated")
]
Out = Annotated[Path, typer.Option(help="folder of the results, one JSON file a run")]
Model = Annotated[str | None, typer.Option(help="house, a folder, or a hub id")]
Data = Annotated[
    Path | None,
    typer.Option(
        help="JSON lines of {context, question, answer}, instead of the house exam's users"
    ),
]
Side = Annotated[
    str, typer.Option(help="of the house exam's wordings: final, or dev to choose settings on")
]
Seeds = Annotated[int, typer.Option(help="number of seeds", min=1)]
Hours = Annotated[float, typer.Option(help="after which an arm begins no new unit", min=0)]
Quick = Annotated[bool, typer.Option(help="little of everything, in minutes, into OUT/quick")]

Results = Annotated[Path, typer.Argument(help="folder of the results, one JSON file a user")]


@app.command()
def conversations(
    results: Results,
    folder: Annotated[Path, typer.Option(help="of scripted conversations")] = ROOT / "tests" / "conversations",
    question_bank: Annotated[bool | None, typer.Option(help="ask the general questions too")] = None,
    seed: Annotated[int | None, typer.Option(help="of sampling and training [0]")] = None,
    show: Annotated[bool, typer.Option(help="print the tables of what is there, run nothing")] = False,
) -> None:  # fmt: skip
    """Run scripted conversations and print their figures."""
    from evals.conversations import run, table

    paths = sorted(folder.glob("*.yaml"))
    if not show:
        run(paths, results, Settings.read(use_question_bank=question_bank, seed=seed))
    typer.echo(table(paths, results))


@app.command()
def inspired(
    results: Results,
    data: Annotated[Path, typer.Option(help="test.jsonl of the corpus")],
    number: Annotated[int, typer.Option(help="of conversations, the longest first")] = 20,
    show: Annotated[bool, typer.Option(help="print the table of what is there, run nothing")] = False,
) -> None:  # fmt: skip
    """Replay real conversations as users and print a row for each."""
    from evals.inspired import longest, run, table

    if not data.is_file():
        raise ConfigError(f"There is no {data}. Give --data the test.jsonl of INSPIRED.")
    found = longest(data, number)
    if not show:
        run(found, results, Settings.read())
    typer.echo(table(found, results))


@app.command()
def single(
    arm: Arms = None, contexts: Annotated[int, typer.Option(help="a seed", min=1)] = 10, seeds: Seeds = 3,
    data: Data = None, side: Side = "final", model: Model = None, out: Out = RESULTS, hours: Hours = 2.0, quick: Quick = False,
) -> None:  # fmt: skip
    """Learn one context at a time, and ask for it."""
    from evals.experiments import single_of

    source = _source(data, side)
    experiment = single_of(source, 1 if quick else seeds, 2 if quick else contexts)
    _run(experiment, arm, model, out, source.name, hours, quick)


@app.command()
def batch(
    arm: Arms = None, contexts: Annotated[str, typer.Option(help="at once; several, divided by commas")] = "10,50,100",
    seeds: Seeds = 3, data: Data = None, side: Side = "final", model: Model = None, out: Out = RESULTS, hours: Hours = 2.0,
    quick: Quick = False,
) -> None:  # fmt: skip
    """Learn many contexts at once, and ask for each."""
    from evals.experiments import batch_of

    source = _source(data, side)
    for number in [5] if quick else _numbers(contexts, "--contexts"):
        experiment = batch_of(source, 1 if quick else seeds, number)
        _run(experiment, arm, model, out, source.name, hours, quick)


@app.command()
def sequential(
    arm: Arms = None, length: Annotated[int, typer.Option(help="contexts of a sequence", min=2)] = 20,
    sequences: Annotated[int | None, typer.Option(help="a seed  [default: 5; of more than 20 contexts 2]", min=1)] = None,
    seeds: Annotated[int | None, typer.Option(help="number of seeds  [default: 3; of more than 20 contexts 1]", min=1)] = None, data: Data = None,
    side: Side = "final", model: Model = None, out: Out = RESULTS, hours: Hours = 2.0, quick: Quick = False,
) -> None:  # fmt: skip
    """Learn contexts one after the other; after each, ask for it and for earlier ones."""
    from evals.experiments import sequential_of

    source = _source(data, side)
    experiment = sequential_of(
        source, 1 if quick else seeds, 3 if quick else length, 1 if quick else sequences
    )
    _run(experiment, arm, model, out, source.name, hours, quick)


@app.command()
def personal(
    arm: Arms = None, people: Annotated[int, typer.Option(help="a seed", min=1)] = 8, seeds: Seeds = 3,
    side: Side = "final", model: Model = None, out: Out = RESULTS, hours: Hours = 2.0, quick: Quick = False,
) -> None:  # fmt: skip
    """Ask for what was never told, corrected, told of others, told anew; measure leak and damage."""
    from evals.experiments import personal_of

    source = _source(None, side)
    experiment = personal_of(source.writer, 1 if quick else seeds, 1 if quick else people)
    _run(experiment, arm, model, out, source.name, hours, quick)


@app.command()
def cost(
    arm: Arms = None, lives: Annotated[int, typer.Option(help="a seed", min=1)] = 2, seeds: Seeds = 3, data: Data = None,
    side: Side = "final", model: Model = None, out: Out = RESULTS, hours: Hours = 2.0, quick: Quick = False,
) -> None:  # fmt: skip
    """Measure what the same recall costs, and a reply after a long past. Nothing else should run meanwhile."""
    from evals.experiments import WITH_A_PAST, cost_of, latency_of

    source = _source(data, side)
    experiment = cost_of(source, 1 if quick else seeds, 1 if quick else lives)
    _run(experiment, arm, model, out, source.name, hours, quick)
    past = (10,) if quick else (10, 100, 1000)
    chosen = [name for name in _names(arm) if name in WITH_A_PAST]
    if chosen and data is None:
        _run(latency_of(source, past), chosen, model, out, source.name, hours, quick)


@app.command()
def recommend(
    arm: Arms = None, users: Annotated[int, typer.Option(help="simulated, a seed", min=1)] = 10, seeds: Seeds = 3,
    side: Side = "final", model: Model = None, out: Out = RESULTS, hours: Hours = 2.0, quick: Quick = False,
    predictions: Annotated[Path | None, typer.Option(help="what a model replied at INSPIRED's points, to be scored")] = None,
    generate: Annotated[Path | None, typer.Option(help="INSPIRED's test.jsonl, to be replied to; written to --predictions")] = None,
    candidates: Annotated[Path | None, typer.Option(help="entity2id.json: the names replies are matched against")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="where the rows of the scores are written too")] = None,
    reparse: Annotated[bool, typer.Option(help="match the replies anew, whatever parse the file has")] = False,
) -> None:  # fmt: skip
    """Find films that simulated users would love; or, with --predictions, score replies of any model at the 228
    points of INSPIRED, which --generate makes before."""
    if predictions is not None or generate is not None:
        _inspired_protocol(predictions, generate, candidates, json_, reparse, model)
        return
    from evals.experiments import most_popular_run, taste_of

    source = _source(None, side)
    experiment = taste_of(source.writer, 1 if quick else seeds, 2 if quick else users)
    folder, settings = _folder(out, quick), Settings.read(model=model)
    path = most_popular_run(source.writer, experiment.keys, settings, folder, source.name)
    _run(experiment, arm, model, out, source.name, hours, quick, beside=[path])


def _inspired_protocol(
    predictions: Path | None, generate: Path | None, candidates: Path | None, json_: Path | None, reparse: bool, model: str | None
) -> None:  # fmt: skip
    if candidates is None or predictions is None:
        raise ConfigError(
            "--predictions and --candidates are both wanted: the file of replies, and entity2id.json."
        )
    from evals.protocol import read_candidates, read_predictions, score, table, with_matches

    if generate is not None:
        from evals.inspired import predict

        predict(generate, candidates, predictions, Settings.read(model=model))
    read = read_predictions(predictions)
    names = read_candidates(candidates)
    rows = score(list(with_matches(read, names, anew=reparse)))
    if json_ is not None:
        try:
            json_.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{json_} cannot be written ({error.strerror}).") from error
    typer.echo(table(rows))


@app.command()
def report(
    out: Out = RESULTS,
    page: Annotated[Path, typer.Option(help="with blocks for what is written")] = ROOT / "docs" / "evaluation.md",
    figures: Annotated[Path, typer.Option(help="folder of the plots")] = ROOT / "docs" / "figures",
) -> None:  # fmt: skip
    """Write tables and plots of all results into the page."""
    from evals.report import report as write

    write(out, page, figures)
    typer.echo(f"{page} and {figures} are written.")


@app.command()
def speed() -> None:
    """Measure on this machine, with nothing else running."""
    from evals.speed import measure

    for name, figure in measure(Settings.read()).items():
        typer.echo(f"| {name} | {figure} |")


def _source(data: Path | None, side: str) -> "Source":
    from evals.experiments import File, House

    if side not in ("final", "dev"):
        raise ConfigError(f"--side is {side!r}; it must be final or dev.")
    return File(data) if data is not None else House(side)


def _names(chosen: list[str] | None) -> list[str]:
    from evals.arms.registry import names_of

    return names_of(chosen or ["main"])


def _numbers(text: str, flag: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise ConfigError(f"{flag} is {text!r}; it must be numbers above 0, divided by commas.")
    return numbers


def _folder(out: Path, quick: bool) -> Path:
    return out / "quick" if quick else out


def _run(
    experiment: "Experiment", chosen: list[str] | None, model: str | None, out: Path, data: str, hours: float, quick: bool, *, beside: Sequence[Path] = (),
) -> None:  # fmt: skip
    """Run an experiment and print its table."""
    from evals.experiments import put_through
    from evals.runs import read_run
    from evals.tables import table_of

    settings = Settings.read(model=model)
    model_folder(settings.model)
    paths, num_failed = put_through(
        experiment, _names(chosen), settings, _folder(out, quick), data=data, hours=hours
    )
    runs = {
        run["about"]["arm"]: run
        for path in (*beside, *paths)
        if path.exists() and (run := read_run(path))["units"]
    }
    if runs:
        typer.echo(table_of(experiment.name, runs))
    if num_failed:
        raise typer.Exit(1)


def main() -> int:
    """Run the command line; return its exit code."""
    try:
        return run_app(app, "python -m evals")
    except ModuleNotFoundError as error:
        typer.echo(
            f"error: {error.name} is not installed. `pip install -r requirements-dev.txt` brings it.",
            err=True,
        )
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
