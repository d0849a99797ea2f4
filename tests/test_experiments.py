"""The registry and the builders: names, protocol and exact parameter counts."""

import dataclasses

import keras
import pytest

import hw2_keras as hw2
from hw2_keras.models import NETWORKS, build_models
from hw2_keras.training.optimizers import optimizer_for

TRAINABLE = {
    "parameter_cnn": 10_298,
    "parameter_mlp": 236_310,
    "fashion_cnn": 769_930,
    "kmnist_cnn": 420_906,
    "intel_cnn": 5_340_742,
    "intel_cnn_bn": 756_742,
}


def trainable(model: keras.Model) -> int:
    return sum(int(variable.value.shape.num_elements()) for variable in model.trainable_variables)


@pytest.mark.parametrize("name", TRAINABLE)
def test_trainable_parameters_are_those_of_the_homework(name: str) -> None:
    model = hw2.build(name)
    assert trainable(model) == TRAINABLE[name] == hw2.experiments[name].parameters
    assert isinstance(model, keras.Model)
    assert model.name == name


def test_reported_ratios_of_parameters() -> None:
    counts = TRAINABLE
    assert round(counts["parameter_mlp"] / counts["parameter_cnn"], 1) == 22.9
    assert round(100 * (counts["intel_cnn_bn"] / counts["intel_cnn"] - 1), 1) == -85.8


def test_every_experiment_has_a_builder_and_the_other_way_round() -> None:
    assert set(NETWORKS) == {experiment.network for experiment in hw2.experiments.values()}


def test_a_slip_in_a_record_is_named() -> None:
    record = dataclasses.replace(hw2.experiments["kmnist_cnn"], network="two_blok_cnn")
    with pytest.raises(ValueError, match="kmnist_cnn has the network 'two_blok_cnn': expected one"):
        build_models(record)
    record = dataclasses.replace(hw2.experiments["kmnist_cnn"], optimizer="adm")
    with pytest.raises(ValueError, match="the optimizer 'adm': expected one of sgd, adam; correct"):
        optimizer_for(record, 0.1, 1)


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        hw2.experiments["fashion_cnn"].epochs = 1


def test_protocols_of_the_sweeps() -> None:
    found = {
        name: (e.optimizer, e.learning_rates, e.epochs, e.batch_size, e.dropout)
        for name, e in hw2.experiments.items()
        if e.task == "classification" and not e.based_on
    }
    assert found == {
        "fashion_cnn": ("sgd", (0.001, 0.01, 0.1), 15, 8, 0.3),
        "kmnist_cnn": ("adam", (1e-5, 5e-4, 1e-2), 20, 8, 0.3),
        "intel_cnn": ("sgd", (0.1, 0.01, 0.001), 40, 8, 0.1),
        "intel_cnn_bn": ("sgd", (0.01,), 40, 8, 0.1),
    }


def test_dropout_of_fashion_cnn_is_a_free_choice() -> None:
    assert hw2.build("fashion_cnn", dropout=0.2).get_layer("dropout1").rate == 0.2
    assert hw2.build("fashion_cnn").get_layer("dropout1").rate == 0.3


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("fashon_cnn", "fashion_cnn"), ("intel_cnn_nb", "intel_cnn_bn")]
)
def test_unknown_experiment_suggests_the_nearest(wrong: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        hw2.experiments[wrong]
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        hw2.build(wrong)
    assert wrong not in hw2.experiments
