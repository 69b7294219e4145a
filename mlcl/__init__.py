"""Multi-level contrastive learning for few-shot problems (arXiv 2107.07608), from raw data to tables."""
