"""The report: what it holds and links, its words rule by rule, and how it looks and works in a real browser."""

import io
import itertools
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import stats
from test_tables import CLASSIFIERS, CONFIG, MINI, drawn, evaluate, file, tables_alone

from mlcl import choice, evaluations, paths, record, tables
from mlcl.config import Experiment
from mlcl.errors import UserError
from mlcl.report import OF_ALL, duration, sentences, write
from mlcl.tables.layout import MINUS
from mlcl.tables.study import read

TOOK = {"commit": None, "started": "2021-07-16T00:00:00+00:00", "sessions": 1, "seconds": 90.0, "joules": 7200.0}


def prepare(folder, config=CONFIG):
    """The arguments of `write`: evaluations with random accuracies, records, figures without content."""
    experiment, evaluations = evaluate(config, folder)
    tables_alone(experiment, evaluations, folder)
    records = []
    for path in evaluations:
        dataset, method, seed = path.with_suffix("").parts[-3:]
        if not seed.isdecimal() or dataset in experiment.trained_on:  # which is no training
            continue
        records.append(folder / "runs" / dataset / method / seed / "run.json")
        recipe = experiment.recipes[method].model_dump(mode="json", exclude={"title"})
        model = f"of {dataset}/{method}/{seed}"
        record.write(records[-1], {"method": recipe}, model, TOOK, 1800, torch.device("cpu"))
    picture = io.BytesIO()
    Image.new("RGB", (300, 200), "white").save(picture, "png")
    names = [*OF_ALL, *(f"{d}/{n}" for d in experiment.datasets for n in (*paths.UNSEEN_FIGURES, "sheet", "classes"))]
    for name in names:
        file = (folder / "figures" / name).with_suffix(".png")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture.getvalue())
    facts = {"source": "glyphs", "licence": "MIT", "citation": "A & B", "image": [16, 16, 1], "sha256": {"images": "0"}}
    facts["equal"] = {"novel": 0, "across": 0, "within": 2}
    facts["splits"] = {split: {"classes": 5, "images": 1000} for split in ("train", "val", "test")}
    for name in experiment.datasets:
        (folder / "figures" / name / "data.json").write_text(json.dumps(facts))
    return experiment, evaluations, records, folder / "figures", folder / "report.html", folder / "model-card.md"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.sources, self.cells, self.open = [], [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a":
            self.links.append(found)
        if "src" in found:
            self.sources.append(found["src"])
        if tag == "td" and found.get("class") == "number":
            self.cells.append({"text": "", "runs": ""})
            self.open = self.cells[-1]
        if tag == "a" and self.open is not None:
            self.open["runs"] = found["data-runs"]

    def handle_endtag(self, tag):
        if tag == "td":
            self.open = None

    def handle_data(self, data):
        if self.open is not None:
            self.open["text"] += data


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write(*prepare(folder))
    return folder


def test_its_numbers_are_the_tables_digit_for_digit(written):
    page = Page((written / "report.html").read_text())
    found = [cell["text"].strip() for cell in page.cells if "±" in cell["text"]]
    in_tables = []
    for name in paths.table_names(Experiment.parse(CONFIG, "test")):
        markdown = (written / "tables" / f"{name}.md").read_text()
        in_tables += re.findall(rf"[+{MINUS}]?\d+\.\d\d ± \d+\.\d\d(?: \(\d+\.\d\d\))?", markdown)
    assert found == in_tables
    assert len(found) > 100


def test_every_number_links_to_the_trainings_that_made_it(written):
    page = Page((written / "report.html").read_text())
    assert len(page.ids) == len(set(page.ids))
    for cell in page.cells:
        if "±" in cell["text"]:
            assert cell["runs"]
    for link in page.links:
        if "data-runs" in link:
            runs = link["data-runs"].split()
            assert set(runs) <= set(page.ids)
            assert link["href"] == f"#{runs[0]}"
            assert len(runs) % 2 == 0  # both seeds of each method
        elif link["href"].startswith("#"):
            assert link["href"][1:] in page.ids
        else:
            assert (written / link["href"]).exists()
    made_by = {cell["runs"] for cell in page.cells[:2]}
    assert made_by == {"run-random/cross_entropy/3 run-random/cross_entropy/1"}


def test_it_needs_nothing_else(written):
    text = (written / "report.html").read_text()
    assert all(source.startswith("data:") for source in Page(text).sources)
    assert not re.search(r"@import|url\(|<link[^>]*href=\"http|https?://(?!www\.w3\.org)", text)


def test_it_says_what_was_run(written):
    text = (written / "report.html").read_text()
    for said in ("12, 18 min 0 s in all", "24.0 Wh", "torch 2.", "logical cores", "A &amp; B", "temperature: 0.1"):
        assert said in text


def test_a_training_of_another_recipe_is_named(tmp_path):
    experiment, evaluations, records, *others = prepare(tmp_path)
    found = json.loads(records[0].read_text())
    for key, value in (("epochs", 999), ("nonsense", 1)):
        found["made_by"]["method"]["training"] = {key: value}
        records[0].write_text(json.dumps(found))
        with pytest.raises(UserError, match=r"run\.json: was trained by another recipe than the config's"):
            write(experiment, evaluations, records, *others)


def test_a_record_of_another_encoder_than_the_evaluation_s_is_named(tmp_path):
    experiment, evaluations, records, *others = prepare(tmp_path)
    found = json.loads(records[0].read_text())
    records[0].write_text(json.dumps(found | {"model": "of another"}))
    with pytest.raises(UserError, match=r"run\.json: is of another encoder than .*\.parquet; evaluate that"):
        write(experiment, evaluations, records, *others)
    del found["model"]  # of a version that recorded none
    records[0].write_text(json.dumps(found))
    write(experiment, evaluations, records, *others)


def test_a_missing_record_or_figure_is_named(tmp_path):
    experiment, evaluations, records, figures, *out = prepare(tmp_path)
    with pytest.raises(UserError, match="no record of script/multi_level/1 among those given; run mlcl train first"):
        write(experiment, evaluations, records[:-1], figures, *out)
    (figures / "training.png").unlink()
    with pytest.raises(UserError, match=r"training.png: is missing; run snakemake figures"):
        write(experiment, evaluations, records, figures, *out)
    (figures / "random" / "data.json").write_text("{")
    shutil.copy(figures / "levels.png", figures / "training.png")
    with pytest.raises(UserError, match=r"random/data.json: cannot be read .*; make it with mlcl data show"):
        write(experiment, evaluations, records, figures, *out)
    assert not any(path.exists() for path in out)


def test_every_figure_has_a_caption(written):
    text = (written / "report.html").read_text()
    assert text.count("<figcaption>") == len(OF_ALL) + 2 * (len(paths.UNSEEN_FIGURES) + 2)


def test_the_card_of_the_models_has_each_ones_accuracies(written):
    text = (written / "model-card.md").read_text()
    rows = dict(re.findall(r"^\| ((?:random|script)/\S+) \| (.*) \|$", text, re.MULTILINE))
    assert len(rows) == 12
    for run, numbers in rows.items():
        frame = pd.read_parquet(written / "evaluations" / f"{run}.parquet")
        frame = frame[frame["classifier"] == CLASSIFIERS[0]].set_index(["shot", "representation"])["accuracy"]
        cells = itertools.product((1, 5), ("level4", "mean_probability"))
        for number, cell in zip(numbers.split(" | "), cells, strict=True):
            found = 100 * frame.loc[[cell]]
            assert number == f"{found.mean():.2f} ± {stats.sem(found) * stats.t.ppf(0.975, len(found) - 1):.2f}"
    for said in (
        "12 encoders", 'load("models/random/cross_entropy/3/model.safetensors")', "supcon at levels 1, 4 | 20 | 64 |",
        "| cross-entropy |", "- Licence: MIT", "5 base classes, 1,000 images", "0 s in all, 2021-07-16, 24.0 Wh",
    ):  # fmt: skip
        assert said in text


def test_numbers_of_deep_ensembles_lead_to_the_trainings_of_their_members(tmp_path):
    datasets = {"random": CONFIG["datasets"]["random"]}
    write(*prepare(tmp_path, CONFIG | {"datasets": datasets, "deep_ensembles": True}))
    page, text = Page((tmp_path / "report.html").read_text()), (tmp_path / "report.html").read_text()
    assert "Several encoders together" in text
    links = [link for link in page.links if "/3+1.parquet" in link.get("title", "")]
    assert len(links) > 30
    for link in links:
        methods = {path.split("/")[-2] for path in link["title"].removeprefix("made by ").split(", ")}
        wanted = {f"run-random/{method}/{seed}" for method in methods for seed in (3, 1)}
        assert set(link["data-runs"].split()) == wanted <= set(page.ids)
    rows = dict(re.findall(r"^\| (random/\S+) \| (.*) \|$", (tmp_path / "model-card.md").read_text(), re.MULTILINE))
    assert list(rows)[-3:] == [f"random/{method}/3+1" for method in CONFIG["methods"]]
    frame = pd.read_parquet(tmp_path / "evaluations/random/multi_level/3+1.parquet")
    frame = frame[
        (frame["classifier"] == CLASSIFIERS[0]) & (frame["shot"] == 1) & (frame["representation"] == "level4")
    ]
    assert rows["random/multi_level/3+1"].startswith(f"{100 * frame['accuracy'].mean():.2f} ±")


def test_numbers_of_another_domain_lead_to_the_trainings_of_its_encoders(tmp_path):
    config = CONFIG | {"trained_on": {"script": "random"}, "deep_ensembles": True}
    write(*prepare(tmp_path, config))
    page, card = Page((tmp_path / "report.html").read_text()), (tmp_path / "model-card.md").read_text()
    assert len([name for name in page.ids if name.startswith("run-")]) == 3 * 2
    links = [link for link in page.links if "evaluations/script/" in link.get("title", "")]
    assert len(links) > 30
    for link in links:
        assert link["data-runs"].split()
        assert all(name.startswith("run-random/") and name in page.ids for name in link["data-runs"].split())
    assert "6 encoders, " in card
    assert ", one for each data set that is trained on, recipe and training seed." in card
    script = card.partition("### script")[2].partition("## Training")[0]
    assert "By the encoders trained on random." in script
    assert len(re.findall(r"^\| random/\w+/(3|1|3\+1) \|", script, re.MULTILINE)) == 3 * 3
    assert "No encoder was trained on it." in card


def difference(mean, ci95=0.5, p=0.0001, over_seeds=np.nan, **names):
    return {"difference": mean, "ci95": ci95, "p_holm": p, "ci95_over_seeds": over_seeds, **names}


@pytest.mark.parametrize(
    ("row", "verdict", "text"),
    [
        (
            difference(1.2),
            1,
            "a does better than b by 1.20 points (95% interval +0.70 to +1.70 over episodes, corrected p below 0.001).",
        ),
        (
            difference(-1.2, p=0.0123),
            -1,
            f"a does worse than b by 1.20 points (95% interval {MINUS}1.70 to {MINUS}0.70 over episodes, corrected p "
            "0.012).",
        ),
        (
            difference(0.2, p=0.4),
            0,
            f"a and b are not told apart (95% interval {MINUS}0.30 to +0.70 over episodes, corrected p 0.400).",
        ),
        (
            difference(1.2, over_seeds=1.0),
            1,
            "a does better than b by 1.20 points (95% interval +0.70 to +1.70 over episodes, corrected p below 0.001), "
            "and over training seeds too (+0.20 to +2.20).",
        ),
        (
            difference(1.2, over_seeds=1.5),
            0,
            f"a and b are not told apart over training seeds, whose interval is {MINUS}0.30 to +2.70; with these "
            "trainings it does better by 1.20 points (95% interval +0.70 to +1.70 over episodes, corrected p below "
            "0.001).",
        ),
    ],
)
def test_a_difference_in_words(row, verdict, text):
    assert sentences.verdict(row) == verdict
    assert sentences.said(row, "a", "b") == text


def claim(tmp_path, differences, config=CONFIG):
    """The findings where every effect of the 2 x 2 has these differences in the four columns, surely."""
    experiment, evaluations = evaluate(config, tmp_path)
    study = read(experiment, evaluations, tmp_path, tmp_path)
    frames = {name: tables.TABLES[name](study)[0] for name in paths.table_names(experiment)}
    frame = frames["factorial"]
    columns = frame.groupby(["dataset", "shot"], sort=False).ngroup()
    frames["factorial"] = frame.assign(
        difference=columns.map(lambda i: differences[i % len(differences)]), ci95=0.1, ci95_over_seeds=0.2, p_holm=1e-6
    )
    return {group.heading: [found.text for found in group.found] for group in sentences.findings(study, frames)}


def test_the_claim_is_counted_column_by_column(tmp_path):
    counted, first, *_, last = next(iter(claim(tmp_path, [1, -1, -1, 0.1]).values()))
    assert "borne out in 1 of 4 columns, contradicted in 2, neither shown nor contradicted in 1." in counted
    assert first.startswith("random, 1-shot: the ensemble of multi-level training does better than the last level of")
    assert "are not told apart over training seeds, whose interval is" in last


def test_without_a_pair_of_methods_the_claim_is_said_to_be_untested(tmp_path):
    methods = {"cross_entropy": CONFIG["methods"]["cross_entropy"]}
    write(*prepare(tmp_path, CONFIG | {"methods": methods, "seeds": [1]}))
    text = (tmp_path / "report.html").read_text()
    assert "it is not tested here" in text
    assert text.count('<details class="note" open><summary>Notes</summary>') == 1  # in the place of the empty table


def test_where_a_gain_comes_from_is_gathered_by_verdict(tmp_path):
    found = claim(tmp_path, [1, -1, -1, 0.1])
    (heading,) = (key for key in found if key.startswith("Where it comes from"))
    assert found[heading][0] == (
        "Multi-level training does better than single-level training, both by their last level on random 1-shot "
        "(+1.00 ± 0.10, over seeds ± 0.20); multi-level training does worse than single-level training, both by their "
        f"last level on random 5-shot ({MINUS}1.00 ± 0.10, over seeds ± 0.20), script 1-shot ({MINUS}1.00 ± 0.10, over "
        "seeds ± 0.20); not told apart on script 5-shot (+0.10 ± 0.10, over seeds ± 0.20)."
    )
    assert found[heading][3].startswith("After multi-level training, the ensemble does better than the last level on")


def test_what_does_better_is_the_best_of_what_is_shown_to(tmp_path):
    rows = [("A", "one", 1, 0.5, 0.01), ("A", "two", 1, 2.0, 0.01), ("A", "three", 1, 3.0, 0.2),
            ("A", "one", 5, -1.0, 0.01), ("A", "two", 5, 0.1, 0.9), ("A", "three", 5, 0.2, 0.9)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["block", "label", "shot", "difference", "p_holm"]).assign(
        dataset="random",
        ci95=0.1,
        ci95_over_seeds=float("nan"),
        first_evaluations=[("x",)] * len(rows),
        second_evaluations=[("y", "x")] * len(rows),
    )
    (found,) = sentences.better(frame)
    assert found.text == "A: two on random 1-shot (+2.00 ± 0.10, of 2 that do); none is shown to on random 5-shot."
    assert found.made_by == ("x", "y")
    frame = frame.assign(block=f"A {MINUS} B")
    one, two, three = sentences.learnt(frame, {f"A {MINUS} B"})  # a pair of methods, and several comparisons
    assert one.text == f"A {MINUS} B: one: better in 1 of 2, worse in 1; most on random 1-shot (+0.50 ± 0.10)."
    assert two.text == f"A {MINUS} B: two: better in 1 of 2, worse in 0; most on random 1-shot (+2.00 ± 0.10)."
    assert three.text == f"A {MINUS} B: three: better in 0 of 2, worse in 0."
    (found,) = sentences.learnt(frame, ())  # a comparison, of several methods
    assert found.text == f"A {MINUS} B: better in 2 of 6, worse in 1; most of two on random 1-shot (+2.00 ± 0.10)."


def test_the_best_of_ours_and_its_levels_are_those_of_the_tables(tmp_path):
    found = claim(tmp_path, [1])
    tables_alone(*evaluate(CONFIG, tmp_path), tmp_path)
    comparison = pd.read_csv(tmp_path / "tables" / "comparison.csv")
    for text, ((dataset, shot), rows) in zip(
        found["The best of our methods, by nearest centroid"],
        comparison.groupby(["dataset", "shot"], sort=False),
        strict=True,
    ):
        best = rows.loc[rows["accuracy"].idxmax()]
        assert text.startswith(f"{dataset}, {shot}-shot: {best['method']}, {best['representation']}, with ")
        assert f"{best['accuracy']:.2f} ± {best['ci95']:.2f}%" in text
    ablation = pd.read_csv(tmp_path / "tables" / "ablation.csv").query("classifier == 'nearest_centroid'")
    levels = ablation[ablation["representation"].str.startswith("level") & (ablation["method"] == "cross_entropy")]
    for (dataset, shot), rows in levels.groupby(["dataset", "shot"]):
        best = rows.loc[rows["mean"].idxmax()]
        number = f"\\({best['mean']:.2f} ± {best['ci95']:.2f}%\\)"
        place = f"level {best['representation'][-1]} on [^;]*{dataset} {shot}-shot {number}"
        assert re.search(place, found["The best level"][0])


@pytest.mark.parametrize(
    ("second_seed", "words"),
    [
        (0.7, r"ahead of A, ensemble \(\+0\.\d\d to \+0\.\d\d over episodes, p below 0.001, uncorrected\)\."),
        (
            0.1,
            rf"ahead of A, ensemble .*, but over training seeds the interval is {MINUS}.*: another training may turn",
        ),
        (-0.62, rf"not told apart from A, ensemble \({MINUS}0\.\d\d to \+0\.\d\d over episodes, p 0"),
    ],
)
def test_the_best_of_ours_leads_the_next_that_is_not_the_same_over_seeds_too(tmp_path, second_seed, words):
    """Chosen levels are the last level here, which is 0.7 ahead of the ensemble with the first seed."""
    experiment = Experiment.parse(
        {"name": "best", "seeds": [0, 1], "datasets": {"random": {"source": "glyphs"}},
         "methods": {"a": {"title": "A", "objective": {"cross_entropy": 1}}},
         "evaluation": {"choose": True, "shots": [1], "episodes": 50, "classifiers": ["nearest_centroid"]}},
        "test",
    )  # fmt: skip
    spec, rng, files = experiment.evaluation, np.random.default_rng(0), []
    chosen = {(1, "l2", "nearest_centroid"): "level4"}
    for seed, lead in enumerate((0.7, second_seed)):
        rows = drawn(spec, rng)
        gain = rows["representation"].map({"level4": lead, "mean_probability": 0}).fillna(-1)
        rows = choice.add(rows.assign(accuracy=(50 + gain + rng.normal(0, 0.2, len(rows))) / 100), chosen)
        files.append(file(tmp_path, ("random", "a", seed)))
        evaluations.write(files[-1], ("random", "a", seed), rows, spec, {"images.npy": "random"}, {}, chosen)
    (found,) = sentences._best(read(experiment, files, tmp_path, tmp_path))
    assert re.search(words, found.text)


def test_published_numbers_are_set_beside_ours(tmp_path):
    found = claim(tmp_path, [1], MINI)["Beside published numbers"]
    assert len(found) == 2  # of the data set that is published
    for text in found:
        ours, apart, theirs = map(float, re.findall(r"(\d+\.\d\d)(?: ± [\d.]+%|%| points)", text))
        assert apart == pytest.approx(abs(ours - theirs), abs=0.011)
        assert f"points {'above' if ours > theirs else 'below'} the best published number that may be compared" in text
    assert "There is one training seed" in claim(tmp_path / "one", [1], MINI)["How far this reaches"][0]


def test_durations_are_readable():
    assert [duration(s) for s in (0.4, 59.6, 61, 7261)] == ["0 s", "1 min 0 s", "1 min 1 s", "2 h 1 min"]


# -- in a browser -------------------------------------------------------------------------------------------

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser():
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver; on Debian, apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER)) as driver:
        yield driver


@pytest.fixture
def opened(browser, written):
    def open_page(width=1280, scheme="light"):
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get(f"file://{written / 'report.html'}")
        return browser

    yield open_page
    assert browser.get_log("browser") == []


COLUMN = """
const table = [...document.querySelectorAll("table")].find((t) => t.ariaLabel.startsWith(arguments[0]));
const sort = () => table.tHead.rows[0].cells[arguments[1]].getAttribute("aria-sort");
table.tHead.rows[0].cells[arguments[1]].querySelector("button").click();
return [sort(), [...table.tBodies].map((body) => [...body.rows].map((row) => row.cells[arguments[1]]?.innerText))];
"""


def test_a_click_on_a_heading_sorts(opened):
    page = opened()
    order, ((heading, *texts), *_) = page.execute_script(COLUMN, "Level by level", 1)
    assert heading is None  # the block's own heading stays above
    numbers = [float(text.split()[0]) for text in texts]
    assert order == "descending"
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > numbers[-1]
    order, ((_, *texts), *_) = page.execute_script(COLUMN, "Level by level", 1)
    assert order == "ascending"
    assert [float(text.split()[0]) for text in texts] == sorted(numbers)
    order, ((_, *texts), *_) = page.execute_script(COLUMN, "Level by level", 0)
    assert order == "ascending"
    assert texts == ["concatenate", "level 1", "level 2", "level 3", "level 4", "mean probability"]
    _, ((_, *texts), *_) = page.execute_script(COLUMN, "Paired differences", 2)
    signed = [float(text.split()[0].replace(MINUS, "-")) for text in texts]
    assert signed == sorted(signed, reverse=True)
    days = 'const rows = [...document.querySelectorAll("tr[id^=run-]")]; rows.forEach((row, i) => {'
    page.execute_script(days + " row.cells[2].innerText = `2021-07-1${(7 * i) % 5}`; });")
    _, (texts,) = page.execute_script(COLUMN, "The trainings", 2)
    assert texts == sorted(texts)
    assert texts[0] < texts[-1]


def test_a_number_leads_to_its_trainings_and_marks_them(opened):
    page = opened()
    marked = page.execute_script(
        'const link = document.querySelector("td.number a"); link.click();'
        'return [location.hash, link.dataset.runs, [...document.querySelectorAll("tr.marked")].map((row) => row.id)];'
    )
    assert marked[2] == sorted(marked[1].split(), key=marked[1].split().index)
    assert marked[0] == f"#{marked[2][0]}"


def test_it_follows_dark_and_light_and_fits_a_phone(opened):
    colours = "const { color, backgroundColor } = getComputedStyle(document.body); return [color, backgroundColor]"
    for scheme, darker in (("light", 0), ("dark", 1)):
        found = opened(scheme=scheme).execute_script(colours)
        brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in found]
        assert brightness.index(min(brightness)) == darker
        assert max(brightness) - min(brightness) > 450
    for width in (375, 1280):
        page = opened(width)
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        outside = page.execute_script(
            "return [...document.querySelectorAll('h1,h2,h3,p,li,img,dd,nav a')]"
            ".filter((e) => !e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth + 1)"
            ".map((e) => e.outerHTML.slice(0, 80))"
        )
        assert outside == []
        loaded = page.execute_script("return [...document.images].every((i) => i.complete && i.naturalWidth > 0)")
        assert loaded
