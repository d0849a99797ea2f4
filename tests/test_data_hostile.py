"""Hostile data: a sample of the seeded cases, and what was found before, case by case."""

import importlib.util
import json
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hw2_keras.cli import main
from hw2_keras.data import captions, describe, load_data, pair_files, pairs_tfds, readers
from hw2_keras.data.image_files import CLASSES
from hw2_keras.data.vocabulary import Vocabulary
from hw2_keras.errors import UsageError


def module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


cases = module(Path(__file__).parent / "fuzz" / "data_cases.py")
SEEDS = {"arrays": 40, "texts": 30, "archives": 15, "captions": 60, "vocabulary": 60}
SEEDS |= {"pictures": 25, "prepared": 3, "folders": 20}
ALTERNATIVE = "or leave --source real out: synthetic needs no data"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HW2_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path


@pytest.mark.parametrize("name", SEEDS)
def test_seeded_cases(name: str, tmp_path: Path) -> None:
    assert set(SEEDS) == set(cases.CHECKS)
    for seed in range(SEEDS[name]):
        each = tmp_path if name == "prepared" else tmp_path / str(seed)
        each.mkdir(exist_ok=True)
        try:
            cases.CHECKS[name](seed, each)
        except BaseException as error:
            error.add_note(f"case {name} {seed}")
            raise


def peak_of(read) -> int:
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Arrays


@pytest.mark.parametrize(
    ("shape", "claim"),
    [
        ((10**10,), "10,000,000,000 bytes"),
        ((10**30,), r"10\^30 bytes"),
        ((60_000, 28, 28), None),
        ((10**9, 10**9, 10**300), r"10\^318 bytes"),
    ],
)
def test_arrays_that_claim_too_much_are_refused_before_they_are_made(folder, shape, claim):
    members = cases.small_arrays() | {"x_val.npy": cases.header(shape)}
    (folder / "kmnist_10k.npz").write_bytes(cases.archive(members))
    message = f"x_val: claims {claim}, expected at most 536,870,912" if claim else "cannot be read"

    def read():
        with pytest.raises(UsageError, match=message):
            load_data("kmnist", source="real")

    assert peak_of(read) < 100 * 2**20


def test_arrays_are_bounded_together(folder, monkeypatch):
    (folder / "kmnist_10k.npz").write_bytes(cases.archive(cases.small_arrays()))
    monkeypatch.setattr(readers, "MAX_ARRAY_BYTES", 7_840 * 3 + 80 * 3)
    load_data("kmnist", source="real")
    monkeypatch.setattr(readers, "MAX_ARRAY_BYTES", 7_840 * 3 + 80 * 3 - 1)
    with pytest.raises(UsageError, match="y_test: claims 80 bytes"):
        load_data("kmnist", source="real")


def test_headers_of_other_formats_are_not_unpacked(folder):
    """Version 2.0 allows a header of 4 GB, which deflates to 4 MB."""
    endless = b"\x93NUMPY\x02\x00" + (60 * 2**20).to_bytes(4, "little") + b" " * 60 * 2**20
    members = cases.small_arrays() | {"x_val.npy": endless}
    path = folder / "kmnist_10k.npz"
    path.write_bytes(cases.archive(members, zipfile.ZIP_DEFLATED))
    del endless, members

    def read():
        with pytest.raises(UsageError, match=r"not an array of format 1\.0"):
            load_data("kmnist", source="real")

    assert peak_of(read) < 30 * 2**20


# Texts


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_marks_are_no_text(folder, end):
    plain = "h ə\tha\nd ɔ ɡ\tdog\n"
    (folder / "p2g").mkdir()
    for file in pair_files.LAYOUTS["p2g"].files:
        text = "\ufeff" + plain.replace("\n", end)
        (folder / "p2g" / file).write_bytes(text.encode())
    data = load_data("p2g", source="real")
    assert data.train == (("h ə", "d ɔ ɡ"), ("ha", "dog"))
    assert data.source_vocabulary.tokens[4:6] == ("h", "ə")


def test_a_text_without_end_is_refused_by_line(folder):
    (folder / "p2g").mkdir()
    for file in pair_files.LAYOUTS["p2g"].files:
        (folder / "p2g" / file).write_text("h\th\n" + "a " * 501 + "\tb\n")
    with pytest.raises(UsageError, match=r"line 2: 1,002 characters, expected at most 1,000"):
        load_data("p2g", source="real")


def test_a_file_too_large_for_a_text_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(readers.read_bytes, "__defaults__", (10,))
    (folder / "p2g").mkdir()
    (folder / "p2g" / "train.tsv").write_text("h ə l o ʊ\thallow\n")
    with pytest.raises(UsageError, match=r"train\.tsv is too large: .* at most 10 bytes"):
        load_data("p2g", source="real")


def test_an_encrypted_archive_is_refused(tmp_path):
    path = tmp_path / "spa-eng.zip"
    content = bytearray(cases.archive({"spa.txt": b"Go.\tVe.\n"}))
    for start, flag in ((content.find(b"PK\x03\x04"), 6), (content.find(b"PK\x01\x02"), 8)):
        content[start + flag] |= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"RuntimeError.*encrypted.*expected a zip file with spa"):
        pair_files.read_anki(path)


def test_a_bomb_of_sentences_is_refused(tmp_path):
    path = tmp_path / "spa-eng.zip"
    path.write_bytes(cases.zip_bomb())
    with pytest.raises(
        UsageError, match=r"spa\.txt is too large, expected at most 67,108,864 bytes"
    ):
        pair_files.read_anki(path)


# Captions and pictures


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"images_names": [7, 7]}, "an image's name: int, expected a text"),
        ({"captions_tokens": ["a sea", "a bay"]}, "a list .* of the words of each caption"),
        ({"captions_tokens": [["a"], ["\ud800"]]}, "half a surrogate pair"),
        ({"captions_tokens": [["a"], ["b" * 1_001]]}, "1,001 characters, expected at most 1,000"),
        ({"images_names": ["9" * 5_000] * 2}, "5,000 characters"),
        ({"images_names": ["٣.tif"] * 2}, "expected a number, such as '219.tif'"),
    ],
)
def test_captions_of_other_types(folder, values, message):
    target = cases.write_captions(folder)
    content = cases.caption_files()["train"] | values
    (target / "train.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=message):
        load_data("sydney", source="real")


def test_captions_too_deep_to_parse(folder):
    (cases.write_captions(folder) / "val.json").write_text("[" * 10**5)
    with pytest.raises(UsageError, match=r"val\.json cannot be read \(RecursionError"):
        load_data("sydney", source="real")


def test_pictures_that_are_not_square_are_refused(folder):
    path = cases.write_captions(folder) / "images" / "3.jpg"
    Image.new("RGB", (400, 500)).save(path)
    with pytest.raises(UsageError, match=r"3\.jpg: 400x500 pixels, expected 500x500"):
        load_data("sydney", source="real")


def test_splits_of_different_sizes_are_refused(folder):
    path = cases.write_captions(folder) / "images" / "3.jpg"
    Image.new("RGB", (48, 48)).save(path)
    with pytest.raises(UsageError, match=r"images of \[32, 48, 48\] pixels, expected 500x500"):
        load_data("sydney", source="real")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (cases.png(50_000, 50_000), r"50000x50000 pixels|is not a complete image"),
        (cases.png(2_001, 2_000), "2001x2000 pixels, expected at most 4,000,000"),
        (cases.png(32, 32, cases.text_bomb(b"zTXt")), "is not a complete image"),
    ],
    ids=["huge", "large", "zTXt"],
)
def test_picture_bombs_are_refused_before_they_unfold(folder, content, message):
    path = cases.write_captions(folder) / "images" / "3.jpg"
    path.write_bytes(content)

    def read():
        with pytest.raises(UsageError, match=message):
            load_data("sydney", source="real")

    assert peak_of(read) < 50 * 2**20


def test_more_pictures_than_fit_are_refused(folder, monkeypatch):
    cases.write_captions(folder)
    monkeypatch.setattr(captions, "MAX_ARRAY_BYTES", 32 * 32 * 3 - 1)
    with pytest.raises(
        UsageError, match=r"1 images of 32x32 pixels.* would do is 31 pixels a side"
    ):
        load_data("sydney", source="real")


# Vocabularies


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"separator": "", "tokens": ["a", 1, "b", "c"]}, "int, expected a text"),
        ({"separator": "", "tokens": "abcd"}, "not a list of strings"),
        ({"separator": "", "tokens": ["a", "b", "c", "\udc00"]}, "half a surrogate pair"),
        ({"separator": None, "tokens": list("abcd")}, "separator None"),
        ([], r"cannot be read \(TypeError"),
    ],
)
def test_vocabularies_of_other_types(tmp_path, content, message):
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=message):
        Vocabulary.load(path)


def test_a_missing_vocabulary_is_no_missing_data(tmp_path):
    with pytest.raises(UsageError) as error:
        Vocabulary.load(tmp_path / "vocabulary.json")
    assert "no such file" in str(error.value) and ALTERNATIVE not in str(error.value)


# What is missing


def missing_data(folder: Path, name: str) -> str:
    with pytest.raises(UsageError) as error:
        load_data(name, source="real")
    return str(error.value)


def test_missing_data_say_that_synthetic_needs_none(folder, monkeypatch):
    for name in ("intel", "sydney"):
        assert missing_data(folder, name).endswith(ALTERNATIVE)
    (folder / "p2g").mkdir()
    assert missing_data(folder, "p2g").endswith(ALTERNATIVE)
    target = cases.write_captions(folder)
    (target / "images" / "3.jpg").unlink()
    assert missing_data(folder, "sydney").endswith(ALTERNATIVE)
    (target / "val.json").unlink()
    assert missing_data(folder, "sydney").endswith(ALTERNATIVE)
    (folder / "seg_train").mkdir()
    assert missing_data(folder, "intel").endswith(ALTERNATIVE)
    monkeypatch.setenv("HW2_DATA_DIR", str(folder / "nowhere"))
    assert missing_data(folder, "fashion").endswith(ALTERNATIVE)


def test_a_variable_that_is_not_set_is_named(folder, monkeypatch):
    assert "(HW2_DATA_DIR is not set)" not in missing_data(folder, "intel")
    monkeypatch.delenv("HW2_DATA_DIR")
    for name in ("intel", "sydney"):
        assert f"{name!r} not found (HW2_DATA_DIR is not set): put" in missing_data(folder, name)


def test_a_folder_that_may_not_be_searched_is_one_line(folder, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    message = missing_data(folder, "intel")
    assert "'intel'" in message and "cannot be reached (Permission denied)" in message
    problems = {row.name: row.problem for row in describe()}
    assert "cannot be reached" in problems["intel"]


def test_no_connection_says_that_synthetic_needs_no_data(folder, monkeypatch):
    def refuse(url, timeout):
        raise OSError("no route")

    monkeypatch.setattr(pairs_tfds.urllib.request, "urlopen", refuse)
    for name in ("fashion", "p2g"):
        assert missing_data(folder, name).endswith(ALTERNATIVE)


def test_a_folder_that_does_not_exist_is_said_once(folder, monkeypatch, capsys):
    monkeypatch.setenv("HW2_DATA_DIR", str(folder / "nowhere"))
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        describe()
    assert main(["data"]) == 2
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count("is not a folder") == 1


# Copies and downloads


def test_a_stale_copy_of_kaggles_folders_is_told(folder):
    cases.kaggle(folder)
    load_data("intel", source="real")
    load_data("intel", source="real")
    name = folder / "seg_train" / CLASSES["intel"][0] / "0.png"
    Image.effect_noise((20, 20), 90).save(name)
    with pytest.raises(UsageError, match=r"was not prepared from the images .* delete the former"):
        load_data("intel", source="real")


def test_the_first_download_is_kept_and_compared_before_it_is_parsed(folder, capsys):
    layout = pair_files.LAYOUTS["spa_eng"]
    path = folder / "download"
    path.write_bytes(b"one")
    found = pairs_tfds.check(path, layout)
    pairs_tfds.keep(found, layout)
    said = capsys.readouterr().err
    assert "no published checksum" in said and found in said and said.count("\n") == 1
    assert pairs_tfds.check(path, layout) == found
    pairs_tfds.keep(found, layout)
    assert capsys.readouterr().err == ""
    path.write_bytes(b"two")
    with pytest.raises(UsageError, match=r"download\.sha256 says .* or the note to accept it"):
        pairs_tfds.check(path, layout)


def test_a_download_with_a_known_checksum_has_no_first_one(folder, capsys):
    layout = pair_files.LAYOUTS["p2g"]
    path = folder / "download"
    path.write_bytes(b"one")
    with pytest.raises(UsageError, match=f"the package says {layout.sha256}: the file changed"):
        pairs_tfds.check(path, layout)
    pairs_tfds.keep(layout.sha256, layout)
    assert capsys.readouterr().err == "" and not pairs_tfds.first_seen(layout).exists()


def test_labels_of_every_integer_type_are_read(folder):
    rows = np.arange(10) % 6
    arrays = {
        key: value
        for split in cases.SPLITS
        for key, value in (
            (f"{split}_images", np.zeros((10, 48, 48, 3), np.uint8)),
            (f"{split}_labels", rows.astype(rows.dtype if split == "val" else ">u8")),
        )
    }
    np.savez(folder / "intel_landscapes.v2.npz", **arrays)
    assert load_data("intel", source="real").train.label.dtype == np.int32
