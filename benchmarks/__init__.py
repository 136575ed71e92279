"""Side-by-side measurements: every peer in one run, interleaved, compared by ratios of medians."""
