"""Loading the real image sets: layouts, splits, TensorFlow Datasets, and every bad file."""

from concurrent.futures import ThreadPoolExecutor, wait
from io import BytesIO
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from hw2_keras import lock
from hw2_keras.data import describe, load_data
from hw2_keras.data.image_files import CLASSES, KAGGLE_FOLDERS
from hw2_keras.data.images import ImageData
from hw2_keras.data.sources import data_dir, fingerprint
from hw2_keras.errors import UsageError

COURSE_FILES = {"fashion": "Fashion-MNIST.npz", "kmnist": "Kuzushiji-MNIST.npz"}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty HW2_DATA_DIR, and a folder of TensorFlow Datasets that holds nothing either."""
    monkeypatch.setenv("HW2_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path


def numbered(count: int) -> np.ndarray:
    """Images (N, 28, 28) whose first two pixels spell their index."""
    image = np.zeros((count, 28, 28), np.uint8)
    image[:, 0, 0], image[:, 0, 1] = np.arange(count) // 256, np.arange(count) % 256
    return image


def indices(image: np.ndarray) -> np.ndarray:
    return image[:, 0, 0, 0].astype(int) * 256 + image[:, 0, 1, 0]


def labels(count: int) -> np.ndarray:
    return (np.arange(count) * 7 % 10).astype(np.uint8)


def official() -> dict[str, np.ndarray]:
    return {
        "x_train": numbered(60_000),
        "y_train": labels(60_000),
        "x_test": numbered(10_000),
        "y_test": labels(10_000),
    }


def kmnist_arrays() -> dict[str, np.ndarray]:
    return {
        key: value
        for split, count in (("train", 30), ("val", 20), ("test", 10))
        for key, value in ((f"x_{split}", numbered(count)), (f"y_{split}", labels(count)))
    }


def intel_arrays() -> dict[str, np.ndarray]:
    return {
        key: value
        for split, count in (("train", 12), ("val", 6), ("test", 6))
        for key, value in (
            (f"{split}_images", np.full((count, 48, 48, 3), count, np.uint8)),
            (f"{split}_labels", np.arange(count) % 6),
        )
    }


def protocol() -> tuple[np.ndarray, np.ndarray]:
    """The specification's split, written out: training and validation indices."""
    order = np.random.RandomState(42).permutation(60000)
    return order[10000:], order[:10000]


def assert_protocol(data: ImageData) -> None:
    train, val = protocol()
    np.testing.assert_array_equal(indices(data.train.image), train)
    np.testing.assert_array_equal(indices(data.val.image), val)
    np.testing.assert_array_equal(indices(data.test.image), np.arange(10_000))
    np.testing.assert_array_equal(data.train.label, train * 7 % 10)
    np.testing.assert_array_equal(data.val.label, val * 7 % 10)
    assert data.train.image.dtype == np.uint8 and data.train.label.dtype == np.int32
    assert data.train.image.shape == (50_000, 28, 28, 1)


def test_fashion_is_split_by_the_protocol(folder):
    np.savez(folder / "fashion_mnist.npz", **official())
    data = load_data("fashion_cnn", source="real", seed=7)
    assert_protocol(data)
    assert (data.name, data.source, data.notes) == ("fashion", "real", ())
    assert data.origin == "fashion_mnist.npz in HW2_DATA_DIR"


@pytest.mark.parametrize("name", ["fashion", "kmnist"])
@pytest.mark.parametrize("shape", [(-1, 1, 28, 28), (-1, 784)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_course_floats_become_the_same_pixels(folder, name, shape, dtype):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 28, 28)).astype(np.uint8)
    pixels.reshape(-1)[:256] = np.arange(256)
    arrays = {}
    for split, part in (("train", slice(0, 6)), ("dev", slice(6, 9)), ("test", slice(9, 12))):
        arrays[f"X{split}"] = (pixels[part].reshape(shape) / 256).astype(dtype)
        arrays[f"y{split}"] = np.arange(12)[part] % 10
    np.savez(folder / COURSE_FILES[name], **arrays)
    data = load_data(name, source="real")
    found = np.concatenate([data.train.image, data.val.image, data.test.image])
    np.testing.assert_array_equal(found[..., 0], pixels)
    np.testing.assert_array_equal(data.val.label, [6, 7, 8])
    assert data.notes == ()


def test_kmnist_10k_keeps_its_splits_and_says_that_it_is_a_subset(folder):
    np.savez(folder / "kmnist_10k.npz", **kmnist_arrays())
    data = load_data("kmnist", source="real")
    np.testing.assert_array_equal(indices(data.val.image), np.arange(20))
    assert (len(data.train.label), len(data.test.label)) == (30, 10)
    assert "10,000" in data.origin and "subset" in data.notes[0]


def test_intel_course_file(folder):
    np.savez(folder / "intel_landscapes.v2.npz", **intel_arrays())
    data = load_data("intel_cnn_bn", source="real")
    assert data.classes == ("buildings", "forest", "glacier", "mountain", "sea", "street")
    assert [split.image[0, 0, 0, 0] for split in (data.train, data.val, data.test)] == [12, 6, 6]
    assert data.train.label.dtype == np.int32


# --- TensorFlow Datasets -------------------------------------------------------------------


def kaggle_folder(folder: Path, nested: bool, train: int = 5, test: int = 2) -> None:
    """Kaggle's archive in small: plain-coloured JPEGs of 150x150, red = class, green = number."""
    for part, count in zip(KAGGLE_FOLDERS, (train, test), strict=True):
        root = folder / part / part if nested else folder / part
        for k, name in enumerate(CLASSES["intel"]):
            (root / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                image = Image.new("RGB", (150, 150), (40 * k, 40 * i, 100))
                image.save(root / name / f"{i}.jpg", quality=95)


@pytest.mark.parametrize("nested", [True, False])
def test_kaggle_folders_through_a_tfds_builder(folder, nested):
    kaggle_folder(folder, nested)
    data = load_data("intel", source="real")
    sizes = [len(split.label) for split in (data.train, data.val, data.test)]
    assert sizes == [27, 3, 12]
    assert data.train.image.shape[1:] == (48, 48, 3)
    order = np.random.RandomState(42).permutation(30)
    np.testing.assert_array_equal(data.val.label, order[:3] // 5)
    np.testing.assert_array_equal(data.train.label, order[3:] // 5)
    np.testing.assert_allclose(data.train.image[:, 24, 24, 0], order[3:] // 5 * 40.0, atol=4)
    np.testing.assert_allclose(data.train.image[:, 24, 24, 1], order[3:] % 5 * 40.0, atol=4)
    assert "RandomState(42)" in data.notes[0]
    assert (folder / "tfds" / "intel_landscapes" / "1.0.0" / "dataset_info.json").is_file()
    assert [row.sizes for row in describe() if row.name == "intel"] == [(27, 3, 12)]

    (folder / "seg_train").rename(folder / "old")
    kaggle_folder(folder, nested, train=6)
    with pytest.raises(UsageError, match=r"prepared from 30 and 12 images.*36 and 12: delete"):
        load_data("intel", source="real")


def test_one_at_a_time_prepares_the_copy(folder):
    kaggle_folder(folder, nested=False)
    copy = folder / "tfds" / "intel_landscapes"
    copy.mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        with lock.hold(copy, "preparing"):
            found = [pool.submit(load_data, "intel", source="real") for _ in range(2)]
            assert wait(found, timeout=2).not_done == set(found)
            assert {path.name for path in copy.iterdir()} == {lock.LOCK}
        first, second = (future.result() for future in found)
    assert first.fingerprint == second.fingerprint


def test_a_copy_that_is_there_needs_no_lock(folder):
    kaggle_folder(folder, nested=False)
    load_data("intel", source="real")
    with lock.hold(folder / "tfds" / "intel_landscapes", "preparing"):
        load_data("intel", source="real")


def test_a_kill_behind_the_preparation_loses_nothing(folder, monkeypatch):
    from hw2_keras.data.images_tfds import IntelLandscapes

    class Killed(BaseException):
        pass

    def prepare(builder, **options):
        original(builder, **options)
        raise Killed

    kaggle_folder(folder, nested=False)
    original = IntelLandscapes.download_and_prepare
    with monkeypatch.context() as patch:
        patch.setattr(IntelLandscapes, "download_and_prepare", prepare)
        with pytest.raises(Killed):
            load_data("intel", source="real")
    assert len(load_data("intel", source="real").train.label) == 27


def test_kaggle_folder_with_a_broken_image(folder):
    kaggle_folder(folder, nested=False, train=1, test=1)
    (folder / "seg_train" / "sea" / "0.jpg").write_bytes(b"no image")
    with pytest.raises(UsageError, match="seg_train and seg_test could not be read"):
        load_data("intel", source="real")


def test_kaggle_folder_without_a_class(folder):
    kaggle_folder(folder, nested=False, train=1, test=1)
    (folder / "seg_test" / "street" / "0.jpg").unlink()
    with pytest.raises(UsageError, match=r"seg_test.street holds no images, expected \.jpg"):
        load_data("intel", source="real")
    row = next(row for row in describe() if row.name == "intel")
    assert "holds no images" in row.problem and row.sizes is None


def test_official_order_undoes_the_shuffling_of_tfds(tmp_path):
    import tensorflow_datasets as tfds

    from hw2_keras.data.images_tfds import official_order

    class Counted(tfds.core.GeneratorBasedBuilder):
        """Fifty numbers under the keys 0..49, as the MNIST builders write theirs."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"image": np.int64, "label": np.int64})
            return tfds.core.DatasetInfo(
                builder=self, features=features, supervised_keys=("image", "label")
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples() for split in ("train", "test")}

        def _generate_examples(self):
            for key in range(50):
                yield key, {"image": key, "label": key % 10}

    builder = Counted(data_dir=tmp_path)
    builder.download_and_prepare()
    for split in ("train", "test"):
        data = builder.as_dataset(split=split, batch_size=-1, as_supervised=True)
        image, label = tfds.as_numpy(data)
        assert (image != np.arange(50)).any()
        image, label = official_order(split, image, label)
        np.testing.assert_array_equal(image, np.arange(50))
        np.testing.assert_array_equal(label, np.arange(50) % 10)


@pytest.mark.parametrize("name", ["fashion", "kmnist"])
def test_tfds_gives_the_split_of_the_official_files(folder, monkeypatch, name):
    import hashlib

    import tensorflow as tf

    from hw2_keras.data import images_tfds

    arrays = official()
    asked = []

    class Builder:
        URL = "http://example.org/"

        def download_and_prepare(self):
            asked.append("prepare")

        def as_dataset(self, split, batch_size, as_supervised):
            assert batch_size == -1 and as_supervised
            image, label = arrays[f"x_{split}"], arrays[f"y_{split}"]
            written = sorted(
                range(len(label)), key=lambda key: hashlib.md5(f"{split}{key}".encode()).digest()
            )
            return tf.constant(image[written][..., np.newaxis]), tf.constant(label[written])

    def builder(tfds_name, data_dir):
        asked.append((tfds_name, data_dir))
        return Builder()

    monkeypatch.setattr(images_tfds.tfds, "builder", builder)
    monkeypatch.setattr(images_tfds.urllib.request, "urlopen", lambda url, timeout: BytesIO())
    data = load_data(name, source="real")
    assert_protocol(data)
    tfds_name = {"fashion": "fashion_mnist", "kmnist": "kmnist"}[name]
    assert asked == [(tfds_name, folder / "tfds"), "prepare"]
    assert data.source == "real" and data.origin == f"TensorFlow Datasets, {tfds_name}"


def test_without_file_or_network_the_message_says_how_to_get_it(folder, monkeypatch):
    from hw2_keras.data import images_tfds

    def refuse(url, timeout):
        raise URLError("no route")

    monkeypatch.setattr(images_tfds.urllib.request, "urlopen", refuse)
    with pytest.raises(UsageError, match=r"no route.*put the course's Fashion-MNIST.npz"):
        load_data("fashion", source="real")


def test_intel_missing_says_how_to_get_it(folder):
    with pytest.raises(UsageError, match="'intel' not found: put the course's intel_landscapes"):
        load_data("intel", source="real")


# --- bad input -----------------------------------------------------------------------------


def one_line(error: pytest.ExceptionInfo) -> bool:
    return "\n" not in str(error.value)


@pytest.mark.parametrize("cut", [0, 10, 900, -30])
def test_truncated_npz(folder, cut):
    path = folder / "kmnist_10k.npz"
    np.savez_compressed(path, **kmnist_arrays())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UsageError, match=r"kmnist_10k\.npz cannot be read") as error:
        load_data("kmnist", source="real")
    assert one_line(error)


def test_corrupt_npz(folder):
    path = folder / "kmnist_10k.npz"
    rng = np.random.default_rng(0)
    arrays = {k: rng.integers(0, 256, v.shape).astype(v.dtype) for k, v in kmnist_arrays().items()}
    np.savez(path, **arrays)
    content = bytearray(path.read_bytes())
    content[5000:5100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read"):
        load_data("kmnist", source="real")


def test_pickled_objects_are_refused(folder):
    np.savez(folder / "kmnist_10k.npz", **{**kmnist_arrays(), "y_val": np.array([{}], object)})
    with pytest.raises(UsageError, match="cannot be read"):
        load_data("kmnist", source="real")


def test_plain_array_under_the_name_of_an_archive(folder):
    with (folder / "kmnist_10k.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UsageError, match="cannot be read"):
        load_data("kmnist", source="real")


def test_npz_without_a_key(folder):
    arrays = kmnist_arrays()
    del arrays["y_val"]
    np.savez(folder / "kmnist_10k.npz", **arrays)
    with pytest.raises(UsageError, match="lacks the arrays y_val: expected x_train"):
        load_data("kmnist", source="real")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train_images", np.zeros((12, 32, 32, 3), np.uint8), "expected .N, 48, 48, 3."),
        ("train_images", np.zeros((12, 48, 48), np.uint8), "expected .N, 48, 48, 3."),
        ("train_images", np.zeros((12, 48, 48, 3)), "dtype float64, expected uint8"),
        ("train_images", np.zeros((11, 48, 48, 3), np.uint8), r"\(12,\) for 11 images"),
        ("val_labels", np.zeros(6), "dtype float64, expected integers"),
        ("val_labels", np.zeros((6, 1), int), r"\(6, 1\) for 6 images"),
        ("val_labels", np.array([0, 1, 2, 3, 4, 6]), "from 0 to 6, expected 0 to 5"),
        ("test_labels", np.array([0, 1, -1, 3, 4, 5]), "from -1 to 5, expected 0 to 5"),
        ("test_labels", np.array(3), r"\(\) for 6 images"),
    ],
)
def test_wrong_arrays(folder, key, value, message):
    np.savez(folder / "intel_landscapes.v2.npz", **{**intel_arrays(), key: value})
    with pytest.raises(UsageError, match=message) as error:
        load_data("intel", source="real")
    assert one_line(error) and f"{key.partition('_')[0]} split" in str(error.value)


def test_empty_split(folder):
    empty = {"val_images": np.zeros((0, 48, 48, 3), np.uint8), "val_labels": np.zeros(0, int)}
    np.savez(folder / "intel_landscapes.v2.npz", **{**intel_arrays(), **empty})
    with pytest.raises(UsageError, match=r"intel, val split .*: the split is empty"):
        load_data("intel", source="real")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("Xtrain", np.full((2, 784), 0.3), "not pixels/256"),
        ("Xtrain", np.full((2, 784), np.nan), "not pixels/256"),
        ("Xtrain", np.full((2, 784), 1.0), "not pixels/256"),
        ("Xtrain", np.full((2, 784), -1 / 256), "not pixels/256"),
        ("Xtrain", np.zeros((2, 784), np.uint8), "dtype uint8.*expected floats"),
        ("Xdev", np.zeros((2, 28, 28)), r"shape \(2, 28, 28\), expected floats"),
    ],
)
def test_course_file_with_wrong_pixels(folder, key, value, message):
    arrays = {f"X{split}": np.zeros((2, 784)) for split in ("train", "dev", "test")}
    arrays |= {f"y{split}": np.zeros(2, int) for split in ("train", "dev", "test")}
    np.savez(folder / "Fashion-MNIST.npz", **{**arrays, key: value})
    with pytest.raises(UsageError, match=message):
        load_data("fashion", source="real")


def test_incomplete_official_file(folder):
    arrays = {key: value[:600] for key, value in official().items()}
    np.savez(folder / "fashion_mnist.npz", **arrays)
    with pytest.raises(UsageError, match="600 training and 600 test images, expected the complete"):
        load_data("fashion", source="real")
    row = next(row for row in describe() if row.name == "fashion")
    assert row.sizes is None and "expected the complete" in row.problem


def test_unknown_names():
    with pytest.raises(UsageError, match="unknown data set 'fasion': did you mean 'fashion'"):
        load_data("fasion")
    with pytest.raises(UsageError, match="did you mean 'intel_cnn_bn'"):
        load_data("intel_cnn_nb")
    with pytest.raises(UsageError, match="unknown data set 'parameter_cnn'"):
        load_data("parameter_cnn")
    with pytest.raises(UsageError, match="unknown source 'reel': expected one of synthetic, real"):
        load_data("fashion", source="reel")


def test_data_dir_that_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HW2_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        load_data("fashion", source="real")
    monkeypatch.delenv("HW2_DATA_DIR")
    assert data_dir() is None


# --- describe, fingerprint -------------------------------------------------------


def test_describe_lists_every_set(folder):
    np.savez(folder / "kmnist_10k.npz", **kmnist_arrays())
    (folder / "intel_landscapes.v2.npz").write_bytes(b"PK")
    rows = {row.name: row for row in describe()}
    assert list(rows) == ["fashion", "kmnist", "intel", "spa_eng", "p2g", "sydney"]
    assert rows["kmnist"].path == folder / "kmnist_10k.npz"
    assert rows["kmnist"].sizes == (30, 20, 10)
    assert rows["fashion"].path is None and rows["fashion"].problem == ""
    assert "Fashion-MNIST.npz" in rows["fashion"].how_to_get
    assert "cannot be read" in rows["intel"].problem
    assert rows["sydney"].path is None and "HW2_DATA_DIR" in rows["sydney"].how_to_get


def test_fingerprint_sees_shape_dtype_order_and_content():
    a, b = np.arange(6, dtype=np.int32), np.arange(6, dtype=np.int64)
    different = [
        (a,),
        (b,),
        (a.reshape(2, 3),),
        (a, b),
        (b, a),
        ("ab", "c"),
        ("a", "bc"),
        (b"ab", b"c"),
    ]
    assert len({fingerprint(*parts) for parts in different}) == len(different)
    assert fingerprint(a.reshape(2, 3).T) == fingerprint(a.reshape(2, 3).T.copy())
    assert len(fingerprint(a)) == 64


# --- the real files ------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "sizes"),
    [("fashion", (50_000, 10_000, 10_000)), ("intel", (12_631, 1_403, 3_000))],
)
def test_real_sizes(name, sizes):
    data = load_data(name, source="real")
    assert tuple(len(split.label) for split in (data.train, data.val, data.test)) == sizes
    assert set(np.unique(data.train.label)) == set(range(len(data.classes)))
    assert len({fingerprint(*split) for split in (data.train, data.val, data.test)}) == 3
