rule features:
    input:
        expand(
            "features/{dataset}/{method}/{seed}/{split}.npy",
            **RUNS,
            split=experiment.evaluation.splits,
        ),


rule extract_features:
    input:
        manifest="packed/{dataset}.json",
        model=encoder,
    output:
        expand(
            "features/{{dataset}}/{{method}}/{{seed}}/{split}.npy",
            split=experiment.evaluation.splits,
        ),
    log:
        "logs/features/{dataset}/{method}/{seed}.log",
    benchmark:
        "benchmarks/features/{dataset}/{method}/{seed}.tsv"
    conda:
        "../envs/python.yaml"
    threads: training_threads
    resources:
        gpu=gpus(),
        device=experiment.device,
        mem_mb=3000,
        runtime=120,
    params:
        data=f"{PACKED}/{{dataset}}",
        splits=" ".join(experiment.evaluation.splits),
        code=fingerprint("extract"),
    shell:
        "mlcl features --data {params.data} --model {input.model} --splits {params.splits}"
        " --device {resources.device} --out features/{wildcards.dataset}/{wildcards.method}/{wildcards.seed} 2>&1 | tee {log}"


rule extract_copies:
    input:
        manifest="packed/{dataset}.json",
        model=encoder,
    output:
        "features/{dataset}/{method}/{seed}/copies.npy",
    log:
        "logs/copies/{dataset}/{method}/{seed}.log",
    benchmark:
        "benchmarks/copies/{dataset}/{method}/{seed}.tsv"
    conda:
        "../envs/python.yaml"
    threads: training_threads
    resources:
        gpu=gpus(),
        device=experiment.device,
        mem_mb=3000,
        runtime=120,
    params:
        data=f"{PACKED}/{{dataset}}",
        # what the copies depend on: not, say, the number of shots
        evaluation=experiment.evaluation.model_dump_json(
            include={"split", "support_copies", "seed"}
        ),
        code=fingerprint("extract"),
    shell:
        "mlcl copies --data {params.data} --model {input.model}"
        " --evaluation {params.evaluation:q} --device {resources.device} --out {output} 2>&1 | tee {log}"
