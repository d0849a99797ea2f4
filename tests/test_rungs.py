"""What rungs train with and homework does not: schedule, decay, smoothing, crops and cut-out."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import export
import hw2_keras as hw2
from hw2_keras import runs
from hw2_keras.experiments import RECIPE, Experiment
from hw2_keras.training import augmentation, callbacks, classification, fit
from hw2_keras.training.optimizers import OneCycle, optimizer_for

HOMEWORK = [e for e in hw2.experiments.values() if e.based_on is None and e.task != "counting"]
RUNGS = [e for e in hw2.experiments.values() if e.based_on]


@pytest.mark.parametrize("experiment", HOMEWORK, ids=lambda e: e.name)
def test_homework_is_trained_as_before(experiment: Experiment) -> None:
    assert experiment.recipe == {}
    protocol = fit.protocol_of(experiment, None, None, 42)
    assert list(protocol) == [
        *("optimizer", "learning_rate", "epochs", "batch_size", "dropout", "selection", "seed")
    ]
    plain = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[experiment.optimizer]
    expected = plain(experiment.best_rate, clipvalue=experiment.clip_value)
    found = optimizer_for(experiment, experiment.best_rate, 1_000)
    assert type(found) is type(expected)
    assert found.get_config() | {"name": ""} == expected.get_config() | {"name": ""}


def test_a_homework_classifier_has_the_same_loss_and_plain_images() -> None:
    model = hw2.build("kmnist_cnn")
    experiment = hw2.experiments["kmnist_cnn"]
    classification.compile_model(model, keras.optimizers.SGD(), experiment)
    assert isinstance(model.loss, keras.losses.SparseCategoricalCrossentropy)
    data, epoch = hw2.load_data("kmnist"), tf.Variable(0, dtype=tf.int64)
    image, _ = next(iter(classification.batches(data, experiment, 42, epoch)))
    known = {(pixels / np.float32(256)).tobytes() for pixels in data.train.image}
    assert all(pixels.tobytes() in known for pixels in image.numpy())


@pytest.mark.parametrize("rung", RUNGS, ids=lambda e: e.name)
def test_a_rung_names_what_it_changes_and_changes_only_that(rung: Experiment) -> None:
    below = hw2.experiments[rung.based_on]
    assert (rung.edition, rung.data, rung.task) == ("beyond", below.data, below.task)
    assert rung.metric == below.metric and rung.selection == below.selection
    assert rung.idea and rung.expected and "Table" in rung.reference and not rung.reported
    changed = {name for name in (*RECIPE, "network") if getattr(rung, name) != getattr(below, name)}
    assert changed == {
        "kmnist_one_cycle": {"momentum", "weight_decay", "schedule"},
        "kmnist_resnet": {"network"},
        "kmnist_smoothed": {"label_smoothing"},
        "kmnist_cropped": {"crop_padding"},
        "kmnist_cutout": {"cutout"},
    }.get(rung.name)
    assert fit.protocol_of(rung, None, None, 42).items() >= rung.recipe.items()


@pytest.mark.parametrize("rung", RUNGS, ids=lambda e: e.name)
def test_the_parameters_of_a_rung(rung: Experiment) -> None:
    variables = hw2.build(rung.name).trainable_variables
    assert sum(int(np.prod(v.shape)) for v in variables) == rung.parameters


def test_the_rate_of_a_one_cycle_schedule() -> None:
    rates = [float(OneCycle(0.1, 100)(step)) for step in range(100)]
    np.testing.assert_allclose(rates[:25], 0.1 * np.arange(1, 26) / 25, rtol=1e-6)
    np.testing.assert_allclose(rates[25:], 0.1 * np.arange(75, 0, -1) / 75, rtol=1e-6)
    assert float(OneCycle(0.1, 1)(0)) == pytest.approx(0.1)


def test_nesterov_steps_and_decay_follow_the_formulas() -> None:
    rung = hw2.experiments["kmnist_one_cycle"]
    optimizer, weight = optimizer_for(rung, 0.1, 8), keras.Variable([1.0])
    optimizer.build([weight])
    expected, velocity = 1.0, 0.0
    for step, gradient in enumerate((0.5, -0.3, 0.2)):
        optimizer.apply([tf.constant([gradient])])
        rate = 0.1 * min((step + 1) / 2, (8 - step) / 6)
        expected *= 1 - rung.weight_decay * rate
        velocity = rung.momentum * velocity - rate * gradient
        expected += rung.momentum * velocity - rate * gradient
        assert float(weight[0]) == pytest.approx(expected, rel=1e-5)


def test_the_smoothed_loss_is_cross_entropy_to_smoothed_labels() -> None:
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], np.float32)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    truth = np.array([[0.7, 0.15, 0.15], [0.15, 0.15, 0.7]])
    found = classification.smoothed_cross_entropy(0.45)(np.array([0, 2]), tf.constant(logits))
    np.testing.assert_allclose(found, -(truth * log_p).sum(1), rtol=1e-5)


def test_a_crop_moves_an_image_and_fills_with_black() -> None:
    image = tf.constant(np.arange(1, 25, dtype=np.float32).reshape(1, 4, 6, 1))
    images = tf.repeat(image, 3, 0)
    kept, down_right, up = augmentation.crop(images, tf.constant([[2, 2], [0, 1], [3, 2]]), 2)
    np.testing.assert_array_equal(kept, image[0])
    np.testing.assert_array_equal(down_right[2:, 1:], image[0, :2, :5])
    assert not np.any(down_right[:2]) and not np.any(down_right[:, :1])
    np.testing.assert_array_equal(up[:3], image[0, 1:])
    assert not np.any(up[3:])


def test_a_square_is_cut_out_and_may_lie_partly_outside() -> None:
    whole, corner = augmentation.cut_out(tf.ones((2, 10, 12, 1)), tf.constant([[5, 6], [0, 0]]), 4)
    assert not np.any(whole[3:7, 4:8]) and np.sum(whole) == 10 * 12 - 16
    assert not np.any(corner[:2, :2]) and np.sum(corner) == 10 * 12 - 4


def test_each_image_has_a_place_of_its_own_decided_by_the_key() -> None:
    images = tf.ones((64, 28, 28, 1))

    def made(key: list[int]) -> np.ndarray:
        return augmentation.augment(images, tf.constant(key), 2, 8).numpy()

    found = made([42, 1])
    np.testing.assert_array_equal(found, made([42, 1]))
    assert not np.array_equal(found, made([42, 2])) and not np.array_equal(found, made([43, 1]))
    assert len({image.tobytes() for image in found}) > 50
    assert {int(image.sum()) for image in found} <= set(range(26 * 26 - 64, 28 * 28))


def test_every_epoch_and_every_batch_is_augmented_anew() -> None:
    data, epoch = hw2.load_data("kmnist"), tf.Variable(3, dtype=tf.int64)
    batches = classification.batches(data, hw2.experiments["kmnist_cutout"], 42, epoch)

    def images() -> np.ndarray:
        return np.concatenate([image.numpy() for image, _ in batches])

    third, again = images(), images()
    epoch.assign(4)
    np.testing.assert_array_equal(third, again)
    assert not np.array_equal(third, images())
    assert third.shape == data.train.image.shape and third.max() < 1


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    return hw2.train("kmnist_cutout", epochs=2, out=tmp_path_factory.mktemp("runs"))


def test_an_interrupted_rung_resumes_to_the_bit(
    uninterrupted: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = callbacks.Progress.on_train_batch_end

    def interrupt(self, batch: int, logs: dict | None = None) -> None:
        original(self, batch, logs)
        if self.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.Progress, "on_train_batch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        hw2.train("kmnist_cutout", epochs=2, out=tmp_path)
    monkeypatch.undo()
    resumed = hw2.train("kmnist_cutout", epochs=2, out=tmp_path)
    assert resumed.history == uninterrupted.history
    assert resumed.metrics == uninterrupted.metrics
    weights = (run.model().get_weights() for run in (resumed, uninterrupted))
    for found, expected in zip(*weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_rung_learns_and_its_record_says_how(uninterrupted: runs.Run) -> None:
    first, second = uninterrupted.history["loss"]
    assert second < first < 2.4  # log 10 = 2.3 is chance
    assert uninterrupted.record["edition"] == "beyond"
    assert uninterrupted.record["protocol"].items() >= uninterrupted.experiment.recipe.items()
    assert uninterrupted.departures == ["real data", "12 epochs"]
    # the history's losses are to smoothed labels, those of the record are not
    assert uninterrupted.history["val_loss"][-1] > uninterrupted.metrics["val_loss"]


def test_a_residual_network_leaves_as_one_file(uninterrupted: runs.Run, tmp_path: Path) -> None:
    parity = export.to_onnx(uninterrupted, tmp_path / "kana.onnx")
    assert parity.passed and parity.different_answers == 0 and parity.examples > 100
