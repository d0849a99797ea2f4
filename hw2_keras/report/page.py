"""The page "reported / reproduced": one HTML file made from a results folder and the registry.

Style, script and pictures are inside the file, so it can be mailed, printed and opened offline.
"""

import base64
import html
import math
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from hw2_keras import metrics
from hw2_keras._version import __version__
from hw2_keras.errors import UsageError
from hw2_keras.experiments import Experiment, experiments
from hw2_keras.files import write_atomically
from hw2_keras.report.charts import Level, Line, chart
from hw2_keras.report.results import Figure, Results, figures, rate_of, read_results, spread
from hw2_keras.runs import WEIGHTS, Run

ASSETS = Path(__file__).parent
# Edition -> its reports, e.g. "2021-22" -> ["000", "001"].
REPORTS = {
    edition: sorted(
        {r.report for e in experiments.values() if e.edition == edition for r in e.reported}
    )
    for edition in dict.fromkeys(e.edition for e in experiments.values())
}
# What a task's runs draw: the files, and what they show; {} is the part of the name behind *.
PICTURES = {
    "classification": {
        "filters_*.png": "filters of {}",
        "confusion_matrix.png": "test images by true and predicted class",
        "activation_maps.png": "activation maps of the first convolution, before its ReLU",
        "misclassified.png": "the surest mistakes",
    },
    "transduction": {
        "attention_*.png": "attention of word {}: where the decoder looked for each character",
        "examples.png": "best, median and worst test examples",
    },
    "captioning": {
        "captions.png": "test images with their captions",
        "attention_*.png": "attention of image {}: where the decoder looked for each word",
    },
}


class Cell(NamedTuple):
    """Content of a table's cell, as HTML, and what it is sorted by; None sorts last."""

    content: str
    key: float | str | None = None


TITLE = "<title>hw2_keras: reported and reproduced</title>"
MISSING = Cell('<span class="missing">missing</span>')
NONE = Cell("–")


def make(results: Path, folder: Path) -> tuple[Path, Results]:
    """Writes ``folder/index.html`` from the runs under ``results`` and the registry.

    Args:
        results: folder of runs, parity reports and beam studies; it may be empty.
        folder: where the page goes; made if missing.

    Returns:
        The page, and what was read for it.

    Raises:
        UsageError: ``results`` is not a folder, or ``folder`` cannot be written or holds the
            page of something else.
    """
    found = read_results(results)
    page = folder / "index.html"
    if page.is_file() and TITLE not in page.read_text("utf-8", errors="replace"):
        raise UsageError(f"{page} is another page: choose another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make {folder} ({error.strerror}): choose another with --out"
        ) from error
    content = render(found)
    write_atomically(page, lambda file: file.write(content.encode()))
    return page, found


def render(results: Results) -> str:
    """The whole page as HTML."""
    compared = figures(results)
    style, script = ((ASSETS / f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    articles = "".join(_edition(edition, results) for edition in REPORTS)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"{TITLE}<style>{style}</style></head><body>"
        f"<header><h1>Reported and reproduced</h1>{_introduction(results, compared)}{_menu()}"
        f"</header><main>{_problems(results)}{_glance(compared)}{_all_figures(results, compared)}"
        f"{articles}{_beams(results)}{_parity(results)}{_others(results)}</main>"
        f"<footer><p>Made by hw2_keras {__version__} with <code>python -m hw2_keras report</code>."
        f"</p></footer><script>{script}</script></body></html>\n"
    )


# ------------------------------------------------------------------------------ overview


def _introduction(results: Results, compared: Sequence[Figure]) -> str:
    done = {(f.experiment.name, f.reported) for f in compared if f.runs}
    total = sum(len(experiment.reported) for experiment in experiments.values())
    return (
        "<p>Five student reports, three editions of one homework: every figure the reports print, "
        "beside the one this package measures with the same protocol. "
        f"<strong>{len(done)} of {total}</strong> figures have been reproduced, from "
        f"{len(results.runs)} training runs on real data. Where there are several seeds, figures "
        "are mean ± sample standard deviation. Commands need the real data: set "
        "<code>HW2_DATA_DIR</code> first (<code>python -m hw2_keras data</code> says what is "
        "there).</p>"
    )


def _menu() -> str:
    entries = [("glance", "At a glance"), ("figures", "Every figure")]
    entries += [(f"edition-{edition}", edition) for edition in REPORTS]
    entries += [("beams", "Beam search"), ("onnx", "ONNX files")]
    return "<nav>" + "".join(f'<a href="#{a}">{text}</a>' for a, text in entries) + "</nav>"


def _problems(results: Results) -> str:
    if not results.problems:
        return ""
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in results.problems)
    return f'<section class="problems"><h2>Not readable</h2><ul>{lines}</ul></section>'


def _glance(compared: Sequence[Figure]) -> str:
    tables = ""
    for edition, reports in REPORTS.items():
        rows = [
            _glance_row(experiment, reports, compared)
            for experiment in experiments.values()
            if experiment.edition == edition and experiment.reported
        ]
        if not rows:
            continue
        headings = ["experiment", *(f"report {r}" for r in reports), "this package"]
        rendered = table(headings, rows, f"Edition {edition} at a glance")
        tables += f"<div><h3>{edition}</h3>{rendered}</div>"
    return f'<section id="glance"><h2>At a glance</h2><div class="glance">{tables}</div></section>'


def _glance_row(
    experiment: Experiment, reports: Sequence[str], compared: Sequence[Figure]
) -> list[Cell]:
    metric = experiment.metric.replace("val_", "test_")
    here = [
        f
        for f in compared
        if (f.experiment, f.reported.metric, f.rate) == (experiment, metric, experiment.best_rate)
    ]
    printed = {f.reported.report: f.reported.value for f in here}
    cells = [number(printed[r]) if r in printed else NONE for r in reports]
    ours = [f for f in here if f.runs]
    remark = metrics.label(metric) + (
        "" if metrics.metric(metric).higher_is_better else ", lower is better"
    )
    if len(experiment.learning_rates) > 1:
        remark += f", rate {experiment.best_rate:g}"
    return [
        _link(experiment, remark),
        *cells,
        _ours(ours[0]) if ours else MISSING,
    ]


def _ours(figure: Figure) -> Cell:
    star = "*" if figure.notes else ""
    return Cell(f"<strong>{spread(figure.values)}</strong>{star}", fmean(figure.values))


def _all_figures(results: Results, compared: Sequence[Figure]) -> str:
    headings = ["experiment", "report", "figure", "rate", "reported", "this package", "difference"]
    headings += ["seeds", "data", "time", "command"]
    rows = [_figure_row(results, figure) for figure in compared]
    return (
        '<section id="figures"><h2>Every figure</h2><p>Press a heading to sort. A difference of '
        "accuracy or BLEU above zero, or of an error rate below it, is <b>better</b>; losses, and "
        "differences within one standard deviation of the seeds, are not judged. The running loss "
        "is the course's training loss, the mean over all batches since epoch 1. Time is that of "
        "training one run.</p>"
        f"{table(headings, rows, 'Every reported figure')}{_notes(compared)}</section>"
    )


def _notes(compared: Sequence[Figure]) -> str:
    noted = dict.fromkeys((f.experiment.name, note) for f in compared for note in f.notes)
    lines = "".join(f"<li>{name}: {html.escape(note)}</li>" for name, note in noted)
    return f"<p>* other data than the reports', so not judged:</p><ul>{lines}</ul>" if lines else ""


def _figure_row(results: Results, figure: Figure) -> list[Cell]:
    experiment, reported = figure.experiment, figure.reported
    row = [
        _link(experiment),
        text(reported.report),
        text(metrics.label(reported.metric)),
        Cell(f"{figure.rate:g}", figure.rate),
        number(reported.value),
    ]
    command = command_for(experiment, figure.runs, results.folder)
    if not figure.runs:
        return [*row, MISSING, NONE, NONE, NONE, NONE, code(command)]
    seconds = [run.record["training_seconds"] for run in figure.runs]
    verdict = {True: " better", False: " worse", None: ""}[figure.better]
    mark = f'<span class="{verdict.strip() or "neutral"}">{figure.difference:+.4f}{verdict}</span>'
    return [
        *row,
        Cell(spread(figure.values), fmean(figure.values)),
        Cell(mark, figure.difference),
        text(listed(run.record["protocol"]["seed"] for run in figure.runs)),
        text(figure.runs[0].record["source"] + ("*" if figure.notes else "")),
        Cell(duration(fmean(seconds)), fmean(seconds)),
        code(command),
    ]


# ------------------------------------------------------------------------- an experiment


def _edition(edition: str, results: Results) -> str:
    articles = "".join(
        _counted(experiment) if experiment.task == "counting" else _experiment(experiment, results)
        for experiment in experiments.values()
        if experiment.edition == edition
    )
    reports = " and ".join(REPORTS[edition])
    by = f", report{'s' * (len(REPORTS[edition]) > 1)} {reports}" if reports else ""
    return f'<section id="edition-{edition}"><h2>Edition {edition}{by}</h2>{articles}</section>'


def _counted(experiment: Experiment) -> str:
    return (
        f"{_heading(experiment)}<p>Counted, not trained: <strong>{experiment.parameters:,}"
        "</strong> parameters. The command prints the arithmetic of every layer and the count of "
        "the Keras model.</p>"
        f"{_command(f'python -m hw2_keras summary {experiment.name} --derive')}</article>"
    )


def _experiment(experiment: Experiment, results: Results) -> str:
    runs = [run for run in results.runs if run.experiment == experiment]
    command = _command(command_for(experiment, runs, results.folder))
    head = f"{_heading(experiment)}<p>{_protocol(experiment)}</p>"
    if not runs:
        missing = '<p class="missing">No finished run on real data. To make it:</p>'
        return f"{head}{missing}{command}</article>"
    origins = {"; ".join([run.record["origin"], *run.record["notes"]]) for run in runs}
    return (
        f"{head}<p>Data: {html.escape(' / '.join(sorted(origins)))}.</p>{command}"
        f"{_runs_table(experiment, runs)}{_charts(experiment, runs)}"
        f"{_captions(runs)}{_pictures(experiment, runs, results)}</article>"
    )


def _heading(experiment: Experiment) -> str:
    return (
        f'<article id="{experiment.name}"><h3>{experiment.question} <code>{experiment.name}'
        f"</code> {html.escape(experiment.title)}</h3>"
    )


def _protocol(experiment: Experiment) -> str:
    rates = ", ".join(f"{rate:g}" for rate in experiment.learning_rates)
    parts = [
        f"{experiment.epochs} epochs",
        f"{'SGD' if experiment.optimizer == 'sgd' else 'Adam'}, learning rate {rates}",
        f"batches of {experiment.batch_size}",
        f"dropout {experiment.dropout:g}",
    ]
    if experiment.clip_value:
        parts.append(f"gradients clipped to ±{experiment.clip_value:g}")
    if experiment.parameters:
        parts.append(f"{experiment.parameters:,} parameters")
    tested = {"last": "the last epoch is tested", "best": "the best validation epoch is tested"}
    return "; ".join([*parts, tested[experiment.selection]]) + "."


def _runs_table(experiment: Experiment, runs: Sequence[Run]) -> str:
    columns = ["running_loss", "loss", experiment.metric]
    for run in runs:
        measured = (m for m, v in run.metrics.items() if isinstance(v, float))
        columns += [m for m in measured if m.startswith("test_") and m not in columns]
    rows = []
    for run in runs:
        seconds = run.record["training_seconds"]
        star = " *" if run.best else ""
        remark = f" ({run.record['divergence']})" if run.record["divergence"] else ""
        rows.append(
            [
                Cell(f"{run.learning_rate:g}{star}{html.escape(remark)}", run.learning_rate),
                Cell(str(run.record["protocol"]["seed"]), run.record["protocol"]["seed"]),
                *(number(run.metrics[c]) if c in run.metrics else NONE for c in columns),
                Cell(duration(seconds), seconds),
            ]
        )
    for report in dict.fromkeys(r.report for r in experiment.reported):
        rows += _reported_rows(experiment, report, columns)
    headings = ["rate", "seed", *map(metrics.label, columns), "time"]
    note = "<p>* the rate with the best validation figure of its sweep.</p>"
    starred = note if any(run.best for run in runs) else ""
    return table(headings, rows, f"Runs of {experiment.name}") + starred


def _reported_rows(experiment: Experiment, report: str, columns: Sequence[str]) -> list[list[Cell]]:
    rows = []
    for rate in experiment.learning_rates:
        values = {
            r.metric: r.value
            for r in experiment.reported
            if r.report == report and rate_of(experiment, r) == rate
        }
        if values:
            cells = [number(values[c]) if c in values else NONE for c in columns]
            rows.append([Cell(f"{rate:g}", rate), text(f"report {report}"), *cells, NONE])
    return rows


def _charts(experiment: Experiment, runs: Sequence[Run]) -> str:
    rates = list(experiment.learning_rates)
    drawn, referred = [], False
    for metric in ("loss", "running_loss", experiment.metric):
        lines = []
        for run in runs:
            history = run.history
            label = f"rate {run.learning_rate:g}, seed {run.record['protocol']['seed']}"
            colour = rates.index(run.learning_rate)
            lines.append(Line(label, history["epoch"], history[metric], colour))
        levels = [
            Level(f"{r.report}: {r.value:.4g}", r.value, rates.index(rate_of(experiment, r)))
            for r in experiment.reported
            if r.metric == metric
        ]
        if any(math.isfinite(y) for line in lines for y in line.y):
            title = (
                metrics.METRICS[metric].title
                if metric in metrics.METRICS
                else metrics.label(metric)
            )
            positive = all(not y <= 0 for line in lines for y in line.y)
            picture = chart(lines, levels, title, metric != experiment.metric and positive)
            drawn.append(f"<figure>{picture}<figcaption>{title}</figcaption></figure>")
            referred = referred or bool(levels)
    seeds = sorted({run.record["protocol"]["seed"] for run in runs})
    keys = "".join(
        f'<li><span style="background: var(--line-{i})"></span>rate {rate:g}</li>'
        for i, rate in enumerate(rates)
    )
    keys += f"<li>{'one line per seed: ' if len(seeds) > 1 else 'seed '}{listed(seeds)}</li>"
    keys += "<li>dashed: reported</li>" if referred else ""
    return f'<div class="charts">{"".join(drawn)}</div><ul class="legend">{keys}</ul>'


def _captions(runs: Sequence[Run]) -> str:
    captioned = [run for run in runs if "captions" in run.metrics]
    rows = [
        [text(image), text(str(run.record["protocol"]["seed"])), text(caption)]
        for run in captioned
        for image, caption in run.metrics["captions"].items()
    ]
    return table(["image", "seed", "caption"], rows, "Captions of test images") if rows else ""


def _pictures(experiment: Experiment, runs: Sequence[Run], results: Results) -> str:
    shown = min(runs, key=lambda r: (not r.best, r.learning_rate != experiment.best_rate))
    # beside the runs of a sweep: what compares them
    sweep = shown.path.name.replace(f"-rate{shown.learning_rate:g}", "") + "-sweep"
    drawn, absent = [], []
    for pattern, title in PICTURES[experiment.task].items():
        folders = (shown.path / "plots", results.folder / sweep)
        paths = [path for folder in folders for path in sorted(folder.glob(pattern))]
        drawn += [_picture(path, title.format(_starred(path, pattern))) for path in paths]
        if not paths and (pattern[:9] != "attention" or experiment.attention):
            absent.append(re.sub(r" of (\w+ )?{}.*", "", title))
    seed = f"rate {shown.learning_rate:g}, seed {shown.record['protocol']['seed']}"
    pictures = f'<div class="pictures">{"".join(drawn)}</div>' if drawn else ""
    if absent:
        pictures += (
            f'<p><span class="missing">Missing</span> ({seed}): {html.escape("; ".join(absent))}. '
            f"Pictures that show real data are not distributed. To draw them:</p>"
            f"{_command(_drawing_command(experiment, shown, results))}"
        )
    return pictures


def _drawing_command(experiment: Experiment, run: Run, results: Results) -> str:
    if (run.path / WEIGHTS).is_file() and experiment.task != "classification":
        return f"python -m hw2_keras plot {shlex.quote(str(run.path))}"
    train = command_for(experiment, [run], results.folder)
    return f"{train} && python -m hw2_keras report --results runs"


# ------------------------------------------------------------------- beams, ONNX, the rest


def _beams(results: Results) -> str:
    head = (
        '<section id="beams"><h2>Beam search</h2><p>What a wider beam adds on the test split, with '
        "hypotheses compared by their mean log-probability per token (length normalisation on) or "
        "by the sum. Width 1 is greedy search; a gain is the change against it.</p>"
    )
    groups: dict[tuple, dict[bool, list[dict]]] = {}
    for row in results.beams:
        for metric in (key for key in row if key.startswith("test_")):
            key = (row["experiment"], row["source"], metric, row["num_beams"])
            settings = groups.setdefault(key, {True: [], False: []})
            settings[row["length_normalisation"]].append(row)
    rows = [_beam_row(key, groups) for key in groups]
    headings = ["experiment", "data", "figure", "width", "seeds"]
    headings += ["length norm. on", "gain", "length norm. off", "gain", "time"]
    pictures = "".join(
        _picture(path, "beam search, seeds as mean and standard deviation")
        for path in sorted(results.folder.rglob("beam_search.png"))
    )
    missing = [
        name
        for name, experiment in experiments.items()
        if experiment.task in ("transduction", "captioning")
        and name not in {row["experiment"] for row in results.beams}
    ]
    body = ""
    if rows:
        body = f'{table(headings, rows, "Beam search")}<div class="pictures">{pictures}</div>'
    if missing:
        body += (
            f'<p><span class="missing">Missing</span>: {", ".join(missing)}. For each run of '
            f"them:</p>{_command(f'python -m hw2_keras beams RUN... --out {results.folder}')}"
        )
    return f"{head}{body}</section>"


def _beam_row(key: tuple, groups: dict[tuple, dict[bool, list[dict]]]) -> list[Cell]:
    name, source, metric, width = key
    measured = [row for rows in groups[key].values() for row in rows]
    seconds = fmean(row["seconds"] for row in measured)
    cells = []
    for normalised, rows in groups[key].items():
        values = [row[metric] for row in rows]
        greedy = [row[metric] for row in groups.get((*key[:3], 1), {}).get(normalised, [])]
        cells.append(Cell(spread(values), fmean(values)) if values else MISSING)
        gain = fmean(values) - fmean(greedy) if values and greedy and width > 1 else None
        cells.append(NONE if gain is None else Cell(f"{gain:+.4f}", gain))
    return [
        _link(experiments[name]),
        text(source),
        text(metrics.label(metric)),
        Cell(str(width), width),
        text(listed(sorted({row["seed"] for row in measured}))),
        *cells,
        Cell(f"{seconds:.1f} s", seconds),
    ]


def _parity(results: Results) -> str:
    headings = ["file", "data", "examples", "batch sizes", "different answers"]
    headings += ["largest difference", "figure", "Keras", "ONNX", "size", "verdict"]
    rows = [_parity_row(file, report) for file, report in results.parity.items()]
    made = {report["experiment"] for report in results.parity.values()}
    for name, experiment in experiments.items():
        if experiment.task != "counting" and name not in made:
            rows.append([text(f"{name}.onnx"), *[NONE] * (len(headings) - 2), MISSING])
    convert = f"python -m export convert RUN -o {results.folder}/onnx/NAME.onnx"
    return (
        '<section id="onnx"><h2>ONNX files</h2><p>Each exported file was compared with Keras on '
        "test examples: same answers, same figure to the last digit, and probabilities or scores "
        f"that differ by rounding only.</p>{table(headings, rows, 'Parity of ONNX files')}"
        f"<p>A file that is missing is made, and verified, by:</p>{_command(convert)}</section>"
    )


def _parity_row(file: str, report: dict) -> list[Cell]:
    verdict = "passed" if report["passed"] else '<span class="worse">FAILED</span>'
    difference = report["max_difference"]
    return [
        text(file),
        text(report["source"]),
        Cell(f"{report['examples']:,}", report["examples"]),
        text(listed(report["batch_sizes"])),
        Cell(str(report["different_answers"]), report["different_answers"]),
        Cell(f"{difference:.1e}", difference),
        text(metrics.label(report["metric"])),
        number(report["keras"]),
        number(report["onnx"]),
        Cell(f"{report['bytes'] / 1e6:.2f} MB", report["bytes"]),
        Cell(verdict, verdict),
    ]


def _others(results: Results) -> str:
    if not results.others:
        return ""
    rows = [
        [
            text(run.path.name),
            text(run.record["source"]),
            Cell(str(run.record["protocol"]["epochs"]), run.record["protocol"]["epochs"]),
            text(metrics.label(run.experiment.metric)),
            number(run.metrics[run.experiment.metric])
            if run.experiment.metric in run.metrics
            else NONE,
        ]
        for run in results.others
    ]
    headings = ["run", "data", "epochs", "figure", "value"]
    return (
        '<section id="others"><h2>Runs that no report can be compared with</h2><p>Synthetic data, '
        f"or another protocol than the homework's.</p>{table(headings, rows, 'Other runs')}"
        "</section>"
    )


# --------------------------------------------------------------------------------- pieces


def table(headings: Sequence[str], rows: Iterable[Sequence[Cell]], title: str) -> str:
    """A sortable table that scrolls sideways on a narrow screen.

    Args:
        headings: plain text.
        rows: as many cells each as there are headings.
        title: read out to those who do not see the table.
    """
    head = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in headings)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(title)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def text(content: str) -> Cell:
    """A cell of plain text."""
    return Cell(html.escape(content), content)


def number(value: float) -> Cell:
    """A cell with four digits after the point, or the word for a figure that is none."""
    if not math.isfinite(value):
        return Cell("not finite")
    return Cell(f"{value:.4f}", value)


def code(content: str) -> Cell:
    """A cell with a command."""
    return Cell(f"<code>{html.escape(content)}</code>", content)


def listed(numbers: Iterable[int]) -> str:
    """Numbers in a row: "42, 43, 44"."""
    return ", ".join(map(str, numbers))


def duration(seconds: float) -> str:
    """Seconds below two minutes, minutes above.

    >>> duration(78.8), duration(1330)
    ('79 s', '22 min')
    """
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def command_for(experiment: Experiment, runs: Sequence[Run], folder: Path) -> str:
    """The command that makes an experiment's runs again; with ``--out`` where there are none."""
    several = len(experiment.learning_rates) > 1
    base = f"python -m hw2_keras {'sweep' if several else 'train'} {experiment.name} --source real"
    seeds = sorted({run.record["protocol"]["seed"] for run in runs})
    if not seeds:
        return f"{base} --out {shlex.quote(str(folder))}"
    if len(seeds) == 1:
        return base + (f" --seed {seeds[0]}" if seeds[0] != 42 else "")
    return f"for s in {' '.join(map(str, seeds))}; do {base} --seed $s; done"


def _cell(cell: Cell) -> str:
    key = "" if cell.key is None else f' data-key="{html.escape(str(cell.key))}"'
    kind = "" if isinstance(cell.key, str) else ' class="number"'
    return f"<td{kind}{key}>{cell.content}</td>"


def _link(experiment: Experiment, remark: str = "") -> Cell:
    name = experiment.name.replace("_", "_<wbr>")
    small = f"<br><small>{html.escape(remark)}</small>" if remark else ""
    return Cell(f'<a href="#{experiment.name}">{name}</a>{small}', experiment.name)


def _command(command: str) -> str:
    return f'<pre tabindex="0"><code>{html.escape(command)}</code></pre>'


def _starred(path: Path, pattern: str) -> str:
    return path.name[len(pattern.split("*")[0]) : -len(path.suffix)]


def _picture(path: Path, title: str) -> str:
    name = title[0].upper() + title[1:]
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img alt="{html.escape(name)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
    )
