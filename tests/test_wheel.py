"""An application that only infers installs the wheel without TensorFlow."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

import export
from hw2_keras.runs import Run

ROOT = Path(__file__).parents[1]
ASSETS = (".jinja", ".css", ".js")  # what the package's pages are made of


def run(*command: object, **options) -> str:
    # What a caller's PYTHONPATH holds is no part of a clean environment.
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=clean, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(300)
def test_a_clean_environment_needs_numpy_and_onnxruntime_alone(
    small_run: Run, tmp_path: Path
) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    wheel = next(tmp_path.glob("hw2_keras-*.whl"))
    page = (file for file in (ROOT / "export/web/page").rglob("*") if file.is_file())
    templates = (file for file in (ROOT / "hw2_keras").rglob("*") if file.suffix in ASSETS)
    shipped = set(zipfile.ZipFile(wheel).namelist())
    assert {str(file.relative_to(ROOT)) for file in (*page, *templates)} <= shipped
    clean = tmp_path / "clean"
    venv.create(clean, with_pip=True)
    python = clean / "bin" / "python"
    run(python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", wheel)
    listed = run(python, "-m", "pip", "list", "--format=freeze").lower().splitlines()
    installed = {line.split("==")[0] for line in listed}
    assert {"numpy", "onnxruntime"} <= installed
    assert not installed & {"tensorflow", "keras", "tf2onnx", "onnx", "pillow", "matplotlib"}

    model, pixels = tmp_path / "kmnist_cnn.onnx", tmp_path / "pixels.npy"
    export.to_onnx(small_run, model)
    image = small_run.data().test.image[:8]
    np.save(pixels, image)
    code = (
        "import numpy, sys; from export.runtime import load; "
        f"print(*load({str(model)!r})(numpy.load({str(pixels)!r})))"
    )
    answers = run(python, "-c", code, cwd=tmp_path).split()
    logits = small_run.model().predict(image / np.float32(256), verbose=0)
    assert answers == [small_run.data().classes[i] for i in logits.argmax(1)]
    assert "kmnist_cnn" in run(clean / "bin" / "hw2-export", "info", model)
    assert "fashion_cnn" in run(clean / "bin" / "hw2", "list")
