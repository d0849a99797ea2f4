"""Long files start first; real-data tests skip with a reason where HW2_DATA_DIR is not set."""

import os

import pytest

# Those that take longest, so that two workers end at about the same time.
LONGEST = [
    "test_any_model",
    "test_tutorials_q3_export",
    "test_cli",
    "test_tutorials_q1_q2",
    "test_generation",
    "test_training",
    "test_workers",
    "test_quantize",
    "test_web",
    "test_reproduce",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: [*LONGEST, item.path.stem].index(item.path.stem))
    if os.environ.get("HW2_DATA_DIR"):
        return
    skip = pytest.mark.skip(reason="needs the real data: set HW2_DATA_DIR")
    for item in items:
        if "real" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory):
    """A finished classifier run: two epochs of kmnist_cnn on synthetic glyphs."""
    from hw2_keras import train

    return train("kmnist_cnn", epochs=2, out=tmp_path_factory.mktemp("runs"))
