"""Is this right? `gradcheck` holds autodiff against slopes, `diagnose` your own backprop against autodiff.

`diagnose_update` holds the update that follows against the optimizer's.
"""

from tinygrad_dls.check import mistakes, elsewhere, regularised  # noqa: F401, I001 (they register causes, in this order)
from tinygrad_dls.check.causes import Step, Variant, cause, causes
from tinygrad_dls.check.diagnosis import Diagnosis, Finding, diagnose
from tinygrad_dls.check.numerical import GradCheck, GradientError, Row, gradcheck
from tinygrad_dls.check.updates import UpdateDiagnosis, diagnose_update

__all__ = [
    "Diagnosis", "Finding", "GradCheck", "GradientError", "Row", "Step", "UpdateDiagnosis", "Variant", "cause",
    "causes", "diagnose", "diagnose_update", "gradcheck",
]  # fmt: skip
