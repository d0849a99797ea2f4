"""The figures show the numbers that they were given, and files are complete and repeatable."""

import errno
import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hw2_keras.errors import UsageError
from hw2_keras.experiments import Reported
from hw2_keras.plots import curves, of_images, of_texts, style

CLASSES = ("cat", "dog", "owl")


def history(shift=0.0, metric="val_accuracy", epochs=4):
    return {
        "epoch": list(range(1, epochs + 1)),
        "loss": [1.0 / epoch + shift for epoch in range(1, epochs + 1)],
        "running_loss": [2.0 / epoch + shift for epoch in range(1, epochs + 1)],
        metric: [0.1 * epoch + shift for epoch in range(1, epochs + 1)],
    }


def reported(metric, value, learning_rate=None, report="000"):
    return Reported(report=report, metric=metric, value=value, learning_rate=learning_rate)


def lines(axes):
    """The y values of every labelled line."""
    return {
        line.get_label(): list(line.get_ydata())
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_curves_draws_both_losses_the_metric_and_the_reported_values_of_these_alone():
    given = history()
    reference = [
        reported("running_loss", 0.35),
        reported("val_accuracy", 0.918),
        reported("test_accuracy", 0.9),
    ]
    left, right = curves.curves(given, "a title", reference).axes
    assert lines(left) == {
        "mean of the epoch": given["loss"],
        "running mean since epoch 1": given["running_loss"],
        "report 000: 0.35": [0.35, 0.35],
    }
    assert lines(right) == {
        "this run": given["val_accuracy"],
        "report 000: 0.918": [0.918, 0.918],
    }
    assert list(left.lines[0].get_xdata()) == [1, 2, 3, 4]
    assert (left.get_xlabel(), left.get_ylabel()) == ("epoch", "training loss")
    assert right.get_ylabel() == "validation accuracy"


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("val_cer", "validation CER (lower is better)"),
        ("val_error_rate", "validation error rate (lower is better)"),
        ("val_bleu4", "validation BLEU-4"),
    ],
)
def test_curves_finds_the_metric_of_the_task(metric, label):
    assert curves.curves(history(metric=metric), "t").axes[1].get_ylabel() == label


def test_equal_losses_are_both_seen():
    given = history(epochs=1)
    left, _ = curves.curves(given | {"running_loss": given["loss"]}, "t").axes
    below, above = left.lines
    assert above.get_fillstyle() == "none" and above.get_markersize() > below.get_markersize()


def test_curves_names_the_missing_column():
    given = history()
    del given["running_loss"]
    with pytest.raises(UsageError, match="no column running_loss"):
        curves.curves(given, "t")
    with pytest.raises(UsageError, match="no validation metric"):
        curves.curves({"epoch": [1], "loss": [1], "running_loss": [1]}, "t")


def test_sweep_marks_the_best_and_the_diverged_rate_and_colours_reported_values_by_rate():
    diverged = history(0.2) | {"loss": [1.0, 2.0, float("nan"), float("nan")]}
    given = {1e-3: history(), 1e-2: history(0.1), 0.1: diverged}
    entries = [reported("val_accuracy", 0.91, 1e-2), reported("val_accuracy", 0.8, report="001")]
    figure = curves.sweep_curves(given, 1e-2, entries)
    loss, running, metric = figure.axes
    names = ["learning rate 0.001", "learning rate 0.01 (best)", "learning rate 0.1 (diverged)"]
    assert list(lines(metric)) == names
    for (rate, values), name in zip(given.items(), names, strict=True):
        assert lines(metric)[name] == values["val_accuracy"], rate
        assert lines(running)[name] == values["running_loss"], rate
    assert lines(loss)[names[1]] == given[1e-2]["loss"]
    by_rate, without_rate = (line for line in metric.lines if line.get_label() not in names)
    assert by_rate.get_color() == metric.lines[1].get_color()
    assert list(by_rate.get_ydata()) == [0.91, 0.91]
    assert without_rate.get_color() == style.GREY
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [*names, "report 000", "report 001"]


def test_sweep_needs_the_history_of_the_best_rate():
    with pytest.raises(UsageError, match=r"best rate 0\.5 .* 0\.001"):
        curves.sweep_curves({1e-3: history()}, 0.5)


def test_metric_curves_draws_one_run_as_it_is_and_seeds_as_mean_and_sample_deviation():
    seeds = [history(shift, "val_cer") for shift in (0.0, 0.1, 0.5)]
    alone = history(0.3, "val_cer")
    (axes,) = curves.metric_curves({"p2g": seeds, "p2g_attention": alone}, "val_cer").axes
    drawn = lines(axes)
    assert list(drawn) == ["p2g (mean of 3 seeds ± 1 s.d.)", "p2g_attention"]
    np.testing.assert_allclose(drawn["p2g (mean of 3 seeds ± 1 s.d.)"], [0.3, 0.4, 0.5, 0.6])
    assert drawn["p2g_attention"] == alone["val_cer"]
    (band,) = axes.collections  # none for the single run
    # deviations -0.2, -0.1, 0.3 from the mean: sample variance 0.14 / 2
    first = band.get_paths()[0].vertices
    first = first[first[:, 0] == 1][:, 1]
    assert (first.min(), first.max()) == pytest.approx((0.3 - 0.07**0.5, 0.3 + 0.07**0.5))


def test_metric_curves_refuses_seeds_of_unequal_length():
    with pytest.raises(UsageError, match="different epochs"):
        curves.metric_curves({"a": [history(), history(epochs=2)]}, "val_accuracy")


def test_filters_are_scaled_by_the_extremes_of_the_whole_layer():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 11))
    kernel[0, 0, 1, 4] = 9.0  # the extremes lie outside the channel that is shown
    kernel[1, 1, 1, 5] = -7.0
    figure = of_images.filters(kernel, channel=0)
    pictures = [axes for axes in figure.axes if axes.images]
    assert len(pictures) == 11
    assert len({round(axes.get_position().y0, 6) for axes in pictures}) == 2  # 8 in a row, then 3
    for index, axes in enumerate(pictures):
        (picture,) = axes.images
        np.testing.assert_allclose(picture.get_array(), (kernel[:, :, 0, index] + 7) / 16)
        assert picture.get_clim() == (0, 1)
    bar = figure.axes[-1]
    assert [label.get_text() for label in bar.get_yticklabels()] == ["-7.00", "9.00"]


@pytest.mark.parametrize(("shape", "channel"), [((3, 3, 2), 0), ((3, 3, 2, 4), 2)])
def test_filters_refuses_another_shape_or_channel(shape, channel):
    with pytest.raises(UsageError, match="expected \\(kh, kw, c_in, c_out\\)"):
        of_images.filters(np.zeros(shape), channel)


def test_activation_maps_are_eight_in_two_rows_beside_the_original_for_each_rate():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (28, 28, 1), np.uint8)
    maps = {rate: rng.normal(size=(28, 28, 8)) * scale for rate, scale in ((1e-5, 1), (1e-2, 50))}
    figure = of_images.activation_maps(image, maps)
    assert [part.get_suptitle() for part in figure.subfigs] == [
        "learning rate 1e-05",
        "learning rate 0.01",
    ]
    for part, stack in zip(figure.subfigs, maps.values(), strict=True):
        original, *drawn = [axes for axes in part.axes if axes.images]
        np.testing.assert_array_equal(original.images[0].get_array(), image[..., 0])
        grid = drawn[0].get_subplotspec().get_gridspec()
        assert len(drawn) == 8
        assert (grid.nrows, grid.ncols) == (2, 5)  # the original has the first column
        for index, axes in enumerate(drawn):
            np.testing.assert_array_equal(axes.images[0].get_array(), stack[..., index])
            limit = np.abs(stack).max()
            assert axes.images[0].get_clim() == (-limit, limit)


def test_activation_maps_of_an_odd_number_leave_the_last_cell_empty():
    stack = np.random.default_rng(6).normal(size=(8, 8, 5))
    figure = of_images.activation_maps(np.zeros((8, 8, 3), np.uint8), {0.1: stack})
    assert sum(bool(axes.images) for axes in figure.axes) == 1 + 5


def test_pictures_must_be_raw_pixels():
    with pytest.raises(UsageError, match="float64: expected raw pixels"):
        of_images.activation_maps(np.zeros((8, 8, 1)), {0.1: np.ones((8, 8, 8))})
    with pytest.raises(UsageError, match="expected \\(H, W, number of maps\\)"):
        of_images.activation_maps(np.zeros((8, 8, 1), np.uint8), {0.1: np.ones((8, 8))})


def test_confusion_matrix_writes_counts_and_colours_the_share_of_the_true_class():
    matrix = np.array([[6, 1, 1], [0, 4, 0], [0, 0, 0]])
    figure = of_images.confusion_matrix(matrix, CLASSES)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == list("611040000")
    np.testing.assert_allclose(
        axes.images[0].get_array(), [[0.75, 0.125, 0.125], [0, 1, 0], [0, 0, 0]]
    )
    assert [label.get_text() for label in axes.get_yticklabels()] == list(CLASSES)
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true", "predicted")
    assert axes.get_title() == "10 of 12 right"
    with pytest.raises(UsageError, match=r"expected \(2, 2\) for 2 classes"):
        of_images.confusion_matrix(matrix, CLASSES[:2])


def test_misclassified_shows_the_surest_mistakes_first_and_no_right_answer():
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1).repeat(4, 1).repeat(4, 2)
    truth = np.array([0, 1, 2, 0, 1])
    probabilities = np.array(
        [[0.9, 0.1, 0], [0.6, 0.4, 0], [0.1, 0.1, 0.8], [0.2, 0.05, 0.75], [0, 0.3, 0.7]]
    )
    predicted = probabilities.argmax(1)  # 1, 3 and 4 are wrong
    figure = of_images.misclassified(images, truth, predicted, probabilities, CLASSES, count=2)
    assert [axes.get_title() for axes in figure.axes] == [
        "true: cat\nsaid: owl 75%",
        "true: dog\nsaid: owl 70%",
    ]
    assert [axes.images[0].get_array()[0, 0] for axes in figure.axes] == [3, 4]
    assert figure.get_suptitle() == "The surest 2 of 3 mistakes in 5 images"
    assert of_images.misclassified(images, truth, truth, probabilities, CLASSES).axes == []


def test_attention_map_labels_its_axes_with_the_tokens(tmp_path):
    source, target = ["t͡ʃ", "ɪ", " ", "n̩"], ["c", "$", "EOS"]
    weights = np.random.default_rng(2).dirichlet(np.ones(4), size=3)
    figure = of_texts.attention_map(weights, source, target)
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), weights)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["t͡ʃ", "ɪ", "␣", "n̩"]
    assert [label.get_text() for label in axes.get_yticklabels()] == target
    with pytest.raises(UsageError, match=r"expected \(4, 3\)"):
        of_texts.attention_map(weights, target, source)


IPA = "ɪ ʊ̯ ɔ̃ ɡ̩ ɜː f͡s t̪͆ ɚ̯ æ̃ t͡ʃʰ bᵊ ɪ̈ kʼ ɹ̩ ʃ͡ɹ ɫ̩ ɒ̃ ɝː ʍ θ ð ŋ ɾ ʔ ɐ ʌ ɤ ø ç χ"


def test_the_font_has_every_phoneme(tmp_path):
    symbols = IPA.split()
    figure = of_texts.attention_map(np.eye(len(symbols)), symbols, symbols)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that is missing
        style.save(figure, tmp_path / "ipa")
        with pytest.raises(UserWarning, match="missing from font"):
            style.save(of_texts.attention_map(np.eye(1), ["お"], ["o"]), tmp_path / "kana")


@pytest.mark.real
def test_the_font_has_every_symbol_of_the_real_words():
    from matplotlib import font_manager, ft2font

    known = ft2font.FT2Font(font_manager.findfont("DejaVu Sans")).get_charmap()
    folder = Path(os.environ["HW2_DATA_DIR"]) / "p2g"
    letters = set((folder / "train.tsv").read_text(encoding="utf8")) - set("\t\n")
    assert len(letters) > 100
    assert {letter for letter in letters if ord(letter) not in known} == set()


def test_captioned_images_stand_beside_their_captions_and_references():
    images = [np.full((6, 6, 3), value, np.uint8) for value in (10, 200)]
    figure = of_images.captioned_images(
        images, ["a $5 house", "a road"], [["one"], ["two", "three"]]
    )
    left, words, lower, lower_words = figure.axes
    np.testing.assert_array_equal(left.images[0].get_array(), images[0])
    np.testing.assert_array_equal(lower.images[0].get_array(), images[1])
    assert [text.get_text() for text in words.texts] == ["a $5 house", "one"]
    assert [text.get_text() for text in lower_words.texts] == ["a road", "two\nthree"]
    with pytest.raises(UsageError, match="2 images, 1 captions"):
        of_images.captioned_images(images, ["a road"])


def test_caption_attention_lays_the_row_major_grid_over_the_image():
    image = np.random.default_rng(3).integers(0, 256, (32, 64, 3), np.uint8)
    weights = np.random.default_rng(4).dirichlet(np.ones(16), size=2)
    figure = of_images.caption_attention(image, ["a", "road"], weights)
    assert [axes.get_title() for axes in figure.axes] == ["image", "a", "road"]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), image)
    for axes, row in zip(figure.axes[1:], weights, strict=True):
        below, over = axes.images
        np.testing.assert_array_equal(over.get_array(), row.reshape(4, 4))
        assert over.get_extent() == list(below.get_extent())
        assert over.get_clim() == (0, row.max())
        assert axes.get_xlabel() == f"peak {row.max():.2g}"
    with pytest.raises(UsageError, match="a square number"):
        of_images.caption_attention(image, ["a", "road"], weights[:, :15])


def test_beam_figure_has_a_panel_per_experiment_and_a_line_per_normalisation():
    rows = [
        curves.BeamRow(name, metric, width, on, base + width / 100 + on / 10 + seed)
        for name, metric, base in (("p2g", "test_cer", 0.2), ("caption", "test_bleu4", 0.5))
        for width in (10, 1, 5)  # out of order on purpose
        for on in (True, False)
        for seed in (-0.01, 0.01)
    ]
    figure = curves.beam_plot(rows)
    assert [axes.get_title() for axes in figure.axes] == ["p2g", "caption"]
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "test CER (lower is better)",
        "test BLEU-4",
    ]
    for axes, base in zip(figure.axes, (0.2, 0.5), strict=True):
        on, off = axes.lines
        assert (on.get_label(), off.get_label()) == (
            "length normalisation on",
            "length normalisation off",
        )
        assert list(on.get_xdata()) == [1, 5, 10]
        np.testing.assert_allclose(on.get_ydata(), base + np.array([0.11, 0.15, 0.2]))
        np.testing.assert_allclose(off.get_ydata(), base + np.array([0.01, 0.05, 0.1]))
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "5", "10"]
        assert len(axes.collections) == 2
    with pytest.raises(UsageError, match="no rows"):
        curves.beam_plot([])


def test_examples_table_holds_every_word_inside_its_column():
    long = "a residential area with houses arranged neatly while many plants on the roadside"
    rows = [
        of_texts.ExampleRow("best", "h ə l o ʊ", "hello", "hello", 0.0),
        of_texts.ExampleRow("worst", "image 219", long, long, 1.25),
    ]
    figure = of_texts.examples_table(rows, "CER")
    (axes,) = figure.axes
    written = texts(figure)
    assert {"source", "truth", "prediction", "CER", "best", "worst", "0.000", "1.250"} < set(
        written
    )
    assert sorted(" ".join(written).split()) == sorted(
        f"source truth prediction CER best h ə l o ʊ hello hello 0.000"
        f" worst image 219 {long} {long} 1.250".split()
    )
    boxes = [text.get_window_extent() for text in axes.texts]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_save_keeps_the_dots_of_a_name_and_makes_missing_folders(tmp_path):
    png, pdf = style.save(curves.curves(history(), "t"), tmp_path / "new" / "curves_0.01")
    assert (png.name, pdf.name) == ("curves_0.01.png", "curves_0.01.pdf")
    assert sorted(path.name for path in png.parent.iterdir()) == [pdf.name, png.name]
    with Image.open(png) as picture:
        assert picture.size == (945, 480)  # 6.3 x 3.2 inches at 150 dots per inch
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert png.stat().st_size < 150_000
    assert pdf.read_bytes().startswith(b"%PDF-")
    assert b"CreationDate" not in pdf.read_bytes()


SCRIPT = """
import hashlib, sys
import numpy as np
from hw2_keras.plots import of_texts, style
rng = np.random.default_rng(0)
figure = of_texts.attention_map(rng.dirichlet(np.ones(3), 2), ["t͡ʃ", "ɪ", "p"], ["c", "h"])
for path in style.save(figure, sys.argv[1]):
    print(hashlib.sha256(path.read_bytes()).hexdigest())
heavy = {"matplotlib.pyplot", "keras", "tensorflow"} & set(sys.modules)
print("loaded:", *sorted(heavy))
"""


def test_two_processes_write_the_same_bytes_without_pyplot_or_keras(tmp_path):
    answers = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / seed)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
        )
        answers.append(done.stdout.split("\n"))
    assert answers[0] == answers[1]
    assert answers[0][2] == "loaded:"
    assert answers[0][0] == hashlib.sha256((tmp_path / "1.png").read_bytes()).hexdigest()


def test_saving_again_gives_the_same_bytes_and_leaves_the_settings_alone(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    image = np.random.default_rng(5).integers(0, 256, (20, 20, 3), np.uint8)
    figure = of_images.captioned_images([image], ["a road"])
    first = [path.read_bytes() for path in style.save(figure, tmp_path / "a")]
    again = [path.read_bytes() for path in style.save(figure, tmp_path / "a")]
    anew = of_images.captioned_images([image], ["a road"])
    assert first == again == [path.read_bytes() for path in style.save(anew, tmp_path / "b")]
    assert dict(matplotlib.rcParams) == before


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    png, _ = style.save(curves.curves(history(), "old"), tmp_path / "curves")
    old = png.read_bytes()

    def half(file):
        os.truncate(file, os.fstat(file).st_size // 2)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", half)
    with pytest.raises(UsageError, match=r"cannot write .*curves\.png: No space left"):
        style.save(curves.curves(history(0.5), "new"), tmp_path / "curves")
    assert png.read_bytes() == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.pdf", "curves.png"]


def test_a_file_where_the_folder_should_be_is_reported(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match="expected a writable folder"):
        style.save(curves.curves(history(), "t"), tmp_path / "taken" / "curves")


def test_runs_at_other_rates_are_no_seeds_of_one_curve(tmp_path, monkeypatch):
    from hw2_keras.plots import of_runs
    from hw2_keras.runs import open_run

    drawn = []
    monkeypatch.setattr(of_runs, "_save", lambda figures, folder: drawn.extend(figures.items()))
    results = Path(__file__).parents[1] / "results"
    names = ("rate1e-05-epochs20-seed42", *(f"rate0.0005-epochs20-seed{s}" for s in (42, 43)))
    of_runs.compare([open_run(results / f"kmnist_cnn-real-{name}") for name in names], tmp_path)
    ((name, figure),) = drawn
    assert name == "kmnist_cnn_val_accuracy"
    assert list(lines(figure.axes[0])) == [
        "kmnist_cnn, rate 1e-05",
        "kmnist_cnn, rate 0.0005 (mean of 2 seeds ± 1 s.d.)",
    ]


def test_a_deep_network_shows_the_filters_of_its_first_convolutions():
    import keras

    from hw2_keras.data.image_files import ImageSplit
    from hw2_keras.plots import of_runs

    x = image = keras.Input((8, 8, 1))
    for number in range(1, 6):
        x = keras.layers.Conv2D(2, 3, name=f"conv{number}")(x) if number < 4 else x
        x = keras.layers.Conv2D(2, 1, name=f"conv{number}a")(x)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    split = ImageSplit(np.zeros((3, 8, 8, 1), np.uint8), np.array([0, 1, 1]))
    run = SimpleNamespace(
        path=Path("deep"),
        metrics={"test_confusion": [[1, 0], [1, 1]]},
        data=lambda: SimpleNamespace(test=split, classes=["a", "b"]),
        model=lambda: model,
    )
    drawn = of_runs.classifier_plots(run)
    assert [name for name in drawn if name.startswith("filters_")] == [
        "filters_conv1",
        "filters_conv1a",
        "filters_conv2",
    ]
