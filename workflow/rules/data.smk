rule data:
    input:
        expand(f"{PACKED}/{{dataset}}/manifest.json", dataset=RUNS["dataset"]),


rule pack:
    output:
        images=f"{PACKED}/{{dataset}}/images.npy",
        labels=f"{PACKED}/{{dataset}}/labels.npy",
        classes=f"{PACKED}/{{dataset}}/classes.csv",
        manifest=f"{PACKED}/{{dataset}}/manifest.json",
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
        dataset=dataset,
        code=packing_code,
    shell:
        "mlcl data {params.dataset:q} --root ../.."
        " --out $(dirname {output.manifest}) 2>&1 | tee {log}"
