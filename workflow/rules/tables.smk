rule tables:
    input:
        expand(
            "tables/{table}.{format}",
            table=["comparison", "ablation", "differences"],
            format=["md", "csv", "tex"],
        ),
        "tables/metrics.json",
        expand("figures/levels.{format}", format=["svg", "png"]),


rule make_tables:
    input:
        published="../../mlcl/published_results.csv",
        evaluations=expand("evaluations/{dataset}/{method}/{seed}.parquet", **RUNS),
    output:
        rules.tables.input,
    log:
        "logs/tables.log",
    benchmark:
        "benchmarks/tables.tsv"
    conda:
        "../envs/python.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        experiment=experiment.model_dump_json(exclude={"device", "gpus"}),
        code=fingerprint("tables"),
    shell:
        "mlcl tables --experiment {params.experiment:q} --evaluations {input.evaluations} --out . 2>&1 | tee {log}"
