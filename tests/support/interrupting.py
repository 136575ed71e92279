"""Ctrl-C at any line."""

import linecache
import sys


def interrupted_at(k, files, act):
    """Do something, with a trace function that raises at the k-th line within these files; where it did.

    Not at a line that comes again at once, the next turn of a comprehension: since Python 3.12 these run in the frame
    around them, and in 3.13 an error that is raised there by hand passes by the `with` and the `finally` around it, as
    Ctrl-C does not.
    """
    remaining, where = k, None

    def entered(frame, event, arg):
        if not frame.f_code.co_filename.endswith(files) or frame.f_code.co_name.startswith("<"):
            return None
        last = None

        def reached(frame, event, arg):
            nonlocal remaining, where, last
            if event == "line":
                again, last = frame.f_lineno == last, frame.f_lineno
                if not again and _may_be_interrupted(frame):
                    remaining -= 1
                    if remaining == -1:
                        where = frame.f_code.co_filename, frame.f_lineno
                        raise KeyboardInterrupt
            return reached

        return reached

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        act()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return where


def _may_be_interrupted(frame):
    """Ctrl-C cannot come at `with`, before a lock is free, nor at `try:`, which is no call and no jump.

    Python looks for signals at these alone, and raised there by hand, an error would pass by the `with` around it.
    """
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return not line.startswith("with ") and line != "try:"
