"""What benchmarks/ablation.py does, step by step: rooms, rows, runs, report."""
