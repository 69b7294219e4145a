"""The experiment, as it stands in config/*.yaml: keys, types, ranges and defaults, all in this file.

An `Experiment` is read once and its parts are passed down: each stage of the pipeline sees only the part that
may change its result (`Dataset`, `Method`, `Evaluation`, ...), so that a change elsewhere never reruns it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from mlcl import config_text
from mlcl.errors import UserError

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+([-_][a-z0-9]+)*$")]


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):  # which pydantic takes for 1 or 0
        raise ValueError("must be a number")
    return value


Whole = Annotated[int, BeforeValidator(_no_truth)]
Real = Annotated[float, BeforeValidator(_no_truth)]
Positive = Annotated[Whole, Field(ge=1)]
Fraction = Annotated[Real, Field(ge=0, le=1)]
Side = Annotated[Whole, Field(ge=16, le=512)]  # of an image, in pixels
Place = Annotated[str, Field(min_length=1)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]


def _each_once(values: tuple) -> tuple:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"has {value} twice; keep one")
    return values


Once = AfterValidator(_each_once)

# How many levels each encoder has; `encoders.build` is held to it by a test.
LEVELS = {"conv4": 4, "resnet12": 4}


class Part(BaseModel):
    """A part of the config: immutable, closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


# -- data ---------------------------------------------------------------------------------------------------


class Glyphs(Part):
    """The embedded data set: characters rendered from the fonts that matplotlib ships."""

    source: Literal["glyphs"]
    split: Literal["random", "script"] = "random"
    """`random`: classes split at random, as in mini-ImageNet; `script`: no script in two splits, as in tiered."""
    size: Annotated[Whole, Field(ge=16, le=128)] = 32
    """Side of the images in pixels."""
    seed: Annotated[Whole, Field(ge=0)] = 0


class Raw(Part):
    """What the data sets made from files have in common."""

    path: Place | None = None
    """Where your copy of the files lies; a relative path starts at the root of the repository. By default they are
    expected in, and fetched to, the folder of data/raw that the catalogue of downloads names."""
    size: Side = 84
    """Side of the packed images in pixels."""


class MiniImagenet(Raw):
    """mini-ImageNet (Vinyals et al. 2016) with the class split of Ravi and Larochelle (2017)."""

    source: Literal["mini-imagenet"]


class TieredImagenet(Raw):
    """tiered-ImageNet (Ren et al. 2018): no super-class in two splits."""

    source: Literal["tiered-imagenet"]


class CifarFs(Raw):
    """CIFAR-FS (Bertinetto et al. 2019): CIFAR-100, its classes split at random."""

    source: Literal["cifar-fs"]
    size: Side = 32


class Fc100(Raw):
    """FC100 (Oreshkin et al. 2018): CIFAR-100, no super-class in two splits."""

    source: Literal["fc100"]
    size: Side = 32


class Omniglot(Raw):
    """Omniglot (Lake et al. 2015): the background alphabets train and validate, the evaluation alphabets test."""

    source: Literal["omniglot"]
    size: Side = 28
    rotations: bool = False
    """Whether a character turned by 90, 180 and 270 degrees makes three classes more (Santoro et al. 2016)."""


class Cub(Raw):
    """CUB-200-2011 (Wah et al. 2011), split 100/50/50 as Chen et al. (2019) do."""

    source: Literal["cub"]


class Folder(Raw):
    """Any images: path/<class>/* or path/<super-class>/<class>/*, with split.csv (class, split) or a seeded split."""

    source: Literal["folder"]
    path: Place
    flip: bool = True
    """Whether an image and its mirror image show the same class."""
    shares: tuple[Fraction, Fraction, Fraction] = (0.64, 0.16, 0.2)
    """Without split.csv: the shares of the classes (or super-classes) that train, validate and test."""
    seed: Annotated[Whole, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _shares_sum_to_one(self):
        if abs(sum(self.shares) - 1) > 1e-6 or not all(self.shares):
            raise ValueError("shares must be three numbers above 0 that sum to 1")
        return self


# The data sets of one channel; each source's images are held to it by a test.
GREY = {"glyphs", "omniglot"}

Dataset = Annotated[
    Glyphs | MiniImagenet | TieredImagenet | CifarFs | Fc100 | Omniglot | Cub | Folder, Field(discriminator="source")
]


# -- training -----------------------------------------------------------------------------------------------


# A value that is given once for every level, or as a list with one each.
ONE_OR_EACH = BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,))


# Of levels, by their numbers; sorted, so that the order in which they are written makes no other recipe.
Weights = Annotated[
    dict[Positive, Annotated[Real, Field(gt=0)]], AfterValidator(lambda weights: dict(sorted(weights.items())))
]


class Encoder(Part):
    name: Literal["conv4", "resnet12"] = "conv4"
    width: Positive = 64
    """Channels of the first level: conv4 keeps it at every level, resnet12 multiplies it by 1, 2.5, 5 and 10."""
    pool: Annotated[tuple[Positive, ...], ONE_OR_EACH] = (1,)
    """A level's map is pooled on a grid of pool x pool cells, then flattened: one number for every level, or one each,
    as in [5, 5, 5, 1]."""
    pooling: Annotated[tuple[Literal["average", "max"], ...], ONE_OR_EACH] = ("average",)
    """What each cell keeps of its part of the map: one for every level, or one each, as in [max, max, max, average]."""
    branches: bool = False
    """Whether every level but the last goes on through strided convolutions of its own, one for each level after it,
    and is represented as wide as the last (Zhang et al. 2019, Be Your Own Teacher)."""
    drop_block: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    """resnet12 only: the share of the last two levels' maps that DropBlock drops while training."""

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels' numbers, first to last, counted from 1."""
        return tuple(range(1, LEVELS[self.name] + 1))

    @model_validator(mode="after")
    def _one_for_every_level_or_each(self):
        for key, given in {"pool": self.pool, "pooling": self.pooling}.items():
            if len(given) not in (1, len(self.levels)):
                raise ValueError(f"{key}: give one for every level or {len(self.levels)}, not {len(given)}")
        return self

    @model_validator(mode="after")
    def _drop_block_needs_resnet12(self):
        if self.drop_block and self.name != "resnet12":
            raise ValueError(f"drop_block is for resnet12; make it 0 here, or change name: {self.name}")
        return self


class Distillation(Part):
    """What a trained method says of the base classes is learnt too (Hinton et al. 2015, section 2), with the values of
    the sequential self-distillation of RFS (Tian et al. 2020):

        loss = (1 - weight) * loss + weight * temperature^2 * KL(p_teacher, p)

    with p the classes' probabilities at that temperature."""

    teacher: Name
    """A method that stands earlier in the config; each run learns from its run on the same data set and seed."""
    weight: Fraction = 0.5
    temperature: Annotated[Real, Field(gt=0)] = 4.0


class SelfDistillation(Part):
    """What the last level says of the base classes is learnt by the classifiers of earlier ones too, after Zhang et al.
    (2019), Be Your Own Teacher, at the temperature of their code, without their loss on features, and with a weight of
    our own: in the place of level l's cross-entropy of deep supervision stands

        (1 - weight) * CE_l + weight * temperature^2 * KL(p_last, p_l)

    with p the classes' probabilities at that temperature; those of the last level are taken as given."""

    weight: Fraction = 0.5
    temperature: Annotated[Real, Field(gt=0)] = 3.0


class Objective(Part):
    """loss = cross_entropy * CE + sum over levels l of levels[l] * contrast(z_l); `deep_supervision` adds to it,
    `SelfDistillation` and `Distillation` change it as they say."""

    cross_entropy: Annotated[Real, Field(ge=0)] = 0.0
    """Weight of the cross-entropy on the last level's representation."""
    deep_supervision: Weights = {}
    """The earlier levels that get a cross-entropy too, each with its weight (Lee et al. 2015)."""
    self_distillation: SelfDistillation | None = None
    """Whether these levels learn from the last one besides."""
    contrast: Literal["simclr", "supcon"] | None = None
    """`simclr`: NT-Xent, the other view alone is positive; `supcon`: every view of the same class is."""
    levels: Weights = {}
    """The levels that get the contrastive loss, each with its weight."""
    temperature: Annotated[Real, Field(gt=0)] = 0.1
    projection: Positive = 128
    """Output dimension of each level's projection head."""
    distillation: Distillation | None = None
    """The method to learn from besides."""

    @model_validator(mode="after")
    def _something_to_learn(self):
        if (self.contrast is None) != (not self.levels):
            raise ValueError("contrast and levels go together: give both, or neither")
        if not self.cross_entropy and not self.levels:
            raise ValueError("nothing to learn: give cross_entropy a weight, or set contrast and levels")
        if self.deep_supervision and not self.cross_entropy:
            raise ValueError("deep_supervision adds to the last level's cross-entropy: give cross_entropy a weight")
        if self.self_distillation and not self.deep_supervision:
            raise ValueError("self_distillation teaches the classifiers of earlier levels: set deep_supervision too")
        if self.distillation and not self.cross_entropy:
            raise ValueError("distillation is between classifiers of the base classes: give cross_entropy a weight")
        return self


OF_STEPS = ("milestones", "decay")  # keys that the schedule `step` alone heeds


class Schedule(Part):
    """The learning rate as a function of the training's progress."""

    name: Literal["cosine", "step"] = "cosine"
    warmup: Fraction = 0.1
    """Share of the training over which the learning rate rises linearly from zero. Without it, contrastive losses at
    several levels can kill a level's projection head in the first steps, for good."""
    milestones: tuple[Fraction, ...] = (0.6, 0.8)
    """`step` only: shares of the training after which the learning rate is multiplied by `decay`."""
    decay: Fraction = 0.1


class Augmentation(Part):
    views: tuple[Literal["crop", "simclr"], Literal["crop", "simclr"]] = ("crop", "simclr")
    """The styles of the two views. `crop`: shift by up to a tenth, jitter (as RFS); `simclr`: random resized crop,
    strong jitter, sometimes greyscale."""
    scale: tuple[Fraction, Fraction] = (0.2, 1.0)
    """`simclr`: the share of the image's area that the random resized crop keeps, from and to; less where a crop of
    that area and its shape would be wider or higher than the image."""

    @model_validator(mode="after")
    def _scale_ascends(self):
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError("scale must ascend from above 0 to at most 1, as in [0.2, 1.0]")
        return self


class Validation(Part):
    every: Positive = 5
    """Epochs between two few-shot validations; the last epoch is always validated."""
    episodes: Positive = 200
    way: Annotated[Whole, Field(ge=2)] = 5
    shot: Positive = 5
    queries: Positive = 15


class Training(Part):
    epochs: Positive = 20
    batch_size: Annotated[Whole, Field(ge=2)] = 64
    """Images a step; each is seen in two views."""
    learning_rate: Annotated[Real, Field(gt=0)] = 0.05
    momentum: Annotated[Real, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[Real, Field(ge=0)] = 5e-4
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    validation: Validation = Validation()
    sides: tuple[Side, ...] = ()
    """Sides of the views in pixels, each for an equal share of the training, as in [42, 84]: a view of half the side
    takes a quarter of the time. Validation and features see images of the data's size. Empty: the views too."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """`auto`: bfloat16 autocast where the hardware multiplies in it, else float32. Convolutions of NVIDIA's GPUs then
    take TF32, torch's default."""
    compile: bool = False
    """On a GPU, compile the encoder: half a minute, once at the start and at each new side of the views."""
    threads: Positive = 1
    """CPU threads of one training. Part of the recipe, since the last digits depend on it."""

    def check(self, images: float, side: int, processes: int) -> None:
        """Raise `UserError` where so many base images, `side` pixels wide, or so many processes are not to be trained
        on or by."""
        if self.batch_size > images:
            raise UserError(f"training.batch_size: {self.batch_size} is more than the {images} base images; lower it")
        if self.batch_size < processes:
            raise UserError(
                f"training.batch_size: {self.batch_size} leaves some of {processes} GPUs no image; raise it"
            )
        if self.sides and 2 * min(self.sides) < side:
            raise UserError(
                f"training.sides: {min(self.sides)} is less than half of the images' {side} pixels, of which it would "
                "skip some; take larger views"
            )


class Method(Part):
    """A training recipe."""

    title: str | None = None
    """How the tables call it; by default its key."""
    objective: Objective
    encoder: Encoder
    training: Training

    @model_validator(mode="after")
    def _levels_exist(self):
        objective, existing = self.objective, self.encoder.levels
        for key, levels in {"levels": existing, "deep_supervision": existing[:-1]}.items():
            missing = sorted(set(getattr(objective, key)) - set(levels))
            if missing:
                raise ValueError(
                    f"objective.{key}: takes {self.encoder.name}'s levels {levels[0]} to {levels[-1]}, not {missing[0]}"
                )
        untrained = sorted(set(existing[:-1]) - set(objective.levels) - set(objective.deep_supervision))
        if self.encoder.branches and untrained:
            raise ValueError(
                f"encoder.branches: that of level {untrained[0]} would learn nothing; name the level in "
                "objective.levels or objective.deep_supervision too"
            )
        return self


def identity(method: Method) -> str:
    """Equal only for recipes that train the same."""
    return method.model_dump_json(exclude={"title"})


# -- evaluation ---------------------------------------------------------------------------------------------

Classifier = Literal["logistic_regression", "nearest_centroid", "cosine_centroid"]
Processing = Literal["l2", "centre", "power", "power_centre"]


class Evaluation(Part):
    split: Literal["test", "val"] = "test"
    episodes: Annotated[Whole, Field(ge=2)] = 600
    way: Annotated[Whole, Field(ge=2)] = 5
    shots: Annotated[tuple[Positive, ...], Field(min_length=1), Once] = (1, 5)
    queries: Positive = 15
    """Query images a class."""
    support_copies: Annotated[Whole, Field(ge=0)] = 0
    """Augmented copies that stand for each support image, as RFS evaluates with 5; 0: the image itself."""
    classifiers: Annotated[tuple[Classifier, ...], Field(min_length=1), Once] = (
        "logistic_regression",
        "nearest_centroid",
        "cosine_centroid",
    )
    """The tables show the first; the table of classifiers compares the others with it."""
    processing: Annotated[tuple[Processing, ...], Field(min_length=1), Once] = ("l2",)
    """What is done to the features of every level. `l2`: scaled to unit length; `centre`: the mean of the base classes'
    images taken off first; `power`: signed square root first; `power_centre`: that, then its mean over the base
    classes' images taken off. All end in unit length. The tables show the first, as with classifiers."""
    subsets: bool = False
    """Whether every subset of the levels is an ensemble of its own, besides all of them: for the table of subsets."""
    choose: bool = False
    """Whether each run is solved by levels of its own choice too: the ensemble of levels that does best on as many
    episodes of the validation classes, by the images themselves, where it is ahead of the last level there by more than
    its 95% interval; else the last level. For every shot, processing and classifier."""
    weigh: bool = False
    """Whether each run is solved by all its levels, weighted, too: by the weights that make as many episodes of the
    validation classes most probable, by the images themselves; for every shot, processing and classifier."""
    seed: Annotated[Whole, Field(ge=0)] = 0
    """Seed of the episodes: with it, the split and the shape, every method meets the same ones."""

    @model_validator(mode="after")
    def _nothing_is_chosen_on_what_is_reported(self):
        for key in ("choose", "weigh"):
            if getattr(self, key) and self.split == "val":
                raise ValueError(f"{key} is for split: test, since it learns from the validation classes")
        return self

    @property
    def validates(self) -> bool:
        """Whether the validation classes have a say in how the novel ones are solved."""
        return self.choose or self.weigh

    @property
    def solves_subsets(self) -> bool:
        """Whether ensembles of some of the levels solve the episodes: to be shown, or to be chosen from."""
        return self.subsets or self.choose

    @property
    def centred(self) -> bool:
        """Whether the mean of the base classes' images is taken off the features."""
        return any(name.endswith("centre") for name in self.processing)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of whose images the evaluation needs the features."""
        needed = {"train": self.centred, "val": self.split == "val" or self.validates, "test": self.split == "test"}
        return tuple(split for split, is_needed in needed.items() if is_needed)


class Sweep(Part):
    """One key of some methods' recipes, varied: each value is trained as a recipe of its own."""

    of: Annotated[tuple[Name, ...], Field(min_length=1), Once]
    """The methods."""
    key: str
    """Of the method, as in objective.temperature."""
    values: Annotated[tuple[str | bool | int | float, ...], Field(min_length=1), Once] | dict[Label, Any]
    """A list of values, or a name for each: {uniform: {1: 1, 4: 1}, rising: {1: 0.1, 4: 1}}. A value takes the place of
    the whole key: of a part, as training is one, what it does not name has the package's default again."""

    @field_validator("values", mode="before")
    @classmethod
    def _parts_are_named(cls, values: Any) -> Any:
        if isinstance(values, list) and any(isinstance(value, list | dict) for value in values):
            raise ValueError("lists and parts need names, as in {small: [16, 16], large: [24, 24]}")
        return values

    @property
    def labelled(self) -> dict[str, Any]:
        """The values by the names that paths and tables call them."""
        return self.values if isinstance(self.values, dict) else {_text(value): value for value in self.values}


class Variant(NamedTuple):
    """A value of a sweep, applied to a method."""

    method: str
    sweep: str
    label: str
    recipe: str
    """Key in `Experiment.recipes`: METHOD.SWEEP.LABEL, or that of an earlier recipe that is the same."""


class Experiment(Part):
    name: Name
    """The experiment lives in results/<name>/."""
    datasets: Annotated[dict[Name, Dataset], Field(min_length=1)]
    trained_on: dict[Name, Name] = {}
    """Data sets that nothing is trained on, each with the one whose encoders solve its tasks: what these are worth on
    another domain."""
    # Before the methods, so that an error in them is told of them, and not of the first method.
    encoder: Encoder = Encoder()
    """What every method trains, save for the keys that it sets itself under methods.<name>.encoder."""
    training: Training = Training()
    """How every method trains, save for the keys that it sets itself under methods.<name>.training."""
    methods: Annotated[dict[Name, Method], Field(min_length=1)]
    sweeps: dict[Name, Sweep] = {}
    """What is varied around the methods: the table of sweeps compares each variant with its method."""
    evaluation: Evaluation = Evaluation()
    seeds: Annotated[tuple[Annotated[Whole, Field(ge=0, lt=2**63)], ...], Field(min_length=1), Once] = (0,)
    """One training per data set, method and seed."""
    deep_ensembles: bool = False
    """Whether the encoders of each method, one a seed, solve the tasks together, too, by the mean of their class
    probabilities (Lakshminarayanan et al. 2017): what an ensemble of one encoder's levels has to be measured by."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: the GPU where there is one."""
    gpus: Positive = 1
    """GPUs that a training takes, a process each: every batch is shared among them. With `device: cpu`, processes."""
    published: tuple[str, ...] = ()
    """CSV files with more numbers for the comparison, in the columns of mlcl/published_results.csv; relative paths
    start at the root of the repository."""

    @model_validator(mode="before")
    @classmethod
    def _methods_inherit(cls, values: Any) -> Any:
        """Complete each method's `encoder` and `training` from the experiment's."""
        if not isinstance(values, dict) or not isinstance(values.get("methods"), dict):
            return values
        methods = {}
        for name, method in values["methods"].items():
            if isinstance(method, dict):
                shared = {key: values.get(key, {}) for key in ("encoder", "training")}
                method = {**method, **{key: _merged(shared[key], method.get(key, {})) for key in shared}}
                _check_schedule(f"methods.{name}.training.schedule", method["training"])
            methods[name] = method
        return {**values, "methods": methods}

    @model_validator(mode="after")
    def _encoders_are_trained(self):
        for name, source in self.trained_on.items():
            if name not in self.datasets:
                raise ValueError(f"trained_on: there is no data set {name} among {', '.join(self.datasets)}")
            if source not in self.training_sets:
                known = ", ".join(self.training_sets) or "none"
                raise ValueError(f"trained_on.{name}: {source} is no data set with trainings ({known})")
            if self.datasets[source].source in GREY and self.datasets[name].source not in GREY:
                raise ValueError(f"trained_on.{name}: the images of {source} are grey: its encoders take no colours")
        return self

    @model_validator(mode="after")
    def _ensembles_have_members(self):
        if self.deep_ensembles and len(self.seeds) < 2:
            raise ValueError("deep_ensembles: are of one encoder a seed; give seeds two or more, as in [0, 1, 2]")
        return self

    @model_validator(mode="after")
    def _sweeps_apply(self):
        _ = self._swept
        return self

    @model_validator(mode="after")
    def _teachers_are_trained_before(self):
        earlier: dict[str, Method] = {}
        for name, method in self.recipes.items():
            spec = method.objective.distillation
            if spec and (spec.teacher not in earlier or not earlier[spec.teacher].objective.cross_entropy):
                raise ValueError(
                    f"methods.{name}.objective.distillation.teacher: {spec.teacher} is no method with cross_entropy "
                    "that stands earlier"
                )
            earlier[name] = method
        return self

    @property
    def training_sets(self) -> list[str]:
        """The data sets with trainings of their own."""
        return [name for name in self.datasets if name not in self.trained_on]

    def encoder_of(self, run: str) -> str:
        """The run that trained the encoder of a run, mostly itself; each is DATASET/RECIPE/SEED."""
        dataset, _, rest = run.partition("/")
        return f"{self.trained_on.get(dataset, dataset)}/{rest}"

    def teacher(self, run: str) -> str | None:
        """The run that a run learns from, if it learns from one."""
        dataset, recipe, seed = run.split("/")
        spec = self.recipes[recipe].objective.distillation
        return f"{dataset}/{spec.teacher}/{seed}" if spec else None

    @property
    def ensembles(self) -> dict[str, str]:
        """The deep ensembles, if they are asked for: METHOD/SEED+SEED+... and the method."""
        seeds = "+".join(map(str, self.seeds))
        return {f"{method}/{seeds}": method for method in self.methods} if self.deep_ensembles else {}

    @property
    def recipes(self) -> dict[str, Method]:
        """What is trained: the methods, then the variants of the sweeps that are no recipe yet."""
        return self._swept[0]

    @property
    def variants(self) -> list[Variant]:
        """Of every sweep, method and value."""
        return self._swept[1]

    @cached_property
    def _swept(self) -> tuple[dict[str, Method], list[Variant]]:
        recipes, variants, known = dict(self.methods), [], {}
        for name, method in self.methods.items():
            known.setdefault(identity(method), name)
        for sweep, of, label, value in self._values():
            method = _varied(self.methods[of], of, f"sweeps.{sweep}", self.sweeps[sweep].key, value)
            recipe = known.setdefault(identity(method), f"{of}.{sweep}.{label}")
            recipes.setdefault(recipe, method)
            variants.append(Variant(of, sweep, label, recipe))
        return recipes, variants

    def _values(self) -> Iterator[tuple[str, str, str, Any]]:
        for name, sweep in self.sweeps.items():
            for of in sweep.of:
                if of not in self.methods:
                    raise ValueError(f"sweeps.{name}.of: there is no method {of} among {', '.join(self.methods)}")
                for label, value in sweep.labelled.items():
                    yield name, of, label, value

    @classmethod
    def parse(cls, values: Any, source: str) -> Experiment:
        """The experiment in `values`. Raises `UserError` that names `source` and the key at fault."""
        return config_text.validated(cls, values, source)

    @classmethod
    def load(cls, path: str | Path) -> Experiment:
        """The experiment in a YAML file. Raises `UserError` where it is missing or wrong."""
        return cls.parse(config_text.read(path), str(path))


T = TypeVar("T")


def part(kind: type[T], text: str) -> T:
    """The part of a config that `text` gives: JSON itself, or FILE:KEY.KEY..., as in config/config.yaml:methods.mine.

    Raises `UserError` where the text, the file or the key is wrong.
    """
    if text.lstrip().startswith("{"):
        try:
            values = config_text.parse(text)
        except (yaml.YAMLError, ValueError) as error:
            raise UserError(f"the JSON given: is not JSON: {' '.join(str(error).split())}") from error
        return config_text.validated(kind, values, "the JSON given")
    path, _, keys = text.partition(":")
    found: Any = Experiment.load(path)
    left = [key for key in keys.split(".") if key]
    while left:
        key = ".".join(left) if isinstance(found, dict) and ".".join(left) in found else left[0]  # as a sweep's recipe
        left = left[1 + key.count(".") :]
        try:
            found = found[key] if isinstance(found, dict) else getattr(found, key)
        except (KeyError, AttributeError):
            known = found if isinstance(found, dict) else getattr(type(found), "model_fields", ())
            if not known:
                raise UserError(f"{path}: has no {keys}: there is nothing of the name '{key}'") from None
            raise UserError(f"{path}: has no {keys}: there is no '{key}' among {', '.join(known)}") from None
    if isinstance(found, Experiment) and kind is not Experiment:
        raise UserError(
            f"{path}: is a whole experiment; name the part of it, as in {path}:methods.{next(iter(found.methods))}"
        )
    return config_text.validated(kind, found, text)


def _merged(shared: Any, own: Any) -> Any:
    """`own` over `shared`, key by key at every depth."""
    if isinstance(shared, dict) and isinstance(own, dict):
        return {**shared, **{key: _merged(shared.get(key), value) for key, value in own.items()}}
    return own


def _check_schedule(place: str, training: Any) -> None:
    """Raise `ValueError` where nobody said that the milestones are of steps: they would have no effect."""
    schedule = training.get("schedule") if isinstance(training, dict) else None
    for key in OF_STEPS if isinstance(schedule, dict) and "name" not in schedule else ():
        if key in schedule:
            raise ValueError(f"{place}: {key} is for name: step; add that, or remove it")


def _text(value: str | bool | int | float) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _varied(method: Method, of: str, source: str, key: str, value: Any) -> Method:
    """The method `of` with another value at a dotted key. Raises `ValueError` where the recipe has no such key or
    value, or the key no effect."""
    values = method.model_dump(exclude={"title"})
    *parents, last = key.split(".")
    place = values
    for parent in parents:
        place = place.get(parent) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        raise ValueError(f"{source}.key: a method has no {key}; name a key such as objective.temperature")
    place[last] = value
    try:
        varied = Method.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{source}.values: {key}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    if key in _unused(varied):
        raise ValueError(f"{source}.key: {key} has no effect on the recipe of {of}; vary another key, or leave it out")
    return varied


def _unused(method: Method) -> set[str]:
    """The keys that have no effect beside the others of a recipe."""
    training, objective = method.training, method.objective
    keys = {f"training.schedule.{key}" for key in OF_STEPS if training.schedule.name != "step"}
    keys |= {f"objective.{key}" for key in ("temperature", "projection") if not objective.contrast}
    if "simclr" not in training.augmentation.views:
        keys.add("training.augmentation.scale")
    return keys
