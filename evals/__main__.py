"""The experiments behind docs/evaluation.md.

python -m evals conversations RESULTS   tests/conversations, three modes, every row
python -m evals inspired RESULTS --data test.jsonl    INSPIRED's longest conversations as users
python -m evals recommend --predictions FILE --candidates entity2id.json     INSPIRED's own protocol
python -m evals speed                   seconds, tokens a second, bytes

What a folder of results already holds is not run again.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from agent.__main__ import run_app
from agent.errors import ConfigError
from agent.settings import Settings

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

ROOT = Path(__file__).parent.parent

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
def recommend(
    predictions: Annotated[Path, typer.Option(help="what a model replied, one JSON object a line")],
    candidates: Annotated[Path, typer.Option(help="entity2id.json: the names replies are matched against")],
    json_: Annotated[Path | None, typer.Option("--json", help="where the rows are written too")] = None,
    reparse: Annotated[bool, typer.Option(help="match the replies anew, whatever parse the file has")] = False,
) -> None:  # fmt: skip
    """Score replies of any model at the 228 points of INSPIRED, and print a row for each condition."""
    try:
        from evals.protocol import read_candidates, read_predictions, score, table, with_matches
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed. `pip install -r requirements-dev.txt` brings it."
        ) from error

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
def speed() -> None:
    """Measure on this machine, with nothing else running."""
    from evals.speed import measure

    for name, figure in measure(Settings.read()).items():
        typer.echo(f"| {name} | {figure} |")


if __name__ == "__main__":
    raise SystemExit(run_app(app, "python -m evals"))
