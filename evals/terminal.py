"""A leaderboard on the terminal."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evals.leaderboard import read_leaderboard, score_columns


def show(path: Path, logs: Path = Path("logs"), console: Console | None = None) -> None:
    """Print a leaderboard.json to the terminal, and where its report and the TensorBoard logs are."""
    console = console or Console()
    records = read_leaderboard(path)
    title = f"{records[0]['suite']}, n = {records[0]['n']:,}"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, padding=0)
    shown: list[list[str]] = []
    for column in score_columns(records):
        if column.heading.startswith(("KID", "agreement", "score")):
            continue  # eighty columns hold the others; the files hold all
        heading = column.heading.replace(" (", "\n(")
        width = max(map(len, (*heading.split("\n"), *column.cells)))
        # A number broken over two lines would be another number: rather run over the edge.
        table.add_column(Text(heading, justify="right" if column.number else "left"), min_width=width)
        shown.append([cell.rjust(width) if column.number else cell for cell in column.cells])
    for row in zip(*shown, strict=True):
        table.add_row(*row)
    console.print(table, crop=False)
    console.print(f"report       {path.with_name('report.html')}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"TensorBoard  {logs}", soft_wrap=True, markup=False, highlight=False)
