"""Hostile data files: seeded cases for the readers of ``hw2_keras.data``.

Each check takes a seed and a folder to write to, makes one case and asserts what is promised: the
data, or one line, a `UsageError`. ``CHECKS`` names them all.
"""

import copy
import functools
import io
import json
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hw2_keras.data import captions, describe, load_data, pair_files
from hw2_keras.data.image_files import CLASSES, KAGGLE_FOLDERS
from hw2_keras.data.vocabulary import Vocabulary
from hw2_keras.errors import UsageError

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
SPLITS = ("train", "val", "test")


def ok_or_one_line(read: Callable[[], Any]) -> bool:
    """Whether it was read; anything but a result or a UsageError of one line is a failure."""
    try:
        read()
    except UsageError as error:
        message = str(error)
        assert message.isprintable() and len(message) < 2_000, message[:500]
        return False
    return True


@contextmanager
def data_folder(folder: Path) -> Iterator[Path]:
    """The folder as HW2_DATA_DIR, with an empty one for TensorFlow Datasets in it."""
    names = ("HW2_DATA_DIR", "TFDS_DATA_DIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ |= {"HW2_DATA_DIR": str(folder), "TFDS_DATA_DIR": str(folder / "tfds")}
    try:
        yield folder
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# Bytes


def flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 10))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def blank(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    size = min(rng.choice((1, 4, 100)), len(content) - start)
    return content[:start] + bytes(size) + content[start + size :]


def repeat(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start:][:200] * rng.choice((2, 50)) + content[start:]


def mutated(content: bytes, rng: random.Random) -> bytes:
    return rng.choice((flip, flip, cut, blank, repeat))(content, rng)


# Arrays


def header(shape: object, descr: object = "|u1", version: tuple[int, int] = (1, 0)) -> bytes:
    """The head of an .npy file that claims a shape and a dtype."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text


@functools.cache
def small_arrays() -> dict[str, bytes]:
    """The six members of a tiny kmnist_10k.npz."""
    members = {}
    for split in SPLITS:
        for key, array in (
            (f"x_{split}", np.arange(10 * 784).reshape(10, 28, 28).astype(np.uint8)),
            (f"y_{split}", np.arange(10)),
        ):
            file = io.BytesIO()
            np.save(file, array)
            members[f"{key}.npy"] = file.getvalue()
    return members


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as written:
        for name, content in members.items():
            written.writestr(name, content)
    return file.getvalue()


def claim(rng: random.Random) -> bytes:
    """A member that claims more, or something else, than it holds."""
    many = 10 ** rng.choice((1, 5, 10, 30, 300))
    shapes = [(many, 28, 28), (10, many), (many,) * 40, (-1, 28, 28), (), (10.5,), "10", (True,)]
    kinds = ["|u1", "<f8", "|O", "|V0", "|S0", "<U1000000000", "x", [("a", "<i8")], None, "<M8[s]"]
    version = rng.choice(((1, 0), (1, 0), (2, 0), (3, 0), (9, 9)))
    return header(rng.choice(shapes), rng.choice(kinds), version) + bytes(rng.choice((0, 7840)))


def check_arrays(seed: int, folder: Path) -> None:
    """Damaged archives, and headers that claim what is not there."""
    rng = random.Random(seed)
    members = dict(small_arrays())
    name = rng.choice(list(members))
    kind = rng.randrange(4)
    if kind == 0:
        members[name] = claim(rng)
    elif kind == 1:
        members[name] = mutated(members[name], rng)
    content = archive(members, rng.choice(METHODS))
    if kind >= 2:
        content = mutated(content, rng)
    (folder / "kmnist_10k.npz").write_bytes(content)
    with data_folder(folder):
        ok_or_one_line(lambda: load_data("kmnist", source="real"))
        ok_or_one_line(describe)


# Texts

LINES = "h ə l o ʊ\thallow\nd ɔ ɡ\tdog\nk æ t\tcat\n"


def strange_text(rng: random.Random) -> bytes:
    """A file of pairs as other programs write it, or as none should."""
    make = rng.choice(
        (
            lambda: ("\ufeff" + LINES).encode(),
            lambda: LINES.replace("\n", "\r").encode(),
            lambda: LINES.replace("\n", "\r\n").encode(),
            lambda: LINES.encode(rng.choice(("utf-16", "utf-32", "utf-16-le"))),
            lambda: LINES.encode() + b"a" * 10**6 + b"\tb\n",
            lambda: LINES.encode() + ("a" + "\u0301\u0323" * 10**5 + "\tb\n").encode(),
            lambda: LINES.encode() + b"\xed\xa0\x80\tb\n",
            lambda: LINES.encode() + rng.choice("\x00\x1b\u2028\u202e\x85\x1c").encode() + b"\tb\n",
            lambda: LINES.encode() + b"\t" * 10**6,
            lambda: b"\n" * 10**5,
            lambda: mutated(LINES.encode(), rng),
        )
    )
    return make()


def check_texts(seed: int, folder: Path) -> None:
    """Pairs in other encodings, with other line ends, without end."""
    rng = random.Random(seed)
    target = folder / "p2g"
    target.mkdir(exist_ok=True)
    files = pair_files.LAYOUTS["p2g"].files
    for file in files:
        (target / file).write_bytes(LINES.encode())
    (target / rng.choice(files)).write_bytes(strange_text(rng))
    with data_folder(folder):

        def read() -> None:
            data = load_data("p2g", source="real")
            assert not any("\ufeff" in t or "\r" in t for t in data.target_vocabulary.tokens)

        ok_or_one_line(read)
        ok_or_one_line(describe)


@functools.cache
def zip_bomb() -> bytes:
    """An archive of 100 kB whose spa.txt has 100 MB."""
    return archive({"spa.txt": bytes(100 * 2**20)}, zipfile.ZIP_DEFLATED)


def check_archives(seed: int, folder: Path) -> None:
    """The downloaded archive of sentences: damaged, encrypted or a bomb."""
    rng = random.Random(seed)
    sentences = "".join(f"Go {i}.\tVé {i}.\tCC-BY\n" for i in range(50)).encode()
    name = rng.choice(("spa-eng/spa.txt", "spa.txt", "../spa.txt", "x.txt", "spa.txt/"))
    content = archive({"about.txt": b"x", name: sentences}, rng.choice(METHODS))
    if rng.random() < 0.1:
        content = zip_bomb()
    if rng.random() < 0.8:
        content = mutated(content, rng)
    path = folder / "spa-eng.zip"
    path.write_bytes(content)
    ok_or_one_line(lambda: pair_files.read_anki(path))


# JSON


def junk(rng: random.Random) -> Any:
    deep: list = []
    for _ in range(rng.choice((3, 100))):
        deep = [deep]
    texts = ["", " ", "x", "\ud800", "\ufeff", "\x1b[2J", "a" * 5_000, "<eos>"]
    names = ["../7.tif", "9" * 400 + ".tif", "٣.tif", "7"]
    others = [None, True, 7, -1, 1e400, 10**30, [], {}, [[]], {"7.tif": 7}, deep]
    return rng.choice([*texts, *names, *others])


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(items):
        yield content, key
        if isinstance(value, dict | list):
            yield from places(value)


def other_json(content: Any, rng: random.Random) -> bytes:
    """The same JSON with something else in one or two places, or other bytes."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 2))):
        container, key = rng.choice(list(places(content)))
        if rng.random() < 0.2:
            del container[key]
        else:
            container[key] = junk(rng)
    if rng.random() < 0.1:
        content = junk(rng)
    text = json.dumps(content)
    if rng.random() < 0.05:
        text = "[" * 10**5
    encoded = text.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16")))
    return mutated(encoded, rng) if rng.random() < 0.2 else encoded


@functools.cache
def caption_files() -> dict[str, dict]:
    refs = {"images_names": ["3.tif"], "all_refs": {"3.tif": [["a", "sea"], ["one", "sea"]]}}
    train = {"images_names": ["7.tif"] * 2, "captions_tokens": [["a", "sea"], ["a", "bay"]]}
    return {"train": train, "val": refs, "test": refs}


def write_captions(folder: Path) -> Path:
    target = folder / "sydney"
    (target / "images").mkdir(parents=True, exist_ok=True)
    for number in (3, 7):
        Image.new("RGB", (32, 32), (200, 30, 30)).save(target / "images" / f"{number}.jpg")
    for split, content in caption_files().items():
        (target / f"{split}.json").write_text(json.dumps(content))
    return target


def check_captions(seed: int, folder: Path) -> None:
    """Caption files with other types, names, encodings and depths."""
    rng = random.Random(seed)
    target, split = write_captions(folder), rng.choice(SPLITS)
    (target / f"{split}.json").write_bytes(other_json(caption_files()[split], rng))
    with data_folder(folder):
        ok_or_one_line(lambda: load_data("sydney", source="real"))
        ok_or_one_line(describe)


def check_vocabulary(seed: int, folder: Path) -> None:
    """A run's vocabulary with other types, tokens and depths."""
    rng, path = random.Random(seed), folder / "vocabulary.json"
    tokens = ["<pad>", "<sos>", "<eos>", "<unk>", "a", "b"]
    path.write_bytes(other_json({"separator": "", "tokens": tokens}, rng))

    def read() -> None:
        vocabulary = Vocabulary.load(path)
        assert len(vocabulary.fingerprint) == 64
        vocabulary.decode(vocabulary.encode("ab"))

    ok_or_one_line(read)


# Pictures


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(width: int, height: int, *extra: bytes) -> bytes:
    """A grey PNG that claims a size; its pixels are those of 32x32."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(32) for _ in range(32)))
    chunks = (chunk(b"IHDR", head), *extra, chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@functools.cache
def text_bomb(kind: bytes) -> bytes:
    """A chunk of 100 kB that unpacks to 100 MB."""
    return chunk(kind, b"k\0\0" + zlib.compress(bytes(100 * 2**20), 9))


def picture(rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        side = rng.choice((0, 1, 33, 2_000, 2_001, 20_000, 2**31 - 1))
        return png(side, rng.choice((side, 32)))
    if kind == 1:
        return png(32, 32, text_bomb(rng.choice((b"zTXt", b"iCCP"))))
    size = rng.choice(((32, 32), (32, 32), (40, 50), (2_500, 2_500), (1, 1)))
    mode = rng.choice(("RGB", "L", "1"))
    file = io.BytesIO()
    Image.new(mode, size).save(file, rng.choice(("JPEG", "TIFF", "TIFF", "GIF", "BMP")))
    return mutated(file.getvalue(), rng) if kind == 3 else file.getvalue()


def check_pictures(seed: int, folder: Path) -> None:
    """Pictures of other sizes and kinds, damaged ones, and bombs."""
    rng = random.Random(seed)
    path = write_captions(folder) / "images" / "3.jpg"
    path.write_bytes(picture(rng))
    with data_folder(folder):

        def read() -> None:
            assert captions.load_real("sydney").test.image.shape == (1, 32, 32, 3)

        ok_or_one_line(read)


# TensorFlow Datasets


def kaggle(folder: Path) -> None:
    for part in KAGGLE_FOLDERS:
        for k, name in enumerate(CLASSES["intel"]):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for i in range(2):
                image = Image.new("RGB", (20, 20), (40 * k, 40 * i, 100))
                image.save(folder / part / name / f"{i}.png")


def check_prepared(seed: int, folder: Path) -> None:
    """A prepared copy of TensorFlow Datasets with a file that is damaged or gone."""
    rng = random.Random(seed)
    with data_folder(folder):
        if not (folder / "tfds").exists():
            kaggle(folder)
            assert ok_or_one_line(lambda: load_data("intel", source="real"))
        prepared = folder / "tfds" / "intel_landscapes" / "1.0.0"
        path = rng.choice(sorted(prepared.iterdir()))
        before = path.read_bytes()
        path.unlink()
        if rng.random() < 0.8:
            path.write_bytes(rng.choice((mutated(before, rng), b"", b"{}", b"[]")))
        ok_or_one_line(lambda: load_data("intel", source="real"))
        ok_or_one_line(describe)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(before)


# The folder itself


def check_folders(seed: int, folder: Path) -> None:
    """What HW2_DATA_DIR may be set to, and what may stand where a file is expected."""
    rng = random.Random(seed)
    name = rng.choice(
        ("fashion_mnist.npz", "intel_landscapes.v2.npz", "p2g", "sydney", "seg_train")
    )
    path = folder / name
    make = rng.choice(
        (
            lambda: path.mkdir(exist_ok=True),
            lambda: path.touch(),
            lambda: path.symlink_to(path),
            lambda: path.symlink_to("/dev/zero"),
            lambda: os.mkfifo(path),
        )
    )
    if not path.is_symlink() and not path.exists():
        make()
    data_set = {"fashion_mnist.npz": "intel", "intel_landscapes.v2.npz": "intel"}.get(name, name)
    data_set = {"seg_train": "intel"}.get(data_set, data_set)
    values = ("~nosuchuser", "x" * 5_000, str(path), "/proc/self/mem", "a/b/c", "\x1b", "")
    value = rng.choice(values) if rng.random() < 0.5 else str(folder)
    with data_folder(folder):
        os.environ["HW2_DATA_DIR"] = value
        if data_set != "p2g" or value:  # without a folder, pairs would be downloaded
            ok_or_one_line(lambda: load_data(data_set, source="real"))
        ok_or_one_line(describe)


CHECKS: dict[str, Callable[[int, Path], None]] = {
    "arrays": check_arrays,
    "texts": check_texts,
    "archives": check_archives,
    "captions": check_captions,
    "vocabulary": check_vocabulary,
    "pictures": check_pictures,
    "prepared": check_prepared,
    "folders": check_folders,
}
