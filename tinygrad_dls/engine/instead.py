"""What to write for NumPy's functions that are no ops: code that gives the same, for the error that refuses them.

It is loaded when the first such error is made. Arrays have the names of NumPy's pages, and tests run each line.
"""

from __future__ import annotations

__all__ = ["INSTEAD"]

_COVARIANCE = "X_c @ X_c.T / (m - 1) with X_c = X - np.mean(X, axis=1, keepdims=True)"
_CROSS = "np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])"
_QUANTILE = "(1 - share) * s[k] + share * s[k + 1] with s = np.sort(x)"
_WINDOWS = "x[np.arange(len(x) - k + 1)[:, None] + np.arange(k)]"
_ITSELF = "x itself: Tensors hold real numbers"

INSTEAD = {
    "np.append": "np.concatenate([x, y], axis=0)",
    "np.block": "np.vstack([np.hstack([a, b]), np.hstack([c, d])])",
    "np.conjugate": _ITSELF,
    "np.convolve": f"{_WINDOWS} @ v[::-1] for mode='valid', k being len(v), and np.pad(x, k - 1) for x else",
    "np.copysign": "np.where(np.signbit(y), -np.abs(x), np.abs(x)) with an array y",
    "np.corrcoef": f"C / np.outer(s, s) with s = np.sqrt(np.diag(C)), C being {_COVARIANCE}",
    "np.correlate": f"{_WINDOWS} @ v, k being len(v)",
    "np.cov": _COVARIANCE,
    "np.cross": _CROSS,
    "np.cumulative_prod": "np.cumprod(x, axis)",
    "np.cumulative_sum": "np.cumsum(x, axis)",
    "np.delete": "x[[i for i in range(len(x)) if i not in removed]]",
    "np.diagflat": "np.diag(np.ravel(x))",
    "np.dsplit": "np.split(x, n, axis=2)",
    "np.ediff1d": "np.diff(np.ravel(x))",
    "np.fix": "np.trunc(x)",
    "np.floor_divide": "np.floor(x / y)",
    "np.fmod": "x - y * np.trunc(x / y)",
    "np.full_like": "np.zeros_like(x) + c",
    "np.gradient": "np.concatenate([x[1:2] - x[:1], (x[2:] - x[:-2]) / 2, x[-1:] - x[-2:-1]])",
    "np.heaviside": "np.where(x > 0, 1.0, 0.0)",
    "np.insert": "np.concatenate([x[:i], y, x[i:]])",
    "np.interp": "fp[k] + (x - xp[k]) * (fp[k + 1] - fp[k]) / (xp[k + 1] - xp[k]), k being the piece that x is in",
    "np.linalg.cross": _CROSS,
    "np.linalg.lstsq": "np.linalg.solve(a.T @ a, a.T @ b)",
    "np.linalg.matmul": "a @ b",
    "np.linalg.matrix_norm": "np.linalg.norm(a, axis=(-2, -1))",
    "np.linalg.matrix_power": "a @ a @ a",
    "np.linalg.multi_dot": "a @ b @ c",
    "np.linalg.pinv": "np.linalg.solve(a.T @ a, a.T)",
    "np.linalg.vecdot": "np.sum(a * b, axis=-1)",
    "np.linalg.vector_norm": "np.linalg.norm(x, axis=-1)",
    "np.linspace": "a + (b - a) * np.linspace(0, 1, n)",
    "np.matvec": "np.einsum('...ij,...j->...i', a, v)",
    "np.nanmax": "np.max(x, where=~np.isnan(x), initial=-np.inf)",
    "np.nanmean": "np.mean(x, where=~np.isnan(x))",
    "np.nanmin": "np.min(x, where=~np.isnan(x), initial=np.inf)",
    "np.nanprod": "np.prod(x, where=~np.isnan(x))",
    "np.nansum": "np.sum(x, where=~np.isnan(x))",
    "np.percentile": _QUANTILE,
    "np.polyval": "np.sum(c * x[:, None] ** np.arange(len(c))[::-1], axis=1)",
    "np.quantile": _QUANTILE,
    "np.real": _ITSELF,
    "np.remainder": "x - y * np.floor(x / y)",
    "np.rollaxis": "np.moveaxis(x, 2, 0)",
    "np.rot90": "np.flip(x.T, 0)",
    "np.select": "np.where(x > 1, a, np.where(x > 0, b, c))",
    "np.sinc": "np.sin(np.pi * x) / (np.pi * x) where x is not 0",
    "np.trapezoid": "np.sum((y[1:] + y[:-1]) / 2 * np.diff(x))",
    "np.unstack": "[x[i] for i in range(len(x))]",
    "np.vander": "x[:, None] ** np.arange(n)[::-1]",
    "np.vecdot": "np.sum(a * b, axis=-1)",
    "np.vecmat": "np.einsum('...i,...ij->...j', v, a)",
}
