TABLES = [
    *expand(
        "tables/{table}.{format}",
        table=table_names(experiment),
        format=["md", "csv", "tex"],
    ),
    "tables/metrics.json",
    *expand(
        "figures/{figure}.{format}",
        figure=FIGURES,
        format=["svg", "png"],
    ),
]


rule tables:
    input:
        TABLES,
        rules.evaluate.input,  # which would not be missed where tables of them are there


rule make_tables:
    input:
        published=[
            Path("../..", file)
            for file in ("mlcl/published_results.csv", *experiment.published)
        ],
        evaluations=EVALUATIONS,
        # Not read here: what nobody asks for, Snakemake does not miss.
        choices=CHOICES,
    output:
        [
            (
                shown(file, Path(file).parts[0].capitalize())
                if file.endswith((".csv", ".svg"))
                else file
            )
            for file in TABLES
        ],
    log:
        "logs/tables.log",
    benchmark:
        "benchmarks/tables.tsv"
    conda:
        "../envs/python.yaml"
    resources:
        mem_mb=lambda wildcards, input: 2000 + len(input.evaluations),
        runtime=lambda wildcards, input: 10 + len(input.evaluations) // 100,
    params:
        experiment=experiment.model_dump_json(exclude={"device", "gpus"}),
        code=fingerprint("tables"),
    # The experiment of a sweep outgrows what the system takes as one argument, 128 KiB: it goes through a pipe.
    shell:
        "mlcl tables --experiment <(printf %s {params.experiment:q}) --evaluations {input.evaluations}"
        " --root ../.. --out . 2>&1 | tee {log}"
