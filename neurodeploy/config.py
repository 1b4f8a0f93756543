"""Configuration of an experiment: what a file or `--set a.b=c` may say, checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from neurodeploy import presets
from neurodeploy.config_section import Section, described
from neurodeploy.errors import UsageError
from neurodeploy.plain_yaml import parse_yaml

MOST_STEPS = 1024  # of a network that is trained or imported


class DataConfig(Section):
    """Which data set, how it becomes steps, and how many of the training samples are kept for validation.

    Attributes:
        name: of the data set, or the path of a `.npz` of one's own.
        root: folder with the files; where to keep them with `download`.
        download: fetch missing files from the data set's own place, checked by checksum.
        classes: keep the samples of the first so many classes alone, for chips with few outputs; None for all.
        validation: share of the training samples kept for validation, drawn by the experiment's seed.
        bits: of the grid that the values are rounded to; None for what suits the data set.
        encoding: "direct" shows the values at every step; "rate" and "latency" turn them into spikes.
        slicing: of recordings into `network.steps` frames: of equal "time" or of an equal "count" of events.
        window: seconds per frame where slicing is by time, from the start on; None spreads the recording's length.
        polarity: "both" as two channels, or "merged" into one.
        downsample: factor by which recordings, and images that are scanned, are made smaller in height and width.
        size: height and width that recordings are brought to in its place, where they are no whole factor apart: column
            x of W becomes x * size // W.
        scan: frames enter row by row, "rows", or with the column of the same number beside it, "rows_and_columns";
            for chips with few input channels. Each row stays for network.steps / (scan_frames * rows) steps.
        scan_frames: how many frames of a recording are scanned, one after the other.
        unit_range: values of recordings lie in [0, 1], count / (2^bits - 1), as those of images do.
        cache: folder for frames made from recordings; None makes them anew each time.
        augment: what happens to training batches, in that order: crop, affine, flip, cutout, autoaugment; affine,
            flip and roll for recordings.
    """

    name: str = "digits"
    root: str | None = None
    download: bool = False
    classes: int | None = Field(None, ge=2)
    validation: float = Field(0.1, gt=0, lt=1)
    bits: int | None = Field(None, ge=1, le=8)
    encoding: Literal["direct", "rate", "latency"] = "direct"
    slicing: Literal["time", "count"] = "time"
    window: float | None = Field(None, gt=0)
    polarity: Literal["both", "merged"] = "both"
    downsample: int = Field(1, ge=1)
    size: int | None = Field(None, ge=1)
    scan: Literal["none", "rows", "rows_and_columns"] = "none"
    scan_frames: int = Field(1, ge=1)
    unit_range: bool = False
    cache: str | None = None
    augment: tuple[Literal["crop", "affine", "flip", "cutout", "autoaugment", "roll"], ...] = ()


_Factor = Annotated[float, Field(gt=0, lt=1)]
SurrogateShape = Literal["arctangent", "softplus", "rectangle", "triangle", "sigmoid", "fast_sigmoid", "dspike"]


_Width = Annotated[int, Field(ge=1, le=2**16)]  # channels or neurons of a layer


class NetworkConfig(Section):
    """A network by name, and its neurons.

    Attributes:
        kind: "convnet": per entry of `channels` `depth` times (convolution, batch norm, LIF), then a pool; then the
            classifier; "mlp": one LIF layer per entry of `hidden`; "vgg": VGGSNN; "resnet19".
        channels, depth: of "convnet".
        padding: of the convolutions of "convnet": 1 keeps height and width, 0 takes 2 off each.
        hidden: neurons of the hidden fully connected layers; () leaves the readout's weights alone.
        width: factor on all channel counts of "vgg" and "resnet19".
        stem: channels of the first convolution of "resnet19", before `width`.
        classifier_norm: fully connected layers of "resnet19" have batch norms and no biases, as in MPD-AGL, not biases
            as in TET.
        residual: "sum": the residual sum is what the block's last neurons receive; "sew": spikes are added after.
        recurrent: hidden layers of "mlp" also receive their own spikes of one step before, through weights.
        fan_in: of "mlp": each neuron reads so many inputs, chosen once, and has no bias; None for all, with biases.
        current_decay: of "mlp": the fraction that synaptic currents keep each step, exp(-1 / tau_syn); 0 for none.
        most_spikes: of hidden layers of "mlp": spikes of a neuron in a step, at most. Xylo's fire up to 31 times.
        pool: of spikes, over 2 x 2; chips add, so that "max" trains but is refused by every target.
        decay, decay_rule: epsilon of Eq. 2; "fixed", or learned: "shared" by all layers, or one per "layer".
        threshold, learn_threshold: Vth = tanh(w) at the start; whether w is learned in convolutional layers.
        surrogate, surrogate_linear: of convolutional and of fully connected layers.
        gamma, gamma_rule: width of the surrogate gradient at the start, and the gradient it follows (see
            `snn.surrogate`).
        norm: batch norm over samples, steps and places; "threshold" multiplies it by Vth (tdBN).
        lateral: "feature": 5 taps along fully connected currents; "channel": depthwise 5 x 5 on the spikes of one
            step before in convolutional layers.
        dropout: rate of moderate dropout after the hidden layers; 0 for none.
        hidden_output: "spikes", or "potential": the graded u * 1[u > Vth] of the paper, which no chip carries.
    """

    kind: Literal["convnet", "mlp", "vgg", "resnet19"] = "convnet"
    channels: tuple[_Width, ...] = (16, 32)
    depth: int = Field(1, ge=1)
    padding: Literal[0, 1] = 1
    hidden: tuple[_Width, ...] = (64,)
    width: float = Field(1.0, gt=0)
    stem: _Width = 64
    classifier_norm: bool = False
    residual: Literal["sum", "sew"] = "sum"
    recurrent: bool = False
    fan_in: int | None = Field(None, ge=1)
    current_decay: float = Field(0.0, ge=0, lt=1)
    most_spikes: int = Field(1, ge=1, le=31)
    pool: Literal["average", "sum", "max"] = "average"
    steps: int = Field(4, ge=1, le=MOST_STEPS)
    decay: float = Field(0.25, gt=0, le=1)
    decay_rule: Literal["fixed", "shared", "layer"] = "fixed"
    threshold: float = Field(0.46, gt=0, lt=1)
    learn_threshold: bool = True
    surrogate: SurrogateShape = "arctangent"
    surrogate_linear: SurrogateShape = "softplus"
    gamma: float = Field(1.0, gt=0)
    gamma_rule: Literal["literal", "principled", "odd", "frozen"] = "literal"
    reset: Literal["zero", "subtract"] = "zero"
    detach_reset: bool = False
    norm: Literal["batch", "threshold", "none"] = "batch"
    lateral: Literal["none", "feature", "channel"] = "none"
    dropout: float = Field(0.0, ge=0, lt=1)
    hidden_output: Literal["spikes", "potential"] = "spikes"
    readout: Literal["membrane", "spike_count", "potential"] = "membrane"
    readout_decay: float = Field(1.0, gt=0, le=1)

    @field_validator("hidden", mode="before")
    @classmethod
    def _one_layer(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value


class TrainConfig(Section):
    """How it is trained.

    Attributes:
        batch_size: samples per step, on each device.
        optimizer: "adamw", "adam" or "sgd" with `momentum`.
        learning_rate, gamma_learning_rate: of all parameters but gamma, and of gamma.
        weight_decay: of weights and batch norms; gamma, thresholds and decays have none.
        schedule: of both learning rates: "one_cycle", "cosine" (to zero), "steps" (times `factor` at each of
            `milestones`, in epochs) or "constant".
        factor: one for all milestones, or one for each.
        loss: "cross_entropy", "mse" against one-hot labels, or "tet": cross-entropy at every step.
        potential_weight: beta of Eq. 6; 0 switches potential adjustment (PDA) off.
        potential_form: closed-form "gaussian" or binned "histogram" divergence.
        potential_mean, potential_deviation: the target distribution, N(0, 1) in the paper.
        potential_layers: names of layers, or () for all.
        selection: whose weights are kept: of the epoch with the lowest loss on the "validation" split, or of the
            "last". With little to validate on, the lowest loss is often that of a lucky early epoch.
        report_best_on_test: measure the test set after every epoch and report the best of it, labelled as selected on
            the test set; which weights are kept is decided by `selection` all the same.
        precision: "32", "bf16" or "16" (mixed; "16" needs a GPU).
        accelerator, devices: as Lightning takes them.
        channels_last: memory order of convolutions, several times as fast on CPUs; None for where that is so.
        compile: torch.compile the network; needs a C++ compiler. On CPUs it brings next to nothing (docs/results.md).
        threads: of the CPU; None for torch's own choice.
        workers: processes that prepare training batches beside the one that trains, at most one per core, 0 for none;
            the batches are the same. For GPUs, which would else wait for augmentation.
        loggers: beside log.csv, which is always written.
    """

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(64, ge=1)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1)
    learning_rate: float = Field(3e-3, gt=0)
    gamma_learning_rate: float = Field(5e-4, ge=0)
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["one_cycle", "cosine", "steps", "constant"] = "one_cycle"
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field((), validate_default=True)
    factor: _Factor | tuple[_Factor, ...] = 0.1
    loss: Literal["cross_entropy", "mse", "tet"] = "cross_entropy"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    potential_weight: float = Field(1.0, ge=0)
    potential_form: Literal["gaussian", "histogram"] = "gaussian"
    potential_mean: float = 0.0
    potential_deviation: float = Field(1.0, gt=0)
    potential_layers: tuple[str, ...] = ()
    selection: Literal["validation", "last"] = "validation"
    report_best_on_test: bool = False
    precision: Literal["32", "bf16", "16"] = "32"
    accelerator: str = "auto"
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    channels_last: bool | None = None
    compile: bool = False
    threads: int | None = Field(None, ge=1, le=1024)
    workers: int = Field(0, ge=0)
    loggers: tuple[Literal["tensorboard", "mlflow"], ...] = ()

    @property
    def factors(self) -> tuple[float, ...]:
        """One for each milestone."""
        return self.factor if isinstance(self.factor, tuple) else (self.factor,) * len(self.milestones)

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @field_validator("milestones")
    @classmethod
    def _rising(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        stepped = info.data.get("schedule", "steps") == "steps"
        if stepped != bool(value):
            raise ValueError("schedule=steps needs milestones" if stepped else "only with schedule=steps")
        if list(value) != sorted(set(value)):
            raise ValueError("epochs must rise")
        return value

    @field_validator("factor")
    @classmethod
    def _one_each(cls, value: Any, info: ValidationInfo) -> Any:
        count = len(info.data.get("milestones", ()))
        if isinstance(value, tuple) and len(value) != count:
            raise ValueError(f"one factor, or one for each of {count} milestones, is expected")
        return value


class NoiseConfig(Section):
    """What the network is trained to bear; every part can stand alone.

    Attributes:
        mismatch: relative spread of every threshold and decay, drawn for each batch.
        weight_mismatch: relative spread of every weight, drawn for each batch.
        thermal: noise on every neuron's input at every step, in units of the threshold.
        quantize: name of a chip whose rounding the forward pass goes through.
        adversarial: relative size of the worst-case step on the weights (0: none), `adversarial_steps` steps of it.
    """

    mismatch: float = Field(0.0, ge=0)
    weight_mismatch: float = Field(0.0, ge=0)
    thermal: float = Field(0.0, ge=0)
    quantize: str | None = None
    adversarial: float = Field(0.0, ge=0)
    adversarial_steps: int = Field(1, ge=1)


class ExperimentConfig(Section):
    """All of it."""

    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    train: TrainConfig = TrainConfig()
    noise: NoiseConfig = NoiseConfig()
    seed: int = Field(0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _exact_codes(self) -> ExperimentConfig:
        if self.noise.quantize and self.train.precision != "32":
            raise ValueError(
                f"noise.quantize={self.noise.quantize} with train.precision={self.train.precision}: 8-bit codes need "
                "train.precision=32"
            )
        return self


def load_config(
    file: Path | None,
    settings: list[str],
    overrides: dict[str, Any] | None = None,
    preset: str | None = None,
    recipe: str | None = None,
) -> ExperimentConfig:
    """The configuration of, later ones overriding earlier ones: preset, recipe, YAML file, `a.b=c` settings, overrides.

    Args:
        overrides: values by dotted name.
        recipe: a name of `presets.recipes()`, or None.
        preset: a name of `presets.catalogue()`; None for the one named as the data set, where there is one.

    Raises:
        UsageError: naming every unknown or forbidden entry, with what is allowed.
    """
    content: Any = presets.read_yaml(file, f"--config {file}") if file is not None else {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or "" in name.split("."):
            raise UsageError(f"--set {setting}: NAME=VALUE is expected, as in train.epochs=5")
        presets.put(content, name, parse_yaml(value, f"--set {setting}"), f"--set {setting}")
    for name, value in (overrides or {}).items():
        presets.put(content, name, value, f"{name}={value}")
    if preset is None:
        data = content.get("data", {})
        named = data.get("name", DataConfig().name) if isinstance(data, dict) else None
        preset = named if isinstance(named, str) and named in presets.catalogue() else None
    below = presets.read(preset) if preset is not None else {}
    if recipe is not None:
        below = presets.over(below, presets.recipe(recipe))
    return parse_config(presets.over(below, content))


def parse_config(content: Any) -> ExperimentConfig:
    """The configuration of plain values; raises UsageError naming every wrong entry."""
    try:
        return ExperimentConfig.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(described(problem, ExperimentConfig) for problem in error.errors())
        raise UsageError(f"configuration: {problems}") from error
