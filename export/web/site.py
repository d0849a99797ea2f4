"""Exported files -> a static site: the page, the files, onnxruntime-web and a manifest.

The manifest, ``models.json``, tells the page what the metadata of each file say, because
onnxruntime-web does not read them.
"""

import base64
import hashlib
import json
import logging
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from export.runtime import Classifier, Generator, ModelError, Sampler, clean_sentence, load
from hw2_keras.metrics import label

RUNTIME = "onnxruntime-web@1.30.0"
RUNTIME_SHA512 = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
# One thread and WebAssembly alone. Some servers do not know the ending .mjs, all know .js.
RUNTIME_FILES = {
    "package/dist/ort.wasm.bundle.min.mjs": "ort.js",
    "package/dist/ort-wasm-simd-threaded.wasm": "ort.wasm",
}
PAGE = Path(__file__).parent / "page"
MANIFEST = "models.json"
MADE_BY = "hw2-export web"
SHOWN = ("kind", "source_kind", "experiment", "title", "edition", "source", "notes", "licence")
SHOWN += ("labels", "symbols", "unknown", "cleaned", "separator", "max_length", "length_penalty")

log = logging.getLogger(__name__)

# Two files for which these are the same can be asked the same, and compared.
TASK = ("kind", "source_kind", "image_shape", "labels", "symbols")

# Of these a file's page offers those that the file can read.
TEXTS = {
    "speller": ("h ə l o ʊ", "s p ɛ l ɪ ŋ", "k æ t", "m æ d͡ʒ ɪ k", "k w iː n", "b ɛ l"),
    "translator": (
        "¿Dónde está mi libro?",
        "Quiero un café.",
        "Me gusta leer.",
        "treinta y dos",
        "mil uno",
    ),
}
MOST_TEXTS = 4
PICTURES = {
    "T": "t.svg",
    "H": "h.svg",
    "Γ": "gamma.svg",
    "Λ": "lambda.svg",
    "su": "su.svg",
    "na": "na.svg",
    "ya": "ya.svg",
    "re": "re.svg",
    "T-shirt/top": "t-shirt.svg",
    "Trouser": "trouser.svg",
    "Dress": "dress.svg",
    "Bag": "bag.svg",
    "mountain": "mountain.svg",
    "sea": "sea.svg",
    "forest": "forest.svg",
    "buildings": "buildings.svg",
}
AERIAL = {"houses": "houses.svg", "coast": "coast.svg"}

# By the first part of an experiment's name: what its tab says, and what the model knows.
WORDS = {
    "fashion": "Clothes",
    "kmnist": "Old Japanese characters",
    "intel": "Landscapes",
    "caption": "Captions",
    "translate": "Spanish to English",
    "p2g": "Sounds to spelling",
}
KNOWS = {
    "fashion": "It knows photographs of clothes, gray on black, and has never seen a drawing: what "
    "you draw it may well take for something else. Start with an example.",
    "kmnist": "It knows only these ten characters of Kuzushiji, the cursive script of old Japanese "
    "books, and takes everything else for one of them.",
    "intel": "It knows photographs of six kinds of place, and takes everything else for one of "
    "them: {labels}.",
}
SIGNS = {label: f"{label}.svg" for label in ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya")}
SIGNS |= {"re": "re.svg", "wo": "wo.svg"}


def build_site(files: Sequence[str | os.PathLike], out: str | os.PathLike) -> Path:
    """Writes a site for exported files, the whole of it or nothing.

    Args:
        files: ``.onnx`` files of different names, checked as ``export.runtime.load`` does.
        out: the folder; it must not exist, be empty, or hold a site, which is then replaced.

    Returns:
        The folder, as an absolute path.

    Raises:
        ModelError: a file that cannot be used, a folder that holds something else, or
            onnxruntime-web cannot be had.
    """
    out = Path(os.path.realpath(out))
    check_folder(out)
    paths = [Path(file) for file in files]
    for path in paths:
        if not path.name.isprintable():
            raise ModelError(f"{path} has a name that a page cannot show: rename it")
    names = [path.stem for path in paths]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ModelError(f"two files are called {min(twice)}: rename one, the page shows the names")
    try:
        partial = Path(tempfile.mkdtemp(prefix=f".new-{out.name}-", dir=out.parent))
        try:
            shutil.copytree(PAGE, partial, dirs_exist_ok=True)
            (partial / "models").mkdir()
            entries = [write_model(path, partial) for path in paths]
            name_tabs(entries)
            name_rivals(entries)
            runtime = {"package": RUNTIME, "bytes": write_runtime(partial / "runtime")}
            manifest = {"made_by": MADE_BY, "runtime": runtime, "models": entries}
            text = json.dumps(manifest, ensure_ascii=False, allow_nan=False, indent=1)
            (partial / MANIFEST).write_text(text + "\n", encoding="utf-8")
            partial.chmod(0o755)  # a server may run as somebody else
            replace_folder(partial, out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ModelError(f"cannot write {out} ({_why(error)})") from error
    return out


def _why(error: OSError) -> str:
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        _, _, error = error.args[0][0]  # copytree lists what went wrong with each file
    return getattr(error, "strerror", None) or str(error)


def check_folder(out: Path) -> None:
    """Raises ``ModelError`` where writing a site would lose something else."""
    if not out.parent.is_dir():
        raise ModelError(f"{out.parent} is not a folder: make it first, or choose another")
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise ModelError(f"{out} is a file: expected the name of a folder")
    try:
        is_site = json.loads((out / MANIFEST).read_bytes())["made_by"] == MADE_BY
    except (OSError, ValueError, KeyError, TypeError):
        is_site = False
    if not is_site and any(out.iterdir()):
        raise ModelError(f"{out} holds other files: choose a new folder, or empty it")


def replace_folder(new: Path, out: Path) -> None:
    """Renames ``new`` to ``out``; what was there is removed after, not before."""
    if not out.exists():
        os.rename(new, out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".old-{out.name}-", dir=out.parent))
    os.rename(out, old / "site")
    try:
        os.rename(new, out)
    except OSError:
        os.rename(old / "site", out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def write_model(path: Path, site: Path) -> dict[str, object]:
    """Copies a file into the site, a classifier with its activation maps; returns its entry.

    Raises:
        ModelError: as ``export.runtime.load``.
    """
    model = load(path)
    if model.info.get("source_kind") == "array" or "label" not in outputs_of(model):
        raise ModelError(
            f"{path} takes or gives numbers alone: a page needs pictures or texts, export it with "
            "another source and strings=True"
        )
    content = path.read_bytes()
    entry: dict[str, object] = {"name": path.stem, "file": f"models/{path.name}"}
    entry |= {key: model.info[key] for key in SHOWN if key in model.info}
    entry["measured"] = {
        label(name): value
        for name, value in model.info.get("metrics", {}).items()
        if name.startswith("test_") and not name.endswith("_predicted_classes")
    }
    if isinstance(model, Classifier):
        entry["image_shape"] = model.image_shape
        content, entry["maps"] = with_activation_maps(content)
        entry |= knowledge(model)
    entry["examples"] = examples(model)
    entry["bytes"] = len(content)
    (site / "models" / path.name).write_bytes(content)
    return entry


def name_tabs(entries: list[dict]) -> None:
    """Gives each entry the words of its tab, with the file's name where two would be the same."""
    words = [WORDS.get(theme(entry.get("experiment", "")), entry["name"]) for entry in entries]
    for entry, text in zip(entries, words, strict=True):
        entry["words"] = text if words.count(text) == 1 else f"{text} ({entry['name']})"


def name_rivals(entries: list[dict]) -> None:
    """Gives each entry the names of the others that do the same task."""
    tasks = [[entry.get(key) for key in TASK] for entry in entries]
    for entry, task in zip(entries, tasks, strict=True):
        same = [e["name"] for e, other in zip(entries, tasks, strict=True) if other == task]
        entry["rivals"] = [name for name in same if name != entry["name"]]


def theme(experiment: str) -> str:
    return experiment.split("_")[0]


def knowledge(model: Classifier) -> dict[str, object]:
    """What the page says that a classifier knows: ``knows``, and the ``signs`` of its labels."""
    labels = ", ".join(model.labels)
    text = KNOWS.get(
        theme(model.info.get("experiment", "")), "It knows {labels}, and nothing else."
    )
    signs = {label: f"pictures/{SIGNS[label]}" for label in model.labels if label in SIGNS}
    all_signs = {"signs": signs} if len(signs) == len(model.labels) else {}
    return {"knows": text.replace("{labels}", labels)} | all_signs


def outputs_of(model: Classifier | Generator | Sampler) -> set[str]:
    """Names of the outputs; that of texts counts as a label."""
    names = {name for name, _, _ in model.signature()}
    return names | ({"label"} if "text_out" in names else set())


def examples(model: Classifier | Generator | Sampler) -> list[dict[str, str]]:
    """Inputs to try: ``text``, or ``picture`` (a file of the page) with its ``name``."""
    if isinstance(model, Classifier):
        pictures = {label: PICTURES[label] for label in model.labels if label in PICTURES}
    elif model.source_kind == "captioner":
        pictures = AERIAL if "edition" in model.info else {}
    else:
        known = set(model.info["symbols"])
        symbols = list if model.source_kind == "translator" else str.split
        clean = clean_sentence if model.info.get("cleaned") else str
        texts = [t for t in TEXTS.get(model.source_kind, ()) if known.issuperset(symbols(clean(t)))]
        return [{"text": text} for text in texts[:MOST_TEXTS]]
    return [{"name": name, "picture": f"pictures/{file}"} for name, file in pictures.items()]


def with_activation_maps(content: bytes) -> tuple[bytes, str | None]:
    """A classifier whose first convolution is an output too, and the name of that output.

    A file without a convolution comes back as it is, with None.

    Raises:
        ModelError: the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ModelError("activation maps need the package onnx: pip install onnx") from error
    model = onnx.load_model_from_string(content)
    convolution = next((node for node in model.graph.node if node.op_type == "Conv"), None)
    if convolution is None:
        return content, None
    name = convolution.output[0]
    shape = ["N", "map", "map_height", "map_width"]
    value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    model.graph.output.append(value)
    return model.SerializeToString(), name


def write_runtime(folder: Path) -> int:
    """Puts the two files of onnxruntime-web into a new folder; returns the bytes of the large one.

    npm gets the package from its registry, or from its own cache.

    Raises:
        ModelError: npm is missing or cannot get the package, or it is not the pinned one.
    """
    folder.mkdir()
    npm = shutil.which("npm")
    if npm is None:
        raise ModelError(f"npm is not installed, it gets {RUNTIME}: install Node.js with npm")
    log.info("getting %s through npm (33 MB the first time) ...", RUNTIME)
    with tempfile.TemporaryDirectory() as scratch:
        command = [npm, "pack", RUNTIME, "--prefer-offline", "--fetch-retries=1"]
        done = subprocess.run(
            [*command, "--loglevel=error", "--pack-destination", scratch],
            cwd=scratch,
            capture_output=True,
            text=True,
        )
        packages = list(Path(scratch).glob("*.tgz"))
        if done.returncode or len(packages) != 1:
            told = [line.split(maxsplit=2) for line in done.stderr.splitlines()]
            lines = [words[-1] for words in told if words]
            reason = "; ".join(lines[:2]) or f"exit code {done.returncode}"
            raise ModelError(f"npm cannot get {RUNTIME} ({reason}): is the machine online?")
        digest = hashlib.sha512(packages[0].read_bytes()).digest()
        if base64.b64encode(digest).decode() != RUNTIME_SHA512:
            raise ModelError(f"npm gave another {RUNTIME} than the one pinned here: not used")
        with tarfile.open(packages[0]) as package:
            for member, name in RUNTIME_FILES.items():
                (folder / name).write_bytes(package.extractfile(member).read())
    return (folder / "ort.wasm").stat().st_size
