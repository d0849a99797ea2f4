"""Text data: the course's files, the public originals, the synthetic sources, and bad input."""

import json
import shutil
import threading
import zipfile
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from hw2_keras.data import captions, pair_files, pairs
from hw2_keras.data.synthetic import number_words, scenes, spelling
from hw2_keras.errors import UsageError

RED, BLUE = (200, 30, 30), (30, 30, 200)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Empty places for real data and for downloads."""
    monkeypatch.setenv("HW2_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    (tmp_path / "data").mkdir()
    return tmp_path


def write_pairs(folder, name, train, val="v\tw\t42\n", test="s\tt\t42\n"):
    target = folder / "data" / name
    target.mkdir(exist_ok=True)
    for file, content in zip(pair_files.LAYOUTS[name].files, (train, val, test), strict=True):
        (target / file).write_bytes(content.encode() if isinstance(content, str) else content)


def write_sydney(folder, size=(8, 8)):
    """Three images and their captions, in the course's layout."""
    target = folder / "data" / "sydney"
    (target / "images").mkdir(parents=True)
    for number, colour in ((7, RED), (3, BLUE), (219, RED)):
        Image.new("RGB", size, colour).save(target / "images" / f"{number}.jpg", quality=95)
    words = ["<start_seq>", "a", "sea", "<end_seq>"], ["<start_seq>", "a", "bay", "<end_seq>"]
    train = {
        "images_names": ["7.tif", "3.tif", "7.tif"],
        "captions_tokens": [words[0], words[1], words[1]],
    }
    references = {
        "images_names": ["219.tif"],
        "all_refs": {"219.tif": [["a", "sea"], ["one", "sea"]]},
    }
    for split, content in (("train", train), ("val", references), ("test", references)):
        (target / f"{split}.json").write_text(json.dumps(content))
    return target


# Pairs from the course's files


def test_spanish_is_the_source_although_english_comes_first(folders):
    write_pairs(folders, "spa_eng", "go .\t ve !\t42\nhi .\thola .\t42\n")
    data = pairs.load_real("spa_eng")
    assert data.train == ((" ve !", "hola ."), ("go .", "hi ."))
    assert data.val == (("w",), ("v",))
    assert data.source_vocabulary.tokens[4:] == (" ", "v", "e", "!", "h", "o", "l", "a", ".")
    assert (data.name, data.source, data.notes) == ("spa_eng", "real", ())
    assert pairs.count("spa_eng", pair_files.find("spa_eng")) == (2, 1, 1)


def test_symbols_keep_their_marks_and_spellings_are_composed(folders):
    write_pairs(folders, "p2g", "t͡ʃ ɔ̃ n̩\te\u0301t\r\n", "a\tb\n", "a\tb")
    data = pairs.load_real("p2g")
    assert data.source_vocabulary.tokens[4:] == ("t͡ʃ", "ɔ̃", "n̩")
    assert data.train.target == ("ét",)
    assert data.target_vocabulary.tokens[4:] == ("é", "t")


def test_fingerprints_follow_the_content(folders):
    write_pairs(folders, "p2g", "a b\tx\n")
    first = pairs.load_real("p2g").fingerprint
    assert pairs.load_real("p2g").fingerprint == first
    write_pairs(folders, "p2g", "a\tx\n")
    assert pairs.load_real("p2g").fingerprint != first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tb\nc\n", r"train\.tsv, line 2: one column, expected IPA"),
        ("a\tb\n\nc\td\n", r"line 2: one column"),
        ("a\tb\nc\t \n", r"line 2: a blank column"),
        (b"a\tb\nc\t\xe9\n", r"line 2: byte 0xe9 is not UTF-8"),
        ("", r"train\.tsv: the split is empty"),
        ("\n\n", r"train\.tsv: the split is empty"),
    ],
)
def test_bad_pair_files_are_refused(folders, content, message):
    write_pairs(folders, "p2g", content)
    with pytest.raises(UsageError, match=message) as caught:
        pairs.load_real("p2g")
    assert "\n" not in str(caught.value)


def test_a_missing_split_is_refused(folders):
    write_pairs(folders, "p2g", "a\tb\n")
    (folders / "data" / "p2g" / "valid.tsv").unlink()
    with pytest.raises(UsageError, match=r"valid\.tsv cannot be read"):
        pairs.load_real("p2g")


# Pairs from the public originals


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("¿Qué   hora es?", " que hora es ?"),
        ("¡Adiós, señor!", " adios senor !"),
        ('"Look!" she said.', " look ! she said ."),
        ("I'm 30...", "i m . . ."),
        (" Tom fue despedido. ", "tom fue despedido ."),
    ],
)
def test_sentences_are_cleaned_as_in_the_course(text, clean):
    assert pair_files.clean_sentence(text) == clean


def test_anki_pairs_are_filtered_by_length(tmp_path):
    rows = [
        "Go.\tVe.\tCC-BY 2.0",
        "Hi.\t" + "a" * 18 + "!\tCC-BY",  # 20 characters with the space
        "Hi.\t" + "a" * 17 + "!\tCC-BY",
        "A sentence that is too long.\tNo.",
        "42\tSi.",
    ]
    path = tmp_path / "spa-eng.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("spa-eng/_about.txt", "about")
        archive.writestr("spa-eng/spa.txt", "\n".join(rows))
    assert pair_files.read_anki(path) == [("ve .", "go ."), ("a" * 17 + " !", "hi .")]
    path.write_bytes(b"not a zip file")
    with pytest.raises(UsageError, match=r"expected a zip file with spa\.txt"):
        pair_files.read_anki(path)


def test_splits_are_drawn_by_seed_and_disjoint():
    numbered = [(str(i), str(-i)) for i in range(30)]
    train, val, test = pair_files.seeded_split(numbered, (20, 5, 4), "here")
    assert [len(split.source) for split in (train, val, test)] == [20, 5, 4]
    assert len({*train.source, *val.source, *test.source}) == 29
    assert train.source[:4] == tuple(str(i) for i in np.random.RandomState(42).permutation(30)[:4])
    assert val.target == tuple(f"-{i}" for i in val.source)
    with pytest.raises(UsageError, match="here: 30 usable pairs, expected at least 31"):
        pair_files.seeded_split(numbered, (20, 6, 5), "here")


@pytest.fixture
def server(tmp_path):
    """A folder, and its address on a server of this machine."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.fixture
def public_words(folders, server, monkeypatch):
    """A WikiPron file of ten words behind an address of this machine."""
    original = server[0] / "eng.tsv"
    original.write_text("".join(f"Wört{i}\tw ɜː {i}\n" for i in range(10)), encoding="utf-8")
    layout = pair_files.LAYOUTS["p2g"]._replace(
        url=f"{server[1]}/eng.tsv", sizes=(6, 2, 2), sha256=""
    )
    monkeypatch.setitem(pair_files.LAYOUTS, "p2g", layout)
    return original


def test_without_the_course_files_the_original_is_prepared_once(public_words, capsys):
    assert pair_files.find("p2g") is None
    data = pairs.load_real("p2g")
    assert "Dl Size" in capsys.readouterr().err  # a progress bar
    assert [len(s.source) for s in (data.train, data.val, data.test)] == [6, 2, 2]
    expected = [f"Wört{i}" for i in np.random.RandomState(42).permutation(10)]
    assert [t for s in (data.train, data.val, data.test) for t in s.target] == expected
    assert data.train.source[0] == f"w ɜː {data.train.target[0][-1]}"
    assert data.origin == pair_files.LAYOUTS["p2g"].url
    assert "another draw" in data.notes[0]  # so that no report's figure is judged by it
    prepared = pair_files.find("p2g")
    assert prepared.parts[-2:] == ("wiki_pron", "1.0.0")
    assert pairs.count("p2g", prepared) == (6, 2, 2)
    public_words.unlink()
    assert pairs.load_real("p2g") == data


def test_sentences_through_their_builder(folders, server, monkeypatch):
    folder, address = server
    with zipfile.ZipFile(folder / "spa-eng.zip", "w") as archive:
        rows = [f"Go {c}.\tVé {c}.\tCC-BY" for c in "abcd"]
        archive.writestr("spa-eng/spa.txt", "\n".join(rows))
    layout = pair_files.LAYOUTS["spa_eng"]._replace(url=f"{address}/spa-eng.zip", sizes=(2, 1, 1))
    monkeypatch.setitem(pair_files.LAYOUTS, "spa_eng", layout)
    data = pairs.load_real("spa_eng")
    first = "abcd"[np.random.RandomState(42).permutation(4)[0]]
    assert (data.train.source[0], data.train.target[0]) == (f"ve {first} .", f"go {first} .")


def download_again(folders):
    """Make the next load download: the prepared copy and the downloaded file are gone."""
    shutil.rmtree(folders / "tfds" / "downloads")
    shutil.rmtree(pair_files.find("p2g"))


def test_a_changed_original_is_refused(public_words, folders):
    pairs.load_real("p2g")
    download_again(folders)
    public_words.write_text("".join(f"other{i}\tw {i}\n" for i in range(10)), encoding="utf-8")
    with pytest.raises(UsageError, match=r"eng\.tsv has sha256 .*delete .* to download") as error:
        pairs.load_real("p2g")
    assert "\n" not in str(error.value)
    assert pair_files.find("p2g") is None  # nothing half-prepared


def test_a_damaged_original_is_refused(public_words):
    public_words.write_text("one\tw\ntwo\n")
    with pytest.raises(UsageError, match=r"line 2: one column, expected spelling<TAB>IPA"):
        pairs.load_real("p2g")
    assert pair_files.find("p2g") is None


def test_no_connection_is_told_in_one_line(public_words):
    public_words.unlink()
    with pytest.raises(
        UsageError, match=r"404.*check the connection, or put the course's"
    ) as error:
        pairs.load_real("p2g")
    assert "\n" not in str(error.value)


# Captions


def test_captions_are_grouped_by_image_and_pairs_keep_the_file_order(folders):
    write_sydney(folders)
    data = captions.load_real("sydney")
    assert data.train.image_id == (7, 3)
    assert data.train.target == (("a sea", "a bay"), ("a bay",))
    assert data.pairs.tolist() == [[0, 0], [1, 0], [0, 1]]
    assert data.val.target == (("a sea", "one sea"),)
    assert data.train.image.shape == (2, 8, 8, 3)
    assert np.abs(data.train.image.astype(int) - np.array([[[RED]], [[BLUE]]])).max() < 12
    tokens = ("<#>", "<start_seq>", "<end_seq>", "<unk>", "a", "sea", "bay")
    assert data.target_vocabulary.tokens == tokens
    assert data.target_vocabulary.unknown("one sea") == ["one"]
    assert captions.count("sydney", captions.find("sydney")) == (2, 1, 1)


def test_captions_are_found_in_the_manual_folder_too(folders):
    source = write_sydney(folders)
    manual = folders / "tfds" / "downloads" / "manual"
    manual.mkdir(parents=True)
    source.rename(manual / "sydney")
    origin = captions.load_real("sydney").origin
    assert origin == "sydney in TensorFlow Datasets' manual folder"


def test_captions_that_are_nowhere_say_how_to_get_them(folders):
    with pytest.raises(UsageError, match=r"'sydney' not found: put the course's .* HW2_DATA_DIR"):
        captions.load_real("sydney")


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_missing_image_is_named(folders):
    folder = write_sydney(folders)
    (folder / "images" / "3.jpg").unlink()
    with pytest.raises(UsageError, match=r"name image '3.tif', but neither .*3\.jpg nor 3\.tif"):
        captions.load_real("sydney")


def test_tif_images_serve_as_well(folders):
    folder = write_sydney(folders)
    (folder / "images" / "3.jpg").unlink()
    Image.new("RGB", (8, 8), BLUE).save(folder / "images" / "3.tif")
    assert (captions.load_real("sydney").train.image[1] == BLUE).all()


@pytest.mark.parametrize("keep", [0, 20, 400])
def test_a_broken_jpeg_is_named(folders, keep):
    folder = write_sydney(folders)
    path = folder / "images" / "219.jpg"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UsageError, match=r"219\.jpg is not a complete image"):
        captions.load_real("sydney")


def test_images_of_different_sizes_are_refused(folders):
    folder = write_sydney(folders)
    Image.new("RGB", (9, 8)).save(folder / "images" / "3.jpg")
    with pytest.raises(UsageError, match=r"3\.jpg: 9x8 pixels, expected 8x8"):
        captions.load_real("sydney")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"images_names": [], "captions_tokens": []}, "the split is empty"),
        ({"images_names": ["7.tif"]}, r"train\.json cannot be read \(ValueError"),
        ({"captions_tokens": None}, r"train\.json cannot be read \(TypeError"),
        (
            {"images_names": ["7.tif"], "captions_tokens": [["<start_seq>", "<end_seq>"]]},
            "image '7.tif' has a blank caption",
        ),
        (
            {"images_names": ["x.tif"], "captions_tokens": [["a"]]},
            r"image name 'x\.tif': expected a number",
        ),
    ],
)
def test_bad_caption_files_are_refused(folders, values, message):
    change(write_sydney(folders) / "train.json", **values)
    with pytest.raises(UsageError, match=message):
        captions.load_real("sydney")


def test_an_image_named_twice_does_not_repeat_its_references(folders):
    folder = write_sydney(folders)
    for name in ("219.tif", ""):
        change(folder / "val.json", images_names=[name] * 2, all_refs={name: [["a", "sea"]]})
        with pytest.raises(UsageError, match=rf"val\.json: image '{name}' is named twice"):
            captions.load_real("sydney")


def test_captions_that_are_not_json_or_not_utf8_are_refused(folders):
    folder = write_sydney(folders)
    change(folder / "val.json", all_refs={})
    with pytest.raises(UsageError, match=r"val\.json cannot be read \(KeyError: '219.tif'\)"):
        captions.load_real("sydney")
    for content in (b"{", b'{"images_names": ["\xe9"]}', b"[]"):
        (folder / "train.json").write_bytes(content)
        with pytest.raises(UsageError, match=r"train\.json cannot be read"):
            captions.load_real("sydney")


# Synthetic sources


def test_number_words_by_hand():
    table = {
        0: ("cero", "zero"),
        16: ("dieciseis", "sixteen"),
        21: ("veintiuno", "twenty one"),
        31: ("treinta y uno", "thirty one"),
        100: ("cien", "one hundred"),
        101: ("ciento uno", "one hundred one"),
        1_000: ("mil", "one thousand"),
        4_000: ("cuatro mil", "four thousand"),
        21_000: ("veintiun mil", "twenty one thousand"),
        100_000: ("cien mil", "one hundred thousand"),
        131_700: (
            "ciento treinta y un mil setecientos",
            "one hundred thirty one thousand seven hundred",
        ),
        999_515: (
            "novecientos noventa y nueve mil quinientos quince",
            "nine hundred ninety nine thousand five hundred fifteen",
        ),
    }
    found = {n: (number_words.spanish(n), number_words.english(n)) for n in table}
    assert found == table


def parse(text, small, hundreds, thousand):
    """Read number words back, by value: the inverse of the generator, written apart from it."""
    total = part = 0
    for word in text.split():
        if word == thousand:
            total, part = max(part, 1) * 1_000, 0
        elif word == "hundred":
            part *= 100
        elif word in hundreds:
            part += 100 * (hundreds.index(word) + 1)
        elif word != "y":
            part += small[word]
    return total + part


def test_number_words_mean_their_number():
    tens = range(30, 100, 10)
    spanish = dict(zip(number_words.SPANISH_SMALL, range(30), strict=True))
    spanish |= dict(zip(number_words.SPANISH_TENS[3:], tens, strict=True))
    spanish |= {"un": 1, "veintiun": 21, "cien": 100}
    english = dict(zip(number_words.ENGLISH_SMALL, range(20), strict=True))
    english |= dict(zip(number_words.ENGLISH_TENS[2:], (20, *tens), strict=True))
    numbers = np.random.default_rng(0).integers(0, 1_000_000, 3_000).tolist()
    for number in (*range(2_100), *numbers):
        words = number_words.spanish(number)
        assert parse(words, spanish, number_words.SPANISH_HUNDREDS[1:], "mil") == number
        assert parse(number_words.english(number), english, [], "thousand") == number
        assert "uno mil" not in words


@pytest.mark.parametrize(
    ("phonemes", "spelling_"),
    [
        ("k æ t", "cat"),
        ("k ɪ t", "kit"),
        ("b æ k", "back"),
        ("b e͡ɪ k", "bake"),
        ("k w ɪ k", "quick"),
        ("f ɒ k s", "fox"),
        ("b æ ŋ k", "bank"),
        ("t ɪ k ɪ t", "tickit"),
        ("ɹ æ b ɪ t", "rabbit"),
        ("ɹ e͡ɪ", "ray"),
        ("ɹ e͡ɪ p ɪ d", "rapid"),
        ("f e͡ɪ s", "phace"),
        ("f ɪ s t", "fist"),
        ("b ɹ ɪ d͡ʒ", "bridge"),
        ("d͡ʒ ʌ n k", "junk"),
        ("d͡ʒ ɛ m", "gem"),
        ("ɡ ɛ s t", "guest"),
        ("v e͡ɪ ɡ", "vague"),
        ("k æ t͡ʃ", "catch"),
        ("b ɛ n t͡ʃ", "bench"),
        ("h æ p ɪ", "happy"),
        ("b ɔ͡ɪ", "boy"),
        ("p ɔ͡ɪ n t", "point"),
        ("n ɔ͡ɪ z", "noiz"),
        ("d͡ʒ ɔ͡ɪ s", "joise"),
        ("s ɪ ŋ", "sing"),
        ("k ɹ ɒ s", "cross"),
        ("p e͡ɪ s ɪ d", "pacid"),
    ],
)
def test_spelling_depends_on_context(phonemes, spelling_):
    assert spelling.spell(phonemes.split()) == spelling_


@pytest.mark.parametrize(
    ("name", "symbols", "longest"), [("spa_eng", (23, 24), 49), ("p2g", (38, 30), 50)]
)
def test_synthetic_pairs_are_seeded_and_held_out(name, symbols, longest):
    data = pairs.load_synthetic(name, 42)
    splits = (data.train, data.val, data.test)
    assert [len(split.source) for split in splits] == [2_000, 300, 300]
    assert [len(split.target) for split in splits] == [2_000, 300, 300]
    assert len({*data.train.source, *data.val.source, *data.test.source}) == 2_600
    assert (len(data.source_vocabulary), len(data.target_vocabulary)) == symbols
    assert max(len(text) for split in splits for side in split for text in side) <= longest
    for split in splits:
        assert not any(map(data.source_vocabulary.unknown, split.source))
        assert not any(map(data.target_vocabulary.unknown, split.target))
    assert data.source == "synthetic"
    assert "seed 42" in data.origin
    assert pairs.load_synthetic(name, 42) == data
    assert pairs.load_synthetic(name, 43).fingerprint != data.fingerprint


def test_small_numbers_reach_every_split():
    data = pairs.load_synthetic("spa_eng")
    for split in (data.train, data.val, data.test):
        words = Counter(len(text.split()) for text in split.target)
        assert words[1] + words[2] >= 5
        assert sum("thousand" in text for text in split.target) > len(split.target) / 3


def test_synthetic_scenes_are_seeded_and_complete():
    data = captions.load_synthetic("sydney", 42)
    splits = (data.train, data.val, data.test)
    assert [split.image.shape for split in splits] == [(n, 64, 64, 3) for n in (400, 60, 60)]
    assert data.train.image.dtype == np.uint8
    assert [len(split.target) for split in splits] == [400, 60, 60]
    assert {len(group) for split in splits for group in split.target} == {5}
    assert max(len(c.split()) for s in splits for group in s.target for c in group) <= 20
    assert data.pairs.shape == (2_000, 2)
    assert data.pairs[[0, 7, -1]].tolist() == [[0, 0], [1, 2], [399, 4]]
    assert data.test.image_id[0] == 460
    assert len(data.target_vocabulary) == 72
    assert not any(data.target_vocabulary.unknown(c) for group in data.test.target for c in group)
    again = captions.load_synthetic("sydney", 42)
    assert again.fingerprint == data.fingerprint
    assert data.target_vocabulary == again.target_vocabulary
    assert captions.load_synthetic("sydney", 43).fingerprint != data.fingerprint


def test_captions_say_what_is_painted():
    """Ships and trees are counted by their area, beaches located, in the pixels alone."""
    (image, groups), _, _ = scenes.generate(0)
    borders = {
        "left": np.s_[:, :6],
        "right": np.s_[:, -6:],
        "upper": np.s_[:6],
        "lower": np.s_[-6:],
    }
    seen = Counter()
    for pixels, group in zip(image.astype(float), groups, strict=True):
        middle = pixels[14:-14, 14:-14]
        if "beach" in group[0]:
            redness = {half: pixels[border][..., 0].mean() for half, border in borders.items()}
            assert f"on the {max(redness, key=redness.get)} side" in group[0]
            shape, area = "ship", (middle[..., 0] > 120).sum() / 48
        elif "meadow with" in group[0] and "river" not in group[0]:
            dark = middle[..., 1] < 0.78 * np.median(pixels[..., 1])
            shape, area = "tree", dark.sum() / 79
        else:
            continue
        number = scenes.COUNTS[round(area)]
        assert f"{number} {'white' if shape == 'ship' else 'green'} {shape}" in group[1]
        seen[shape, number] += 1
    assert len(seen) == 8


# The real data


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "sizes", "symbols"),
    [("spa_eng", (10_483, 1_000, 1_000), (30, 30)), ("p2g", (10_000, 1_000, 1_000), (103, 89))],
)
def test_real_pairs_have_the_specs_sizes(name, sizes, symbols):
    data = pairs.load_real(name)
    assert tuple(len(split.source) for split in (data.train, data.val, data.test)) == sizes
    assert (len(data.source_vocabulary) - 4, len(data.target_vocabulary) - 4) == symbols
    assert pairs.count(name, pair_files.find(name)) == sizes


@pytest.mark.real
def test_real_sentences_are_clean_and_short():
    data = pairs.load_real("spa_eng")
    texts = {text for split in (data.train, data.val, data.test) for side in split for text in side}
    assert max(map(len, texts)) == pair_files.MAX_CHARACTERS
    # Cleaning again adds a space before each mark and finds nothing else to do.
    assert all(pair_files.clean_sentence(t).split() == t.split() for t in texts)


@pytest.mark.real
def test_real_captions_have_the_specs_sizes():
    data = captions.load_real("sydney")
    assert len(data.target_vocabulary) == 190
    assert data.target_vocabulary.tokens[:4] == ("<#>", "<start_seq>", "<end_seq>", "<unk>")
    assert data.pairs.shape == (2_485, 2)
    assert [s.image.shape for s in (data.train, data.val, data.test)] == [
        (n, 500, 500, 3) for n in (497, 58, 58)
    ]
    lengths = [len(data.target_vocabulary.encode(data.train.target[i][j])) for i, j in data.pairs]
    assert max(lengths) + 2 == 22  # with start and end
    assert {219, 357, 540} < set(data.test.image_id)
    assert {len(group) for s in (data.val, data.test) for group in s.target} == {5}
