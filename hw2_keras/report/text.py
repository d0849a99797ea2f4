"""Tables as aligned text; needs nothing, so ``python -m hw2_keras list`` runs on a base install."""

from collections.abc import Sequence

from hw2_keras.errors import printable


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of strings as aligned text, the first one underlined; control characters escaped."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(line.rstrip() for line in lines)
