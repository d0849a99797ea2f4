"""The command line: what it prints, how it fails, and what it costs to start."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hw2_keras.cli import main
from hw2_keras.errors import UsageError
from hw2_keras.runs import Run, folder_name


def test_list_shows_every_experiment(capsys: pytest.CaptureFixture) -> None:
    from hw2_keras import experiments

    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[2:]] == list(experiments)
    assert "5,340,742" in shown


def test_summary_derives_the_parameters(capsys: pytest.CaptureFixture) -> None:
    assert main(["summary", "parameter_cnn", "--derive"]) == 0
    shown = capsys.readouterr().out
    assert "Total params: 10,298" in shown  # Keras's own summary
    assert "8 x (5*5*3 + 1) = 608" in shown
    assert "10 x (968 + 1) = 9,690" in shown
    assert "10,298 parameters: 10,298 trainable, 0 not trainable" in shown
    assert "The record says" not in shown


def test_summary_names_a_record_of_another_count(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from hw2_keras import experiments

    changed = dataclasses.replace(experiments["parameter_cnn"], parameters=999)
    monkeypatch.setitem(experiments._records, "parameter_cnn", changed)
    assert main(["summary", "parameter_cnn"]) == 0
    assert "The record says 999 parameters: correct it in" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        ["hw2_keras", "list"],
        ["hw2_keras", "list", "--help"],
        ["export", "info", "results/onnx/p2g_attention.onnx"],
    ],
)
def test_a_reader_that_closes_its_end(command: list[str]) -> None:
    """As ``| head -1`` does: no word about the pipe."""
    started = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert started.stdout and started.stderr
    started.stdout.close()
    assert started.stderr.read() == b""
    assert started.wait() == 0


@pytest.mark.parametrize(
    ("module", "arguments", "command"),
    [
        ("hw2_keras", ["list", "--nope"], " list"),
        ("hw2_keras", ["report", "results", "site"], " report"),
        ("hw2_keras", ["--nope", "list"], ""),
        ("export", ["info", "a.onnx", "--nope"], " info"),
        ("export", ["--nope", "info", "a.onnx"], ""),
    ],
)
def test_an_unknown_option_points_to_the_help_of_its_command(
    module: str, arguments: list[str], command: str, capsys: pytest.CaptureFixture
) -> None:
    from export.cli import main as export_main

    with pytest.raises(SystemExit) as stopped:
        {"hw2_keras": main, "export": export_main}[module](arguments)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"python -m {module}{command}: unrecognized arguments: ")
    assert said.endswith(f" (see python -m {module}{command} --help)\n") and said.count("\n") == 1


@pytest.mark.parametrize("module", ["hw2_keras", "export"])
def test_another_pipe_that_breaks_is_an_error(module: str) -> None:
    code = (
        f"import sys, {module}.cli as cli\n"
        "def breaks(options): raise BrokenPipeError(32, 'Broken pipe')\n"
        "cli.parser = lambda: cli.argparse.ArgumentParser()\n"
        "cli.argparse.Namespace.command = staticmethod(breaks)\n"
        "sys.exit(cli.main([]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "a file cannot be used (Broken pipe)" in done.stderr


def test_ctrl_c_that_a_library_turns_into_its_own_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def swallows(*_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise TypeError("incompatible function arguments") from None

    monkeypatch.setattr("hw2_keras.cli.list_experiments", swallows)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["list"]) == 130
        assert "hw2: interrupted; " in capsys.readouterr().err
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_unknown_backend_for_windows(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hw2_keras", "theory", "--out", str(tmp_path)]
    subprocess.run(command, env=os.environ | {"MPLBACKEND": "nonsense"}, check=True)
    assert list(tmp_path.rglob("*.png"))


def test_data_lists_every_set_and_how_to_get_it(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HW2_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert main(["data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "fashion",
        "kmnist",
        "intel",
        "spa_eng",
        "p2g",
        "sydney",
    ]
    assert all("not found: " in line for line in lines[1:])


@pytest.mark.real
def test_data_finds_the_real_sets(capsys: pytest.CaptureFixture) -> None:
    assert main(["data"]) == 0
    shown = capsys.readouterr().out
    assert "50,000 / 10,000 / 10,000" in shown
    assert "12,631 / 1,403 / 3,000" in shown
    assert "not found" not in shown


def test_train_prints_the_figures_and_draws_the_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["train", "kmnist_cnn", "--epochs", "1", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "synthetic data" in printed.out
    assert "0.9577 (002), 0.9541 (003)" in printed.out  # the reported test accuracies
    assert "epoch 1/1" in printed.err and "left" in printed.err
    assert "\r" not in printed.err  # no terminal: plain lines
    assert "plots of kmnist_cnn, synthetic data" in printed.err
    assert "plot 2 of 5: filters_conv1\n" in printed.err
    folder = next(tmp_path.iterdir())
    names = {path.stem for path in (folder / "plots").glob("*.png")}
    assert names == {
        "curves",
        "filters_conv1",
        "filters_conv2",
        "confusion_matrix",
        "misclassified",
    }
    assert {path.stem for path in (folder / "plots").glob("*.pdf")} == names

    assert main(["evaluate", str(folder)]) == 0
    assert "test_accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summary", "fashon_cnn"], "did you mean 'fashion_cnn'"),
        (["train", "parameter_mlp"], "counted, not trained"),
        (["train", "fashion_cnn", "--learning-rate", "-1"], "learning rate -1.0"),
        (["train", "fashion_cnn", "--learning-rate", "nan"], "learning rate nan"),
        (["sweep", "fashion_cnn", "--epochs", "0"], "epochs is 0"),
        (["evaluate", "no-run"], "no-run is not a run"),
        (["plot", "no-run"], "no-run is not a run"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "the following arguments are required: NAME"),
        (["trian", "fashion_cnn"], "invalid choice: 'trian'"),
        (["train", "fashion_cnn", "--source", "reel"], "invalid choice: 'reel'"),
        (["train", "fashion_cnn", "--epochs", "many"], "invalid int value: 'many'"),
    ],
)
def test_wrong_words_are_one_line_too(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_missing_data_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("HW2_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    out = tmp_path / "out"
    assert main(["train", "intel_cnn", "--source", "real", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "intel_landscapes.v2.npz under HW2_DATA_DIR" in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_record_without_confusion_matrix_is_not_drawn(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    older = json.loads((small_run.path / "run.json").read_text())
    del older["metrics"]["test_confusion"]
    shutil.copytree(small_run.path, tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps(older))
    assert main(["plot", str(tmp_path / "run")]) == 2
    assert "has no test_confusion" in capsys.readouterr().err


def test_runs_whose_weights_are_not_kept_print_their_table_without_plots(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for rate in small_run.experiment.learning_rates:
        folder = tmp_path / folder_name("kmnist_cnn", "synthetic", rate, 2, 42)
        shutil.copytree(small_run.path, folder, ignore=shutil.ignore_patterns("model*", "plots"))
        record = json.loads((folder / "run.json").read_text())
        record["protocol"]["learning_rate"] = rate
        (folder / "run.json").write_text(json.dumps(record))
    for command in ("train", "sweep"):
        assert main([command, "kmnist_cnn", "--epochs", "2", "--out", str(tmp_path)]) == 0
        shown = capsys.readouterr()
        assert "this run" in shown.out and "written to" not in shown.out
        assert "plots: left out" in shown.err and "has no model.weights.h5" in shown.err
    assert not list(tmp_path.rglob("*.png"))


def test_plot_draws_the_pictures_again(small_run: Run, capsys: pytest.CaptureFixture) -> None:
    assert main(["plot", str(small_run.path)]) == 0
    curves = small_run.path / "plots" / "curves.png"
    first = curves.read_bytes()
    assert main(["plot", str(small_run.path)]) == 0
    assert curves.read_bytes() == first
    assert str(curves) in capsys.readouterr().out


@pytest.mark.parametrize("module", ["hw2_keras", "export"])
def test_help_is_quick_and_imports_no_framework(module: str) -> None:
    code = (
        f"import sys, runpy\nsys.argv = [{module!r}, '--help']\n"
        f"try:\n    runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "loaded = {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        best = min(best, time.perf_counter() - started)
        assert done.returncode == 0, done.stderr
        assert "COMMAND" in done.stdout
    assert best < 2  # seconds; 0.1 on an idle machine, asserted loosely for a busy one


def test_starting_tensorflow_is_one_line_without_what_its_libraries_say(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("import os; os.write(2, b'E0000 cuda_dnn.cc:1\\n')")
    code = (
        "from hw2_keras.cli import quiet_start\nfor _ in '12':\n with quiet_start(): print('then')"
    )
    paths = [str(tmp_path), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "then\nthen\n"
    assert done.stderr == "starting TensorFlow, which takes some seconds\n"


def test_ctrl_c_is_one_line_that_is_true_of_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def interrupted(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hw2_keras.cli.list_experiments", interrupted)
    assert main(["list"]) == 130
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0 and "interrupted" in said and "epoch" not in said
    assert "what was written before is kept" in said


def test_the_demo_overwrites_no_other_page(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "index.html").write_text("<title>Mine</title>")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "index.html is another page" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_the_steps_of_a_command_are_told_and_its_answer_is_kept(
    capsys: pytest.CaptureFixture,
) -> None:
    from hw2_keras import demo

    script = "import sys; print('ɡ answer'); print('step 1 of 2', file=sys.stderr)"
    assert demo.command("-c", script) == "ɡ answer\n"
    assert capsys.readouterr() == ("", "step 1 of 2\n")
    with pytest.raises(UsageError, match=r"^bad: choose another$"):
        demo.command("-c", f"{script}; sys.exit('bad: choose another')")


def test_a_command_that_is_killed_is_one_line() -> None:
    from hw2_keras import demo

    with pytest.raises(UsageError, match="killed"):
        demo.command("-c", "import os; os.kill(os.getpid(), 9)")


def test_the_demo_makes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hw2_keras import demo

    monkeypatch.setattr(demo, "EPOCHS", 1)
    monkeypatch.setattr(demo, "SPELLER_EPOCHS", 1)
    page = demo.make(tmp_path).read_text()
    assert not list(tmp_path.glob(".new-*"))
    assert page.count("data:image/png;base64,") >= 10
    assert page.count("verdict          passed") == 2  # the classifier and the speller
    assert page.count("TensorFlow and Keras loaded: neither") == 2
    assert page.count("the right answer: ") == 2
    assert "http" not in page.replace("http-equiv", "")
    chapters = re.findall(r"<h2>(\d)\. ([^<]*)</h2>", page)
    assert [number for number, _ in chapters] == list("12345")
    assert "<h2>Three next steps</h2>" in page and page.count("<li>") >= 3
    assert not re.search(r"\breport(ed)? ?00\d|0\.9577|0\.2926", page)  # of real data
    assert "unsafe" not in page and " style=" not in page
    drawn = re.findall(r'<svg[^>]* aria-label="([^"]*)"', page)
    assert drawn == [
        "training loss, mean of the epoch",
        "validation accuracy",
        "training loss, mean of the epoch",
        "validation CER",
    ]
    assert re.findall(r'class="best">([^<]*)</span><br><small>the best', page) == ["0.0005"]
    assert page.index("<details>") < page.index("seed 42")  # folded away


def test_theory_draws_the_pictures_of_the_paper_questions(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["theory", "--out", str(tmp_path)]) == 0
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert {"convolution_matrix", "equivariance", "hopfield_storage", "equivalent_heads"} <= names
    assert all(str(path) in capsys.readouterr().out for path in list(tmp_path.glob("*.png"))[:1])
