rule evaluate:
    input:
        expand("evaluations/{dataset}/{method}/{seed}.parquet", **RUNS),


rule evaluate_episodes:
    input:
        manifest=f"{PACKED}/{{dataset}}/manifest.json",
        features=f"features/{{dataset}}/{{method}}/{{seed}}/{experiment.evaluation.split}.npy",
    output:
        "evaluations/{dataset}/{method}/{seed}.parquet",
    log:
        "logs/evaluate/{dataset}/{method}/{seed}.log",
    benchmark:
        "benchmarks/evaluate/{dataset}/{method}/{seed}.tsv"
    conda:
        "../envs/python.yaml"
    resources:
        gpu=gpus,
        device=experiment.device,
        mem_mb=2000,
        runtime=60,
    params:
        evaluation=experiment.evaluation.model_dump_json(),
        code=fingerprint("evaluate"),
    shell:
        "mlcl evaluate --data $(dirname {input.manifest}) --features {input.features}"
        " --evaluation {params.evaluation:q} --run {wildcards.dataset}/{wildcards.method}/{wildcards.seed}"
        " --device {resources.device} --out {output} 2>&1 | tee {log}"
