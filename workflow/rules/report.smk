rule report:
    input:
        "report.html",
        "model-card.md",
        rules.evaluate.input,


rule write_report:
    input:
        published=rules.make_tables.input.published,
        evaluations=rules.make_tables.input.evaluations,
        records=expand(rules.train_encoder.output.record, **TRAININGS),
        figures=[
            file
            for file in (*TABLES, *rules.figures.input)
            if file.startswith("figures/")
        ],
        page=[
            Path("../..", file.relative_to(workflow.basedir))
            for file in sorted(Path(workflow.basedir, "mlcl", "report").rglob("*.*"))
            if file.suffix in (".html", ".css", ".js", ".rst", ".md")
        ],
    output:
        page="report.html",
        card="model-card.md",
    log:
        "logs/report.log",
    benchmark:
        "benchmarks/report.tsv"
    conda:
        "../envs/python.yaml"
    resources:
        mem_mb=lambda wildcards, input: 2000 + len(input.evaluations),
        runtime=lambda wildcards, input: 10 + len(input.evaluations) // 100,
    params:
        experiment=rules.make_tables.params.experiment,
        code=fingerprint("report"),
    shell:
        "mlcl report --experiment <(printf %s {params.experiment:q}) --evaluations {input.evaluations}"
        " --records {input.records} --figures figures --root ../.. --out {output.page} --card {output.card} 2>&1 | tee {log}"
