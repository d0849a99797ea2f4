"""The Node.js example gives the texts and scores of the Python runtime."""

import json
import shutil
import subprocess
from pathlib import Path

import onnx
import pytest

from export.runtime import ModelError, load

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "node"
FILES = ROOT / "results" / "onnx"


@pytest.fixture(scope="module")
def node() -> str:
    """The program, with the example's packages installed."""
    if not (node := shutil.which("node")) or not (npm := shutil.which("npm")):
        pytest.skip("needs Node.js with npm")
    ((name, version),) = json.loads((FOLDER / "package.json").read_text())["dependencies"].items()
    package = FOLDER / "node_modules" / name / "package.json"
    if not package.is_file() or json.loads(package.read_text())["version"] != version:
        command = [npm, "ci", "--prefer-offline", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm cannot install {name}: {done.stderr.strip()}")
    return node


def spell(node: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [node, "spell.mjs", *map(str, arguments)]
    return subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("name", "source", "num_beams"),
    [
        ("p2g_attention", "h ə l o ʊ", 5),
        ("p2g_attention", "  m æ\u00a0d͡ʒ ɪ\tk ", 1),
        ("p2g_attention", "s p ɛ l ☃ ɪ ŋ", 3),
        ("p2g_attention", "d ɔ g", 5),
        ("p2g_attention", "ʤ ɔ i: G", 2),
        ("translate_attention", "¡Quiero un café!", 5),
        ("translate_attention", "man\u0303ana ж ☃", 3),
    ],
)
@pytest.mark.filterwarnings("ignore:unknown to", "ignore:p2g_attention reads")
def test_the_same_texts_and_scores(node: str, name: str, source: str, num_beams: int) -> None:
    path = FILES / f"{name}.onnx"
    done = spell(node, path, source, num_beams)
    assert done.returncode == 0, done.stderr
    found = load(path).search([source], num_beams)
    shown = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [text for _, text in shown] == found.texts[0].tolist()
    scores = [float(score) for score, _ in shown]
    assert scores == pytest.approx(found.scores[0], abs=1e-4)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator as a user's own: its sentences are not cleaned, nothing stands for unknown."""
    model = onnx.load(FILES / "translate_attention.onnx")
    facts = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    facts |= {"hw2.cleaned": False, "hw2.unknown": None, "hw2.max_length": 7}
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in facts.items()})
    path = tmp_path_factory.mktemp("own") / "own.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_only_sentences_of_cleaned_data_are_cleaned(node: str, own: Path) -> None:
    for sentence in ("quiero un cafe!", "quiero un cafe !"):
        done = spell(node, own, sentence, 1)
        assert done.returncode == 0, done.stderr
        # The longest text is what the file says, not what this program says.
        assert done.stdout.split(maxsplit=1)[1].rstrip("\n") == load(own)(sentence)
    scores = [load(own).search([text]).scores for text in ("quiero un cafe!", "quiero un cafe !")]
    assert scores[0] != scores[1]


def test_what_a_file_cannot_read_is_refused(node: str, own: Path) -> None:
    done = spell(node, own, "Quiero un café", 1)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("unknown to this file, which has no <unk>: Q")
    with pytest.raises(ModelError, match=r"Q é.*which this file cannot do"):
        load(own)("Quiero un café")


def test_what_was_changed_is_told(node: str) -> None:
    done = spell(node, FILES / "p2g_attention.onnx", "d ɔ g G", 1)
    assert done.stderr.splitlines() == [
        "note: read g (U+0067) as ɡ (U+0261)",
        "note: unknown, read as <unk>: G; did you mean ɡ (U+0261)?",
    ]


def test_max_length(node: str) -> None:
    path = FILES / "p2g_attention.onnx"
    done = spell(node, path, "h ə l o ʊ", 1, 3)
    assert done.stdout.split()[1] == load(path)("h ə l o ʊ", max_length=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected: node spell.mjs FILE.onnx"),
        (("p2g_attention", " "), "expected: node spell.mjs FILE.onnx"),
        (("p2g_attention", "a", "1.5"), "expected: node spell.mjs FILE.onnx"),
        (("p2g_attention", "a", "100000"), "up to 1000 beams and 4096 tokens"),
        (("p2g_attention", "a", "5", "50", "b"), "expected: node spell.mjs FILE.onnx"),
        (("nothing", "a"), "nothing.onnx cannot be read (ENOENT): expected an exported .onnx file"),
        (("kmnist_cnn", "a"), "takes no text, or has no beams"),
    ],
)
def test_bad_input(node: str, arguments: tuple[str, ...], message: str) -> None:
    name, *others = arguments or (None,)
    done = spell(node, *([FILES / f"{name}.onnx"] if name else []), *others)
    assert done.returncode == 2 and not done.stdout
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_without_its_package_it_says_what_to_install(node: str, tmp_path: Path) -> None:
    shutil.copy(FOLDER / "spell.mjs", tmp_path)
    command = [node, str(tmp_path / "spell.mjs"), str(FILES / "p2g_attention.onnx"), "a"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("onnxruntime-node is not installed: run npm ci")
    assert done.stderr.count("\n") == 1


def test_a_sentence_of_marks_alone(node: str) -> None:
    path = FILES / "translate_attention.onnx"
    done = spell(node, path, "\u0301", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1)[1].rstrip("\n") == load(path)("\u0301")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"hw2.symbols": None}, "does not say which symbols it reads"),
        ({"hw2.max_length": "5000"}, "or its max_length: export it again"),
        ({"hw2.metrics": '{"val_loss": NaN}'}, "has a hw2.metrics that is no JSON"),
    ],
)
def test_bad_metadata(
    node: str, tmp_path: Path, facts: dict[str, str | None], message: str
) -> None:
    model = onnx.load(FILES / "p2g_attention.onnx")
    found = {entry.key: entry.value for entry in model.metadata_props} | facts
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {k: v for k, v in found.items() if v is not None})
    done = refused(node, tmp_path, model)
    assert message in done


def test_what_fails_while_it_runs(node: str, tmp_path: Path) -> None:
    model = onnx.load(FILES / "p2g_attention.onnx")
    table = next(each for each in model.graph.initializer if each.name == "token_table")
    table.raw_data = table.raw_data[: len(table.raw_data) // table.dims[0]]
    table.dims[0] = 1
    assert "indices element out of data bounds" in refused(node, tmp_path, model)


def refused(node: str, folder: Path, model: onnx.ModelProto) -> str:
    """The one line about a file."""
    path = folder / "bad.onnx"
    path.write_bytes(model.SerializeToString())
    done = spell(node, path, "h ə l o ʊ", 1)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_the_lock_names_no_registry_and_pins_the_version() -> None:
    lock = (FOLDER / "package-lock.json").read_text()
    assert '"resolved"' not in lock and "registry" not in lock
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    packages = json.loads(lock)["packages"]
    assert packages["node_modules/onnxruntime-node"]["version"] == wanted["onnxruntime-node"]
    assert all("integrity" in entry for path, entry in packages.items() if path)
