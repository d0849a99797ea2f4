"""Tutorials of Questions 1, 2 and images beyond, as readers run them: one epoch, synthetic."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hw2_keras import experiments

ROOT = Path(__file__).parents[1]
Q1_2021 = "2021_22/q1_parameters_and_attention"
Q2_2021 = "2021_22/q2_fashion_cnn"
Q1_2022 = "2022_23/q1_convolution_as_a_matrix"
Q2_2022 = "2022_23/q2_kuzushiji_cnn"
Q1_2024 = "2024_25/q1_hopfield_networks"
Q2_2024 = "2024_25/q2_intel_cnn"
BEYOND = "beyond/images"
CURVES = ["curves_all_rates", "curves"]
FIGURES = {
    Q1_2021: ["parameters_by_layer", "two_heads", "condition"],
    Q2_2021: ["equivariance", *CURVES, "filters_conv1", "filters_conv2", "confusion", "shift"],
    Q1_2022: ["matrix"],
    Q2_2022: ["permuted_pixels", *CURVES, "activation_maps"],
    Q1_2024: ["energy", "storage", "retrieval"],
    Q2_2024: ["curves_all_rates", "curves_batch_norm", "receptive_fields", "pooling", "shift"],
    BEYOND: ["one_cycle", "smoothing", "augmented", "rungs", "errors"],
}
ALL = tuple(FIGURES)


def script(name):
    return ROOT / "tutorials" / f"{name}.py"


def run(name, folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, str(script(name)), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"} | environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What a tutorial printed after one epoch, and the folder that it ran in; each runs once."""
    done = {}

    def of(name):
        if name not in done:
            folder = tmp_path_factory.mktemp(Path(name).name)
            result = run(name, folder, "--epochs", "1")
            assert result.returncode == 0, result.stderr[-2000:]
            done[name] = result.stdout, folder
            of.errors[name] = result.stderr
        return done[name]

    of.errors = {}
    return of


def number(text, pattern):
    """The one number in parentheses of the pattern, as a float."""
    (found,) = re.findall(pattern, text)
    return float(found.replace(",", ""))


@pytest.mark.parametrize("name", ALL)
def test_ends_with_an_exported_model_that_agrees_with_keras(name, printed):
    text, folder = printed(name)
    assert "verdict          passed" in text
    last = text.splitlines()[-1]
    said, truth = re.fullmatch(r"ONNX \w+ (\w+)(?: \(.*\))?, the truth is (\w+)", last).groups()
    assert said and truth
    assert len(list(folder.glob("runs/tutorials/*/*.onnx"))) == 1


@pytest.mark.parametrize("name", ALL)
def test_saves_the_figures_that_it_names(name, printed):
    text, folder = printed(name)
    figures = [Path(line) for line in re.findall(r"^plot: (.+)$", text, re.MULTILINE)]
    assert [figure.stem for figure in figures] == FIGURES[name]
    for figure in figures:
        assert (folder / figure).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", [Q1_2021, Q1_2022, Q1_2024])
def test_formulas_agree_with_their_oracles(name, printed):
    text, _ = printed(name)
    differences = re.findall(
        r"(?:difference[^:\n]*|differs by|by up to) *:? *([\d.]+e[+-]\d+)", text
    )
    assert len(differences) >= 3
    assert max(map(float, differences)) < 2e-5


@pytest.mark.parametrize(
    ("name", "used"),
    [
        (Q2_2021, ["fashion_cnn"]),
        (Q2_2022, ["kmnist_cnn"]),
        (Q2_2024, ["intel_cnn", "intel_cnn_bn"]),
    ],
)
def test_reported_figures_stand_beside_the_measured_ones(name, used, printed):
    text, _ = printed(name)
    for experiment in map(experiments.__getitem__, used):
        for reported in experiment.reported:
            assert f"{reported.value:.4f}" in text
        assert text.count(f"{experiment.parameters:,}") >= 2  # counted and asked for
    assert len(re.findall(r"^[\d.e-]+\*? +this run( +\d\.\d{4}){5}", text, re.MULTILINE)) >= 3


def test_parameters_and_attention(printed):
    text, _ = printed(Q1_2021)
    for name in ("parameter_cnn", "parameter_mlp"):
        assert text.count(f"{experiments[name].parameters:,}") >= 3  # by hand, by Keras, the answer
    assert "22.9 times as many" in text
    assert "A (16, 16) of rank 4" in text
    assert "scores of 50 tokens (50, 50) of rank 4" in text
    right, wrong = (
        re.search(rf"{name} *: (\S+) with 6 tokens, (\S+) with 7", text).groups()
        for name in ("columns of K, √d", "rows of K, √n")
    )
    assert right[0] == right[1] and wrong[0] != wrong[1]
    without, scaled = re.search(r"d = 1024: .* (\S+) without 1/√d, (\S+) with", text).groups()
    assert float(without) > 3 * float(scaled)
    assert "B is singular" in text


@pytest.mark.parametrize(
    ("name", "networks"),
    [(Q2_2021, ["fashion_cnn"]), (Q2_2022, ["kmnist_cnn"]), (Q2_2024, ["intel_cnn"])],
)
def test_the_network_is_written_out_summed_up_and_fitted(name, networks, printed):
    text, _ = printed(name)
    for experiment in map(experiments.__getitem__, networks):
        assert f"Total params: {experiment.parameters:,}" in text
    assert re.search(r"^\d+/\d+ - .*accuracy: .*val_loss: \S+$", text, re.MULTILINE)  # of fit
    gaps = [float(gap) for gap in re.findall(r"difference from hw2.build.*: (\S+)", text)]
    assert gaps and max(gaps) < 1e-5


@pytest.mark.parametrize("name", ALL)
def test_titles_stand_between_the_numbers_and_log_lines_do_not(name, printed):
    text, _ = printed(name)
    titles = re.findall(r'^tutorial\.section\("(.+)"\)$', script(name).read_text(), re.MULTILINE)
    assert re.findall(r"^\n(.+)\n-+$", text, re.MULTILINE) == titles
    assert len(titles) > 4
    progress = re.compile(
        r"\w+ \(synthetic\) rate \S+  (epoch \d|training: \d|trained; )|image features: \d|"
        r"starting TensorFlow, which takes some seconds$"
    )
    assert [line for line in printed.errors[name].splitlines() if not progress.match(line)] == []


def test_equivariance_of_a_convolution(printed):
    text, _ = printed(Q2_2021)
    assert number(text, r"between f\(Tx\) and T f\(x\): (\S+)%") == 0
    for change in (r"f\(Tx\) and f\(x\): ", "quarter turn: gap", "zoom 2x *: gap", "hue *: gap"):
        assert number(text, rf"{change} *(\S+)%") > 50
    assert "the reports' best: 0.01" in text
    assert len(re.findall(r"^moved by \d pixels: \d\.\d+ right$", text, re.MULTILINE)) == 7


def test_convolution_as_a_matrix(printed):
    text, _ = printed(Q1_2022)
    assert "the matrix has shape (12, 30)" in text
    assert "doubly blocked Toeplitz: True" in text
    assert "\nToeplitz: False" in text
    assert "entry (2, 3): right 1, by report 002 0" in text
    assert "5*5 + 3*144 = 457" in text
    assert "linear by Keras: 113,328" in text and "by report 003: 4,032" in text
    outputs = re.findall(r"largest output (\S+), of the image doubled (\S+)", text)
    (once, twice), (once_002, twice_002) = (tuple(map(float, pair)) for pair in outputs)
    brightest = number(text, r"brightest pixel (\S+),")
    assert once <= brightest and twice <= 2 * brightest
    assert once_002 > brightest and twice_002 / once_002 == pytest.approx(8, rel=1e-2)


def test_cnn_against_mlp(printed):
    text, _ = printed(Q2_2022)
    rows = dict(re.findall(r"^((?:cnn|mlp)(?:, permuted)?) +(\S+) +\S+%$", text, re.MULTILINE))
    assert rows == {
        "cnn": "20,490",
        "mlp": "101,770",
        "cnn, permuted": "20,490",
        "mlp, permuted": "101,770",
    }
    assert number(text, r"MLP has (\S+) times") == 5.0
    assert number(text, r"report 002: validation minus test \+(\S+) points") == 2.7
    assert number(text, r"report 003: validation minus test \+(\S+) points") == 3.2


def test_hopfield_networks(printed):
    text, _ = printed(Q1_2024)
    for low, middle, high in re.findall(r"^beta .*: (\S+) <= (\S+) <= (\S+)$", text, re.MULTILINE):
        assert float(low) <= float(middle) <= float(high)
    assert number(text, r"smallest eigenvalue of 600 Hessians of -E2: (\S+)") > -1e-9
    assert number(text, r"bound minus energy: at least (\S+) at 1,000") >= 0
    assert number(text, r"largest change of the energy in 10,000 steps: (\S+)") < 1e-9
    assert re.search(r"20% flipped: \[0\. 0\. 1\. 1\.\]", text)
    assert "ONNX recalls Gamma, the truth is Gamma" in text


def test_parameters_pooling_and_kernels_of_the_landscape_networks(printed):
    text, _ = printed(Q2_2024)
    assert "trainable parameters: -85.8%" in text
    assert re.search(r"dense1 +4,719,616 +132,096 +-4,587,520", text)
    assert "after a pooling    : 22x22 pixels, steps of 8" in text
    assert "3 filters of 3x3: 110,592 weights; one of 7x7: 200,704" in text
    assert re.search(r"small_kernels +14,970 ", text) and re.search(r"large_kernel +20,570 ", text)
    assert "without pooling: 12.5 times the parameters" in text
    plain, shifted, further = re.findall(
        r"^with pooling .* (\S+) right, (\S+) moved.* (\S+) by 4", text, re.M
    )[0]
    assert float(plain) > float(shifted) > float(further)


def test_the_ideas_beyond_and_the_errors_that_are_left(printed):
    text, _ = printed(BEYOND)
    assert "highest rate 0.100 at step 188 of 756" in text
    assert number(text, r"difference from hw2.build: (\S+)") < 1e-4
    assert "482,378 parameters are trained, 420,906 in the homework's" in text
    assert number(text, r"lowest at a lead of \S+, where the network is (\S+)% sure") == 90.9
    assert "2,000 crops of one image are 25 different images" in text
    gaps = re.findall(r"^kmnist_\w+ +(\d\.\d{4}) +(\d\.\d{4}) +([+-]\S+)$", text, re.MULTILINE)
    assert len(gaps) == 3
    for training, validation, gap in gaps:
        assert float(gap) == pytest.approx(100 * (float(training) - float(validation)), abs=0.06)
    wrong, shown = re.search(r"^(\d+) of 500 are wrong; of (\d+) of them", text, re.M).groups()
    right = number(text, r"(\S+) of the validation images are right")
    assert int(wrong) == pytest.approx(500 * (1 - right), abs=0.1)
    errors = re.findall(r"^  true (\w+), said (\w+) \(\d+% sure\), nearest:( \w+){5}$", text, re.M)
    assert len(errors) == int(shown) == min(16, int(wrong))
    assert all(truth != said for truth, said, _ in errors)


def test_missing_real_data_is_one_line(tmp_path):
    result = run(Q2_2024, tmp_path, "--source", "real", HW2_DATA_DIR=str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: data set 'intel' not found")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ALL)
def test_reads_like_a_tutorial(name):
    source = script(name).read_text()
    title, underline = source.splitlines()[1:3]
    assert underline == "=" * len(title)
    assert "# What to try next\n# ----" in source
    cells = source.split("# %%\n")
    assert len(cells) > 10
    for cell in cells[1:]:
        code = [line for line in cell.splitlines() if line and not line.startswith("#")]
        assert len(code) <= 35
        assert cell.startswith("# ")  # each cell says why before it does anything
        titles = re.findall(r"^# (.+)\n# --+$", cell, re.MULTILINE)
        printed = [title for title in titles[-1:] if title not in ("Setup", "What to try next")]
        assert re.findall(r'^tutorial\.section\("(.+)"\)$', cell, re.MULTILINE) == printed


def test_gallery_gets_the_figure_and_nothing_is_saved(tmp_path):
    code = (
        "import sys; sys.modules['sphinx_gallery'] = sys; "
        "from hw2_keras import tutorial; tutorial.section('a title'); "
        "import matplotlib.pyplot as plt; from matplotlib.figure import Figure; "
        "figure = Figure(); figure.subplots(); tutorial.show(figure, 'name'); "
        "assert [plt.figure(n) for n in plt.get_fignums()] == [figure]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True
    )
    assert done.stdout == done.stderr == b""  # the page has its titles, and no log lines
    assert not list(tmp_path.iterdir())
