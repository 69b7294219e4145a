"""From a data set's spec in the config to its images."""

from __future__ import annotations

from pathlib import Path

from mlcl import config
from mlcl.data.packed import Source


def open_source(spec: config.Glyphs | config.MiniImagenet, root: Path) -> Source:
    """The data set, ready to pack; relative paths start at `root`. Raises `UserError` where it is missing or wrong."""
    if isinstance(spec, config.Glyphs):
        from mlcl.data import glyphs

        return glyphs.source(spec)
    from mlcl.data import mini_imagenet

    return mini_imagenet.source(spec, root)
