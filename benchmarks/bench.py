"""Measures speed and prints one table: ours, theirs, ratio, target, met.

    python benchmarks/bench.py                       every section but the next two
    python benchmarks/bench.py scheduler             200 tiny runs, two workers against one
    python benchmarks/bench.py gpu                   a GPU against the CPU, on real data
    python benchmarks/bench.py cold_start            some sections
    python benchmarks/bench.py --json speed.json     the table as JSON too

A section is a module beside this one with a function ``rows() -> Iterator[Row]``. Close other
programs first: PyTorch's threads wait for each other by spinning, so on a busy machine it slows
down many times more than TensorFlow does and the ratios flatter ours.
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from measure import Row

SECTIONS = (
    "classifiers",
    "encoder_decoders",
    "generators",
    "transformers",
    "streaming",
    "cold_start",
)
LONG = ("scheduler", "gpu")  # run when named
BUSY = 0.5  # processes running or waiting, on average over the last minute
HEADINGS = ("section", "what", "unit", "ours", "theirs", "ratio", "target", "met")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the named sections; returns 0 when every target is met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS + LONG))
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the table as JSON too")
    options = parser.parse_args(arguments)
    known = SECTIONS + LONG
    if unknown := set(options.sections) - set(known):
        parser.error(f"no section {', '.join(sorted(unknown))}: expected {', '.join(known)}")
    if (load := os.getloadavg()[0]) > BUSY:
        print(f"load average {load:.1f}: other programs will distort the ratios", file=sys.stderr)
    rows = []
    for name in options.sections or SECTIONS:
        for row in importlib.import_module(name).rows():
            rows.append(row)
            print("  ".join(cells(row)), file=sys.stderr)  # kept, should a later one fail
    print(table(rows))
    if options.json:
        records = [asdict(row) | {"target": row.target, "met": row.met} for row in rows]
        options.json.write_text(json.dumps(records, indent=2) + "\n")
    return 0 if all(row.met for row in rows) else 1


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text under their headings; figures are aligned on the right."""
    lines = [HEADINGS, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if heading in ("ours", "theirs", "ratio") else cell.ljust(width)
            for heading, cell, width in zip(HEADINGS, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def cells(row: Row) -> tuple[str, ...]:
    """The text of one line, in the order of ``HEADINGS``."""
    return (
        row.section,
        row.what,
        row.unit,
        number(row.ours),
        "-" if row.theirs is None else number(row.theirs),
        "-" if row.ratio is None else f"{row.ratio:.2f}",
        row.target,
        "yes" if row.met else "NO",
    )


def number(value: float) -> str:
    """Three digits or all before the point, e.g. "0.31", "4,215"."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
