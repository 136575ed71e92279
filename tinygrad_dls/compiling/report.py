"""What a compiled step says of itself."""

from __future__ import annotations

from tinygrad_dls.compiling.running import Runner

__all__ = ["explained"]


def explained(runner: Runner) -> str:
    """What was recorded, fused, reused and tiled."""
    plan = runner.plan
    lines = [f"{plan.recorded} NumPy calls were recorded: forward, backward and update."]
    if plan.joined:
        lines.append(
            f"W and b side by side, times A with a row of ones, in {len(plan.joined)} layer"
            f"{'s' * (len(plan.joined) > 1)} ({', '.join(plan.joined)}): one product for Z, one for dW and db."
        )
    numbers = plan.layout.size * (1 + plan.layout.states)
    lines.append(
        f"{plan.layout.size:,} parameters in one flat array"
        + (f", {numbers:,} entries with the optimizer's state" if plan.layout.states else "")
        + (": one update for all of them." if plan.is_flat else "; the updates differ, so there is one for each.")
    )
    if plan.whole is not None:
        lines.append(f"{plan.whole.function.calls} NumPy calls a step.")
    else:
        assert plan.update is not None
        calls = plan.tiles[plan.width].function.calls
        count = -(-(plan.m or 0) // plan.width)
        lines.append(
            f"{count:,} tiles of {plan.width:,} examples, {calls} NumPy calls each, and {plan.update.function.calls} "
            f"for the update; {runner.workers} thread{'s' * (runner.workers > 1)}."
        )
    codes = plan.codes()
    lines.append(
        f"{runner.bytes:,} bytes of arrays, made once: {sum(c.in_place for c in codes)} results are written over an "
        f"argument, {sum(c.reused for c in codes)} into memory that was used before."
    )
    lines.append(f"{sum(c.hoisted for c in codes)} constant arrays are made once.")
    if plan.why_whole:
        lines.append(f"Not tiled: {plan.why_whole}.")
    return "\n".join(lines)
