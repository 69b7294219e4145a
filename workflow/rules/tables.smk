rule tables:
    input:
        expand(
            "tables/{table}.{format}",
            table=["comparison", "ablation", "differences"],
            format=["md", "csv", "tex"],
        ),
        expand("figures/levels.{format}", format=["svg", "png"]),


rule make_tables:
    input:
        expand("evaluations/{dataset}/{method}/{seed}.parquet", **RUNS),
    output:
        rules.tables.input,
    log:
        "logs/tables.log",
    benchmark:
        "benchmarks/tables.tsv"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        experiment=experiment.model_dump_json(exclude={"device"}),
        code=fingerprint("tables"),
    shell:
        "mlcl tables --experiment {params.experiment:q} --evaluations {input} --out . 2>&1 | tee {log}"
