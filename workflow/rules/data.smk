rule data:
    input:
        expand("packed/{dataset}.json", dataset=RUNS["dataset"]),


# The packed data are shared by experiments, which may run at the same time, and Snakemake deletes a job's outputs before
# it starts and where it fails: so the output is a link to their manifest.
rule pack:
    output:
        "packed/{dataset}.json",
    log:
        "logs/data/{dataset}.log",
    benchmark:
        "benchmarks/data/{dataset}.tsv"
    conda:
        "../envs/python.yaml"
    resources:
        mem_mb=1000,
        runtime=120,
    params:
        folder=f"{PACKED}/{{dataset}}",
        dataset=dataset,
        code=packing_code,
    shell:
        "mlcl data {params.dataset:q} --root ../.. --out {params.folder} 2>&1 | tee {log}"
        " && ln -sf ../{params.folder}/manifest.json {output}"
