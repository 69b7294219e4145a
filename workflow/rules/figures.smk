METHODS = TRAININGS | {"method": list(experiment.methods)}


rule figures:
    input:
        expand("figures/training.{format}", format=["svg", "png"]),
        expand(
            "figures/{dataset}/{figure}.{format}",
            dataset=RUNS["dataset"],
            figure=UNSEEN_FIGURES,
            format=["svg", "png"],
        ),
        expand(
            "figures/{dataset}/{file}",
            dataset=RUNS["dataset"],
            file=["sheet.png", "classes.png", "data.json"],
        ),
        LOST,


rule draw_training:
    input:
        expand(rules.train_encoder.output.metrics, **METHODS),
    output:
        svg=shown("figures/training.svg", "Figures"),
        png="figures/training.png",
    log:
        "logs/figures/training.log",
    benchmark:
        "benchmarks/figures/training.tsv"
    conda:
        "../envs/python.yaml"
    resources:
        mem_mb=lambda wildcards, input: 1000 + len(input),
        runtime=lambda wildcards, input: 10 + len(input) // 100,
    params:
        experiment=methods_on(METHODS["dataset"], experiment.methods),
        code=fingerprint("figures.training"),
    shell:
        "mlcl draw-training --experiment <(printf %s {params.experiment:q}) --metrics {input}"
        " --out figures 2>&1 | tee {log}"


rule draw_features:
    input:
        manifest="packed/{dataset}.json",
        features=expand(
            "features/{{dataset}}/{method}/{seed}/{split}.npy",
            method=drawn_methods(experiment),
            seed=RUNS["seed"][0],
            split=experiment.evaluation.split,
        ),
    output:
        [
            shown(f"figures/{{dataset}}/{figure}.svg", "{dataset}")
            for figure in UNSEEN_FIGURES
        ],
        expand(
            "figures/{{dataset}}/{figure}.png",
            figure=UNSEEN_FIGURES,
        ),
    log:
        "logs/figures/{dataset}/features.log",
    benchmark:
        "benchmarks/figures/{dataset}/features.tsv"
    conda:
        "../envs/python.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        data=f"{PACKED}/{{dataset}}",
        experiment=lambda wildcards: methods_on(
            [wildcards.dataset], drawn_methods(experiment)
        ),
        code=fingerprint("figures.features"),
    shell:
        "mlcl draw-features --data {params.data} --experiment <(printf %s {params.experiment:q})"
        " --features {input.features} --out figures/{wildcards.dataset} 2>&1 | tee {log}"


rule draw_data:
    input:
        "packed/{dataset}.json",
    output:
        sheet=shown("figures/{dataset}/sheet.png", "{dataset}"),
        classes=shown("figures/{dataset}/classes.png", "{dataset}"),
        facts="figures/{dataset}/data.json",
    log:
        "logs/figures/{dataset}/data.log",
    benchmark:
        "benchmarks/figures/{dataset}/data.tsv"
    conda:
        "../envs/python.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        data=f"{PACKED}/{{dataset}}",
        code=fingerprint("data.show"),
    shell:
        "mlcl data show {params.data} --out figures/{wildcards.dataset} 2>&1 | tee {log}"


# On demand alone: for looking around in, not for keeping.
rule tensorboard:
    input:
        manifest=f"packed/{RUNS['dataset'][0]}.json",
        evaluations=rules.make_tables.input.evaluations,
        features=f"features/{RUNS['dataset'][0]}/{METHODS['method'][-1]}/{RUNS['seed'][0]}/{experiment.evaluation.split}.npy",
    output:
        directory("tensorboard"),
    log:
        "logs/tensorboard.log",
    benchmark:
        "benchmarks/tensorboard.tsv"
    conda:
        "../envs/python.yaml"
    resources:
        mem_mb=lambda wildcards, input: 2000 + len(input.evaluations),
        runtime=lambda wildcards, input: 10 + len(input.evaluations) // 100,
    params:
        data=f"{PACKED}/{RUNS['dataset'][0]}",
        experiment=rules.make_tables.params.experiment,
        code=fingerprint("board"),
    shell:
        "mlcl tensorboard --experiment <(printf %s {params.experiment:q}) --evaluations {input.evaluations}"
        " --data {params.data} --features {input.features} --out {output} 2>&1 | tee {log}"
