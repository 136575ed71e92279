"""Is this gradient right? `gradcheck` holds autodiff against slopes, `diagnose` your own backprop against autodiff."""

from tinygrad_dls.check.numerical import GradCheck, GradientError, gradcheck

__all__ = ["GradCheck", "GradientError", "gradcheck"]
