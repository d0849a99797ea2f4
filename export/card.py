"""The model card: what an exported file is, from its own metadata. Needs what the runtime needs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from export.runtime import Classifier, Generator, ModelError, Sampler, load, printable
from hw2_keras.experiments import experiments
from hw2_keras.files import new_file

Loaded = Classifier | Generator | Sampler

TASKS = {
    "classifier": "Says which of its labels an image shows.",
    "speller": "Writes a text for symbols that are separated by spaces.",
    "words": "Writes a text for words that are separated by spaces.",
    "translator": "Writes a text for a sentence, character by character.",
    "captioner": "Writes a sentence about an image.",
}
LIMITS = {
    "classifier": "It knows its labels and nothing else: any image gets one of them. Images must "
    "be raw pixels, 0 to 255, of exactly the shape below.",
    "speller": "Symbols that it has never seen are read as unknown, and a warning names them.",
    "translator": "Characters that it has never seen are read as unknown, and a warning names "
    "them.",
    "words": "Words that it has never seen are read as unknown, and a warning names them.",
    "captioner": "It describes everything in the words of its vocabulary.",
}
OF_THE_COURSE = {
    "translator": "It has seen short sentences only.",
}


def write(path: Path) -> Path:
    """Writes the card of ``NAME.onnx`` beside it, as ``NAME.md``.

    Raises:
        ModelError: the file cannot be used; see ``check_place``.
    """
    card = check_place(path)
    with new_file(card, ModelError) as partial:
        partial.write_text(card_of(path), encoding="utf-8")
    return card


def check_place(path: Path) -> Path:
    """Where the card of ``NAME.onnx`` goes: ``NAME.md`` beside it.

    Raises:
        ModelError: ``NAME.md`` is there and is no card of it.
    """
    card = path.with_suffix(".md")
    title = printable(f"# {path.name}".partition("\n")[0]).encode()
    if card.is_dir() or (card.exists() and not card.read_bytes().startswith(title)):
        raise ModelError(f"{card} is not a card of {path.name}: move it away, then convert again")
    return card


def card_of(path: Path) -> str:
    """The card as Markdown: task, data, figures, limits, inputs and outputs, use, metadata."""
    model = load(path)
    parts = [
        f"# {path.name}",
        f"{about(model)} {path.stat().st_size / 1e6:.2f} MB.",
        f"## Data and licence\n\n{bullets(data(model.info))}",
        f"## Figures\n\n{figures(model.info)}",
        f"## Limits\n\n{bullets(limits(model.info))}",
        f"## Inputs and outputs\n\n{signature(model)}",
        f"## Use\n\n```python\n{use(model, path.name)}```",
        f"## Metadata\n\n```text\n{metadata(model.info)}\n```",
    ]
    lines = "\n\n".join(parts).split("\n")
    return "\n".join(map(printable, lines)) + "\n"


def about(model: Loaded) -> str:
    """What the model does, and what it was made for."""
    info = model.info
    task = TASKS.get(kind_of(info), "Writes a text for what its encoder reads.")
    title = info.get("title")
    if not title:
        return f"{task} Its network is called {flat(info.get('experiment'))}."
    edition = flat(info.get("edition"))
    place = "beyond the reports" if edition == "beyond" else f"of {edition}"
    return f"{task} Experiment `{flat(info['experiment'])}` {place}: {flat(title)}."


def kind_of(info: dict) -> str:
    """The kind by what a file takes: a sampler is one of the others, with another search."""
    return flat(info.get("source_kind", info["kind"]))


def data(info: dict) -> Iterator[str]:
    """Where the weights come from."""
    protocol = info.get("protocol")
    name = info.get("experiment")
    known = f", `{experiments[name].data}`" if name in experiments else ""
    if "edition" in info:
        yield f"Data: {flat(info.get('source'))}{known}."
    else:
        yield f"Data: not stated; compared with Keras on {flat(info.get('source'))} examples."
    if isinstance(protocol, dict):
        yield "Training: " + ", ".join(f"{k} {flat(v)}" for k, v in protocol.items()) + "."
    licence = info.get("licence", "that of the model which was converted; the file states none")
    yield f"Licence: {flat(licence)}."


def figures(info: dict) -> str:
    """The figures of validation and test, of this one run."""
    rows = {
        name: value
        for name, value in info.get("metrics", {}).items()
        if name.startswith(("val_", "test_")) and not name.endswith("_predicted_classes")
    }
    if not rows:
        return "The file holds none: its parity report says how it was compared with Keras."
    protocol = info.get("protocol")
    seed = flat(protocol.get("seed")) if isinstance(protocol, dict) else "not stated"
    table = table_of([("figure", "value"), *((n, f"{v:.4f}") for n, v in rows.items())])
    search = "" if "labels" in info else "; greedy search unless the name says another"
    return f"One run, seed {seed}, {flat(info.get('source'))} data{search}.\n\n{table}"


def limits(info: dict) -> Iterator[str]:
    """What the model cannot do."""
    if "unknown" in info and info["unknown"] is None:
        yield "What it has never seen it cannot read: an error names it."
    elif limit := LIMITS.get(kind_of(info)):
        more = OF_THE_COURSE.get(kind_of(info), "") if "edition" in info else ""
        yield f"{limit} {more}".strip()
    if "max_length" in info:
        yield f"A text ends after {flat(info['max_length'])} tokens, unless more are asked for."
    if info.get("source") == "synthetic":
        yield "It was trained on synthetic data: its figures say nothing about real ones."
    if "quantization" in info:
        yield "Its weights are rounded: the figures are those of the file that it was made from."
    yield from map(flat, info.get("notes", []))


def signature(model: Loaded) -> str:
    """Names, types and shapes."""
    inputs = {value.name for value in model._session.get_inputs()}
    rows = [
        ("in" if name in inputs else "out", f"`{flat(name)}`", kind, f"`{shape}`")
        for name, kind, shape in model.signature()
    ]
    return table_of([("", "name", "type", "shape"), *rows])


def use(model: Loaded, name: str) -> str:
    """A program of at most ten lines that runs."""
    source, needs_numpy = example(model)
    lines = ["import numpy as np", ""] if needs_numpy else []
    lines += ["from export.runtime import load", "", f"model = load({quoted(name)})"]
    lines.append(f"source = {source}")
    if isinstance(model, Classifier):
        lines += ["print(model(source))  # one label for each image"]
        lines += ["print(model.probabilities(source).shape)"]
    elif isinstance(model, Sampler):
        lines += ["print(model(source, top_p=0.8, seed=42))  # one sample"]
    else:
        lines += ["print(model(source))  # greedy search"]
        lines += ["print(model(source, num_beams=5, n_best=3))  # (text, score), best first"]
    return "\n".join(lines) + "\n"


def example(model: Loaded) -> tuple[str, bool]:
    """A source as Python, and whether it needs NumPy."""
    if isinstance(model, Classifier):
        return f"np.zeros({(2, *model.image_shape)}, np.uint8)  # raw pixels", True
    symbols = model.info.get("symbols")
    if symbols:
        separator = "" if model.source_kind == "translator" else " "
        return quoted(separator.join(map(str, symbols[:3]))), False
    if model.source_kind == "captioner":
        return "np.zeros((64, 64, 3), np.uint8)  # raw pixels, of any size", True
    _, kind, shape = model.signature()[0]
    sizes = tuple(size if isinstance(size, int) else 3 for size in shape)
    numpy_type = {"float": "float32", "double": "float64"}.get(kind[7:-1], kind[7:-1])
    return f"list(np.ones({sizes}, np.{numpy_type}))", True


def metadata(info: dict) -> str:
    """All that the file says of itself."""
    return "\n".join(f"{flat(key)}: {flat(value)}" for key, value in info.items())


def quoted(text: str) -> str:
    """A string as it stands in a program."""
    return json.dumps(text, ensure_ascii=False)


def bullets(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def table_of(rows: list[tuple[str, ...]]) -> str:
    """A Markdown table whose columns are aligned, for terminals too."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def flat(value: Any) -> str:
    """A value of the metadata on one line."""
    if value is None:
        return "not stated"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(text)
