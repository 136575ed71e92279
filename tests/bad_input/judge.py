"""What comes of a call: the right answer, a clear error of ours, or something wrong."""

from __future__ import annotations

import dis
import re
import signal
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import tinygrad_dls as tg
from tests.bad_input.calls import CONSTANT, values_of
from tests.bad_input.corruptions import REFUSE, as_plain

PACKAGE = str(Path(tg.__file__).parent)
PATIENCE = 5


# -- the harness ------------------------------------------------------------------------------------------------------


class Hang(BaseException):
    pass


@contextmanager
def impatient():
    def ring(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


OURS = (ValueError, TypeError, IndexError, RuntimeError, ArithmeticError, MemoryError)


def fault(error, names):
    """What keeps an error from being a clear one of ours; empty if nothing does."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    text = f"{type(error).__name__}: {error}"
    if not isinstance(error, OURS):
        return f"an error of another kind, {text}"
    if not code.co_filename.startswith(PACKAGE):
        return f"raised in {code.co_filename}, {text}"
    if dis.opname[code.co_code[trace.tb_lasti]] != "RAISE_VARARGS":
        return f"not raised but suffered in {Path(code.co_filename).name}:{trace.tb_lineno}, {text}"
    if not any(re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", str(error)) for name in names):
        return f"names none of {names}: {text}"
    return ""


def expected(call, args):
    """The reference's first value, or REFUSE."""
    if any(a is REFUSE for a in args):
        return REFUSE
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the reference, which is plain NumPy
            return values_of(call.reference(*args))
    except Exception:  # whatever NumPy makes of it
        return REFUSE


def outcome(call, args, clean, huge=False):
    """'refused' or 'answered'; or, with a colon in it, what was wrong."""
    try:
        with np.errstate(all="ignore"), impatient():
            got = call.run(*args)
    except Hang:
        return "wrong: hangs"
    except BaseException as error:
        if isinstance(error, MemoryError) and huge:
            return "refused"
        return "wrong: " + problem if (problem := fault(error, call.names)) else "refused"
    want = expected(call, clean)
    if want is REFUSE:
        return f"wrong: answered {_short(got)}, where there is no answer"
    try:
        with np.errstate(all="ignore"):
            want = [*want, *call.run(*clean)[len(want) :]]  # the gradients
    except Exception:  # of any kind: the clean call must not fail
        return f"wrong: answered {_short(got)}, but not for the same in plain floats"
    coarse = max(np.finfo(a.dtype).eps for a in (*map(as_plain, args), np.ones(1)) if _kind(a) == "f")
    if len(got) != len(want) or not all(alike(g, w, coarse) for g, w in zip(got, want, strict=True)):
        return f"wrong: answered {_short(got)}, where {_short(want)} is right"
    return "answered"


def _short(values):
    return repr(values)[:300]


def _kind(x):
    dtype = getattr(x, "dtype", None)
    return dtype.kind if isinstance(dtype, np.dtype) else ""


def alike(got, want, coarse):
    """Equal shapes and numbers, to the digits of the coarsest dtype."""
    if got is CONSTANT:
        return True
    got, want = np.asarray(as_plain(got)), np.asarray(as_plain(want))
    if got.dtype == want.dtype == object:  # exact integers
        return all(isinstance(x, (int, float)) for x in got.flat) and np.array_equal(got, want)
    if got.shape != want.shape or got.dtype.kind not in "fiub":
        return False
    coarse = max(coarse, *(np.finfo(a.dtype).eps for a in (got, want, np.ones(1)) if a.dtype.kind == "f"))
    with np.errstate(all="ignore"):
        got, want = got.astype(np.longdouble), want.astype(np.longdouble)
        scale = np.max(np.abs(want[np.isfinite(want)]), initial=1)
        return np.allclose(got, want, rtol=100 * float(coarse), atol=100 * float(coarse * scale), equal_nan=True)
