"""Encoder-decoders through the trainer: runs, selection, evaluation, pictures, bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import hw2_keras as hw2
from hw2_keras.cli import main
from hw2_keras.data.vocabulary import EOS, PAD, SOS, Vocabulary
from hw2_keras.plots import of_runs
from hw2_keras.records import read_beam_rows
from hw2_keras.report import beams
from hw2_keras.runs import Run
from hw2_keras.training import captioning, fit, sequences, transduction

COUNTS = {  # worked out by hand from the layer sizes of the SPEC
    "translate": 34 * 128 + 2 * 4 * 64 * (128 + 64 + 1) + 34 * 128 + 4 * 128 * (256 + 1) + 34,
}
COUNTS["translate_attention"] = COUNTS["translate"] + 128 * 128 + 128 * (256 + 1)
COUNTS["p2g"] = COUNTS["translate"] + (107 - 34 + 93 - 34) * 128 + 93 - 34
COUNTS["p2g_attention"] = COUNTS["p2g"] + 2 * 128 * 128 + 128 + 128 * (256 + 1)
COUNTS["caption"] = 190 * 100 + 2 * 256 * (512 + 1) + 4 * 256 * (100 + 256 + 1) + 190 * (256 + 1)
COUNTS["caption_attention"] = COUNTS["caption"] + 4 * 256 * 512 + 100 * (512 + 256 + 1 + 1)


@pytest.fixture(scope="module")
def speller(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return hw2.train("p2g_attention", epochs=2, out=tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_at_the_sizes_of_the_real_data(name: str) -> None:
    assert hw2.build(name).count_params() == COUNTS[name] == hw2.experiments[name].parameters


def test_protocols() -> None:
    found = {
        name: (e.epochs, e.batch_size, e.learning_rates, e.dropout, e.selection, e.max_length)
        for name, e in hw2.experiments.items()
        if e.task in ("transduction", "captioning")
    }
    assert found == {
        "caption": (6, 8, (4e-4,), 0.5, "last", 22),
        "caption_attention": (6, 8, (4e-4,), 0.5, "last", 22),
        "translate": (50, 64, (0.003,), 0.3, "last", 49),
        "translate_attention": (50, 64, (0.003,), 0.3, "last", 49),
        "p2g": (20, 64, (0.003,), 0.3, "best", 50),
        "p2g_attention": (20, 64, (0.003,), 0.3, "best", 50),
    }
    assert hw2.experiments["caption"].clip_value == 5.0
    assert hw2.experiments["p2g"].clip_value is None


def test_a_run_holds_its_curves_vocabularies_and_figures(speller: Run) -> None:
    assert set(speller.history) == {"epoch", "loss", "val_cer", "val_wer", "running_loss"}
    assert speller.history["loss"][1] < speller.history["loss"][0]
    figures = speller.metrics
    assert figures["val_cer"] == min(speller.history["val_cer"])  # the best epoch is tested
    assert speller.record["tested_epoch"] == 1 + int(np.argmin(speller.history["val_cer"]))
    assert {"test_nucleus_cer", "test_nucleus_wer", "test_wer_at_3"} <= set(figures)
    assert figures["test_wer_at_3"] <= figures["test_nucleus_wer"] + 0.05
    again = fit.evaluate(hw2.open_run(speller.path))
    assert again.metrics == figures


def test_training_repeats_exactly_and_resumes(speller: Run, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(self, epoch, logs=None):
        original(self, epoch, logs)
        if epoch == 0:
            raise Killed

    from hw2_keras.training.callbacks import Progress

    original = Progress.on_epoch_end
    Progress.on_epoch_end = kill
    try:
        with pytest.raises(Killed):
            hw2.train("p2g_attention", epochs=2, out=tmp_path)
    finally:
        Progress.on_epoch_end = original
    resumed = hw2.train("p2g_attention", epochs=2, out=tmp_path)
    assert resumed.history == speller.history
    assert resumed.metrics == speller.metrics


def test_batches_hold_each_pair_once_padded_to_the_batch() -> None:
    data = hw2.load_data("p2g")
    experiment = hw2.experiments["p2g"]
    prepared = transduction.prepare(data, Path())
    epoch = tf.Variable(0, dtype=tf.int64)
    seen, padding = [], 0
    for (source, target_in), target_out in transduction.batches(prepared, experiment, 42, epoch):
        source, target_in, target_out = (t.numpy() for t in (source, target_in, target_out))
        assert (target_in[:, 0] == SOS).all()
        assert ((target_out == EOS).sum(1) == 1).all()
        np.testing.assert_array_equal(
            np.where(target_out == EOS, PAD, target_out)[:, :-1], target_in[:, 1:]
        )
        assert source[:, -1].any() and target_out[:, -1].any()  # cut to the longest of the batch
        padding += (target_out == PAD).sum()
        seen += [data.target_vocabulary.decode(row) for row in target_out]
    assert sorted(seen) == sorted(data.train.target)
    assert seen != list(data.train.target)


def test_evaluate_prints_every_search(speller: Run, capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", str(speller.path), "--search", "beam", "--num-beams", "3"]) == 0
    shown = capsys.readouterr().out
    assert "test_cer" in shown and "0.2410 (004)" in shown
    assert main(["evaluate", str(speller.path), "--search", "nucleus", "--top-p", "0.5"]) == 0
    assert "test_wer_at_3" in capsys.readouterr().out
    assert main(["evaluate", str(speller.path), "--search", "beam", "--num-beams", "0"]) == 2
    assert "num_beams is 0" in capsys.readouterr().err
    assert main(["evaluate", str(speller.path), "--search", "nucleus", "--top-p", "1.5"]) == 2
    assert "top_p is 1.5" in capsys.readouterr().err


def test_length_ratio_counts_tokens() -> None:
    letters, words = (Vocabulary.from_texts(["a"], separator) for separator in ("", " "))
    assert beams.length_ratio(["ab", "abc"], ["abcd", "abcdef"], letters) == 0.5
    assert beams.length_ratio(["a b c"], [("a b", "a b c d", "a b c")], words) == 1
    assert beams.length_ratio(["a b", "a"], [("a", "a b c"), ("a b",)], words) == 0.75


def test_beam_study_covers_widths_and_normalisation(
    speller: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beams, "WIDTHS", (1, 3))
    rows = beams.study(speller)
    assert [(row["num_beams"], row["length_normalisation"]) for row in rows] == [
        (1, True),
        (1, False),
        (3, True),
        (3, False),
    ]
    assert rows[0]["test_cer"] == rows[1]["test_cer"] == speller.metrics["test_cer"]
    paths = beams.write(rows, tmp_path)
    assert read_beam_rows(tmp_path / "beam_search.json") == rows
    assert all(path.stat().st_size > 0 for path in paths)
    assert "p2g_attention" in beams.table(rows)


def beam_row(experiment: str, seed: int, value: float) -> dict:
    place = {"experiment": experiment, "seed": seed, "source": "real", "num_beams": 1}
    figures = {"length_normalisation": True, "seconds": 1.0, "length": 1.0, "test_cer": value}
    return place | figures


def test_a_beam_study_keeps_the_rows_of_other_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    beams.write([beam_row("p2g", 42, 0.3), beam_row("p2g", 43, 0.4)], tmp_path)
    beams.write([beam_row("p2g_attention", 42, 0.2), beam_row("p2g", 43, 0.5)], tmp_path)
    found = {(r["experiment"], r["seed"]): r["test_cer"] for r in beams.read(tmp_path)}
    assert found == {("p2g", 42): 0.3, ("p2g", 43): 0.5, ("p2g_attention", 42): 0.2}
    (tmp_path / "beam_search.json").write_text("[{]")
    committed = "results/p2g-real-rate0.003-epochs20-seed42"
    assert main(["beams", committed, "--out", str(tmp_path)]) == 2
    assert "delete it and repeat 'beams'" in capsys.readouterr().err


def test_a_beam_study_keeps_data_apart_and_refuses_two_runs_of_one_seed(
    capsys: pytest.CaptureFixture,
) -> None:
    rows = [beam_row("p2g", 42, 0.2), beam_row("p2g", 42, 0.6) | {"source": "synthetic"}]
    shown = beams.table(rows)
    assert "cer 0.2000" in shown and "cer 0.6000" in shown and "p2g, synthetic data" in shown
    run = "results/p2g-real-rate0.003-epochs20-seed42"
    assert main(["beams", run, run]) == 2
    assert "are the same experiment, data and seed" in capsys.readouterr().err


def test_pictures_of_both_models(speller: Run, tmp_path: Path) -> None:
    names = {path.stem for path in of_runs.illustrate(speller)}
    assert names == {"curves", "examples", "attention_1", "attention_2", "attention_3"}
    (path,) = of_runs.compare([speller, speller], tmp_path)
    assert path.name == "p2g_attention_val_cer.png"


def test_a_captioner_trains_and_draws(tmp_path: Path) -> None:
    run = hw2.train("caption_attention", epochs=1, out=tmp_path)
    assert 0 <= run.metrics["test_bleu4"] <= 1
    assert len(run.metrics["captions"]) == 3
    names = {path.stem for path in of_runs.illustrate(run)}
    assert {"curves", "captions"} <= names and len(names) == 5


def test_a_changed_vocabulary_is_refused(speller: Run, tmp_path: Path) -> None:
    copy = shutil.copytree(speller.path, tmp_path / "copy")
    file = copy / "vocabulary.target.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["tokens"][4], content["tokens"][5] = content["tokens"][5], content["tokens"][4]
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocabulary\.target\.json was changed"):
        hw2.open_run(copy).data()
    assert main(["evaluate", str(copy)]) == 2


def caption_order(seed: int, number: int) -> list[tuple[int, str]]:
    """Image and caption of every training example of one epoch, in the order of the batches."""
    data = hw2.load_data("sydney")
    rows = np.arange(len(data.train.image), dtype=np.float32)[:, None, None]  # in place of features
    epoch = tf.Variable(number, dtype=tf.int64)
    prepared = sequences.Prepared(data, rows, None, None)
    batches = captioning.batches(prepared, hw2.experiments["caption"], seed, epoch)
    return [
        (int(image.numpy().item()), data.target_vocabulary.decode(ids))
        for (images, _), target_out in batches
        for image, ids in zip(images, target_out.numpy(), strict=True)
    ]


def test_every_caption_of_every_image_comes_once_per_epoch_in_an_order_of_its_own() -> None:
    data = hw2.load_data("sydney")
    everything = sorted((i, c) for i, group in enumerate(data.train.target) for c in group)
    orders = [caption_order(seed, epoch) for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))]
    assert all(sorted(order) == everything for order in orders)
    assert orders[0] == orders[1]
    assert orders[0] != orders[2] and orders[0] != orders[3] and orders[2] != orders[3]


def test_the_order_of_pairs_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, number: int) -> list[int]:
        epoch = tf.Variable(number, dtype=tf.int64)
        batches = sequences.index_batches(100, 8, seed, epoch)
        return [int(row) for batch in batches for row in batch]

    assert order(1, 3) == order(1, 3)
    assert sorted(order(1, 3)) == list(range(100))
    assert len({tuple(order(s, e)) for s in (1, 2) for e in (0, 1)}) == 4


def test_the_loss_is_the_mean_over_the_batch_s_tokens_without_padding() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 4, 6)).astype(np.float32) * 3
    target = np.array([[4, 5, 2, 0], [2, 0, 0, 0], [3, 4, 5, 2]])
    loss = sequences.sequence_loss()(target, logits)
    surprise = -np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    terms = [surprise[b, t, target[b, t]] for b in range(3) for t in range(4) if target[b, t]]
    assert len(terms) == 8
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-6)
    logits[target == 0] += rng.normal(size=(4, 6)) * 10  # what is predicted there is not seen
    assert float(sequences.sequence_loss()(target, logits)) == pytest.approx(np.mean(terms))


def test_wer_at_3_counts_words_that_no_further_pass_gets_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes = {42: ["a", "x", "x", "x"], 43: ["x", "b", "x", "x"], 44: ["x", "x", "c", "x"]}
    passes[45] = ["x", "x", "x", "x"]

    def decode(models, source, vocabulary, max_length, search, seed=42):
        return passes[seed]

    monkeypatch.setattr(sequences, "decode_split", decode)
    truth = ["a", "b", "c", "d"]
    found = sequences.evaluate(None, None, truth, None, hw2.experiments["p2g"], search="nucleus")
    assert found == {"cer": 0.75, "wer": 0.75, "wer_at_3": 0.5}  # the first pass does not count
