"""From raw data to the paper's tables: `snakemake` runs config/config.yaml in results/<its name>/.

Another experiment: snakemake --configfile config/mini-imagenet-cpu.yaml
"""

from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/common.smk"


workdir: str(files.folder)


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"


wildcard_constraints:
    dataset="[^/]+",
    method="[^/]+",
    seed=r"\d+",


rule all:
    default_target: True
    input:
        rules.tables.input,
        rules.figures.input,
        rules.report.input,
