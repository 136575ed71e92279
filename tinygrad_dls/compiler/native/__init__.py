"""Native code: what a plan computes column by column, printed as C, built once and called by the plan's Python."""
