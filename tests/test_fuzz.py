"""A sample of ``make fuzz`` for records, the page and commands, and what they have found."""

import json
import os
import shutil
import time
from pathlib import Path

import command_cases
import numpy as np
import pytest
import record_cases

from hw2_keras import decoding
from hw2_keras.cli import main
from hw2_keras.errors import UsageError
from hw2_keras.files import check_folder
from hw2_keras.records import read_run_record
from hw2_keras.reproduction.reproduce import reproduce
from hw2_keras.training import fit, sequences

CHECKS = record_cases.CHECKS | command_cases.CHECKS
SEEDS = {"captions": 60, "parity": 60, "beams": 60, "history": 100, "page": 6, "words": 25}
SEEDS |= {"out": 25, "run": 12, "report": 8}


@pytest.mark.parametrize("name", SEEDS)
def test_seeded_cases(name: str, tmp_path: Path) -> None:
    for seed in range(SEEDS[name]):
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            CHECKS[name](seed, folder)
        except BaseException as error:
            error.add_note(f"case {name} {seed}")
            raise


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--search", "nucleus", "--num-beams", "5"], "--num-beams is for --search beam"),
        (["--search", "beam", "--top-p", "0.8"], "--top-p is for --search nucleus, not beam"),
        (["--num-beams", "5"], "--num-beams is for --search beam, not greedy: leave it out"),
        (["--search", "beam", "--num-beams", "100000"], "expected 1 (greedy search) to 1,000"),
        (["--search", "nucleus", "--top-p", "1e-300"], "top_p is 1e-300"),
        (["--search", "nucleus", "--top-p", "nan"], "top_p is nan"),
    ],
)
def test_options_of_a_search(words: list[str], message: str, capsys, monkeypatch) -> None:
    run = command_cases.small_run("p2g")
    monkeypatch.setattr(fit.Run, "prepared", lambda self: pytest.fail("the work has begun"))
    assert main(["evaluate", str(run), *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("word", ["--learning-rate=--", "--seed=--", "--out=a\0b"])
def test_words_that_argparse_stumbles_over(word: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "kmnist_cnn", word])
    assert stopped.value.code == 2 and "expected another value" in capsys.readouterr().err


def test_a_word_without_end_is_one_short_line(capsys: pytest.CaptureFixture) -> None:
    assert main(["summary", "x" * 100_000]) == 2
    assert len(capsys.readouterr().err) < 1_100


@pytest.mark.parametrize("epochs", [0, 10**6 + 1, 10**400])
def test_epochs_without_end(epochs: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="from 1 to 1,000,000"):
        reproduce(epochs=epochs, out=tmp_path, dry_run=True)
    with pytest.raises(UsageError, match="from 1 to 1,000,000"):
        fit.train("kmnist_cnn", epochs=epochs, out=tmp_path)


@pytest.mark.parametrize("rate", [1e13, 0.0, float("inf"), float("nan")])
def test_a_rate_that_no_record_could_hold(rate: float, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a positive number up to 1e\+12"):
        fit.train("kmnist_cnn", learning_rate=rate, out=tmp_path)


@pytest.mark.parametrize("workers", [0, -1, 1001, 10**30])
def test_workers_without_end(workers: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a whole number from 1 to 1,000"):
        reproduce(workers=workers, out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_checked_and_not_made(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "x", tmp_path / ("x" * 300)):
        with pytest.raises(UsageError, match="cannot write to"):
            check_folder(path)


@pytest.mark.parametrize("sizes", [{"units": 10**5}, {"source_size": 10**6}, {"\x1b": 1}])
def test_sizes_that_would_fill_the_memory(sizes: dict, tmp_path: Path) -> None:
    record = json.loads((command_cases.small_run("p2g") / "run.json").read_text())
    file = tmp_path / "run.json"
    file.write_text(json.dumps(record | {"sizes": record["sizes"] | sizes}))
    with pytest.raises(UsageError, match="sizes"):
        read_run_record(file)


def test_a_wide_beam_takes_fewer_sources_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []

    class Seen(Exception):
        pass

    def beam(models, source, *_):
        rows.append(len(source))
        raise Seen

    monkeypatch.setattr(decoding, "beam", beam)
    source = np.ones((300, 4), np.int32)
    for num_beams in (5, 10, 1_000):
        with pytest.raises(Seen):
            sequences.decode_split(None, source, None, 5, search="beam", num_beams=num_beams)
    assert rows == [256, 256, 2]


@pytest.mark.parametrize("check", ["page", "weights"])
def test_a_pipe_is_not_waited_for(check: str, tmp_path: Path) -> None:
    started = time.monotonic()
    if check == "page":
        (tmp_path / "site").mkdir()
        os.mkfifo(tmp_path / "site" / "index.html")
        assert main(["report", "--results", str(tmp_path), "--out", str(tmp_path / "site")]) == 2
    else:
        run = shutil.copytree(command_cases.small_run("kmnist_cnn"), tmp_path / "run")
        (run / "model.weights.h5").unlink()
        os.mkfifo(run / "model.weights.h5")
        assert main(["evaluate", str(run)]) == 2
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    "fields",
    [
        {"stackwise_num_blocks": [2, 10**6]},
        {"stackwise_num_filters": [64, 10**6]},
        {"input_conv_kernel_sizes": [10**6]},
        {"stackwise_num_blocks": [10**400, 2]},
        {"stackwise_num_blocks": "many"},
        {"stackwise_num_blocks": [float("nan"), 2]},
    ],
)
def test_a_preset_without_end_is_refused_before_it_is_built(fields: dict, tmp_path: Path) -> None:
    pytest.importorskip("keras_nlp")
    from hw2_keras.models.image_encoder import resnet_encoder

    config = {
        "input_conv_filters": [64],
        "input_conv_kernel_sizes": [7],
        "stackwise_num_filters": [64, 128],
        "stackwise_num_blocks": [2, 2],
        "stackwise_num_strides": [1, 2],
        "block_type": "basic_block",
    }
    backbone = "keras_hub.src.models.resnet.resnet_backbone"
    content = {"module": backbone, "class_name": "ResNetBackbone", "config": config | fields}
    content["registered_name"] = "keras_hub>ResNetBackbone"
    (tmp_path / "config.json").write_text(json.dumps(content))
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"weights: expected at most|cannot be read") as raised:
        resnet_encoder(tmp_path, 256)
    assert str(raised.value).isprintable() and time.monotonic() - started < 60
