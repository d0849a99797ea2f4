"""The plan of all runs, the verdicts over them, the lock of a folder, and the command."""

import json
import math
import os
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hw2_keras import experiments, lock, runs
from hw2_keras.cli import main
from hw2_keras.errors import UsageError
from hw2_keras.report import verdict
from hw2_keras.reproduction import artefacts
from hw2_keras.reproduction.board import Board
from hw2_keras.reproduction.plan import (
    PlannedRun,
    Status,
    duration,
    last_row,
    plan,
    seconds,
    status,
    time_left,
)
from hw2_keras.reproduction.reproduce import plan_table
from hw2_keras.reproduction.trainer import Outcome, on_new_epoch
from hw2_keras.runs import Run

RESULTS = Path(__file__).parents[1] / "results"


def test_the_plan_is_every_rate_once_and_the_best_one_with_every_seed() -> None:
    found = plan(["fashion_cnn", "p2g"], seeds=(42, 43, 42), source="real")
    assert {(t.name, t.learning_rate, t.seed) for t in found} == {
        ("fashion_cnn", 0.001, 42),
        ("fashion_cnn", 0.01, 42),
        ("fashion_cnn", 0.01, 43),
        ("fashion_cnn", 0.1, 42),
        ("p2g", 0.003, 42),
        ("p2g", 0.003, 43),
    }
    assert len(found) == 6
    assert [seconds(t) for t in found] == sorted((seconds(t) for t in found), reverse=True)
    trained = [e for e in experiments.values() if e.task != "counting" and not e.based_on]
    assert {t.name for t in plan()} == {e.name for e in trained}
    assert len(plan()) == sum(len(e.learning_rates) for e in trained)
    assert {t.experiment.edition for t in plan(edition="2024-25")} == {"2024-25"}
    assert {t.epochs for t in plan(epochs=3)} == {3}


def test_rungs_are_planned_by_edition_or_name_alone() -> None:
    rungs = {name for name, e in experiments.items() if e.based_on}
    assert len(rungs) >= 5 and not rungs & {t.name for t in plan()}
    found = plan(edition="beyond", seeds=(42, 43, 44), source="real")
    assert {t.name for t in found} == rungs and len(found) == 3 * len(rungs)
    assert [t.name for t in plan(["kmnist_cutout"])] == ["kmnist_cutout"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["p2h"]}, "did you mean 'p2g'"),
        ({"names": ["parameter_cnn"]}, "counted, not trained"),
        ({"edition": "2023-24"}, "unknown edition '2023-24': expected one of 2021-22"),
        ({"names": ["p2g"], "edition": "2021-22"}, "2021-22 has none of p2g"),
        ({"seeds": ()}, "seeds"),
        ({"seeds": (-1,)}, "seeds"),
        ({"epochs": 0}, "epochs is 0"),
        ({"source": "imaginary"}, "source 'imaginary'"),
    ],
)
def test_a_plan_of_bad_arguments_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(**arguments)


def test_the_status_of_a_run(tmp_path: Path) -> None:
    task = PlannedRun("kmnist_cnn", 0.01, 4, 42, "synthetic")
    folder = tmp_path / task.folder
    assert status(task, tmp_path) == Status("missing")
    folder.mkdir()
    (folder / runs.CHECKPOINT).touch()
    assert status(task, tmp_path) == Status("interrupted", 0)
    row = {"loss": 1.0, "running_loss": 1.0, "val_accuracy": 0.5}
    runs.write_history(folder / runs.HISTORY, [{"epoch": n} | row for n in (1, 2, 3)])
    assert status(task, tmp_path) == Status("interrupted", 3)
    (folder / runs.RECORD).write_text("{")
    damaged = status(task, tmp_path)
    assert damaged.state == "damaged" and "run.json is damaged" in damaged.problem
    table = plan_table([task], tmp_path)
    assert "damaged" in table and "0 finished" in table


HEAD = "epoch,loss,running_loss,val_accuracy"


@pytest.mark.parametrize(
    "text",
    [
        "epoch\nabc",
        f"{HEAD}\ninf,1,1,0.5",
        f"{HEAD}\n2,1,1,0.5",
        "epoch,loss,running_loss\n1,1,1",
        None,
    ],
)
def test_the_damaged_history_of_an_interrupted_run(text: str | None, tmp_path: Path) -> None:
    task = PlannedRun("kmnist_cnn", 0.01, 4, 42, "synthetic")
    history = tmp_path / task.folder / runs.HISTORY
    history.parent.mkdir()
    (history.parent / runs.CHECKPOINT).touch()
    os.mkfifo(history) if text is None else history.write_text(text)  # a pipe would be waited for
    assert status(task, tmp_path) == Status("interrupted", 0)
    assert last_row(task, tmp_path) is None


def test_an_epoch_is_told_once(tmp_path: Path) -> None:
    task, told = PlannedRun("kmnist_cnn", 0.01, 4, 42, "synthetic"), []
    (tmp_path / task.folder).mkdir()
    look = on_new_epoch(task, tmp_path, told.append)
    rows = []
    for epoch, loss in ((1, 1.0), (2, math.nan)):
        rows.append({"epoch": epoch, "loss": loss, "running_loss": loss, "val_accuracy": 0.5})
        look()
        runs.write_history(tmp_path / task.folder / runs.HISTORY, rows)
        look()
    look()
    assert [row["epoch"] for row in told] == [1, 2]


def test_nothing_of_the_committed_results_is_missing(capsys: pytest.CaptureFixture) -> None:
    arguments = ["reproduce", "--source", "real", "--dry-run", "--out", str(RESULTS)]
    assert main(arguments) == 0
    assert "16 finished; nothing is missing" in capsys.readouterr().out


def test_the_dry_run_prints_plan_and_time_and_imports_no_framework(tmp_path: Path) -> None:
    command = "from hw2_keras.cli import main; import sys; status = main(sys.argv[1:]); "
    command += "sys.exit(status or bool({'keras', 'tensorflow', 'distributed'} & set(sys.modules)))"
    arguments = ["reproduce", "p2g", "--source", "real", "--dry-run", "--out", str(tmp_path / "x")]
    done = subprocess.run(
        [sys.executable, "-c", command, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = duration(5.5 + 60 * experiments["p2g"].minutes)
    assert f"missing  0/20    {expected}" in done.stdout
    assert f"0 finished; about {expected} one after another" in done.stdout
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("source", ["synthetic", "real"], ids=["generated", "measured"])
def test_an_experiment_of_ones_own_takes_an_unknown_time(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(experiments["p2g"], name="mine", minutes=0.0, synthetic_seconds=0.0)
    monkeypatch.setattr(experiments, "_records", {**experiments._records, "mine": own})
    found = plan(["p2g", "mine", "intel_cnn"], source=source)
    assert found[0].name == "mine"  # it may be the longest
    table = plan_table(found, tmp_path)
    known = sum(map(seconds, found[1:]))
    assert "missing  0/20    unknown time" in table
    assert table.endswith(f"; at least {duration(known)} one after another")
    board = Board(dict.fromkeys(found, Status("missing")), 1)
    assert board.summary().endswith("5 waiting, 0 failed, unknown time left")
    board.ended(found[0], Outcome(seconds=1e6))
    assert board.left() == pytest.approx(known)


def test_time_left_is_that_of_the_workers_or_of_the_longest_run() -> None:
    assert time_left([4, 4, 4, 4], 2) == 8
    assert time_left([20, 4, 4], 3) == 20
    assert time_left([], 3) == 0
    assert (duration(59.6), duration(3661)) == ("1:00", "1:01:01")


def test_the_board_corrects_the_time_by_what_has_run(capsys: pytest.CaptureFixture) -> None:
    tasks = [PlannedRun("kmnist_cnn", 0.01, 20, seed, "real") for seed in (1, 2, 3, 4)]
    found = dict.fromkeys(tasks[:3], Status("missing")) | {tasks[3]: Status("finished", 20)}
    board, one = Board(found, 1), seconds(tasks[0])
    assert board.left() == pytest.approx(3 * one)
    board.report(tasks[0], {"epoch": 10.0, "val_accuracy": 0.5})
    assert board.left() == pytest.approx(2 * one + seconds(tasks[0], 10))
    board.ended(tasks[0], Outcome(seconds=2 * one))
    assert board.left() == pytest.approx(2 * 2 * one)  # twice as slow as the registry says
    board.ended(tasks[1], Outcome("no space left"))
    assert board.summary().startswith("2 done, 0 running, 1 waiting, 1 failed, ")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("kmnist_cnn rate 0.01 seed 1: epoch 10/20 val_accuracy 0.5000")
    assert lines[2].endswith("kmnist_cnn rate 0.01 seed 2: failed: no space left")


def run_of(name: str, seed: int, source: str = "real", notes: tuple = (), **metrics) -> Run:
    experiment = experiments[name]
    protocol = {"learning_rate": experiment.best_rate, "seed": seed}
    same = ("epochs", "optimizer", "batch_size", "dropout", "selection")
    protocol |= {name: getattr(experiment, name) for name in same}
    record = {"experiment": name, "protocol": protocol, "source": source, "notes": list(notes)}
    return Run(Path("x"), record | {"fingerprint": "f" * 64, "metrics": metrics})


def test_the_interval_is_students_over_seeds() -> None:
    values = [0.71, 0.73, 0.75]
    half, basis = verdict.half_width(values, None)
    assert basis == "seeds"
    assert half == pytest.approx(4.303 * statistics.stdev(values) / math.sqrt(3))
    assert verdict.half_width([0.5], 0.01) == (pytest.approx(0.0196, abs=1e-5), "test set")
    assert verdict.half_width([0.5], None) == (None, "")
    assert verdict.half_width([0, 1e-100], 0.01)[0] == pytest.approx(0.0198)
    assert verdict.half_width([0.5, 0.5], None) == (None, "")  # equal by chance, or copies


def test_the_sampling_error_widens_the_interval_and_its_degrees_of_freedom() -> None:
    values = [0.71, 0.73, 0.75]
    narrow = verdict.half_width(values, None)[0]
    between = statistics.variance(values) / 3
    half, basis = verdict.half_width(values, math.sqrt(between))
    assert basis == "seeds and test set"
    assert half == pytest.approx(verdict.t_quantile(8) * math.sqrt(2 * between))
    assert half < narrow  # eight degrees of freedom rather than two outweigh the larger variance
    assert verdict.half_width(values, 0.2)[0] == pytest.approx(1.98 * 0.2, rel=0.02)
    same = verdict.half_width([0.5, 0.5], 0.01)
    assert same == (pytest.approx(0.0196, abs=1e-5), "seeds and test set")


@pytest.mark.parametrize(
    ("values", "word", "reason"),
    [
        ((0.69, 0.70, 0.71), "matched", ""),
        ((0.80, 0.81, 0.82), "better", ""),
        ((0.50, 0.51, 0.52), "worse", ""),
        ((0.80, math.nan), "not judged", "diverged"),
        ((), "not judged", "no run"),
    ],
)
def test_the_verdict_of_an_accuracy(values: tuple, word: str, reason: str) -> None:
    found = [run_of("intel_cnn", seed, test_accuracy=v) for seed, v in enumerate(values)]
    (row,) = verdict.verdicts(found, ["intel_cnn"])  # report 004: 0.7033
    assert (row.verdict, row.reason) == (word, reason)
    assert row.seeds == tuple(range(len(values)))


def test_a_copy_of_a_run_is_no_second_seed() -> None:
    found = [run_of("p2g", seed, test_cer=0.2) for seed in (42, 42)]
    row = verdict.verdicts(found, ["p2g"])[0]
    assert (row.seeds, row.verdict) == ((42,), "not judged")
    assert row.reason == "one seed, and no error of the test set"


def test_smaller_error_rates_are_better_and_losses_no_aim() -> None:
    found = [run_of("p2g", s, test_cer=0.2 + s / 1000, test_wer=0.9 + s / 1000) for s in (1, 2, 3)]
    assert [row.verdict for row in verdict.verdicts(found, ["p2g"])] == ["better", "worse"]
    loss = [run_of("intel_cnn_bn", s, running_loss=0.1 + s / 1000) for s in (1, 2, 3)]
    row = verdict.verdicts(loss, ["intel_cnn_bn"])[0]
    assert (row.verdict, row.reason) == ("not judged", "outside, but a loss is no aim as such")


def test_another_image_encoder_is_another_protocol() -> None:
    run = run_of("caption", 1, test_bleu4=0.5)
    judged = [verdict.other_data([run])]
    run.record["encoder"] = "vit_base"
    assert [*judged, verdict.other_data([run])] == ["", "another protocol"]


def test_other_data_are_not_judged() -> None:
    for source, notes, reason in (
        ("synthetic", (), "synthetic data"),
        ("real", ("a subset",), "other data"),
    ):
        found = [run_of("intel_cnn", s, source, notes, test_accuracy=0.7) for s in (1, 2)]
        (row,) = verdict.verdicts(found, ["intel_cnn"])
        assert (row.verdict, row.reason, row.mean) == ("not judged", reason, 0.7)


def test_one_seed_has_the_error_of_its_test_set_alone() -> None:
    run = run_of("intel_cnn", 42, test_accuracy=0.8, test_confusion=[[900, 100], [300, 700]])
    (row,) = verdict.verdicts([run], ["intel_cnn"])
    assert row.basis == "test set"
    assert row.high - row.mean == pytest.approx(1.96 * math.sqrt(0.8 * 0.2 / 2000), rel=1e-3)
    stored = replace(run, record=run.record | {"standard_errors": {"test_accuracy": 0.1}})
    assert verdict.verdicts([stored], ["intel_cnn"])[0].verdict == "matched"


def test_the_verdicts_are_kept_and_printed(tmp_path: Path) -> None:
    found = [run_of("intel_cnn", seed, test_accuracy=0.7 + seed / 100) for seed in (0, 1)]
    rows = verdict.verdicts(found, ["intel_cnn", "p2g"])
    path = verdict.write(rows, tmp_path)
    assert verdict.read(tmp_path) == rows
    assert json.loads(path.read_text())["method"] == verdict.METHOD
    text = verdict.table(rows)
    assert "0.7050 (2 seeds)  0.6415 to 0.7685  matched" in text
    assert text.endswith("0 better, 1 matched, 0 worse, 2 not judged")


def test_the_bootstrap_of_a_share_is_binomial() -> None:
    from hw2_keras.training import sampling

    values = [1.0] * 300 + [0.0] * 700
    expected = sampling.binomial(0.3, 1000)
    assert sampling.bootstrap(values, [1.0] * 1000) == pytest.approx(expected, rel=0.1)
    halves = [0.5] * 1000
    assert sampling.bootstrap(halves, list(range(1, 1001))) == pytest.approx(0, abs=1e-12)


def test_a_folder_is_held_by_one_process_and_given_back(tmp_path: Path) -> None:
    code = "import sys, pathlib; from hw2_keras import lock\n"
    code += "with lock.hold(pathlib.Path(sys.argv[1]), 'sweep'): print('held', flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "held\n"
    held = rf"in use by sweep, process {other.pid} on \S+ since 2\S+ \S+: wait until"
    with pytest.raises(lock.Held, match=held), lock.hold(tmp_path, "reproduce"):
        pass
    other.kill()
    other.communicate()
    with lock.hold(tmp_path, "reproduce"):
        assert (tmp_path / lock.LOCK).read_text().startswith(f"reproduce, process {os.getpid()} ")


def test_two_trainings_of_one_run(tmp_path: Path) -> None:
    from hw2_keras import train

    folder = tmp_path / PlannedRun("kmnist_cnn", 5e-4, 1, 42, "synthetic").folder
    folder.mkdir()
    with lock.hold(folder, "training"), pytest.raises(lock.Held, match="in use by training"):
        train("kmnist_cnn", epochs=1, out=tmp_path)


def test_other_data_and_epochs_have_a_folder_of_their_own(tmp_path: Path) -> None:
    assert artefacts.folder(tmp_path, "real", None) == tmp_path
    assert artefacts.folder(tmp_path, "real", 1) == tmp_path / "real-epochs1"
    assert artefacts.folder(tmp_path, "synthetic", None) == tmp_path / "synthetic"


def test_a_step_is_made_once_and_again_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    calls: list[str] = []

    def fails() -> None:
        calls.append("b")
        raise UsageError("no space left")

    bare = Run(tmp_path / "bare", {})
    listed = [
        artefacts.Step("a", [], True, lambda: calls.append("a")),
        artefacts.Step("b", [], False, fails),
        artefacts.Step("c", [bare], False, lambda: calls.append("c")),
    ]
    monkeypatch.setattr(artefacts, "steps", lambda *arguments: listed)
    assert artefacts.make([], 42, tmp_path, "cpu") == {"b": "no space left"}
    assert calls == ["b"]
    assert f"c: left out, {bare.path} has no model.weights.h5" in capsys.readouterr().err
    assert (tmp_path / ".making-b").exists()
    (tmp_path / ".making-a").touch()  # as a kill leaves it
    artefacts.make([], 42, tmp_path, "cpu")
    assert calls == ["b", "a", "b"]
    assert not (tmp_path / ".making-a").exists()


def test_a_damaged_beam_table_fails_its_own_step_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beam_search.json").write_text("[")
    exported = artefacts.Step("p2g.onnx", [], False, lambda: (tmp_path / "p2g.onnx").touch())
    monkeypatch.setattr(artefacts, "_export", lambda *arguments: exported)
    monkeypatch.setattr(artefacts, "_comparison", lambda *arguments: exported._replace(done=True))
    run = run_of("p2g", 42)
    run.record["divergence"] = None
    failed = artefacts.make([run], 42, tmp_path, "cpu")
    assert (
        list(failed) == ["beam search"] and "beam_search.json is damaged" in failed["beam search"]
    )
    assert (tmp_path / "p2g.onnx").exists()


def test_rungs_have_no_figures_to_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("hw2_keras.reproduction.reproduce.train_missing", lambda *arguments: {})
    kept = tmp_path / verdict.VERDICT
    kept.write_text("of the homework")
    command = ["reproduce", "--source", "real", "--out", str(tmp_path)]
    assert main([*command, "--edition", "beyond"]) == 0
    shown = capsys.readouterr().out
    assert "nothing to judge" in shown and "reported" not in shown and "95 %" not in shown
    assert kept.read_text() == "of the homework"
    assert main([*command, "p2g"]) == 0
    assert "not judged (no run)" in capsys.readouterr().out
    assert kept.read_text() != "of the homework"


@pytest.mark.timeout(600)
def test_the_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ["reproduce", "intel_cnn_bn", "--epochs", "1", "--out", str(tmp_path)]
    assert main(command) == 0
    made = tmp_path / "synthetic-epochs1"
    assert "not judged (synthetic data)" in capsys.readouterr().out
    assert json.loads((made / "onnx" / "intel_cnn_bn.parity.json").read_text())["passed"]
    folder = next(tmp_path.glob("intel_cnn_bn-*"))
    run = runs.open_run(folder)
    assert run.best and run.record["device"]["precision"] == "float32"
    assert set(run.record["standard_errors"]) == {"val_accuracy", "test_accuracy"}
    assert (folder / "plots" / "curves.png").exists()
    page = (made / "site" / "index.html").read_text()
    assert "intel_cnn_bn" in page

    (folder / runs.RECORD).rename(tmp_path / "record")
    (folder / runs.RECORD).write_text("damaged")
    assert main(command) == 1
    failed = capsys.readouterr().err
    assert "hw2: failed: intel_cnn_bn rate 0.01 seed 42: " in failed and "is damaged" in failed
    (tmp_path / "record").rename(folder / runs.RECORD)
    assert main(command) == 0
    assert (made / "site" / "index.html").read_text() == page
