"""Where the public data sets come from: files, checksums, sources in order of preference, licences and citations.

Checksums stand here only where their publishers or long-used loaders give them; elsewhere they are None.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class File:
    name: str
    """What the file is called in the data set's folder."""
    checksum: str | None = None
    """`md5:` or `sha256:` and the digest in hexadecimal."""
    urls: tuple[str, ...] = ()
    """Direct downloads, the best first; none where only a person can fetch the file."""
    by_hand: str = ""
    """Which file a person fetches where, when no URL serves."""


@dataclass(frozen=True)
class Dataset:
    name: str
    """What its folder in data/raw is called."""
    licence: str
    citation: str
    layouts: tuple[tuple[File, ...], ...]
    """Each a set of files that hold all of it."""

    @property
    def names(self) -> Counter[str]:
        """How many layouts have a file of each name."""
        return Counter(file.name for layout in self.layouts for file in layout)


ZENODO = "https://zenodo.org/record/7978538/files"  # the archive of learn2learn's copies
GITHUB = "https://raw.githubusercontent.com"
DROPBOX = "https://www.dropbox.com"
DRIVE = "https://drive.google.com/file/d"

IMAGENET_LICENCE = (
    "ImageNet's terms (https://image-net.org/download.php): non-commercial research and education alone; "
    "the images' copyright stays with their owners"
)

ILSVRC = File(
    "ILSVRC2012_img_train.tar",
    checksum="md5:1d675b47d978889d74fa0da5fadfb00e",
    by_hand="register at https://image-net.org/download.php, accept the terms and fetch the training images (Task 1 "
    "& 2) of ILSVRC 2012, 138 GB",
)

# -- mini-ImageNet ------------------------------------------------------------------------------------------

RAVI_SPLIT = tuple(
    File(
        f"{split}.csv",
        checksum=checksum,
        urls=(
            f"{GITHUB}/twitter-research/meta-learning-lstm/HEAD/data/miniImagenet/{split}.csv",
            f"{GITHUB}/renmengye/few-shot-ssl-public/HEAD/fewshot/data/mini_imagenet_split/Ravi/{split}.csv",
            f"{GITHUB}/yaoyao-liu/mini-imagenet-tools/HEAD/csv_files/{split}.csv",
        ),
    )
    for split, checksum in (
        ("train", "md5:9525e1538f67719f18f1936bf8d0782d"),
        ("val", "md5:ce315ce99b41fbf84fa6acd69315d918"),
        ("test", "md5:5b89df877c6cbe5d291e43118a2a9591"),
    )
)

GIDARIS_SOURCES = (
    f"open {DROPBOX}/sh/6yd1ygtyc3yd981/AABVeEqzC08YQv4UZk7lNHvya?dl=0, the folder of RFS, and fetch miniImageNet; "
    f"the same pickles are in MetaOptNet's {DRIVE}/12V7qi-AjrYi6OoJdYcN_k502BM_jcP8D"
)

MINI_IMAGENET = Dataset(
    "mini-imagenet",
    licence=IMAGENET_LICENCE,
    citation="Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016; "
    "split: Ravi and Larochelle, Optimization as a Model for Few-Shot Learning, ICLR 2017",
    layouts=(
        # full-size JPEGs with the split's csv files
        (
            File(
                "images.zip",
                checksum="md5:987d2dfede486f633ec052ff463b62c6",
                by_hand=f"fetch images.zip from {DRIVE}/0B3Irx3uQNoBMQ1FlNXJsZUdYWEE",
            ),
            *RAVI_SPLIT,
        ),
        # the original images of ILSVRC 2012 with the split's csv files
        (ILSVRC, *RAVI_SPLIT),
        # 84x84 arrays, one pickle a split
        tuple(
            File(
                f"mini-imagenet-cache-{split}.pkl",
                urls=(
                    f"{ZENODO}/mini-imagenet-cache-{split}.pkl",
                    f"{DROPBOX}/s/{dropbox}/mini-imagenet-cache-{split}.pkl?dl=1",
                ),
                by_hand=f"fetch mini-imagenet-cache-{split}.pkl from {DRIVE}/{drive}",
            )
            for split, dropbox, drive in (
                ("train", "9g8c6w345s2ek03", "1I3itTXpXxGV68olxM5roceUMG8itH9Xj"),
                ("validation", "ip1b7se3gij3r1b", "1KY5e491bkLFqJDp0-UWou3463Mo8AOco"),
                ("test", "ye9jeb5tyz0x01b", "1wpmY-hmiJUUlRBkO9ZDCXAcIpHEFdOhD"),
            )
        ),
        # the same, as the archive below names them
        tuple(
            File(f"mini-imagenet-cache-{split}.pkl", by_hand="unpack mini-imagenet.tar.gz")
            for split in ("train", "val", "test")
        ),
        # the three pickles in one archive, as Ren et al. published them
        (
            File(
                "mini-imagenet.tar.gz",
                checksum="md5:b38f1eb4251fb9459ecc8e7febf9b2eb",
                by_hand=f"fetch mini-imagenet.tar.gz, 1.1 GB, from {DRIVE}/16V_ZlkW4SsnNDtnGmaBRq2OoPmUOc5mY",
            ),
        ),
        # 84x84 arrays; used by MetaOptNet, RFS and SCL
        tuple(
            File(f"miniImageNet_category_split_{part}.pickle", by_hand=GIDARIS_SOURCES)
            for part in ("train_phase_train", "val", "test")
        ),
    ),
)

# -- tiered-ImageNet ----------------------------------------------------------------------------------------

TIERED_ARCHIVE = f"{DRIVE}/1g1aIDy2Ar_MViF2gDXFYDBTR-HYecV07"

TIERED_IMAGENET = Dataset(
    "tiered-imagenet",
    licence=IMAGENET_LICENCE,
    citation="Ren et al., Meta-Learning for Semi-Supervised Few-Shot Classification, ICLR 2018",
    layouts=(
        # 84x84 PNGs in pickles, with classes and superclasses
        tuple(
            File(
                name,
                urls=(f"{ZENODO}/tiered-imagenet-{name}",),
                by_hand=f"fetch tiered-imagenet.tar from {TIERED_ARCHIVE} and unpack {name} from it",
            )
            for name in (
                "train_images_png.pkl",
                "train_labels.pkl",
                "val_images_png.pkl",
                "val_labels.pkl",
                "test_images_png.pkl",
                "test_labels.pkl",
            )
        ),
        # the same in one archive, as Ren et al. published them
        (
            File(
                "tiered-imagenet.tar",
                checksum="md5:e07e811b9f29362d159a9edd0d838c62",
                by_hand=f"fetch tiered-imagenet.tar, 12.9 GB, from {TIERED_ARCHIVE}",
            ),
        ),
        # 84x84 arrays with labels; used by MetaOptNet, RFS and SCL
        tuple(
            File(
                f"{split}_{kind}",
                by_hand="fetch tieredImageNet from MetaOptNet's "
                f"{DRIVE}/1nVGCTd9ttULRXFezh4xILQ9lUkg0WZCG and unpack {split}_{kind} from it",
            )
            for split in ("train", "val", "test")
            for kind in ("images.npz", "labels.pkl")
        ),
        # the original images of ILSVRC 2012 with the split's csv files
        (
            ILSVRC,
            *(
                File(
                    f"{split}.csv",
                    checksum=checksum,
                    urls=(
                        f"{GITHUB}/renmengye/few-shot-ssl-public/HEAD/fewshot/data/tiered_imagenet_split/{split}.csv",
                    ),
                )
                for split, checksum in (
                    ("train", "md5:d31866264a7d9e25735ddcc19b25a256"),
                    ("val", "md5:0264f187700d234a93329634cec0cdc8"),
                    ("test", "md5:c3dce8918768c997e1d00ba588079d3d"),
                )
            ),
        ),
    ),
)

# -- the others ---------------------------------------------------------------------------------------------

CIFAR_100 = Dataset(
    "cifar-100",
    licence="none stated; the authors ask to cite their report (https://www.cs.toronto.edu/~kriz/cifar.html)",
    citation="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; "
    "CIFAR-FS: Bertinetto et al., Meta-Learning with Differentiable Closed-Form Solvers, ICLR 2019; "
    "FC100: Oreshkin et al., TADAM: Task Dependent Adaptive Metric for Improved Few-Shot Learning, NeurIPS 2018",
    layouts=(
        # 32x32 arrays of both parts, from which CIFAR-FS and FC100 take their classes
        (
            File(
                "cifar-100-python.tar.gz",
                checksum="md5:eb9058c3a382ffc7106e4002c42a8d85",
                urls=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
            ),
        ),
    ),
)

OMNIGLOT = Dataset(
    "omniglot",
    licence="MIT (https://github.com/brendenlake/omniglot/blob/master/LICENSE)",
    citation="Lake, Salakhutdinov and Tenenbaum, Human-level concept learning through probabilistic program induction, "
    "Science 350(6266):1332-1338, 2015",
    layouts=(
        # 105x105 drawings by alphabet and character
        tuple(
            File(
                f"images_{part}.zip",
                checksum=checksum,
                urls=(f"{GITHUB}/brendenlake/omniglot/master/python/images_{part}.zip",),
            )
            for part, checksum in (
                ("background", "md5:68d2efa1b9178cc56df9314c21c6e718"),
                ("evaluation", "md5:6b91aef0f799c5bb55b94e3f2daec811"),
            )
        ),
    ),
)

CUB = Dataset(
    "cub-200-2011",
    licence="none in the archive; the photographs' copyright stays with their owners "
    "(https://www.vision.caltech.edu/datasets/cub_200_2011/)",
    citation="Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, "
    "California Institute of Technology, CNS-TR-2011-001, 2011",
    layouts=(
        # photographs by species, with bounding boxes, parts and attributes
        (
            File(
                "CUB_200_2011.tgz",
                checksum="md5:97eceeb196236b17998738112f37df78",
                urls=(
                    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",  # the authors' own
                    "https://zenodo.org/record/8000562/files/CUB_200_2011.tgz",
                ),
                by_hand=f"fetch CUB_200_2011.tgz from {DRIVE}/1hbzc_P1FuxMkcabkgn9ZKinBwW683j45",
            ),
        ),
    ),
)

# By the source in the config.
PUBLIC = {
    "mini-imagenet": MINI_IMAGENET,
    "tiered-imagenet": TIERED_IMAGENET,
    "cifar-fs": CIFAR_100,
    "fc100": CIFAR_100,
    "omniglot": OMNIGLOT,
    "cub": CUB,
}
IMAGENET = ("mini-imagenet", "tiered-imagenet")  # those of ImageNet's photographs
# By the source in the config, of each split the number of classes and the images of the smallest, as far as published.
SIZES = {
    "mini-imagenet": {"train": (64, 600), "val": (16, 600), "test": (20, 600)},
    "tiered-imagenet": {"train": (351, inf), "val": (97, inf), "test": (160, inf)},
    "cifar-fs": {"train": (64, 600), "val": (16, 600), "test": (20, 600)},
    "fc100": {"train": (60, 600), "val": (20, 600), "test": (20, 600)},
    "omniglot": {"train": (inf, 20), "val": (inf, 20), "test": (inf, 20)},  # the classes hang on rotations
    "cub": {"train": (100, inf), "val": (50, inf), "test": (50, inf)},
}
