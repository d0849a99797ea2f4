"""The registry: one frozen record per experiment of the five reports, and the ladders beyond them.

A record is the protocol of the homework plus every figure that a report prints for it, so that
a reproduced number can always be shown beside the reported one. To add an experiment, add a
record here; only a network of another kind needs a builder in ``hw2_keras.models`` too.

A *rung* is an experiment that no homework asks for: it changes one idea of another experiment,
the rung below, on the same data. The rungs of one data set are its *ladder*; the homework's
experiment is at the bottom.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hw2_keras.errors import UsageError

# Fields that no homework sets. What they hold by default is left out of a run's protocol.
RECIPE = ("momentum", "weight_decay", "schedule", "label_smoothing", "crop_padding", "cutout")


@dataclass(frozen=True)
class Reported:
    """One figure printed in a report.

    Attributes:
        report: number of the report, "000" to "004".
        metric: name of the figure, the same as in a run's metrics: ``running_loss`` (the course's
            training loss: mean over all batches since epoch 1), ``loss``, ``val_accuracy``, ...
        value: the figure as printed; rates of errors and accuracies as fractions.
        learning_rate: the rate it belongs to; None: the protocol's own, ``best_rate``.
    """

    report: str
    metric: str
    value: float
    learning_rate: float | None = None


@dataclass(frozen=True)
class Experiment:
    """Network and protocol of one experiment, what it costs and what the reports found.

    Attributes:
        name: what commands and functions call it.
        edition, question: where the homework asks it, e.g. "2021-22" and "Q2"; "beyond" and
            "ladder" for a rung.
        title: one line for lists and headings.
        task: "counting" (Q1, never trained), "classification", "transduction" (text to text)
            or "captioning".
        network: its builder, see ``hw2_keras.models.NETWORKS``. A builder's arguments are the
            fields of this record that have the same names.
        filters, first_kernel: of a classifier's convolutions.
        attention: None, "bilinear", "bahdanau" or "additive".
        hidden: size of an encoder-decoder's state.
        embedding_std: standard deviation of the normal distribution that its embeddings start from.
        dropout: rate, as in the homework.
        sizes: arguments of the builder that depend on the data, for the homework's data.
        parameters: number of trainable parameters, at the sizes of the homework's data.
        data: data set for ``load_data``; None for "counting".
        optimizer: "sgd" or "adam", with Keras's defaults for all that this record does not say.
        momentum: of "sgd", Nesterov's; 0: none.
        weight_decay: decoupled: each step takes this times the learning rate off every weight.
        schedule: "one_cycle", see ``training.optimizers``; None: the rate is constant.
        label_smoothing: share of the true class that goes to all classes alike.
        crop_padding: pixels of black around an image, from which a window of its size is cut at
            random, see ``training.augmentation``.
        cutout: side of a square that is painted black at random, in pixels.
        learning_rates: the rates to sweep, in the order of the homework; of a schedule, its
            highest one.
        best_rate: the rate that the reports found best, the default of ``train``.
        epochs, batch_size: as in the homework.
        clip_value: gradients are clipped element-wise to ± this; None: not at all.
        selection: "last" (the last epoch's model is tested) or "best" (the epoch with the best
            validation metric).
        metric: the validation metric of the curves, see ``hw2_keras.metrics.METRICS``.
        measures: metrics of generated texts, by name; empty for classifiers.
        top_p: mass of the nucleus where the homework asks for sampling, else None.
        max_length: longest generated sequence in tokens; None for classifiers.
        minutes: measured time of one training run on real data, on two cores; 0: not measured.
        synthetic_seconds: of an epoch of synthetic data, at most; 0: not measured. Measured where
            other programs took most of two cores, and with the tracing of a first epoch.
        reported: the figures of the reports.
        based_on: of a rung, the name of the rung below; None for the homework's experiments.
        idea: the one thing that a rung changes, in a few words.
        expected: what it should do, and why.
        reference: where that was found: paper and table.
    """

    name: str
    edition: str
    question: str
    title: str
    task: str
    network: str
    filters: tuple[int, ...] = ()
    first_kernel: int | None = None
    attention: str | None = None
    hidden: int | None = None
    embedding_std: float | None = None
    dropout: float = 0.0
    sizes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    parameters: int | None = None
    data: str | None = None
    optimizer: str = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str | None = None
    label_smoothing: float = 0.0
    crop_padding: int = 0
    cutout: int = 0
    learning_rates: tuple[float, ...] = ()
    best_rate: float | None = None
    epochs: int = 0
    batch_size: int = 8
    clip_value: float | None = None
    selection: str = "last"
    metric: str = "val_accuracy"
    measures: tuple[str, ...] = ()
    top_p: float | None = None
    max_length: int | None = None
    minutes: float = 0.0
    synthetic_seconds: float = 0.0
    reported: tuple[Reported, ...] = ()
    based_on: str | None = None
    idea: str = ""
    expected: str = ""
    reference: str = ""

    @property
    def recipe(self) -> dict[str, float | str]:
        """What its training has beyond the homework's: the fields of ``RECIPE`` that are set."""
        return {name: getattr(self, name) for name in RECIPE if getattr(self, name)}

    def reported_at(self, learning_rate: float) -> tuple[Reported, ...]:
        """The reports' figures at one rate; a figure without a rate is of the protocol's own."""
        return tuple(
            r for r in self.reported if (r.learning_rate or self.best_rate) == learning_rate
        )


def named(table: Mapping[str, Any], field: str, record: Experiment) -> Any:
    """What a table holds under the name that a field of a record gives.

    Raises:
        UsageError: the table has no such name; a record of one's own may have a slip in it.
    """
    name = getattr(record, field)
    if name not in table:
        raise UsageError(
            f"the record of {record.name} has the {field} {name!r}: expected one of "
            f"{', '.join(table)}; correct it in hw2_keras/experiments.py"
        )
    return table[name]


class UnknownExperiment(UsageError, KeyError):
    """No experiment has this name; the message suggests the nearest one."""

    def __str__(self) -> str:
        return self.args[0]


class Registry(Mapping):
    """The experiments by name, in the order of the editions."""

    def __init__(self, records: tuple[Experiment, ...]) -> None:
        self._records = {record.name: record for record in records}

    def __getitem__(self, name: str) -> Experiment:
        if name not in self._records:
            near = difflib.get_close_matches(str(name), self._records, n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise UnknownExperiment(
                f"unknown experiment {name!r}: {hint}expected one of {', '.join(self._records)}"
            )
        return self._records[name]

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def __iter__(self):
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


PARAMETER_CNN = Experiment(
    name="parameter_cnn",
    edition="2021-22",
    question="Q1",
    title="parameters of a small CNN, counted on paper",
    task="counting",
    network="parameter_cnn",
    parameters=10_298,
)

FASHION_CNN = Experiment(
    name="fashion_cnn",
    edition="2021-22",
    question="Q2",
    title="CNN on Fashion-MNIST, SGD over three rates",
    task="classification",
    network="two_block_cnn",
    filters=(16, 32),
    first_kernel=3,
    dropout=0.3,  # free choice in the homework; report 001 took 0.2
    parameters=769_930,
    data="fashion",
    optimizer="sgd",
    learning_rates=(0.001, 0.01, 0.1),
    best_rate=0.01,
    epochs=15,
    batch_size=8,
    minutes=5.1,
    synthetic_seconds=26,
    reported=(
        Reported("000", "val_accuracy", 0.918, 0.01),
        Reported("000", "running_loss", 0.35, 0.01),
        Reported("001", "running_loss", 0.3175, 0.01),
        Reported("001", "val_accuracy", 0.9060, 0.01),
        Reported("001", "test_accuracy", 0.9025, 0.01),
    ),
)

CAPTION = Experiment(
    name="caption",
    edition="2021-22",
    question="Q3",
    title="LSTM captions of aerial images",
    task="captioning",
    network="captioner",
    hidden=256,
    dropout=0.5,
    # 16x16 positions of ResNet-18's last feature map, as in the course
    sizes={"vocabulary_size": 190, "features": (256, 512)},
    parameters=696_054,
    data="sydney",
    optimizer="adam",
    learning_rates=(4e-4,),
    best_rate=4e-4,
    epochs=6,
    batch_size=8,
    clip_value=5.0,
    metric="val_bleu4",
    measures=("bleu4",),
    max_length=22,
    minutes=0.3,
    synthetic_seconds=55,
    reported=(
        Reported("000", "test_bleu4", 0.50),
        Reported("001", "test_bleu4", 0.4927),
    ),
)

KMNIST_CNN = Experiment(
    name="kmnist_cnn",
    edition="2022-23",
    question="Q2",
    title="CNN on Kuzushiji-MNIST, Adam over three rates",
    task="classification",
    network="two_block_cnn",
    filters=(8, 16),
    first_kernel=5,
    dropout=0.3,
    parameters=420_906,
    data="kmnist",
    optimizer="adam",
    learning_rates=(1e-5, 5e-4, 1e-2),
    best_rate=5e-4,
    epochs=20,
    batch_size=8,
    minutes=2.2,
    synthetic_seconds=16,
    reported=(
        Reported("002", "running_loss", 0.3727, 1e-5),
        Reported("002", "val_accuracy", 0.9562, 1e-5),
        Reported("002", "test_accuracy", 0.8942, 1e-5),
        Reported("003", "val_accuracy", 0.9568, 1e-5),
        Reported("003", "test_accuracy", 0.8938, 1e-5),
        Reported("002", "running_loss", 0.0439, 5e-4),
        Reported("002", "val_accuracy", 0.9845, 5e-4),
        Reported("002", "test_accuracy", 0.9577, 5e-4),
        Reported("003", "val_accuracy", 0.9857, 5e-4),
        Reported("003", "test_accuracy", 0.9541, 5e-4),
        Reported("002", "running_loss", 0.6347, 1e-2),
        Reported("002", "val_accuracy", 0.8144, 1e-2),
        Reported("002", "test_accuracy", 0.6791, 1e-2),
        Reported("003", "val_accuracy", 0.1022, 1e-2),
        Reported("003", "test_accuracy", 0.1000, 1e-2),
    ),
)

TRANSLATE = Experiment(
    name="translate",
    edition="2022-23",
    question="Q3",
    title="Spanish to English by characters",
    task="transduction",
    network="encoder_decoder",
    hidden=128,
    # Unit-normal embeddings learn slowly and generalise well over many epochs.
    embedding_std=1.0,
    dropout=0.3,
    sizes={"source_size": 34, "target_size": 34},
    parameters=239_138,
    data="spa_eng",
    optimizer="adam",
    learning_rates=(0.003,),
    best_rate=0.003,
    epochs=50,
    batch_size=64,
    metric="val_error_rate",
    measures=("error_rate",),
    max_length=49,
    minutes=3.2,
    synthetic_seconds=125,
    reported=(
        Reported("003", "val_error_rate", 0.4830),
        Reported("003", "test_error_rate", 0.5026),
    ),
)

INTEL_CNN = Experiment(
    name="intel_cnn",
    edition="2024-25",
    question="Q2",
    title="CNN on Intel landscapes, SGD over three rates",
    task="classification",
    network="intel_cnn",
    dropout=0.1,
    parameters=5_340_742,
    data="intel",
    optimizer="sgd",
    learning_rates=(0.1, 0.01, 0.001),
    best_rate=0.01,
    epochs=40,
    batch_size=8,
    minutes=18.2,
    synthetic_seconds=27,
    reported=(Reported("004", "test_accuracy", 0.7033, 0.01),),
)

P2G = Experiment(
    name="p2g",
    edition="2024-25",
    question="Q3",
    title="phonemes to English spelling",
    task="transduction",
    network="encoder_decoder",
    hidden=128,
    # Unit-normal embeddings are too large for 20 epochs with many rare symbols.
    embedding_std=0.1,
    dropout=0.3,
    sizes={"source_size": 107, "target_size": 93},
    parameters=256_093,
    data="p2g",
    optimizer="adam",
    learning_rates=(0.003,),
    best_rate=0.003,
    epochs=20,
    batch_size=64,
    selection="best",
    metric="val_cer",
    measures=("cer", "wer"),
    top_p=0.8,
    max_length=50,
    minutes=0.9,
    synthetic_seconds=94,
    reported=(
        Reported("004", "test_cer", 0.2926),
        Reported("004", "test_wer", 0.7950),
    ),
)

KMNIST_ONE_CYCLE = replace(
    KMNIST_CNN,
    name="kmnist_one_cycle",
    edition="beyond",
    question="ladder",
    title="CNN on Kuzushiji-MNIST, one cycle of SGD with momentum",
    optimizer="sgd",
    momentum=0.9,
    weight_decay=5e-3,
    schedule="one_cycle",
    learning_rates=(0.1,),
    best_rate=0.1,
    epochs=12,
    batch_size=128,
    minutes=0.3,
    synthetic_seconds=3,
    reported=(),
    based_on="kmnist_cnn",
    idea="one cycle of SGD with momentum and weight decay",
    expected="Large steps in the middle find flat minima and small ones at the end settle there.",
    reference="Smith and Topin 2018, Super-convergence, Table 1",
)

KMNIST_RESNET = replace(
    KMNIST_ONE_CYCLE,
    name="kmnist_resnet",
    title="residual network on Kuzushiji-MNIST",
    network="residual_cnn",
    filters=(32, 64, 128),
    first_kernel=4,
    dropout=0.0,
    parameters=482_378,
    minutes=2.5,
    synthetic_seconds=8,
    based_on="kmnist_one_cycle",
    idea="residual network with batch norm",
    expected="More layers find more than edges; shortcuts and batch norm let them be trained.",
    reference="He et al. 2016, Deep residual learning, Table 6",
)

KMNIST_SMOOTHED = replace(
    KMNIST_RESNET,
    name="kmnist_smoothed",
    title="residual network on Kuzushiji-MNIST, smoothed labels",
    label_smoothing=0.1,
    based_on="kmnist_resnet",
    idea="label smoothing 0.1",
    expected="The network stops growing its logits once an image is right.",
    reference="Szegedy et al. 2016, Rethinking the Inception architecture, Table 3",
)

KMNIST_CROPPED = replace(
    KMNIST_SMOOTHED,
    name="kmnist_cropped",
    title="residual network on Kuzushiji-MNIST, zero-padded crops",
    crop_padding=2,
    based_on="kmnist_smoothed",
    idea="zero-padded crops",
    expected="Where a character stands says nothing about which it is.",
    reference="DeVries and Taylor 2017, Cutout, Table 1: C10+ beside C10",
)

KMNIST_CUTOUT = replace(
    KMNIST_CROPPED,
    name="kmnist_cutout",
    title="residual network on Kuzushiji-MNIST, crops and cut-out",
    cutout=8,
    based_on="kmnist_cropped",
    idea="cut-out 8",
    expected="A part is hidden, so that the network looks at the whole character.",
    reference="DeVries and Taylor 2017, Cutout, Table 1",
)

experiments = Registry(
    (
        PARAMETER_CNN,
        replace(
            PARAMETER_CNN,
            name="parameter_mlp",
            title="parameters of the MLP of the same input and output",
            network="parameter_mlp",
            parameters=236_310,
        ),
        FASHION_CNN,
        CAPTION,
        replace(
            CAPTION,
            name="caption_attention",
            title="LSTM captions, looking at the image before every word",
            attention="additive",
            parameters=1_297_342,
            minutes=0.8,
            synthetic_seconds=125,
            reported=(
                Reported("000", "test_bleu4", 0.51),
                Reported("001", "test_bleu4", 0.5294),
            ),
        ),
        KMNIST_CNN,
        TRANSLATE,
        replace(
            TRANSLATE,
            name="translate_attention",
            title="Spanish to English by characters, with bilinear attention",
            attention="bilinear",
            parameters=288_418,
            minutes=3.6,
            synthetic_seconds=97,
            reported=(
                Reported("003", "val_error_rate", 0.3648),
                Reported("003", "test_error_rate", 0.3749),
            ),
        ),
        INTEL_CNN,
        replace(
            INTEL_CNN,
            name="intel_cnn_bn",
            title="CNN with batch norm and global pooling on Intel landscapes",
            network="intel_cnn_bn",
            parameters=756_742,
            learning_rates=(0.01,),  # the homework trains it at the best rate of intel_cnn only
            minutes=31.2,
            synthetic_seconds=28,
            reported=(
                Reported("004", "running_loss", 0.5421, 0.01),
                Reported("004", "val_loss", 0.6795, 0.01),
                Reported("004", "val_accuracy", 0.7543, 0.01),
                Reported("004", "test_accuracy", 0.7523, 0.01),
            ),
        ),
        P2G,
        replace(
            P2G,
            name="p2g_attention",
            title="phonemes to English spelling, with Bahdanau attention",
            attention="bahdanau",
            parameters=321_885,
            minutes=1.3,
            synthetic_seconds=53,
            reported=(
                Reported("004", "test_cer", 0.2410),
                Reported("004", "test_wer", 0.7840),
                Reported("004", "test_nucleus_cer", 0.2594),
                Reported("004", "test_nucleus_wer", 0.8170),
                Reported("004", "test_wer_at_3", 0.7390),
            ),
        ),
        KMNIST_ONE_CYCLE,
        KMNIST_RESNET,
        KMNIST_SMOOTHED,
        KMNIST_CROPPED,
        KMNIST_CUTOUT,
    )
)
