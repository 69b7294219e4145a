rule train:
    input:
        expand("models/{dataset}/{method}/{seed}/model.safetensors", **TRAININGS),


# What a killed training continues from, and TensorBoard's events, lie in training/, outside the outputs:
# Snakemake deletes a job's outputs before it starts it.
rule train_encoder:
    input:
        manifest="packed/{dataset}.json",
        teacher=teacher,
    output:
        model="models/{dataset}/{method}/{seed}/model.safetensors",
        metrics="runs/{dataset}/{method}/{seed}/metrics.csv",
        record="runs/{dataset}/{method}/{seed}/run.json",
    log:
        "logs/train/{dataset}/{method}/{seed}.log",
    benchmark:
        "benchmarks/train/{dataset}/{method}/{seed}.tsv"
    conda:
        "../envs/python.yaml"
    threads: lambda wildcards: training_threads(wildcards) * processes()
    resources:
        gpu=gpus() * processes(),
        device=experiment.device,
        processes=processes(),
        mem_mb=3000 * processes(),
        runtime=1440,
    params:
        data=f"{PACKED}/{{dataset}}",
        method=method,
        teacher=lambda wildcards, input: (
            f"--teacher {input.teacher}" if input.teacher else ""
        ),
        code=fingerprint("train"),
    shell:
        "mlcl train --data {params.data} --method {params.method:q} --seed {wildcards.seed} {params.teacher}"
        " --device {resources.device} --gpus {resources.processes} --out $(dirname {output.model})"
        " --records $(dirname {output.record})"
        " --scratch training/{wildcards.dataset}/{wildcards.method}/{wildcards.seed} 2>&1 | tee {log}"
