"""Tables as text: Markdown and CSV."""

import csv
import io
from collections.abc import Iterable, Sequence

_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_MARKUP = "\\`*_[]|~"


def markdown_escape(text: str) -> str:
    """``text`` as it is in a table's cell: no bars, markup, tags or line ends."""
    return "".join(_ENTITIES.get(sign, f"\\{sign}" if sign in _MARKUP else sign) for sign in " ".join(text.split()))


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table of ready cells. ValueError for a row of another length than ``head``."""
    if any(len(row) != len(head) for row in rows):
        raise ValueError(f"every row of the table needs {len(head)} cells")
    return [
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def csv_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV table with lines that end in a line feed; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
