"""Programs as data: NumPy calls whose arguments are other calls, how they are recorded, rewritten and printed."""
