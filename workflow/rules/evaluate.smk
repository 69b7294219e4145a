CHOICES = (
    expand("choices/{dataset}/{method}/{seed}.parquet", **RUNS)
    if experiment.evaluation.choose
    else []
)


rule evaluate:
    input:
        expand("evaluations/{dataset}/{method}/{seed}.parquet", **RUNS),
        CHOICES,


rule evaluate_episodes:
    input:
        manifest="packed/{dataset}.json",
        features=expand(
            "features/{{dataset}}/{{method}}/{{seed}}/{split}.npy",
            split=experiment.evaluation.splits,
        ),
        copies=(
            "features/{dataset}/{method}/{seed}/copies.npy"
            if experiment.evaluation.support_copies
            else []
        ),
    output:
        evaluation="evaluations/{dataset}/{method}/{seed}.parquet",
        choices=(
            ["choices/{dataset}/{method}/{seed}.parquet"]
            if experiment.evaluation.choose
            else []
        ),
    log:
        "logs/evaluate/{dataset}/{method}/{seed}.log",
    benchmark:
        "benchmarks/evaluate/{dataset}/{method}/{seed}.tsv"
    conda:
        "../envs/python.yaml"
    resources:
        gpu=gpus(),
        device=experiment.device,
        # Processing copies them, and while one is met the next is made.
        mem_mb=lambda wildcards, input: 2000 + 2 * int(input.size_mb),
        runtime=60,
    params:
        data=f"{PACKED}/{{dataset}}",
        choose=lambda wildcards, output: (
            f"--choices {output.choices}" if output.choices else ""
        ),
        evaluation=experiment.evaluation.model_dump_json(),
        code=fingerprint("evaluate"),
    shell:
        "mlcl evaluate --data {params.data} --features features/{wildcards.dataset}/{wildcards.method}/{wildcards.seed}"
        " {params.choose} --evaluation {params.evaluation:q} --run {wildcards.dataset}/{wildcards.method}/{wildcards.seed}"
        " --threads {threads} --device {resources.device} --out {output.evaluation} 2>&1 | tee {log}"
