"""Whether there is a LaTeX to compile with."""

import shutil

PDFLATEX = shutil.which("pdflatex")
