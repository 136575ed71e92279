"""Writes the table of NumPy's functions into its page, from what the package registers; a test holds it to that.

``python -m tests.numpy_functions`` makes it anew.
"""

from pathlib import Path

import numpy as np

from tinygrad_dls.engine import tensor

PAGE = Path(__file__).parents[1] / "docs" / "numpy_functions.md"
START, END = "<!-- the table, made by python -m tests.numpy_functions -->", "<!-- the end of the table -->"
SPACES = {"np.": np, "np.linalg.": np.linalg}
# Not of arrays of numbers, or not of arrays at all: nobody asks for their gradients.
OF_OTHER_THINGS = {
    "array2string", "array_repr", "array_str", "busday_count", "busday_offset", "can_cast", "common_type",
    "datetime_as_string", "get_include", "info", "is_busday", "isnat", "may_share_memory", "min_scalar_type",
    "packbits", "unpackbits", "save", "savetxt", "savez", "savez_compressed", "shares_memory", "show_config",
    "typename", "bincount", "copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask",
}  # fmt: skip


def dispatched():
    """The functions that NumPy hands to a Tensor (NEP 13, NEP 18), by their first names."""
    found = {}
    for prefix, space in SPACES.items():
        for name in sorted(dir(space)):
            function = getattr(space, name)
            of_arrays = (isinstance(function, np.ufunc) and name not in OF_OTHER_THINGS) or (
                hasattr(function, "_implementation") and name not in OF_OTHER_THINGS
            )
            if of_arrays and not name.startswith("_") and function not in found.values():
                found[f"{prefix}{name}"] = function
    return found


def kind(function):
    """What a function is to Tensors."""
    found = tensor.implementation(function)
    if found is None:
        return "refused"
    if "on_values" in found.__qualname__:
        return "values"
    from tinygrad_dls.engine.more_ops import STEPS

    return "steps" if function in {*STEPS, np.round} else "gradients"


TITLES = {
    "gradients": "With gradients",
    "steps": "With the gradient 0, as they are steps",
    "values": "Of the values: counts, truths and orders, without a graph",
    "refused": "Refused by name",
}


def table():
    """The table, in Markdown."""
    functions = dispatched()
    lines = []
    for wanted, title in TITLES.items():
        names = [f"`{name}`" for name, function in functions.items() if kind(function) == wanted]
        lines += [f"**{title}** ({len(names)})", "", ", ".join(names), ""]
    return "\n".join([START, "", *lines, END])


def main():
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + table() + after, encoding="utf-8")


if __name__ == "__main__":
    main()
