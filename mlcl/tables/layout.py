"""A frame of numbers in long form, laid out in rows and columns; the layout as markdown and as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain, groupby, pairwise
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

MINUS = "\N{MINUS SIGN}"
ABSENT = "\N{EN DASH}"

# What titles may have and pdfLaTeX does not know.
SYMBOLS = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma",
    "τ": "tau", "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega",
    "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi",
    "Ψ": "Psi", "Ω": "Omega",
    "→": "rightarrow", "←": "leftarrow", "↔": "leftrightarrow", "⇒": "Rightarrow", "≤": "leq", "≥": "geq",
    "≠": "neq", "≈": "approx", "∞": "infty", "∈": "in",
}  # fmt: skip

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': "''",
        "±": r"$\pm$",
        MINUS: "$-$",
        ABSENT: "--",
        # After \\ these would be read as its arguments.
        "[": "{[}",
        "]": "{]}",
        "*": "{*}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
        **{character: f"\\ensuremath{{\\{name}}}" for character, name in SYMBOLS.items()},
    }
)


# Of every .tex file. Tables and notes of a comparison are longer than a page: so no `tabular`, no `table` around it.
PREAMBLE = r"""% Needs \usepackage{array,booktabs,longtable}, and lines of 16 cm for four columns of numbers.
% To be \input in the text, not in a table or minipage, since it may run over several pages.
"""


class Number(NamedTuple):
    text: str
    mark: Literal["", "bold", "underlined"] = ""
    made_by: tuple[str, ...] = ()
    """The evaluations behind it, as the CSV names them."""


class Row(NamedTuple):
    labels: list[str]
    numbers: list[Number]


class Table(NamedTuple):
    """The texts of a table; a renderer escapes them."""

    title: str
    labels: list[str]
    """Headings of the columns that name a row."""
    columns: list[tuple[str, int]]
    """The columns with numbers: data set and shot."""
    blocks: dict[str, list[Row]]
    """The rows, between rules, by the heading above them; an empty heading is not shown."""
    notes: list[str]


def lay_out(
    title: str,
    frame: pd.DataFrame,
    columns: Sequence[tuple[str, int]],
    labels: Mapping[str, str],
    value: str,
    notes: Sequence[str],
    differences: bool = False,
) -> Table:
    """A row for each combination of the frame's `labels` (column: heading), a column for each data set and shot.

    `frame` has a row a number: block, the labels, dataset, shot, `value` with its ci95 (NaN: none), bold and, if it
    likes, underlined, and evaluations where `made_by` finds them. Rows and blocks come in the frame's order. Of
    `differences` the positive ones are marked too, and ci95_over_seeds stands in brackets. Raises ValueError where two
    numbers would share a place.
    """
    if (taken := frame.duplicated(["block", *labels, "dataset", "shot"])).any():
        raise ValueError(f"{title}: two numbers have one place: {frame[taken].iloc[0][list(labels)].to_dict()}")
    brackets, sign = (frame["ci95_over_seeds"], "+") if differences else ([np.nan] * len(frame), "")
    frame = frame.assign(
        text=[shown(*numbers, sign) for numbers in zip(frame[value], frame["ci95"], brackets, strict=True)],
        mark=np.where(frame["bold"], "bold", np.where(frame.get("underlined", False), "underlined", "")),
        made_by=[made_by(row) for row in frame.to_dict("records")],
    )
    blocks: dict[str, list[Row]] = {}
    for heading, block in frame.groupby("block", sort=False):
        blocks[heading] = []
        for names, row in block.groupby(list(labels), sort=False):
            cells = row[["dataset", "shot", "text", "mark", "made_by"]].itertuples(index=False, name=None)
            numbers = {(dataset, shot): Number(*number) for dataset, shot, *number in cells}
            blocks[heading].append(Row(list(names), [numbers.get(column, Number(ABSENT)) for column in columns]))
    return Table(title, list(labels.values()), list(columns), blocks, list(notes))


def shown(mean: float, ci95: float, over_seeds: float = np.nan, sign: str = "") -> str:
    """A number as tables and sentences show it: two decimals, and no negative zero."""
    if np.isnan(mean):
        return ABSENT
    text = f"{mean:{sign}z.2f}"
    text += "" if np.isnan(ci95) else f" ± {ci95:.2f}"
    text += "" if np.isnan(over_seeds) else f" ({over_seeds:.2f})"
    return text.replace("-", MINUS)


def made_by(*rows: Mapping[str, Any]) -> tuple[str, ...]:
    """The evaluations behind rows of a frame, each once: what all their keys that end in `evaluations` hold."""
    return tuple(dict.fromkeys(chain(*(row[key] for row in rows for key in row if key.endswith("evaluations")))))


def joined(paths: pd.Series) -> pd.Series:
    """Of every row its evaluations in one text, as the CSVs have them."""
    return paths.str.join("; ")


def csv(frame: pd.DataFrame) -> str:
    """The frame with ten digits a number."""
    paths = frame.filter(regex="evaluations$").apply(joined)
    return frame.assign(**paths).to_csv(index=False, lineterminator="\n", float_format="%.10g")


def markdown(table: Table) -> str:
    """The table under a heading, the notes below it. The headings of blocks are rows in italics."""
    width = len(table.labels) + len(table.columns)
    lines = [
        _markdown_row([*table.labels, *(_markdown_text(f"{name} {shot}-shot") for name, shot in table.columns)]),
        _markdown_row([*[":--"] * len(table.labels), *["--:"] * len(table.columns)]),
    ]
    for heading, rows in table.blocks.items():
        if heading:
            lines.append(_markdown_row([f"*{_markdown_text(heading)}*", *[""] * (width - 1)]))
        lines += [
            _markdown_row([*map(_markdown_text, row.labels), *map(_markdown_number, row.numbers)]) for row in rows
        ]
    return "\n".join([f"## {table.title}", "", *lines, *(f"\n{_markdown_text(note)}" for note in table.notes), ""])


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_text(text: str) -> str:
    """Escaped, but for addresses, which are links as they stand."""
    markup = r"[\\`*_|<~$]|&(?=#?\w+;)|](?=\()"  # the last two: an entity, the middle of a link
    return re.sub(rf"https?://[^\s|<]+|{markup}", lambda found: found[0] if found[0][1:] else f"\\{found[0]}", text)


def _markdown_number(number: Number) -> str:
    return {"bold": "**{}**", "underlined": "<u>{}</u>", "": "{}"}[number.mark].format(number.text)


def latex(table: Table) -> str:
    """A `longtable` with booktabs' rules, the notes below it; to go below `PREAMBLE`, which says what it needs."""
    labels, width = len(table.labels), len(table.labels) + len(table.columns)
    datasets = [(name, len(list(columns))) for name, columns in groupby(table.columns, key=itemgetter(0))]
    spans = [f"\\multicolumn{{{count}}}{{c}}{{{_latex_text(name)}}}" for name, count in datasets]
    ends = accumulate((count for _, count in datasets), initial=labels)
    head = [
        r"\toprule",
        f"\\multicolumn{{{labels}}}{{l}}{{}} & {' & '.join(spans)} \\\\",
        " ".join(f"\\cmidrule(lr){{{end + 1}-{next_end}}}" for end, next_end in pairwise(ends)),
        _latex_row([*map(_latex_text, table.labels), *(f"{shot}-shot" for _, shot in table.columns)]),
    ]
    body = []
    for heading, rows in table.blocks.items():
        body.append(r"\midrule")
        if heading:
            body.append(f"\\multicolumn{{{width}}}{{l}}{{\\emph{{{_latex_text(heading)}}}}} \\\\*")
        body += [_latex_row([*map(_latex_text, row.labels), *map(_latex_number, row.numbers)]) for row in rows]
    names = zip(table.labels, *(row.labels for rows in table.blocks.values() for row in rows), strict=True)
    lines = (row.numbers for rows in table.blocks.values() for row in rows)
    room = 90 - sum(max(len(number.text) for number in column) for column in zip(*lines, strict=True))
    limit = max(18, min(40, room) // labels)
    form = [*(_latex_column(texts, limit) for texts in names), *"c" * len(table.columns)]
    return "\n".join(
        [
            r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}",
            f"\\begin{{longtable}}{{{''.join(form)}}}",
            f"\\caption{{{_latex_text(table.title)}}} \\\\",
            *[*head, r"\endfirsthead"],
            *[*head, r"\endhead"],
            *[r"\bottomrule", r"\endfoot"],
            *body,
            r"\end{longtable}",
            r"\raggedright",
            "\n\n".join(map(_latex_text, table.notes)),
            r"\par\endgroup",
            "",
        ]
    )


def _latex_column(texts: Iterable[str], limit: int) -> str:
    """Half an em for each of at most `limit` characters, beyond which texts wrap; a first word only after a space."""
    characters = min(max(map(len, texts)), limit)
    return f">{{\\raggedright\\arraybackslash\\hspace{{0pt}}}}p{{{characters / 2}em}}"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_text(text: str) -> str:
    return text.translate(LATEX)


def _latex_number(number: Number) -> str:
    text = _latex_text(number.text)
    return {"bold": f"\\textbf{{{text}}}", "underlined": f"\\underline{{{text}}}", "": text}[number.mark]
