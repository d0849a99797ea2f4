"""Files of encoder-decoders: the contract, parity with Keras, the runtime, and bad input."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import export
import hw2_keras as hw2
from export import convert, verify
from export.cli import main
from export.runtime import Generator, ModelError, Sampler, clean_sentence, load
from hw2_keras.data.vocabulary import SPECIALS, Vocabulary
from hw2_keras.experiments import experiments
from hw2_keras.models import build_models
from hw2_keras.models.captioner import build_captioner
from hw2_keras.runs import Run
from hw2_keras.training import sequences

FILES = Path(__file__).parents[1] / "results" / "onnx"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return hw2.train("p2g_attention", epochs=1, out=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def file(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "spell.onnx"
    export.to_onnx(run, path)
    return path


@pytest.fixture(scope="module")
def sampler_file(run: Run, file: Path) -> Path:
    path = file.with_name("sample.onnx")
    export.to_onnx(run, path, search="nucleus")
    return path


@pytest.fixture(scope="module")
def spell(file: Path) -> Generator:
    return load(file)


@pytest.fixture(scope="module")
def translate(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    vocabulary = Vocabulary((*SPECIALS, *"abcdefghijklmnopqrstuvwxyzñ .?!"), "")
    size = len(vocabulary)
    models = build_models(experiments["translate"], source_size=size, target_size=size, seed=1)
    path = tmp_path_factory.mktemp("onnx") / "translate.onnx"
    return save(convert.generator_graph(models, vocabulary, vocabulary), path, vocabulary)


@pytest.fixture(scope="module")
def caption(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    vocabulary = Vocabulary((*SPECIALS, "a", "green", "meadow"), " ")
    models = build_models(
        experiments["caption_attention"], vocabulary_size=7, features=None, seed=1
    )
    path = tmp_path_factory.mktemp("onnx") / "caption.onnx"
    model = convert.generator_graph(models, vocabulary)
    return save(model, path, vocabulary, captions=True)


def save(
    model: onnx.ModelProto, path: Path, vocabulary: Vocabulary, captions: bool = False
) -> Generator:
    source = None if captions else vocabulary
    facts = convert.generator_facts(vocabulary, source, "beam", 1.0, 10)
    convert.add_metadata(model, facts | {"experiment": path.stem})
    path.write_bytes(model.SerializeToString())
    return load(path)


STRING, FLOAT = onnx.TensorProto.STRING, onnx.TensorProto.FLOAT
INT64, INT32, UINT8 = onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.UINT8
SEARCH_INPUTS = {"num_beams": (INT64, []), "max_length": (INT64, [])}
FOUND = {"text_out": (STRING, ["N", "num_beams"]), "scores": (FLOAT, ["N", "num_beams"])}
ATTENTION = {"attention": (FLOAT, ["N", "T_out", "T_in"])}


def interface(path: Path) -> dict[str, tuple[int, list]]:
    graph = onnx.load(path).graph
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in (*graph.input, *graph.output)
    }


def test_the_files_keep_the_contract(
    file: Path, sampler_file: Path, translate: Generator, caption: Generator, tmp_path: Path
) -> None:
    assert interface(file) == {"text": (STRING, ["N"])} | SEARCH_INPUTS | FOUND | ATTENTION
    assert interface(sampler_file) == {
        "text": (STRING, ["N"]),
        "top_p": (FLOAT, []),
        "uniforms": (FLOAT, ["N", "max_length"]),
        "text_out": (STRING, ["N"]),
        "scores": (FLOAT, ["N"]),
    }
    signature = {name: (kind, shape) for name, kind, shape in translate.signature()}
    assert signature["codepoints"] == ("tensor(int32)", ["N", "T_in"])
    assert "attention" not in signature
    signature = {name: (kind, shape) for name, kind, shape in caption.signature()}
    assert signature["image"] == ("tensor(uint8)", ["N", "H", "W", 3])
    for path in (file, sampler_file):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        assert {(o.domain, o.version) for o in model.opset_import} == {
            ("", 20),
            ("ai.onnx.ml", 4),
        }
        assert path.stat().st_size < 4e6


def test_metadata(file: Path, sampler_file: Path, run: Run) -> None:
    info = load(file).info
    data = run.data()
    assert (info["kind"], info["source_kind"]) == ("speller", "speller")
    assert info["experiment"] == "p2g_attention" and info["edition"] == "2024-25"
    assert info["search"] == "beam" and info["length_penalty"] == 1.0 and info["max_length"] == 50
    assert info["vocabulary_sizes"] == {
        "source": len(data.source_vocabulary),
        "target": len(data.target_vocabulary),
    }
    assert info["symbols"] == list(data.source_vocabulary.tokens[4:])
    assert info["metrics"]["test_cer"] == run.metrics["test_cer"]
    assert "labels" not in info
    sampler = load(sampler_file).info
    assert (sampler["kind"], sampler["source_kind"]) == ("sampler", "speller")


def test_parity_report(file: Path, run: Run) -> None:
    parity = verify.verify_run(file, run)
    assert parity.passed
    assert parity.examples == len(run.data().test.source) and parity.batch_sizes == (1, 7, 64)
    assert parity.metric == "test_cer"
    assert parity.onnx == parity.keras == run.metrics["test_cer"]
    assert set(parity.more) == {"test_wer", "test_beam5_cer", "test_beam5_wer"}
    assert parity.more["test_wer"][1] == run.metrics["test_wer"]
    assert 0 < parity.max_difference < 1e-4 and 0 < parity.attention_difference < 1e-5
    saved = json.loads(file.with_suffix(".parity.json").read_text())
    assert saved["passed"] is True and saved["tolerance"] == 1e-4


def test_parity_of_a_sampler(sampler_file: Path, run: Run) -> None:
    saved = json.loads(sampler_file.with_suffix(".parity.json").read_text())
    assert saved["passed"] and saved["metric"] == "test_nucleus_cer"
    assert saved["onnx"] == run.metrics["test_nucleus_cer"]  # the same seed, the same sample
    assert saved["attention_difference"] is None


@pytest.mark.parametrize("weight", ["logits_bias", "attention_score_kernel"])
def test_a_file_that_disagrees_is_not_left_behind(
    weight: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = convert.generator_graph

    def wrong(*arguments):
        model = original(*arguments)
        names = {
            "logits_bias": "step/logits/bias",
            "attention_score_kernel": "step/attention/score_kernel",
        }
        stored = next(i for i in model.graph.initializer if i.name == names[weight])
        value = onnx.numpy_helper.to_array(stored).copy()
        value[5] += 1e-3
        stored.CopyFrom(onnx.numpy_helper.from_array(value, stored.name))
        return model

    monkeypatch.setattr(convert, "generator_graph", wrong)
    monkeypatch.setattr(verify, "BATCH_SIZES", (64,))
    with pytest.raises(ModelError, match=r"disagrees with Keras: .* largest difference"):
        export.to_onnx(run, tmp_path / "wrong.onnx")
    assert not list(tmp_path.iterdir())


def test_largest_difference_does_not_overlook_infinities() -> None:
    inf = np.inf
    assert verify.largest_difference(np.array([1.0, -inf]), np.array([1.5, -inf])) == 0.5
    assert verify.largest_difference(np.array([1.0, -inf]), np.array([1.0, 2.0])) == inf


def test_answers_for_one_and_for_many(spell: Generator, run: Run) -> None:
    test = run.data().test
    best = spell(test.source[0])
    assert isinstance(best, str)
    assert spell(test.source[:3]) == [spell(source) for source in test.source[:3]]
    assert spell(source for source in test.source[:2]) == spell(list(test.source[:2]))
    pairs = spell(test.source[0], num_beams=4, n_best=3)
    assert len(pairs) == 3 and [s for _, s in pairs] == sorted((s for _, s in pairs), reverse=True)
    assert spell(test.source[0], num_beams=4) == pairs[0][0]
    assert len(spell(test.source[0], max_length=2)) <= 2
    (text, look), _ = spell(test.source[:2], attention=True)
    symbols = test.source[0].split()
    assert text == best and look.shape[1] == len(symbols)
    np.testing.assert_allclose(look.sum(1), 1, atol=1e-5)
    found = spell.search([test.source[0]], 1)
    assert len(look) == min(50, 1 + len(found.texts[0, 0])) or "<unk>" in best


def test_progress_and_batches(spell: Generator, run: Run) -> None:
    sources = run.data().test.source[:10]
    seen: list[tuple[int, int]] = []
    texts = spell(sources, batch_size=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 10), (8, 10), (10, 10)]
    assert texts == spell(sources)


def test_one_session_serves_many_threads(spell: Generator, run: Run) -> None:
    sources = run.data().test.source[:40]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda source: spell(source, num_beams=3), sources))
    assert together == [spell(source, num_beams=3) for source in sources]


def test_white_space_and_composition_do_not_matter(spell: Generator, run: Run) -> None:
    source = run.data().test.source[0]
    assert spell("  " + source.replace(" ", "\u00a0 \t") + "\n") == spell(source)


def test_unknown_symbols_are_named(spell: Generator, translate: Generator) -> None:
    with pytest.warns(UserWarning, match=r"unknown to p2g_attention, read as <unk>: ☃ ☂$"):
        spell(["☃ ☂", "☃"])
    with pytest.warns(UserWarning, match="☃") as caught:
        translate("ma☃ana")
    assert caught[0].filename == __file__


def test_characters_are_composed(translate: Generator, recwarn: pytest.WarningsRecorder) -> None:
    assert translate("man\u0303ana") == translate("mañana")
    assert not recwarn.list
    # a mark that composes with nothing is part of an unknown character, as in training
    assert translate("max\u0303ana") == translate("ma☃ana") == translate("ma\0ana")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("¿Qué hora es?", " que hora es ?"),
        ("que hora es ?", "que hora es ?"),
        ("Sí, señor...", "si senor . . ."),
        ("l'été 3", "l ete 3"),
        ("estoy ☃ aquí!", "estoy aqui !"),
    ],
)
def test_sentences_are_cleaned_as_the_course_did(text: str, cleaned: str) -> None:
    from hw2_keras.data.pair_files import clean_sentence as of_the_training_data

    assert clean_sentence(text) == clean_sentence(cleaned) == cleaned
    if not any(map(str.isdigit, text)):  # which the course drops, and the runtime names as unknown
        assert of_the_training_data(text) == cleaned


def test_a_translator_of_cleaned_sentences_cleans(tmp_path: Path) -> None:
    vocabulary = Vocabulary((*SPECIALS, *"abcdefghijklmnopqrstuvwxyz .?!"), "")
    size = len(vocabulary)
    models = build_models(experiments["translate"], source_size=size, target_size=size, seed=1)
    graph = convert.generator_graph(models, vocabulary, vocabulary)
    model = save(graph, tmp_path / "translate.onnx", vocabulary)
    raw, cleaned = (model(text, 3, 3) for text in ("¡Veintidós!", " veintidos !"))
    assert raw == cleaned != model("veintidos", 3, 3)


def test_captions_of_images_of_any_size(caption: Generator) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    texts = caption(image, num_beams=3)
    assert texts == [caption(each, num_beams=3) for each in image]
    assert texts == caption(list(image), num_beams=3)
    assert {word for text in texts for word in text.split(" ")} <= {"<unk>", "a", "green", "meadow"}
    blocks = image.repeat(2, axis=1).repeat(2, axis=2)  # shrinking gives the image back
    _, look = caption(image[0], attention=True)
    _, other = caption(blocks[0], attention=True)
    assert look.shape[1] == 256 and np.abs(look - other[: len(look)]).max() < 1e-2
    assert isinstance(caption(np.zeros((31, 100, 3), np.uint8)), str)


def test_large_images_are_answered_a_few_at_a_time(caption: Generator) -> None:
    done: list[int] = []
    for side in (16, 500):  # ten images of 500 x 500 pixels are as many as one call may hold
        images = np.zeros((12, side, side, 3), np.uint8)
        caption(images, max_length=1, batch_size=64, progress=lambda n, total: done.append(n))
    assert done == [12, 10, 12]


def test_a_captioner_of_features_takes_images(tmp_path: Path) -> None:
    """As with the frozen ResNet: the file holds a second network in front of the encoder."""
    import keras

    image = keras.Input((8, 8, 3), dtype="uint8")
    features = keras.layers.Reshape((16, 12))(keras.ops.cast(image, "float32") / 255)
    front = keras.Model(image, features)
    models = build_captioner(
        7, "additive", (16, 12), hidden=8, word_size=4, attention_size=4, seed=3
    )
    weights = models.training.get_weights()
    models.training.set_weights([4 * weight for weight in weights])
    vocabulary = Vocabulary((*SPECIALS, "a", "green", "meadow"), " ")
    model = convert.generator_graph(models, vocabulary, image_encoder=front)
    caption = save(model, tmp_path / "caption.onnx", vocabulary, captions=True)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8)
    expected = sequences.decode_split(models, np.asarray(front(pixels)), vocabulary, 10)
    assert caption(pixels) == expected
    assert len(set(expected)) > 2


def test_a_sampler(sampler_file: Path, run: Run) -> None:
    sample = load(sampler_file)
    assert isinstance(sample, Sampler)
    sources = run.data().test.source[:20]
    expected = sequences.decode_split(
        run.models(),
        run.data().source_vocabulary.encode_batch(sources),
        run.data().target_vocabulary,
        50,
        search="nucleus",
        seed=7,
    )
    assert sample(sources, seed=7) == expected
    assert sample(sources, seed=8) != expected
    uniforms = np.random.default_rng(7).random((20, 50), np.float32)
    assert sample(iter(sources), uniforms=uniforms, batch_size=3) == expected
    highest = np.full((1, 5), 1 - 2.0**-26)  # rng.random() draws it; float32 would round it to 1
    assert sample(sources[:1], uniforms=highest) == sample(
        sources[:1], uniforms=np.full((1, 5), 1 - 2.0**-24, np.float32)
    )
    assert sample(sources[0], seed=7, max_length=1) in {"", *run.data().target_vocabulary.tokens}
    greedy = load(sampler_file.with_name("spell.onnx"))(sources)
    assert sample(sources, top_p=1e-6) == greedy


@pytest.mark.filterwarnings("ignore:unknown to")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams is 0: expected a whole number, at least 1"),
        ({"num_beams": 1.5}, "num_beams is 1.5"),
        ({"num_beams": 2, "n_best": 3}, "n_best is 3 with num_beams 2"),
        ({"n_best": 0}, "n_best is 0"),
        ({"max_length": 0}, "max_length is 0"),
        ({"max_length": True}, "max_length is True"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"sources": []}, "no texts: expected at least one"),
        ({"sources": "  "}, "source 0 is blank"),
        ({"sources": ["a", ""]}, "source 1 is blank"),
        ({"sources": ["a", 3]}, "source 1 is int: a speller takes strings"),
        ({"sources": 3}, "source 0 is int"),
        ({"sources": np.zeros((2, 3))}, "source 0 is ndarray"),
    ],
)
def test_bad_input(spell: Generator, options: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        spell(options.pop("sources", "a"), **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 64, 64, 3), np.float32), "images are float32: expected raw pixels as uint8"),
        (np.zeros((2, 64, 64, 1), np.uint8), r"shape \(2, 64, 64, 1\): expected \(N, H, W, 3\)"),
        (np.zeros((64, 64), np.uint8), "expected"),
        (np.zeros((0, 64, 64, 3), np.uint8), "no images"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)], "different sizes"),
        ("picture.png", "images are"),
        (None, "no images"),
    ],
)
def test_bad_images(caption: Generator, images: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        caption(images)


@pytest.mark.filterwarnings("ignore:unknown to")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_p": 0.0}, r"top_p is 0.0: expected a mass in \(0, 1\]"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"uniforms": np.zeros((2, 5))}, r"uniforms have shape \(2, 5\): expected \(1, max_length"),
        ({"uniforms": np.ones((1, 5))}, r"outside \[0, 1\)"),
        ({"max_length": 0}, "max_length is 0"),
    ],
)
def test_bad_samples(sampler_file: Path, options: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(sampler_file)(["a"], **options)


def test_attention_of_a_model_without(translate: Generator) -> None:
    with pytest.raises(ModelError, match="translate has no attention"):
        translate("hola", attention=True)


def test_options_of_conversion(run: Run, small_run: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    with pytest.raises(ModelError, match="unknown search 'best': expected one of beam, nucleus"):
        export.to_onnx(run, path, search="best")
    with pytest.raises(ModelError, match="length_penalty is nan"):
        export.to_onnx(run, path, length_penalty=float("nan"))
    with pytest.raises(ModelError, match="a classifier has no search"):
        export.to_onnx(small_run, path, search="nucleus")
    assert not list(tmp_path.iterdir())


def test_run_command_without_tensorflow(file: Path, run: Run) -> None:
    source = run.data().test.source[0]
    arguments = ["run", str(file), source, "--num-beams", "5", "--n-best", "3"]
    code = (
        f"import sys\nfrom export.cli import main\nstatus = main({arguments!r})\n"
        "sys.exit(status or bool({'tensorflow', 'keras', 'onnx', 'hw2_keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    pairs = load(file)(source, num_beams=5, n_best=3)
    assert shown == [source, *(f"  {score:8.4f}  {text}" for text, score in pairs)]


def test_commands_for_every_kind(
    sampler_file: Path, caption: Generator, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["run", str(sampler_file), "☃", "--top-p", "0.5", "--seed", "1"]) == 0
    output = capsys.readouterr()
    with pytest.warns(UserWarning):
        assert output.out.splitlines()[1].endswith(load(sampler_file)("☃", top_p=0.5, seed=1))
    assert output.err == "note: unknown to p2g_attention, read as <unk>: ☃\n"
    picture = tmp_path / "scene.png"
    Image.fromarray(np.zeros((70, 90, 3), np.uint8)).save(picture)
    path = tmp_path / "caption.onnx"
    vocabulary = Vocabulary((*SPECIALS, "a", "green", "meadow"), " ")
    models = build_models(
        experiments["caption_attention"], vocabulary_size=7, features=None, seed=1
    )
    save(convert.generator_graph(models, vocabulary), path, vocabulary, captions=True)
    assert main(["run", str(path), str(picture), "--num-beams", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = load(path)(np.zeros((70, 90, 3), np.uint8), num_beams=2)
    assert lines[0] == str(picture) and lines[1].split("  ", 2)[-1] == expected
    assert main(["info", str(sampler_file)]) == 0
    shown = capsys.readouterr().out
    assert "['N', 'max_length']" in shown and re.search("source_kind: +speller", shown)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{file}", "a", "--top-p", "0.5"], "--top-p does not apply: {file} is a speller"),
        (["{sampler}", "a", "--num-beams", "2"], "--num-beams does not apply"),
        (["{file}", "a", "--num-beams", "0"], "num_beams is 0"),
        (["{file}", "a", "--num-beams", "2", "--n-best", "3"], "--n-best is 3: expected 1 to 2"),
        (["{file}", " "], "source 0 is blank"),
    ],
)
def test_bad_commands(
    arguments: list[str],
    message: str,
    file: Path,
    sampler_file: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    names = {"file": file, "sampler": sampler_file}
    assert main(["run", *(argument.format(**names) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message.format(**names) in error and error.count("\n") == 1


def test_a_failed_verification_leaves_its_own_report(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, report = tmp_path / "spell.onnx", tmp_path / "spell.parity.json"
    path.write_bytes((FILES / "p2g_attention.onnx").read_bytes())
    found = verify.Parity("p2g_attention", "synthetic", 64, (64,), 3, 0.0, None, None, None, 1)
    report.write_text('{"passed": true}')
    monkeypatch.setattr("hw2_keras.runs.open_run", lambda folder: None)
    monkeypatch.setattr(verify, "verify_run", lambda file, run: found)
    assert main(["verify", str(path), "--run", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("spell.onnx failed: convert the run again\n")
    saved = json.loads(report.read_text())
    assert saved["passed"] is False and saved["different_answers"] == 3


def test_convert_and_verify_commands(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "BATCH_SIZES", (64,))
    path = tmp_path / "model.onnx"
    arguments = ["convert", str(run.path), "-o", str(path), "--length-penalty", "0.5"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    shown = printed.out
    assert "verdict          passed" in shown and "test_beam5_wer" in shown
    assert re.search(r"^beam 5, \d+ examples: the file answers, batch size 64", printed.err, re.M)
    assert load(path).info["length_penalty"] == 0.5
    assert main(["verify", str(path), "--run", str(run.path)]) == 0
    assert "of attention" in capsys.readouterr().out
