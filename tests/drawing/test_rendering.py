import os
import subprocess
import sys
import textwrap

import pytest

from tinygrad_dls.drawing import rendering
from tinygrad_dls.drawing.rendering import FORMATS, GraphvizError, GraphvizNotFoundError, render
from tinygrad_dls.extras import install

SOURCE = 'digraph { W1 -> Z1 [id="edge-1", class="forward"]; Z1 [id="node-Z1", label="Z¹ < 3"] }'


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The only folder on the PATH, an empty one."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    return path


@pytest.fixture
def dot(path, monkeypatch):
    """Puts a program `dot` on the PATH, where there is no pygraphviz."""
    monkeypatch.setitem(sys.modules, "pygraphviz", None)

    def install(code):
        script = path / "dot.py"
        script.write_text("import os, sys, time\n" + textwrap.dedent(code), encoding="utf-8")
        if os.name == "nt":
            (path / "dot.bat").write_text(f'@"{sys.executable}" "{script}" %*\n@exit /b %errorlevel%\n')
        else:
            (path / "dot").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
            (path / "dot").chmod(0o755)

    return install


def pygraphviz_that(tmp_path, monkeypatch, code):
    package = tmp_path / "pygraphviz"
    package.mkdir()
    (package / "__init__.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


ECHO = """
    source = sys.stdin.buffer.read()
    sys.stdout.buffer.write(b"drawn " + " ".join(sys.argv[1:]).encode() + b" " + source)
"""


# -- dot on the PATH --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_dot_gets_the_source_and_the_format(dot, format):
    dot(ECHO)
    assert render(SOURCE, format) == f"drawn -Kdot -T{format} {SOURCE}".encode()


def test_dot_of_the_path_comes_before_pygraphviz(dot, monkeypatch):
    dot(ECHO)
    monkeypatch.delitem(sys.modules, "pygraphviz")
    assert render(SOURCE, "svg").startswith(b"drawn ")


def test_a_name_that_utf8_cannot_write_is_no_reason_for_no_picture(dot):
    dot(ECHO)
    assert render("digraph { \ud800 }", "svg") == b"drawn -Kdot -Tsvg digraph { ? }"


def test_warnings_of_dot_are_no_errors(dot):
    dot("sys.stderr.write('Warning: no such font'); print('<svg>')")
    assert render(SOURCE, "svg").strip() == b"<svg>"


# -- pygraphviz -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "beginning"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_pygraphviz_is_enough(path, format, beginning):
    assert render(SOURCE, format).startswith(beginning)


def test_the_svg_has_the_ids_and_classes_of_the_source(path):
    svg = render(SOURCE, "svg").decode()
    assert '<g id="node&#45;Z1" class="node">' in svg
    assert '<g id="edge&#45;1" class="edge forward">' in svg
    assert "Z¹ &lt; 3" in svg


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_source_gives_the_same_bytes_in_every_process(path, format):
    first = render(SOURCE, format)  # each time in a process of its own
    assert render(SOURCE, format) == first


def test_a_pdf_does_not_say_when_it_was_drawn(path):
    assert b"CreationDate" not in render(SOURCE, "pdf")


def test_pygraphviz_stays_out_of_the_process(path):
    render(SOURCE, "svg")
    assert "pygraphviz" not in sys.modules


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_without_graphviz_the_error_gives_both_ways_to_get_it(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    with pytest.raises(GraphvizNotFoundError) as error:
        render(SOURCE, "svg")
    assert str(error.value) == textwrap.dedent(f"""\
        there is no Graphviz to draw with: no program `dot` on the PATH, and no pygraphviz. Get one of them:
          with pip:       {install("draw")}
          for the system: apt install graphviz (Linux), brew install graphviz (macOS), choco install graphviz (Windows)
          without it:     save the picture as .svg or .html
        The DOT text itself is there in .source: it can be saved as a .dot file, and drawn elsewhere.""")


def test_an_unknown_format_is_refused_before_anything_runs(path):
    with pytest.raises(ValueError, match="format must be one of svg, png, pdf, got 'jpg'"):
        render(SOURCE, "jpg")


def test_a_failing_dot_is_quoted(dot):
    dot("sys.exit('Error: <stdin>: syntax error in line 1')")
    with pytest.raises(GraphvizError) as error:
        render("digraph {", "svg")
    assert str(error.value).splitlines() == [
        "Graphviz failed (exit status 1).",
        "  Error: <stdin>: syntax error in line 1",
        "The DOT text itself is there in .source: it can be saved as a .dot file, and drawn elsewhere.",
    ]


@pytest.mark.parametrize("source", ["digraph { a -> ", "not DOT", "", "digraph { a [label=<<b>x>] }"])
def test_what_the_libraries_cannot_read_is_an_error(path, source):
    with pytest.raises(GraphvizError, match="Graphviz failed"):
        render(source, "svg")


def test_the_libraries_are_quoted_too(path):
    with pytest.raises(GraphvizError, match="syntax error in line 1"):
        render("digraph { a -> ", "svg")


LOST = """
    print("Error: in routesplines, Pshortestpath failed", file=sys.stderr)
    print("Error: lost node-W2 node-U2 edge", file=sys.stderr)
"""


@pytest.mark.parametrize("status", [0, 1])
def test_an_edge_that_graphviz_cannot_bend_is_drawn_straight(dot, status):
    dot(f"""
    if "-Gsplines=line" in sys.argv:
        sys.stdout.buffer.write(b"drawn " + sys.stdin.buffer.read())
        sys.exit(0)
    {LOST.strip()}
    sys.exit({status})
    """)
    assert render(SOURCE, "svg") == f"drawn {SOURCE}".encode()


def test_an_edge_that_cannot_be_drawn_at_all_is_an_error(dot):
    dot(LOST)
    with pytest.raises(GraphvizError, match="lost node-W2 node-U2 edge"):
        render(SOURCE, "svg")


def test_the_libraries_draw_straight_lines_too(path, monkeypatch):
    curved = render("digraph { a -> b -> c; a -> c }", "svg")
    monkeypatch.setattr(rendering, "_lost_a_curve", lambda said: True)
    straight = render("digraph { a -> b -> c; a -> c }", "svg")
    assert straight.count(b'class="edge"') == curved.count(b'class="edge"') == 3
    assert straight != curved


def test_an_empty_picture_is_an_error(dot):
    dot("")
    with pytest.raises(GraphvizError, match=r"drew nothing, and reported no error\.\n  It said nothing\."):
        render(SOURCE, "png")


def test_a_dot_that_never_ends_is_an_error(dot):
    dot("time.sleep(60)")
    with pytest.raises(GraphvizError, match=r"did not finish within 0\.5 s\. Give it more time.*\.source"):
        render(SOURCE, "svg", seconds=0.5)


def test_a_dot_that_cannot_be_started_is_an_error(path, monkeypatch):
    monkeypatch.setattr(rendering.shutil, "which", lambda _: str(path / "gone"))
    with pytest.raises(GraphvizError, match=r"gone\) could not be started"):
        render(SOURCE, "svg")


def test_a_pygraphviz_that_cannot_be_imported_is_an_error(path, tmp_path, monkeypatch):
    pygraphviz_that(tmp_path, monkeypatch, "raise ImportError('libgvc.so.7 is missing')")
    with pytest.raises(GraphvizError, match=r"ImportError: libgvc\.so\.7 is missing"):
        render(SOURCE, "svg")


def test_a_crash_of_the_libraries_is_an_error(path, tmp_path, monkeypatch):
    pygraphviz_that(tmp_path, monkeypatch, "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(GraphvizError, match="Graphviz failed"):
        render(SOURCE, "svg")


def test_the_package_is_imported_without_any_of_it():
    code = """
        import sys, tinygrad_dls
        views = {"tinygrad_dls.drawing.rendering", "tinygrad_dls.drawing.page"}
        print((views | {"graphviz", "pygraphviz"}) & set(sys.modules))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
