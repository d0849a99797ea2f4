"""The browser page: the folder that ``export web`` writes, and its answers in Chromium."""

import functools
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import numpy as np
import onnx
import pytest
from PIL import Image

from export import convert
from export.cli import main, read_image
from export.runtime import Generator, load
from export.web import build_site, site
from hw2_keras.data.vocabulary import SPECIALS, Vocabulary
from hw2_keras.experiments import experiments
from hw2_keras.models import build_models

ROOT = Path(__file__).parents[1]
DRIVER = ROOT / "tests" / "web"
FILES = ROOT / "results" / "onnx"
POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

SEARCHES = [
    ("p2g_attention", "h ə l o ʊ", 5),
    ("p2g_attention", "s p\u00a0 ɛ l ☃ ɪ ŋ ", 1),
    ("translate_attention", "¡Quiero un café!", 5),
    ("translate_attention", "man\u0303ana ж", 3),
]
SAMPLES = [(0.8, 42), (1.0, 7), (0.3, 2**32 - 1)]
SEEDS = (0, 42, 2**32 - 1)
ODD = "what #1? 50%"
EXAMPLES = {
    "fashion_cnn": ["T-shirt/top", "Trouser", "Dress", "Bag"],
    "kmnist_cnn": ["su", "na", "ya", "re"],
    "intel_cnn_bn": ["buildings", "forest", "mountain", "sea"],
}
CUE = "!document.querySelector('.cue').hidden"
MANY_BEAMS = """
    (() => {
      const beams = document.querySelector("#beams");
      beams.append(new Option("many", "100000"));
      beams.value = "100000";
      beams.dispatchEvent(new Event("change"));
    })()
"""
WATCH_LETTERS = """
    (() => {
      window.letters = [];
      const note = () => {
        const text = document.querySelector(".best-answer")?.textContent ?? "";
        if (text !== window.letters.at(-1)) window.letters.push(text);
      };
      const answer = document.querySelector("#answer");
      new MutationObserver(note).observe(answer, { childList: true, subtree: true });
    })()
"""
LINE = [[0.2, 0.3], [0.8, 0.3], [0.6, 0.8]]


def needs_npm() -> None:
    if not shutil.which("npm"):
        pytest.skip("needs npm")


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser, with the driver's packages installed."""
    needs_npm()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser or not shutil.which("node"):
        pytest.skip("needs Node.js and Chromium")
    ((name, version),) = json.loads((DRIVER / "package.json").read_text())["dependencies"].items()
    package = DRIVER / "node_modules" / name / "package.json"
    if not package.is_file() or json.loads(package.read_text())["version"] != version:
        command = ["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=DRIVER, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm cannot install {name}: {done.stderr.strip()}")
    return browser


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A captioner and a sampler with random weights, large enough to make them decided."""
    folder = tmp_path_factory.mktemp("onnx")
    words = Vocabulary((*SPECIALS, "a", "green", "meadow"), " ")
    letters = Vocabulary((*SPECIALS, *"abcdefghij"), "")
    phonemes = Vocabulary((*SPECIALS, *"kætb"), " ")
    captioner = build_models(
        experiments["caption_attention"], vocabulary_size=7, features=None, seed=6
    )
    speller = build_models(experiments["p2g_attention"], source_size=8, target_size=14, seed=1)
    for models in (captioner, speller):
        models.training.set_weights([4 * weight for weight in models.training.get_weights()])
    return {
        "caption": save(folder / "caption.onnx", captioner, words, None, "beam"),
        "sample": save(folder / "sample.onnx", speller, letters, phonemes, "nucleus"),
    }


def save(path: Path, models, target: Vocabulary, source: Vocabulary | None, search: str) -> Path:
    model = convert.generator_graph(models, target, source, search=search)
    facts = convert.generator_facts(target, source, search, 1.0, 10)
    convert.add_metadata(model, facts | {"experiment": path.stem})
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def paths(untrained: dict[str, Path]) -> dict[str, Path]:
    names = ("kmnist_cnn", "fashion_cnn", "intel_cnn_bn", "p2g_attention", "translate_attention")
    names += ("kmnist_cutout", "p2g")
    odd = untrained["sample"].with_name(f"{ODD}.onnx")
    shutil.copyfile(untrained["sample"], odd)
    return {name: FILES / f"{name}.onnx" for name in names} | untrained | {ODD: odd}


@pytest.fixture(scope="module")
def folder(paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_npm()
    return build_site(paths.values(), tmp_path_factory.mktemp("served") / "models")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The site in a sub-folder of a plain static server with a strict policy."""

    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            self.send_header("Content-Security-Policy", POLICY)
            super().end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    handler = functools.partial(Handler, directory=folder.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/models/"
        server.shutdown()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A picture for each model that takes one, two of them of another size than its own."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("pictures")
    sizes = {"kmnist_cnn": (61, 45), "intel_cnn_bn": (100, 70), "caption": (64, 64)}
    for name, (width, height) in sizes.items():
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"not a picture")
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def seen(chromium: str, address: str, folder: Path, pictures: dict[str, Path]) -> dict[str, dict]:
    """What Chromium saw: for each visit to the page, what its actions returned."""
    visits = visits_of(address, pictures)
    damaged_site(folder)
    done = subprocess.run(
        ["node", "page.mjs", chromium],
        cwd=DRIVER,
        input=json.dumps(list(visits.values())),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(visits, json.loads(done.stdout), strict=True))


def visits_of(address: str, pictures: dict[str, Path]) -> dict[str, dict]:
    """What a visitor does at each address, by the name of the visit."""
    visits = searched(pictures) | examples_clicked() | by_keyboard() | of_texts() | as_they_come()
    visits |= mistakes(pictures["broken"]) | of_two_models()
    code = f"import('./random.js').then(r => {json.dumps(SEEDS)}.map(s => [...r.uniforms(s, 51)]))"
    visits["random"] = visit("sample", ["evaluate", code])
    for each in visits.values():
        each["url"] = address + each["url"]
    visits["missing"] = visit("p2g_attention", ["answer"])
    visits["missing"]["url"] = f"{address.removesuffix('models/')}damaged/#p2g_attention"
    return visits


def visit(name: str, *steps: list, **window: object) -> dict:
    return {"url": f"#{name}", "do": list(steps), **window}


def searched(pictures: dict[str, Path]) -> dict[str, dict]:
    visits = {}
    for name, source, beams in SEARCHES:
        steps = ["put", ["#source", source]], ["select", ["#beams", str(beams)]], ["answer"]
        visits[f"{name} {source} {beams}"] = visit(name, *steps)
    for name in ("kmnist_cnn", "intel_cnn_bn", "caption"):
        given = ["drop" if name == "caption" else "choose", str(pictures[name])]
        visits[name] = visit(name, given, ["answer"], width=375, dark=True)
    sampled = [["put", ["#source", "k æ t b"]]]
    for top_p, seed in SAMPLES:
        sampled += [["put", ["#seed", str(seed)]], ["fill", ["#top-p", str(top_p)]], ["answer"]]
    visits["sample"] = visit("sample", *sampled, width=375)
    visits["drawing"] = visit("kmnist_cnn", ["draw", LINE], ["answer"])
    return visits


def examples_clicked() -> dict[str, dict]:
    visits = {}
    for name, labels in EXAMPLES.items():
        tried = [["click", f".examples button:nth-child({i + 1})"] for i in range(len(labels))]
        steps = [step for click in tried for step in (click, ["answer"])]
        visits[f"{name} examples"] = visit(name, *steps)
    return visits


def by_keyboard() -> dict[str, dict]:
    keys = [["press", "Tab"], ["tab", "#source"], ["type", "k æ t"], ["answer"]]
    keys += [["tab", ".examples button"], ["enter"], ["answer"], ["tab", "#beams"]]
    keys += [["tab", "summary"], ["press", "Enter"], ["tab", ".keys button"], ["enter"], ["answer"]]
    keys += [["tab", ".scroll"], ["tab", "footer a"]]
    return {"keyboard": visit("p2g_attention", *keys, width=375)}


def of_texts() -> dict[str, dict]:
    long = ["fill", ["#source", "uno dos tres cuatro cinco seis siete ocho nueve diez"]]
    alike = [["fill", ["#source", text]] for text in ("d ɔ g", "d ɔ G ☃")]
    alike = [alike[0], ["answer"], alike[1], ["answer"], ["evaluate", CUE]]
    odd = ["fill", ["#source", "k æ t b"]]
    return {
        "long": visit("translate_attention", long, ["answer"], ["evaluate", CUE], width=375),
        "alike": visit("p2g_attention", *alike),
        "odd": visit(quote(ODD, safe=""), odd, ["answer"]),
    }


def as_they_come() -> dict[str, dict]:
    letters = [["put", ["#source", "d ɪ s k"]], ["wait", 300], ["evaluate", WATCH_LETTERS]]
    letters += [["select", ["#beams", "1"]], ["answer"], ["evaluate", "window.letters"]]
    drawn = [["fill", ["#source", "k æ t b"]], ["evaluate", WATCH_LETTERS]]
    drawn += [["fill", ["#seed", "7"]], ["answer"], ["evaluate", "window.letters"]]
    return {
        "letters": visit("p2g_attention", *letters),
        "drawn letters": visit("sample", *drawn),
    }


def of_two_models() -> dict[str, dict]:
    shown = [["click", ".examples button"], ["select", ["#rival", "kmnist_cutout"]], ["answer"]]
    shown += [["select", ["#rival", ""]], ["answer"]]
    typed = [["put", ["#source", "d ɪ s k"]], ["select", ["#rival", "p2g"]]]
    typed += [["select", ["#beams", "1"]], ["answer"]]
    return {
        "two classifiers": visit("kmnist_cnn", *shown, width=375),
        "two spellers": visit("p2g_attention", *typed, width=375),
    }


def mistakes(picture: Path) -> dict[str, dict]:
    beams = [["fill", ["#source", "k"]], ["evaluate", MANY_BEAMS], ["wait", 300], ["answer"]]
    broken = [["set", ["input[type=file]", str(picture)]], ["wait", 300], ["answer"]]
    wrong = [["fill", ["#source", "k"]], ["put", ["#seed", "1.5"]], ["wait", 200], ["answer"]]
    wrong += [["put", ["#source", " "]], ["wait", 200], ["answer"]]
    return {
        "beams": visit("p2g_attention", *beams),
        "broken": visit("kmnist_cnn", *broken),
        "wrong": visit("sample", *wrong),
    }


def damaged_site(folder: Path) -> None:
    """A second site, whose speller is listed but not there."""
    damaged = folder.with_name("damaged")
    shutil.copytree(folder, damaged)
    (damaged / "models" / "p2g_attention.onnx").unlink()


def answers(visit: dict) -> list[dict]:
    return [each for each in visit["seen"] if isinstance(each, dict)]


@pytest.mark.filterwarnings("ignore:unknown to")
@pytest.mark.parametrize(("name", "source", "num_beams"), SEARCHES)
def test_texts_are_those_of_python(
    name: str, source: str, num_beams: int, seen: dict[str, dict]
) -> None:
    model = load(FILES / f"{name}.onnx")
    found = model.search([source], num_beams)
    (answer,) = answers(seen[f"{name} {source} {num_beams}"])
    assert answer["best"] == found.texts[0, 0]
    assert answer["texts"] == found.texts[0].tolist()
    np.testing.assert_allclose(answer["scores"], found.scores[0], atol=1.5e-4)
    np.testing.assert_allclose(answer["weights"], found.attention[0], atol=0.006)
    assert len(answer["rows"]) == len(found.attention[0]) and answer["rows"][-1] == "end"
    assert "".join(answer["rows"][:-1]) == answer["best"].replace(" ", "␣")
    assert len(answer["columns"]) == found.attention[0].shape[1]
    assert [s for s in "☃ж" if s in answer["note"]] == [s for s in "☃ж" if s in source]


def test_samples_are_those_of_python(paths: dict[str, Path], seen: dict[str, dict]) -> None:
    sample = load(paths["sample"])
    found = [sample.sample(["k æ t b"], top_p, seed) for top_p, seed in SAMPLES]
    shown = answers(seen["sample"])
    assert [answer["best"] for answer in shown] == [each.texts[0] for each in found]
    assert len({answer["best"] for answer in shown}) > 1
    for answer, each in zip(shown, found, strict=True):
        assert answer["scores"][0] == pytest.approx(each.scores[0], abs=1.5e-4)


def test_letters_are_shown_as_they_come(paths: dict[str, Path], seen: dict[str, dict]) -> None:
    spelled = load(FILES / "p2g_attention.onnx")("d ɪ s k")
    drawn = load(paths["sample"])("k æ t b", seed=7)
    for name, text in (("letters", spelled), ("drawn letters", drawn)):
        (answer,), letters = answers(seen[name]), seen[name]["seen"][-1]
        assert answer["best"] == text and len(text) > 2
        assert letters[-len(text) :] == [text[:i] for i in range(1, len(text) + 1)]


def test_random_numbers_are_those_of_numpy(seen: dict[str, dict]) -> None:
    expected = [np.random.default_rng(seed).random(51, np.float32) for seed in SEEDS]
    np.testing.assert_array_equal(np.float32(seen["random"]["seen"][0]), expected)


@pytest.mark.parametrize("name", ["kmnist_cnn", "intel_cnn_bn"])
def test_labels_are_those_of_python(
    name: str, seen: dict[str, dict], pictures: dict[str, Path], capsys: pytest.CaptureFixture
) -> None:
    model = load(FILES / f"{name}.onnx")
    image = read_image(pictures[name], model.image_shape)
    (answer,) = answers(seen[name])
    shown = pixels(answer, model.image_shape)
    assert np.abs(shown - image.astype(int)).max() <= 1  # rounding of the smaller picture
    probabilities = model.probabilities(image)[0]
    assert answer["best"] == model.labels[probabilities.argmax()]
    assert answer["labels"] == model.labels
    np.testing.assert_allclose(answer["shares"], 100 * probabilities, atol=1)
    np.testing.assert_allclose(
        answer["shares"], 100 * model.probabilities(shown.astype(np.uint8))[0], atol=0.06
    )
    assert answer["maps"] == {"kmnist_cnn": 8, "intel_cnn_bn": 32}[name]


def pixels(answer: dict, shape: tuple[int, int, int]) -> np.ndarray:
    """The picture as the network saw it, from the page's canvas."""
    height, width, channels = shape
    return np.reshape(answer["pixels"], (height, width, 4))[..., :channels]


def test_a_drawing_is_read_as_drawn(seen: dict[str, dict]) -> None:
    model = load(FILES / "kmnist_cnn.onnx")
    (answer,) = answers(seen["drawing"])
    image = pixels(answer, model.image_shape)
    assert answer["best"] == model(image.astype(np.uint8))[0]
    strokes = image[..., 0] > 127
    assert strokes[8, 7:22].all() and not strokes[:6].any() and 30 < strokes.sum() < 100


def test_another_model_answers_beside_it(seen: dict[str, dict]) -> None:
    both, alone = answers(seen["two classifiers"])
    image = pixels(both, (28, 28, 1)).astype(np.uint8)
    names = ("kmnist_cnn", "kmnist_cutout")
    expected = {name: load(FILES / f"{name}.onnx")(image)[0] for name in names}
    assert {name: found["best"] for name, found in both["beside"].items()} == expected
    assert re.fullmatch(r"kmnist_cnn: \w+, in .* ms; kmnist_cutout: \w+, in .* ms", both["status"])
    assert alone["best"] == expected["kmnist_cnn"] and not alone["beside"]
    (spelled,) = answers(seen["two spellers"])
    for name in ("p2g_attention", "p2g"):
        text = load(FILES / f"{name}.onnx")("d ɪ s k")
        assert spelled["beside"][name] == {"best": text, "texts": [text]}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_show_what_they_are_called(name: str, seen: dict[str, dict], folder: Path) -> None:
    assert [answer["best"] for answer in answers(seen[f"{name} examples"])] == EXAMPLES[name]
    manifest = json.loads((folder / "models.json").read_text(encoding="utf-8"))
    (offered,) = (entry["examples"] for entry in manifest["models"] if entry["name"] == name)
    assert [example["name"] for example in offered] == EXAMPLES[name]


def test_captions_are_those_of_python(
    paths: dict[str, Path], pictures: dict[str, Path], seen: dict[str, dict]
) -> None:
    caption = load(paths["caption"])
    assert isinstance(caption, Generator)
    image = np.asarray(Image.open(pictures["caption"]))
    found = caption.search([image], 5)
    (answer,) = answers(seen["caption"])
    assert answer["texts"] == found.texts[0].tolist()
    np.testing.assert_allclose(answer["scores"], found.scores[0], atol=1.5e-4)
    assert len(answer["looks"]) == len(found.attention[0])
    words = answer["best"].split(" ")
    assert answer["looks"][: len(words)] == words and len(set(words)) > 1


def test_no_complaint_and_no_request_elsewhere(seen: dict[str, dict], address: str) -> None:
    for name, visit in seen.items():
        problems = [p for p in visit["problems"] if name != "missing" or "404" not in p]
        assert not problems, name
        origin = address.removesuffix("models/")
        assert visit["requests"] and all(url.startswith(origin) for url in visit["requests"])


def test_a_phone_does_not_scroll_sideways(seen: dict[str, dict]) -> None:
    widths = {name: seen[name]["scrollWidth"] for name in ("kmnist_cnn", "caption", "sample")}
    widths |= {name: seen[name]["scrollWidth"] for name in ("intel_cnn_bn", "keyboard", "long")}
    widths |= {name: seen[name]["scrollWidth"] for name in ("two classifiers", "two spellers")}
    assert set(widths.values()) == {375}, widths
    (long,) = answers(seen["long"])
    assert len(long["columns"]) == 52  # wider than a phone: only the map itself scrolls
    assert seen["long"]["seen"][-1] is True and seen["alike"]["seen"][-1] is False  # and says so


@pytest.mark.filterwarnings("ignore:p2g_attention reads", "ignore:unknown to")
def test_lookalikes_are_read_as_in_python(seen: dict[str, dict]) -> None:
    spell = load(FILES / "p2g_attention.onnx")
    alike, other = answers(seen["alike"])
    assert alike["best"] == spell("d ɔ g", num_beams=5) == spell("d ɔ ɡ", num_beams=5)
    assert alike["note"] == "Read g (U+0067) as ɡ (U+0261)." and alike["columns"][2] == "ɡ"
    assert other["best"] == spell("d ɔ G ☃", num_beams=5)
    expected = "Unknown to the model, read as <unk>: G ☃; for G did you mean ɡ (U+0261)?"
    assert other["note"] == expected


def test_a_name_may_hold_what_addresses_use(seen: dict[str, dict], paths: dict[str, Path]) -> None:
    (answer,) = answers(seen["odd"])
    assert answer["best"] == load(paths[ODD])("k æ t b") and not answer["error"]


def test_too_many_beams_are_refused(seen: dict[str, dict]) -> None:
    (answer,) = answers(seen["beams"])
    assert answer["error"] == "100000 beams are too many: the most is 100."


@pytest.mark.filterwarnings("ignore:unknown to")
def test_the_keyboard_is_enough(seen: dict[str, dict]) -> None:
    spell = load(FILES / "p2g_attention.onnx")
    typed, example, key = answers(seen["keyboard"])
    assert typed["texts"] == [text for text, _ in spell("k æ t", num_beams=5, n_best=5)]
    assert example["best"] == spell("h ə l o ʊ", num_beams=5)
    assert key["columns"][:5] == example["columns"] == ["h", "ə", "l", "o", "ʊ"]
    assert len(key["columns"]) == 6 and key["columns"][5] in spell.info["symbols"]


def test_progress_is_told(seen: dict[str, dict], folder: Path) -> None:
    told = seen["caption"]["told"]
    shares = [share for _, share in told if share >= 0]
    assert shares == sorted(shares) and shares[0] == 0 and len(set(shares)) > 3
    assert shares[-1] == pytest.approx(1)
    files = (folder / "runtime" / "ort.wasm", folder / "models" / "caption.onnx")
    runtime, model = (f"{path.stat().st_size / 1e6:.1f} MB" for path in files)
    texts = list(dict.fromkeys(text for text, _ in told))
    assert f"Loading caption, {model} and, once, the runtime, {runtime} …" in texts
    assert "caption is ready." in texts


def test_errors_are_told(seen: dict[str, dict]) -> None:
    (missing,) = answers(seen["missing"])
    assert re.match(
        r"Cannot load models/p2g_attention.onnx: the server says 404\.", missing["error"]
    )
    (broken,) = answers(seen["broken"])
    assert broken["error"].startswith("broken.png is not a readable picture: choose PNG or JPEG")
    seed, blank = answers(seen["wrong"])
    assert seed["error"] == "The seed must be a whole number, 0 or more."
    assert not blank["best"] and blank["status"] == "Type something, or choose an example."


def test_the_folder(folder: Path, paths: dict[str, Path]) -> None:
    manifest = json.loads((folder / "models.json").read_text(encoding="utf-8"))
    entries = {entry["name"]: entry for entry in manifest["models"]}
    assert list(entries) == list(paths)
    assert {path.name for path in (folder / "runtime").iterdir()} == {"ort.js", "ort.wasm"}
    assert not list(folder.parent.glob(".*")) and (folder.stat().st_mode & 0o777) == 0o755
    for name, path in paths.items():
        served = folder / entries[name]["file"]
        assert entries[name]["bytes"] == served.stat().st_size
        is_classifier = entries[name]["kind"] == "classifier"
        assert (served.read_bytes() == path.read_bytes()) == (not is_classifier)
    assert entries["p2g_attention"]["examples"][0] == {"text": "h ə l o ʊ"}
    for entry in entries.values():
        assert all((folder / e["picture"]).is_file() for e in entry["examples"] if "picture" in e)
    assert list(entries["p2g_attention"]["measured"]) == [
        "test CER",
        "test WER",
        "test CER, nucleus",
        "test WER, nucleus",
        "test WER@3, nucleus",
    ]
    words = {name: entry["words"] for name, entry in entries.items()}
    assert words["fashion_cnn"] == "Clothes"
    assert words["p2g_attention"] == "Sounds to spelling (p2g_attention)"
    assert len(set(words.values())) == len(words)
    rivals = {name: entry["rivals"] for name, entry in entries.items() if entry["rivals"]}
    pairs = [("kmnist_cnn", "kmnist_cutout"), ("p2g_attention", "p2g"), ("sample", ODD)]
    assert rivals == {one: [other] for pair in pairs for one, other in (pair, pair[::-1])}
    assert entries["fashion_cnn"]["knows"].startswith("It knows photographs of clothes")
    assert "only these ten" in entries["kmnist_cnn"]["knows"]
    assert list(entries["kmnist_cnn"]["signs"]) == entries["kmnist_cnn"]["labels"]
    assert all((folder / sign).is_file() for sign in entries["kmnist_cnn"]["signs"].values())
    page = (folder / "index.html").read_text()
    assert "python -m http.server --bind 127.0.0.1</code> in the folder of this page" in page
    assert POLICY in page and not re.search(
        r"<style|style=| on\w+=|<script(?! type=.module. src)", page
    )


def test_activation_maps_are_the_first_convolution(folder: Path) -> None:
    served = onnx.load(folder / "models" / "kmnist_cnn.onnx")
    onnx.checker.check_model(served, full_check=True)
    (name,) = {value.name for value in served.graph.output} - {"label", "probabilities"}
    model = load(folder / "models" / "kmnist_cnn.onnx")
    image = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), np.uint8)
    maps, probabilities = model._session.run([name, "probabilities"], {"image": image})
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in served.graph.initializer}
    kernel, bias = weights["conv1/kernel"], weights["conv1/bias"]
    patch = image[:, 4 : 4 + kernel.shape[2], 6 : 6 + kernel.shape[3], 0] / 256
    expected = np.einsum("nhw,ohw->no", patch, kernel[:, 0]) + bias
    top = (kernel.shape[2] - 1) // 2 if maps.shape[2] == 28 else 0
    np.testing.assert_allclose(maps[:, :, 4 + top, 6 + top], expected, atol=1e-5)
    original = load(FILES / "kmnist_cnn.onnx").probabilities(image)
    np.testing.assert_allclose(probabilities, original, atol=1e-6)


def test_a_site_is_replaced_as_a_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_npm()
    out, file = tmp_path / "site", str(FILES / "p2g_attention.onnx")
    out.mkdir()
    assert main(["web", file, "--out", str(out)]) == 0
    assert f"python -m http.server --bind 127.0.0.1 -d {out}" in capsys.readouterr().out
    assert main(["web", str(FILES / "kmnist_cnn.onnx"), "--out", str(out)]) == 0
    assert [path.name for path in (out / "models").iterdir()] == ["kmnist_cnn.onnx"]
    monkeypatch.setattr(site, "RUNTIME_SHA512", "another")
    assert main(["web", file, "--out", str(out)]) == 2
    assert "npm gave another onnxruntime-web@" in capsys.readouterr().err
    assert [path.name for path in (out / "models").iterdir()] == ["kmnist_cnn.onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize(
    ("files", "out", "message"),
    [
        (["nothing.onnx"], "site", "nothing.onnx does not exist"),
        (["p2g_attention.onnx"] * 2, "site", "two files are called p2g_attention: rename one"),
        (["p2g_attention.onnx"], "full", "full holds other files: choose a new folder"),
        (["p2g_attention.onnx"], "full/file", "file is a file: expected the name of a folder"),
        (["p2g_attention.onnx"], "no/site", "no is not a folder: make it first"),
        (["p2g_attention.onnx"], "site", "npm is not installed, it gets onnxruntime-web@"),
    ],
)
def test_bad_commands(
    files: list[str],
    out: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["web", *(str(FILES / f) for f in files), "--out", str(tmp_path / out)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "file"]


def test_npm_without_a_registry(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_npm()
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_fetch_retry_mintimeout", "1")
    out = tmp_path / "site"
    assert main(["web", str(FILES / "p2g_attention.onnx"), "--out", str(out)]) == 2
    step, error = capsys.readouterr().err.splitlines()
    assert step.startswith("getting onnxruntime-web@")
    assert re.search(r"npm cannot get onnxruntime-web@[\d.]+ \(.*ECONNREFUSED", error)
    assert not out.exists()


def test_an_npm_of_empty_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "npm"
    npm.write_text(
        "#!/bin/sh\nprintf 'npm error code E404\\n\\n  \\nnpm error gone\\n' >&2; exit 1\n"
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    out = tmp_path / "site"
    assert main(["web", str(FILES / "p2g_attention.onnx"), "--out", str(out)]) == 2
    step, error = capsys.readouterr().err.splitlines()
    assert step.startswith("getting onnxruntime-web@")
    assert "(code E404; gone): is the machine online?" in error
