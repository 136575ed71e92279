"""Is this gradient right? `gradcheck` holds autodiff against slopes, `diagnose` your own backprop against autodiff."""

from tinygrad_dls.check import mistakes, elsewhere, regularised  # noqa: F401, I001 (they register causes, in this order)
from tinygrad_dls.check.causes import Step, Variant, cause, causes
from tinygrad_dls.check.diagnosis import Diagnosis, Finding, diagnose
from tinygrad_dls.check.numerical import GradCheck, GradientError, Row, gradcheck

__all__ = [
    "Diagnosis", "Finding", "GradCheck", "GradientError", "Row", "Step", "Variant", "cause", "causes", "diagnose",
    "gradcheck",
]  # fmt: skip
