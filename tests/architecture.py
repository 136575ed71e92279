"""The pictures of the architecture, read off the code: `python -m tests.architecture` makes them anew.

One is of the imports between the rooms. The other two are of calls: a real step runs, and each module is drawn where it
is first called from. A test holds the DOT text that lies beside each SVG up to date.
"""

import ast
import sys
from pathlib import Path

import numpy as np

import tinygrad_dls as tg
from tinygrad_dls.drawing.rendering import render

PACKAGE = Path(tg.__file__).parent
ASSETS = Path(__file__).parents[1] / "docs" / "assets"
STYLE = (
    'graph [bgcolor=transparent, fontname="Helvetica", nodesep=0.25, ranksep=0.45, rankdir={direction}];\n'
    '  node [shape=box, style="rounded,filled", fillcolor="#eef3fb", color="#8aa4cc", fontname="Helvetica", '
    'fontsize=12, margin="0.12,0.06"];\n'
    '  edge [color="#6b7a90", fontname="Helvetica", fontsize=10, arrowsize=0.7];'
)


def name_of(path):
    """``engine.tensor`` of a module; of a room's own file, ``engine``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imported(source, modules=()):
    """The modules of this package that a module imports, wherever it does; known ones by ``from room import`` too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("tinygrad_dls."):
            module = node.module.removeprefix("tinygrad_dls").lstrip(".")
            within = {f"{module}.{alias.name}".lstrip(".") for alias in node.names}
            found |= (within & set(modules)) or ({module} if module else within)
        assert not (isinstance(node, ast.Import) and any(a.name.startswith("tinygrad_dls") for a in node.names))
    return found


def imports_of_rooms():
    """For each room the rooms that it imports from, in the order of the files."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = name_of(path).split(".")[0]
        if room != "__init__":
            rooms = {module.split(".")[0] for module in imported(path.read_text())}
            found.setdefault(room, set()).update(rooms - {room, ""})
    return found


def wings():
    """An arrow goes from a room to each that it imports from, but for those that others lead to anyway."""
    imports = imports_of_rooms()

    def below(room):
        return {x for direct in imports[room] for x in {direct, *below(direct)}}

    lines = []
    for room, rooms in imports.items():
        is_folder = (PACKAGE / room).is_dir()
        lines.append(f'"{room}" [label="{room}{"/" if is_folder else ".py"}"];')
        indirect = {x for direct in rooms for x in below(direct)}
        lines += [f'"{room}" -> "{x}";' for x in sorted(rooms - indirect)]
    return _digraph(lines, "TB")


def first_calls(run, each):
    """What `run` comes to, as a tree: of ``each`` module or function the first call, and who makes it.

    Returns the caller's place, the place, the module and the function, in the order of the calls.
    """
    found, calls = set(), []

    def module_of(frame):
        path = Path(frame.f_code.co_filename)
        return name_of(path) if PACKAGE in path.parents else None

    def place_of(frame):
        module, function = module_of(frame), frame.f_code.co_qualname.replace("<locals>.", "")
        return (module if each == "module" else (module, function)), module, function

    def look(frame, event, argument):
        if event != "call" or module_of(frame) is None:
            return
        place, module, function = place_of(frame)
        if place in found or "<" in function:  # a comprehension, or a vjp, is no way in
            return
        caller = frame.f_back
        while caller is not None and (module_of(caller) is None or place_of(caller)[0] not in found):
            caller = caller.f_back
        found.add(place)
        calls.append((None if caller is None else place_of(caller)[0], place, module, function))

    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


def _training():
    model = tg.nn.TwoLayerNetwork(2, 4, rng=0)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    return model, optimizer, np.ones((2, 3)), np.ones((1, 3))


def eager_step():
    """X's way through a step of training."""
    model, optimizer, X, Y = _training()

    def step():
        J = tg.binary_cross_entropy_with_logits(model(X), Y)
        optimizer.zero_grad()
        J.backward()
        optimizer.step()

    step()  # what happens once is done
    return _calls(first_calls(step, each="function"))


def first_compiled_call():
    """X's way through the first call of a compiled step."""
    model, optimizer, X, Y = _training()
    step = tg.compile(model, tg.binary_cross_entropy_with_logits, optimizer)
    return _calls(first_calls(lambda: step(X, Y), each="module"))


def _calls(calls):
    numbers = {None: 0} | {place: i for i, (_, place, _, _) in enumerate(calls, 1)}
    lines = ['0 [label="your step", fillcolor="#fff4d6", color="#d9a400"];']
    for caller, place, module, function in calls:
        lines.append(f'{numbers[place]} [label="{numbers[place]}. {module}\\n{function}"];')
        lines.append(f"{numbers[caller]} -> {numbers[place]};")
    return _digraph(lines, "LR")


def _digraph(lines, direction):
    style = STYLE.format(direction=direction)
    return "\n  ".join(["digraph {", style, *lines]) + "\n}\n"


PICTURES = {make.__name__: make for make in (wings, eager_step, first_compiled_call)}


if __name__ == "__main__":
    for name, make in PICTURES.items():
        text = make()
        (ASSETS / f"{name}.dot").write_text(text)
        (ASSETS / f"{name}.svg").write_bytes(render(text, "svg"))
        print(ASSETS / f"{name}.svg")
