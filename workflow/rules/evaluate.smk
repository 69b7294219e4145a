CHOICES = (
    expand("choices/{dataset}/{method}/{seed}.parquet", **RUNS)
    if experiment.evaluation.choose
    else []
)


EVALUATIONS = [
    f"evaluations/{run}.parquet"
    for run in (*runs(experiment, experiment.recipes), *ensembles(experiment))
]


rule evaluate:
    input:
        EVALUATIONS,
        CHOICES,
        LOST,


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
        mem_mb=evaluation_memory,
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


if experiment.deep_ensembles:
    SEEDS = next(iter(experiment.ensembles)).rpartition("/")[2]

    rule evaluate_deep_ensemble:
        input:
            manifest="packed/{dataset}.json",
            features=expand(
                rules.evaluate_episodes.input.features,
                seed=experiment.seeds,
                allow_missing=True,
            ),
            copies=expand(
                rules.evaluate_episodes.input.copies,
                seed=experiment.seeds,
                allow_missing=True,
            ),
            evaluations=expand(
                rules.evaluate_episodes.output.evaluation,
                seed=experiment.seeds,
                allow_missing=True,
            ),
        output:
            f"evaluations/{{dataset}}/{{method}}/{SEEDS}.parquet",
        log:
            f"logs/evaluate/{{dataset}}/{{method}}/{SEEDS}.log",
        benchmark:
            f"benchmarks/evaluate/{{dataset}}/{{method}}/{SEEDS}.tsv"
        conda:
            "../envs/python.yaml"
        resources:
            gpu=gpus(),
            device=experiment.device,
            mem_mb=evaluation_memory,
            runtime=60,
        params:
            data=rules.evaluate_episodes.params.data,
            features=lambda wildcards: [
                f"features/{wildcards.dataset}/{wildcards.method}/{seed}"
                for seed in experiment.seeds
            ],
            evaluation=rules.evaluate_episodes.params.evaluation,
            code=fingerprint("deep_ensembles"),
        shell:
            "mlcl deep-ensemble --data {params.data} --features {params.features} --evaluations {input.evaluations}"
            " --evaluation {params.evaluation:q} --threads {threads} --device {resources.device} --out {output} 2>&1"
            " | tee {log}"
