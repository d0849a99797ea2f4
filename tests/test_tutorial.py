"""What the tutorials share: arguments, and a run that is opened or trained."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import hw2_keras as hw2
from hw2_keras import tutorial

NAME = "kmnist_cnn"
SCRIPTS = sorted(Path(__file__).parents[1].glob("tutorials/*/*.py"))


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """An empty folder to work in, with an empty ``results``; what was asked to be trained."""
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tutorial, "RESULTS", tmp_path / "committed")
    monkeypatch.setattr(hw2, "train", lambda *given, **named: asked.append((given, named)))
    monkeypatch.setattr(hw2, "sweep", lambda *given, **named: asked.append((given, named)))
    return asked


def options(monkeypatch, *given):
    monkeypatch.setattr(sys, "argv", ["q2.py", *given])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    return tutorial.arguments(epochs=2)


def write_run(out, rate, best=False, epochs=2, fingerprint=None):
    """A finished run of synthetic letters, as far as it is looked at."""
    folder = Path(out) / f"{NAME}-synthetic-rate{rate:g}-epochs{epochs}-seed42"
    folder.mkdir(parents=True)
    record = {
        "experiment": NAME,
        "finished": True,
        "best_of_sweep": best,
        "source": "synthetic",
        "protocol": {
            "optimizer": "adam",
            "learning_rate": rate,
            "epochs": epochs,
            "batch_size": 8,
            "dropout": 0.3,
            "selection": "last",
            "seed": 42,
        },
        "divergence": None,
        "metrics": {"loss": 1.0, "running_loss": 1.0, "val_accuracy": 0.5},
        "fingerprint": fingerprint or hw2.load_data(NAME).fingerprint,
        "training_seconds": 90.0,
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_a_committed_run_is_opened_and_nothing_is_to_be_deleted(trained, monkeypatch, capsys):
    folder = write_run("committed", 5e-4)
    assert tutorial.train(NAME, options(monkeypatch)).path == folder.absolute()
    assert trained == []
    printed = capsys.readouterr()
    assert f"opened {folder.absolute()}, trained before in 1.5 minutes" in printed.out
    assert "--out" in printed.out
    assert "delete" not in printed.out + printed.err


@pytest.mark.parametrize(
    ("run", "given", "weights"),
    [
        ({"epochs": 3}, [], False),  # another protocol
        ({"fingerprint": "other"}, [], False),  # other data
        ({}, [], True),  # its weights are not kept
        ({}, ["--out", "mine"], False),  # asked for in another folder
    ],
)
def test_any_other_run_is_trained_beside_the_committed_ones(
    run, given, weights, trained, monkeypatch
):
    write_run("committed", 5e-4, **run)
    tutorial.train(NAME, options(monkeypatch, *given), weights)
    ((_, asked),) = trained
    assert asked == {
        "epochs": 2,
        "seed": 42,
        "source": "synthetic",
        "out": Path("mine" if given else "runs"),
    }


def test_a_sweep_is_opened_when_all_rates_and_the_best_are_there(trained, monkeypatch, capsys):
    for rate in (1e-5, 5e-4):
        write_run("runs", rate, best=rate == 5e-4)
    tutorial.sweep(NAME, options(monkeypatch))
    assert len(trained) == 1
    write_run("runs", 1e-2)
    found = tutorial.sweep(NAME, options(monkeypatch))
    assert len(trained) == 1
    assert [run.learning_rate for run in found] == [1e-5, 5e-4, 1e-2]
    assert [run.best for run in found] == [False, True, False]
    assert capsys.readouterr().out.count("opened runs") == 3


@pytest.mark.parametrize("epochs", ["0", "-1", "two", "1.5"])
def test_epochs_that_are_no_number_are_one_line(epochs, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        options(monkeypatch, "--epochs", epochs)
    assert stopped.value.code == 2
    assert f"{epochs!r} is not a whole number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        (["--help"], 0, "the homework's on real data"),
        (["--nope"], 2, "q2.py: unrecognized arguments: --nope (see q2.py --help)\n"),
    ],
)
def test_help_and_a_wrong_argument_are_answered_before_keras_starts(given, status, said):
    program = f"""
import sys
from hw2_keras import tutorial
sys.argv = ["q2.py", *{given}]
try:
    tutorial.arguments(epochs=2)
finally:
    assert not {{"keras", "tensorflow", "matplotlib"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == status
    assert said in done.stdout if status == 0 else said == done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_tutorial_reads_its_arguments_first(script):
    body = ast.parse(script.read_text(encoding="utf-8")).body
    first, second = [ast.unparse(line) for line in body[1:3]]  # after what the tutorial is about
    assert first == "from hw2_keras import tutorial"
    assert second.startswith("options = tutorial.arguments(epochs=")


def test_the_homework_decides_the_epochs_of_real_data(monkeypatch):
    assert options(monkeypatch).epochs == 2
    assert options(monkeypatch, "--source", "real").epochs is None
    assert options(monkeypatch, "--source", "real", "--epochs", "3").epochs == 3
