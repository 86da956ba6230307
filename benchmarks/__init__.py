"""What Ringtime costs: `python -m benchmarks` measures it over HTTP, beside others; scripts look at parts."""
