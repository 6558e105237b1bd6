"""Everything around an agent: configuration, training, evaluation, ablation and reporting."""
