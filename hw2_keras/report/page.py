"""The page "reported / reproduced": one HTML file made from a results folder and the registry.

What stands on it is gathered here as plain data; ``page.html.jinja`` makes HTML of it. Style,
script and plots are inside the file, so it can be mailed, printed and opened offline.
"""

import math
import re
import shlex
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from hw2_keras import metrics
from hw2_keras.errors import UsageError
from hw2_keras.experiments import Experiment, experiments
from hw2_keras.files import write_atomically
from hw2_keras.report import ladder, templates
from hw2_keras.report.cells import (
    MISSING,
    NONE,
    Cell,
    Table,
    listed,
    number,
    text,
    time,
)
from hw2_keras.report.charts import Chart, Dot, DotPlot, Level, Line, chart, dot_plot
from hw2_keras.report.results import (
    REPORTS,
    Figure,
    Results,
    direction,
    figures,
    in_reports,
    rate_of,
    read_results,
    reported_in_reports,
    spread,
)
from hw2_keras.report.verdict import METHOD, counts, judge
from hw2_keras.runs import WEIGHTS, Run

ASSETS = Path(__file__).parent
TITLE = "hw2_keras: reported and reproduced"
# What a task's runs draw: the files, and what they show; {} is the part of the name behind *.
PLOTS = {
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


class Plot(NamedTuple):
    """A PNG file as a ``data:`` address, and what it shows."""

    title: str
    address: str


class Article(NamedTuple):
    """One experiment.

    Attributes:
        name, question, title: of its record.
        protocol: how it is trained, in one sentence.
        command: what makes its runs.
        trained: False where it is counted on paper.
        data: what its runs were trained on; empty without runs.
        runs: their figures, None without runs; ``starred`` says whether a sweep marked one.
        charts, legend, remarks: curves, the rate of each colour, what else the lines mean.
        captions: of the images that the homework names.
        plots: what was drawn of its best run, named in ``shown``.
        absent: plots that are not there; ``drawing`` is the command that makes them.
        others: runs that differ from the record in data or protocol.
    """

    name: str
    question: str
    title: str
    protocol: str
    command: str
    trained: bool = True
    data: str = ""
    runs: Table | None = None
    starred: bool = False
    charts: Sequence[Chart] = ()
    legend: Sequence[str] = ()
    remarks: Sequence[str] = ()
    captions: Table | None = None
    plots: Sequence[Plot] = ()
    shown: str = ""
    absent: Sequence[str] = ()
    drawing: str = ""
    others: Table | None = None


class Rungs(NamedTuple):
    """A ladder: its table, what follows from it, and its plot where there is one."""

    table: Table
    conclusion: str
    plots: list[Plot]


class Chapter(NamedTuple):
    """The experiments of an edition, the rungs beyond, or one's own."""

    id: str
    title: str
    remark: str
    articles: list[Article]
    ladders: Sequence[Rungs] = ()


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
    page = templates.place(folder, TITLE)
    content = render(found).encode(errors="replace")  # the name of a file need not be text
    write_atomically(page, lambda file: file.write(content))
    return page, found


def render(results: Results) -> str:
    """The whole page as HTML."""
    compared = [f for f in figures(results.runs) if f.reported in reported_in_reports(f.experiment)]
    measured = [figure for figure in compared if figure.runs]
    chapters = [_edition(edition, results) for edition in REPORTS]
    further = [chapter for chapter in (_beyond(results), _own(results)) if chapter.articles]
    menu = [("glance", "At a glance"), ("figures", "Every figure")]
    menu += [(f"edition-{edition}", edition) for edition in REPORTS]
    menu += [(chapter.id, chapter.title) for chapter in further]
    menu += [("beams", "Beam search"), ("onnx", "ONNX files")]
    return templates.render(
        "report/page.html.jinja",
        ASSETS / "page.css",
        ASSETS / "page.js",
        title=TITLE,
        measured=len({(f.experiment.name, f.reported) for f in measured}),
        total=sum(len(reported_in_reports(e)) for e in experiments.values()),
        runs=sum(in_reports(run.experiment) for run in results.runs),
        menu=menu,
        problems=results.problems,
        plot=_dot_plot(measured),
        verdicts=counts([judge(figure) for figure in measured]) if measured else [],
        method=METHOD,
        glance=[_glance(edition, compared) for edition in REPORTS],
        figures=_figures_table(results, compared),
        chapters=[*chapters, *further],
        others=_others([r for r in results.others if in_reports(r.experiment)], "Other runs"),
        **_beams(results),
        **_onnx(results),
    )


# ------------------------------------------------------------------------------ overview


def _dot_plot(measured: Sequence[Figure]) -> DotPlot | None:
    rows: dict[tuple[Experiment, float], list[Dot]] = {}
    for f in measured:
        reported, judged = f.reported, judge(f)
        if judged.mean is None:
            continue  # diverged
        label = (
            f"{metrics.label(reported.metric)}: {reported.value:.4f} in report {reported.report}, "
            f"{_ours_in_words(f)} here, {judged.verdict}"
        )
        dots = rows.setdefault((f.experiment, f.rate), [])
        dots.append(Dot(label, f.gain, judged.verdict))
    if not rows:
        return None
    return dot_plot(
        [
            (e.name, f"rate {rate:g}" if len(e.learning_rates) > 1 else "", dots)
            for (e, rate), dots in rows.items()
        ],
        "Difference to the reports, as a share of the reported value.",
    )


def _ours_in_words(figure: Figure) -> str:
    interval = judge(figure).interval
    return spread(figure.values) + (f" (95 %: {interval})" if interval else "")


def _glance(edition: str, compared: Sequence[Figure]) -> Table:
    reports = REPORTS[edition]
    rows = [
        _glance_row(experiment, reports, compared)
        for experiment in experiments.values()
        if experiment.edition == edition and reported_in_reports(experiment)
    ]
    headings = ["experiment", *(f"report {r}" for r in reports), "this package"]
    return Table(edition, headings, rows)


def _glance_row(
    experiment: Experiment, reports: Sequence[str], compared: Sequence[Figure]
) -> list[Cell]:
    metric = experiment.metric.replace("val_", "test_")
    here = [
        f
        for f in compared
        if (f.experiment, f.reported.metric, f.rate) == (experiment, metric, experiment.best_rate)
    ]
    ours = next((f for f in here if f.runs), None)
    printed = {f.reported.report: f.reported.value for f in here}
    rivals = list(printed.values())
    if ours and not ours.notes and all(map(math.isfinite, ours.values)):
        rivals.append(fmean(ours.values))
    best = max(rivals, key=lambda value: direction(metric) * value, default=None)
    remark = metrics.label(metric) + ("" if direction(metric) > 0 else ", lower is better")
    if len(experiment.learning_rates) > 1:
        remark += f", rate {experiment.best_rate:g}"
    return [
        _link(experiment, remark),
        *(number(printed[r], _best(printed[r], best)) if r in printed else NONE for r in reports),
        _ours(ours, best) if ours else MISSING,
    ]


def _ours(figure: Figure, best: float | None) -> Cell:
    if not all(map(math.isfinite, figure.values)):
        return Cell("diverged")
    mean = fmean(figure.values)
    if figure.notes:
        return Cell(spread(figure.values), mean, "other data: " + "; ".join(figure.notes))
    return Cell(spread(figure.values), mean, mark=_best(mean, best))


def _best(value: float, best: float | None) -> str:
    return "best" if value == best else ""


def _figures_table(results: Results, compared: Sequence[Figure]) -> Table:
    headings = ["experiment", "report", "figure", "rate", "reported", "this package", "difference"]
    headings += ["seeds", "data", "time", "command"]
    rows = [_figure_row(results, figure) for figure in compared]
    return Table("Every reported figure", headings, rows)


def _figure_row(results: Results, figure: Figure) -> list[Cell]:
    experiment, reported = figure.experiment, figure.reported
    row = [
        _link(experiment),
        text(reported.report),
        text(metrics.label(reported.metric)),
        Cell(f"{figure.rate:g}", figure.rate),
    ]
    command = _command(command_for(experiment, figure.runs, results.folder))
    if not figure.runs:
        return [*row, number(reported.value), MISSING, NONE, NONE, NONE, NONE, command]
    # Of the fastest run: what a busy machine added to the others says nothing about the network.
    seconds = min(run.record["training_seconds"] for run in figure.runs)
    source = figure.runs[0].record["source"]
    return [
        *row,
        *_judged(figure),
        text(listed(run.record["protocol"]["seed"] for run in figure.runs)),
        Cell(source, source, note="; ".join(figure.notes)),
        time(seconds),
        command,
    ]


def _judged(figure: Figure) -> list[Cell]:
    """Reported, ours, and the difference with its verdict; the better one is marked."""
    judged, reported = judge(figure), figure.reported
    if judged.mean is None:
        return [number(reported.value), Cell(judged.reason), NONE]
    ours = Cell(spread(figure.values), judged.mean, judged.interval)
    difference = Cell(f"{figure.difference:+.4f}", figure.difference)
    if judged.verdict == "not judged":
        small = f"not judged: {judged.reason}"
        return [number(reported.value), ours, difference._replace(small=small)]
    words = f"{difference.text} {judged.verdict}"
    difference = difference._replace(text=words, mark=judged.verdict)
    if metrics.metric(reported.metric).higher_is_better is None:  # a loss: neither is better
        return [number(reported.value), ours, difference]
    if figure.gain > 0:
        return [number(reported.value), ours._replace(mark="best"), difference]
    return [number(reported.value, "best"), ours, difference]


# ----------------------------------------------------------------------- the experiments


def _edition(edition: str, results: Results) -> Chapter:
    reports = REPORTS[edition]
    title = f"Edition {edition}, report{'s' * (len(reports) > 1)} {' and '.join(reports)}"
    articles = [
        _article(experiment, results)
        for experiment in experiments.values()
        if experiment.edition == edition and in_reports(experiment)
    ]
    return Chapter(f"edition-{edition}", title, "", articles)


def _beyond(results: Results) -> Chapter:
    """The ladders; of their rungs nothing that was measured on test, see `ladder.conclusion`."""
    articles = [
        _article(experiment, results)._replace(
            protocol=f"{_protocol(experiment)} {experiment.expected} {experiment.reference}.",
            plots=(),
            absent=(),
        )
        for experiment in experiments.values()
        if experiment.based_on
    ]
    remark = f"One idea a rung above the homework, so nothing above counts them. {ladder.METHOD}"
    ladders = [_rungs(name, results) for name in ladder.names()]
    return Chapter("beyond", "Beyond the reports", remark, articles, ladders)


def _rungs(name: str, results: Results) -> Rungs:
    try:
        found = ladder.opened(name, results)
    except UsageError as error:
        return Rungs(Table(f"Ladder {name}", [], []), str(error), [])
    metric = metrics.label(found.rungs[0].experiment.metric)
    headings = ["rung", metric, "gain", "95 %", "", "time", "parameters", "one answer"]
    rows = [_rung_row(rung) for rung in found.rungs]
    drawn = [path for path in results.plots if path.name == f"{ladder.PLOT.format(name)}.png"]
    plots = [_plot(path, f"ladder {name}") for path in drawn]
    return Rungs(Table(f"Ladder {name}", headings, rows), ladder.conclusion(found), plots)


def _rung_row(rung: ladder.Rung) -> list[Cell]:
    experiment = rung.experiment
    answer = Cell(rung.answer, rung.milliseconds) if rung.answer else NONE
    costs = [Cell(f"{experiment.parameters:,}", experiment.parameters), answer]
    first = _link(experiment, rung.idea)
    if not rung.runs:
        return [first, MISSING, NONE, NONE, NONE, NONE, *costs]
    mark = rung.judgement if rung.judgement in ("better", "worse") else ""
    return [
        first,
        Cell("not finite") if math.isnan(rung.mean) else Cell(spread(rung.values), rung.mean),
        NONE if rung.gain is None else Cell(f"{rung.gain:+.4f}", rung.gain),
        text("{:+.4f} to {:+.4f}".format(*rung.interval)) if rung.interval else NONE,
        Cell(rung.judgement, rung.judgement, mark=mark),
        time(rung.seconds),
        *costs,
    ]


def _own(results: Results) -> Chapter:
    articles = [
        _article(experiment, results)
        for experiment in experiments.values()
        if not in_reports(experiment) and not experiment.based_on
    ]
    remark = "In none of the five reports, so nothing above counts them."
    return Chapter("own", "Own experiments", remark, articles)


def _article(experiment: Experiment, results: Results) -> Article:
    if experiment.task == "counting":
        return _counted(experiment)
    runs = [run for run in results.runs if run.experiment == experiment]
    article = Article(
        experiment.name,
        experiment.question,
        experiment.title,
        _protocol(experiment),
        command_for(experiment, runs, results.folder),
    )
    others = [run for run in results.others if run.experiment == experiment]
    if others and not in_reports(experiment):
        article = article._replace(others=_others(others, f"Other runs of {experiment.name}"))
    if not runs:
        return article
    origins = {"; ".join([run.record["origin"], *run.record["notes"]]) for run in runs}
    return article._replace(
        data=" / ".join(sorted(origins)),
        runs=_runs_table(experiment, runs),
        starred=any(run.best for run in runs),
        charts=_charts(experiment, runs),
        legend=[f"rate {rate:g}" for rate in experiment.learning_rates],
        remarks=_remarks(experiment, runs),
        captions=_captions(runs),
        **_plots(experiment, runs, results),
    )


def _counted(experiment: Experiment) -> Article:
    return Article(
        experiment.name,
        experiment.question,
        experiment.title,
        f"Counted, not trained: {experiment.parameters:,} parameters. The command prints the "
        "arithmetic of every layer and the count of the Keras model.",
        f"python -m hw2_keras summary {experiment.name} --derive",
        trained=False,
    )


def _protocol(experiment: Experiment) -> str:
    rates = ", ".join(f"{rate:g}" for rate in experiment.learning_rates)
    parts = [
        f"{experiment.epochs} epochs",
        f"{'SGD' if experiment.optimizer == 'sgd' else 'Adam'}, learning rate {rates}",
        f"batches of {experiment.batch_size}",
        f"dropout {experiment.dropout:g}",
        *(f"{name} {value}".replace("_", " ") for name, value in experiment.recipe.items()),
    ]
    if experiment.clip_value:
        parts.append(f"gradients clipped to ±{experiment.clip_value:g}")
    if experiment.parameters:
        parts.append(f"{experiment.parameters:,} parameters")
    tested = {"last": "the last epoch is tested", "best": "the best validation epoch is tested"}
    return "; ".join([*parts, tested[experiment.selection]]) + "."


def _runs_table(experiment: Experiment, runs: Sequence[Run]) -> Table:
    columns = ["running_loss", "loss", experiment.metric]
    for run in runs:
        measured = (m for m, v in run.metrics.items() if isinstance(v, float))
        if not experiment.based_on:  # a rung is judged on validation alone
            columns += [m for m in measured if m.startswith("test_") and m not in columns]
    rows = [
        [
            _rate(run),
            _seed(run),
            *(_metric(run, c) for c in columns),
            time(run.record["training_seconds"]),
        ]
        for run in runs
    ]
    for report in dict.fromkeys(r.report for r in experiment.reported):
        rows += _reported_rows(experiment, report, columns)
    headings = ["rate", "seed", *map(metrics.label, columns), "time"]
    return Table(f"Runs of {experiment.name}", headings, rows)


def _rate(run: Run) -> Cell:
    star = " *" if run.best else ""
    remark = f" ({run.record['divergence']})" if run.record["divergence"] else ""
    return Cell(f"{run.learning_rate:g}{star}{remark}", run.learning_rate)


def _seed(run: Run) -> Cell:
    seed = run.record["protocol"]["seed"]
    return Cell(str(seed), seed)


def _metric(run: Run, name: str) -> Cell:
    return number(run.metrics[name]) if name in run.metrics else NONE


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


def _charts(experiment: Experiment, runs: Sequence[Run]) -> list[Chart]:
    rates = list(experiment.learning_rates)
    histories = [run.history for run in runs]
    drawn = []
    for metric in ("loss", "running_loss", experiment.metric):
        lines = [
            Line(
                f"rate {run.learning_rate:g}, seed {run.record['protocol']['seed']}",
                history["epoch"],
                history[metric],
                rates.index(run.learning_rate),
            )
            for run, history in zip(runs, histories, strict=True)
        ]
        levels = [
            Level(f"{r.report}: {r.value:.4g}", r.value, rates.index(rate_of(experiment, r)))
            for r in experiment.reported
            if r.metric == metric
        ]
        if any(math.isfinite(y) for line in lines for y in line.y):
            positive = all(not y <= 0 for line in lines for y in line.y)
            logarithmic = metric != experiment.metric and positive
            drawn.append(chart(lines, levels, curve_title(metric), logarithmic))
    return drawn


def _remarks(experiment: Experiment, runs: Sequence[Run]) -> list[str]:
    seeds = sorted({run.record["protocol"]["seed"] for run in runs})
    remarks = [f"{'one line per seed: ' if len(seeds) > 1 else 'seed '}{listed(seeds)}"]
    drawn = ("loss", "running_loss", experiment.metric)
    return remarks + ["dashed: reported"] * any(r.metric in drawn for r in experiment.reported)


def _captions(runs: Sequence[Run]) -> Table | None:
    rows = [
        [text(image), text(str(run.record["protocol"]["seed"])), text(caption)]
        for run in runs
        for image, caption in run.metrics.get("captions", {}).items()
    ]
    return Table("Captions of test images", ["image", "seed", "caption"], rows) if rows else None


def _plots(experiment: Experiment, runs: Sequence[Run], results: Results) -> dict[str, object]:
    shown = min(runs, key=lambda r: (not r.best, r.learning_rate != experiment.best_rate))
    # beside the runs of a sweep: what compares them
    folders = (shown.path / "plots", results.folder / shown.sweep_folder)
    here = [path for folder in folders for path in results.plots if path.parent == folder]
    drawn, absent = [], []
    for pattern, title in PLOTS[experiment.task].items():
        paths = [path for path in here if fnmatch(path.name, pattern)]
        drawn += [_plot(path, title.format(_starred(path, pattern))) for path in paths]
        if not paths and (pattern[:9] != "attention" or experiment.attention):
            absent.append(re.sub(r" of (\w+ )?{}.*", "", title))
    return {
        "plots": drawn,
        "shown": f"rate {shown.learning_rate:g}, seed {shown.record['protocol']['seed']}",
        "absent": absent,
        "drawing": _drawing_command(experiment, shown, results),
    }


def _drawing_command(experiment: Experiment, run: Run, results: Results) -> str:
    if (run.path / WEIGHTS).is_file() and experiment.task != "classification":
        return f"python -m hw2_keras plot {shlex.quote(str(run.path))}"
    train = command_for(experiment, [run], results.folder)
    return f"{train} && python -m hw2_keras report --results runs"


# ------------------------------------------------------------------- beams, ONNX, the rest


def _beams(results: Results) -> dict[str, object]:
    groups: dict[tuple, dict[bool, list[dict]]] = {}
    for row in results.beams:
        for metric in (key for key in row if key.startswith("test_")):
            key = (row["experiment"], row["source"], metric, row["num_beams"])
            settings = groups.setdefault(key, {True: [], False: []})
            settings[row["length_normalisation"]].append(row)
    headings = ["experiment", "data", "figure", "width", "seeds"]
    headings += ["length norm. on", "gain", "length norm. off", "gain", "time"]
    drawn = [path for path in results.plots if path.name == "beam_search.png"]
    measured = {row["experiment"] for row in results.beams}
    return {
        "beams": Table("Beam search", headings, [_beam_row(key, groups) for key in groups]),
        "beam_plots": [
            _plot(path, "beam search, seeds as mean and standard deviation") for path in drawn
        ],
        "beams_missing": [
            name
            for name, experiment in experiments.items()
            if experiment.task in ("transduction", "captioning") and name not in measured
        ],
        "beams_command": f"python -m hw2_keras beams RUN... --out {_quoted(results.folder)}",
    }


def _beam_row(key: tuple, groups: dict[tuple, dict[bool, list[dict]]]) -> list[Cell]:
    name, source, metric, width = key
    measured = [row for rows in groups[key].values() for row in rows]
    cells = []
    for normalised, rows in groups[key].items():
        values = [row[metric] for row in rows if metric in row]
        greedy = [
            row[metric]
            for row in groups.get((*key[:3], 1), {}).get(normalised, [])
            if metric in row
        ]
        cells.append(Cell(spread(values), fmean(values)) if values else MISSING)
        gain = fmean(values) - fmean(greedy) if values and greedy and width > 1 else None
        cells.append(NONE if gain is None else Cell(f"{gain:+.4f}", gain))
    seconds = fmean(row["seconds"] for row in measured)
    return [
        _link(experiments[name]),
        text(source),
        text(metrics.label(metric)),
        Cell(str(width), width),
        text(listed(sorted({row["seed"] for row in measured}))),
        *cells,
        Cell(f"{seconds:.1f} s", seconds),
    ]


def _onnx(results: Results) -> dict[str, object]:
    headings = ["file", "data", "examples", "batch sizes", "different answers"]
    headings += ["largest difference", "figure", "Keras", "ONNX", "size", "verdict"]
    rows = [_parity_row(file, report) for file, report in results.parity.items()]
    reports = [*results.parity.values(), *results.rounded.values()]
    made = {report["experiment"] for report in reports}
    headings_of_rounded = ["file", "data", "examples", "answers changed", "figures", "size"]
    rounded = [_rounded_row(file, report) for file, report in results.rounded.items()]
    return {
        "rounded": Table("Files with rounded weights", headings_of_rounded, rounded),
        "parity": Table("Parity of ONNX files", headings, rows),
        "unshipped": [
            f"{name}.onnx"
            for name, experiment in experiments.items()
            if experiment.task != "counting" and not experiment.based_on and name not in made
        ],
        "export_command": "python -m export convert RUN -o "
        + _quoted(results.folder / "onnx" / "NAME.onnx"),
    }


def _parity_row(file: str, report: dict) -> list[Cell]:
    difference, verdict = report["max_difference"], "passed" if report["passed"] else "FAILED"
    return [
        text(file),
        text(report["source"]),
        Cell(f"{report['examples']:,}", report["examples"]),
        text(listed(report["batch_sizes"])),
        Cell(str(report["different_answers"]), report["different_answers"]),
        Cell(f"{difference:.1e}", difference if math.isfinite(difference) else None),
        text(metrics.label(report["metric"])),
        number(report["keras"]),
        number(report["onnx"]),
        Cell(f"{report['bytes'] / 1e6:.2f} MB", report["bytes"]),
        Cell(verdict, verdict, mark="" if report["passed"] else "worse"),
    ]


def _rounded_row(file: str, report: dict) -> list[Cell]:
    changed, answers = report["different_answers"], report["answers"]
    figures = [f"{metrics.label(n)} {a:.4f} → {b:.4f}" for n, (a, b) in report["metrics"].items()]
    before, after = report["bytes"]
    return [
        text(file),
        text(report["source"]),
        Cell(f"{report['examples']:,}", report["examples"]),
        Cell(f"{changed:,} of {answers:,}", changed),
        text("; ".join(figures)),
        Cell(f"{before / 1e6:.2f} → {after / 1e6:.2f} MB", after),
    ]


def _others(runs: Sequence[Run], title: str) -> Table:
    rows = [
        [
            text(run.path.name),
            text(run.record["source"]),
            Cell(str(run.record["protocol"]["epochs"]), run.record["protocol"]["epochs"]),
            text(metrics.label(run.experiment.metric)),
            _metric(run, run.experiment.metric),
        ]
        for run in runs
    ]
    return Table(title, ["run", "data", "epochs", "figure", "value"], rows)


# --------------------------------------------------------------------------------- pieces


def curve_title(metric: str) -> str:
    """What a figure's curve over the epochs shows."""
    training = metrics.METRICS.get(metric)
    return training.title if training else metrics.label(metric)


def command_for(experiment: Experiment, runs: Sequence[Run], folder: Path) -> str:
    """The command that makes an experiment's runs again; with ``--out`` where there are none."""
    several = len(experiment.learning_rates) > 1
    base = f"python -m hw2_keras {'sweep' if several else 'train'} {experiment.name} --source real"
    seeds = sorted({run.record["protocol"]["seed"] for run in runs})
    if not seeds:
        return f"{base} --out {_quoted(folder)}"
    if len(seeds) == 1:
        return base + (f" --seed {seeds[0]}" if seeds[0] != 42 else "")
    every = " ".join(map(str, seeds))
    if several:  # the first seed at every rate, the others at the best one
        command = f"python -m hw2_keras reproduce {experiment.name} --source real"
        return f"{command} --seeds {every} --out runs"
    return f"for s in {every}; do {base} --seed $s; done"


def _quoted(folder: Path) -> str:
    return shlex.quote(str(folder))


def _link(experiment: Experiment, remark: str = "") -> Cell:
    return Cell(experiment.name, experiment.name, remark, link=experiment.name)


def _command(command: str) -> Cell:
    return Cell(command, command, command=True)


def _starred(path: Path, pattern: str) -> str:
    return path.name[len(pattern.split("*")[0]) : -len(path.suffix)]


def _plot(path: Path, title: str) -> Plot:
    return Plot(title[0].upper() + title[1:], templates.png_address(path))
