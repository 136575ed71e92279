"""Mutation testing, `make mutants`: the engine is changed in a thousand small ways, and the tests notice each one.

cosmic-ray makes the mutants and runs the tests on them, in clones of the last commit and never in the checkout. This
module chooses among its operators, drops what is no mutant, and reads the results beside the list in mutants.toml of
the mutants that no test can kill. A mutant in that list is known by its function, its line and what the line becomes.

A run that was interrupted goes on where it was. A later run repeats what survived, and the functions whose text has
changed: tests that are added kill more, not less. After tests were removed, delete build/mutants.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from contextlib import closing
from pathlib import Path

import cosmic_ray.commands
import cosmic_ray.plugins
import dask.array  # noqa: F401  # what the tests import, once for all mutants
import hypothesis.extra.numpy  # noqa: F401
import jax.numpy  # noqa: F401
import pandas as pd  # noqa: F401
import pytest
import sympy  # noqa: F401
from cosmic_ray.mutating import mutate_code, use_mutation
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "mutants"
PLAN = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())
WORKERS = os.cpu_count() or 1
PYTEST = ["-x", "-q", "--assert=plain", "--confcutdir=tests", "--hypothesis-profile=few", "-pno:cacheprovider"]


def main(modules):
    clones = [_clone(i) for i in range(WORKERS)]
    os.chdir(clones[0])
    rows, survivors, wrong = [], [], []
    for module in modules:
        mutants = _planned(module, Path(PLAN["modules"][module]["path"]).read_text())
        explained, unmatched = _explained(module, mutants)
        _leave_to_do(module)
        _execute(module, clones)
        killed = {job for job, outcome in _outcomes(module).items() if outcome == "killed"}
        survivors += [mutant for job, mutant in mutants.items() if job not in killed | explained]
        wrong += [f"{number} mutants are {wanted}" for number, wanted in unmatched]
        wrong += [f"a test kills {mutants[job]}" for job in killed & explained]
        rows.append((module, len(mutants), len(killed - explained), len(explained)))
    _report(rows, survivors, wrong)
    return bool(survivors or wrong)


def _clone(i):
    clone = BUILD / f"clone{i}"
    shutil.rmtree(clone, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    return clone


# -- which mutants ----------------------------------------------------------------------------------------------------


def _planned(module, source):
    """The mutants of a module by cosmic-ray's job numbers, and a session for them: made anew when the text changes."""
    record, session, fresh = (BUILD / f"{module}.{ending}" for ending in ("json", "sqlite", "new.sqlite"))
    key = [source, PLAN["operators"]["use"]]
    known = json.loads(record.read_text()) if record.exists() else {"key": None, "mutants": {}}
    if known["key"] != key:
        outcomes = _outcomes(module) if known["mutants"] else {}
        killed = {mutant["identity"] for job, mutant in known["mutants"].items() if outcomes.get(job) == "killed"}
        fresh.unlink(missing_ok=True)
        with use_db(fresh) as database:
            cosmic_ray.commands.init([Path(PLAN["modules"][module]["path"])], database, {})
            items = database.work_items
            mutants = _mutants(module, source, items)
            database.clear()
            database.add_work_items(item for item in items if item.job_id in mutants)
            still = [job for job, mutant in mutants.items() if mutant["identity"] in killed]
            database.set_multiple_results(still, WorkResult(WorkerOutcome.NORMAL, test_outcome=TestOutcome.KILLED))
        known = {"key": key, "mutants": mutants}
        fresh.replace(session)
        record.write_text(json.dumps(known, indent=1))
    return known["mutants"]


def _mutants(module, source, items):
    """The mutants that are other programs than the module, and than each other."""
    tree, lines, seen, mutants = ast.parse(source), source.splitlines(), {_meaning(source)}, {}
    chosen = [
        item for item in items if item.mutations[0].operator_name.removeprefix("core/") in PLAN["operators"]["use"]
    ]
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        made = pool.starmap(_made, [(source, item.mutations[0]) for item in chosen])
    for item, (mutated, meaning) in zip(chosen, made, strict=True):
        if meaning is None or meaning in seen:
            continue
        seen.add(meaning)
        number = item.mutations[0].start_pos[0]
        scopes = _scopes(tree, number)
        first, last = _lines_of(scopes[-1]) if scopes else (number, number)
        where = ".".join([module, *(scope.name for scope in scopes)])
        line = lines[number - 1].strip()
        becomes = "" if len(mutated) < len(lines) else mutated[number - 1].strip()
        identity = hashlib.sha256(repr((where, lines[first - 1 : last], number - first, becomes)).encode()).hexdigest()
        mutants[item.job_id] = {
            "where": where, "line": line, "becomes": becomes, "number": number, "identity": identity,
        }  # fmt: skip
    return mutants


def _made(source, spec):
    operator = cosmic_ray.plugins.get_operator(spec.operator_name)()
    mutated = mutate_code(source, operator, spec.occurrence)
    return mutated.splitlines(), _meaning(mutated)


def _meaning(source):
    """What Python runs of a source, without what only type checkers read; None if Python refuses it."""
    try:
        tree = ast.parse(source)
        compile(tree, "mutant", "exec")
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        elif isinstance(node, ast.arguments):  # the bare * of a signature is no product
            node.args, node.posonlyargs, node.kwonlyargs = [*node.posonlyargs, *node.args, *node.kwonlyargs], [], []
            node.defaults, node.kw_defaults = [*node.defaults, *filter(None, node.kw_defaults)], []
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            if isinstance(node.annotation, ast.Name) and node.annotation.id == "TypeAlias":
                node.value = None
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.test, node.body = ast.Constant(False), []
    return ast.dump(tree)


def _scopes(tree, number):
    """The classes and functions around a line, from the outermost."""
    for node in ast.iter_child_nodes(tree):
        if hasattr(node, "lineno"):
            first, last = _lines_of(node)
            if first <= number <= last:
                return [node] * isinstance(node, (ast.FunctionDef, ast.ClassDef)) + _scopes(node, number)
    return []


def _lines_of(node):
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))]), node.end_lineno


def _explained(module, mutants):
    """The job numbers of the explained mutants; and the explanations that fit no mutant, or more than they say."""
    jobs, unmatched = set(), []
    for entry in PLAN.get("explained", []):
        if entry["where"].split(".")[0] != module:
            continue
        for becomes in entry["becomes"]:
            wanted = entry["where"], entry["line"], becomes
            fitting = {job for job, m in mutants.items() if (m["where"], m["line"], m["becomes"]) == wanted}
            if len(fitting) != entry.get("times", 1):
                unmatched.append((len(fitting), wanted))
            jobs |= fitting
    return jobs, unmatched


# -- running them -----------------------------------------------------------------------------------------------------


def _leave_to_do(module):
    """Forget every result but the kills."""
    with closing(sqlite3.connect(BUILD / f"{module}.sqlite")) as connection, connection:
        connection.execute("DELETE FROM work_results WHERE test_outcome IS NULL OR test_outcome != 'KILLED'")


def _execute(module, clones):
    """Run the tests on the mutants of a module, a share of them in each clone."""
    os.environ |= {"OPENBLAS_NUM_THREADS": "1"}
    start = multiprocessing.get_context("fork").Process
    workers = [start(target=_work, args=(module, clone, i)) for i, clone in enumerate(clones)]
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers):
            time.sleep(20)
            outcomes = [*_outcomes(module).values()]
            print(f"{module}: {len(outcomes) - outcomes.count(None)} of {len(outcomes)}", flush=True)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit(f"{module}: the tests did not run; do they pass without a mutant?")


def _work(module, clone, share):
    """Run the tests on a share of the mutants, each in a fork of this process, which has imported NumPy and pytest."""
    os.chdir(clone)
    pytest.main(["--version", "--noconftest"])
    gc.freeze()  # what is there already need not be searched for garbage in every fork
    assert "tinygrad_dls" not in sys.modules
    assert _tests_pass(module, may_compile=True)
    with use_db(BUILD / f"{module}.sqlite") as database:
        pending = {item.job_id for item in database.pending_work_items}
        for item in sorted(database.work_items, key=lambda item: item.job_id)[share::WORKERS]:
            if item.job_id not in pending:
                continue
            (spec,) = item.mutations
            operator = cosmic_ray.plugins.get_operator(spec.operator_name)()
            with use_mutation(spec.module_path, operator, spec.occurrence):
                outcome = TestOutcome.SURVIVED if _tests_pass(module) else TestOutcome.KILLED
            database.set_result(item.job_id, WorkResult(WorkerOutcome.NORMAL, test_outcome=outcome))


def _tests_pass(module, may_compile=False):
    """Whether the tests pass; a mutant that hangs, loops or grows for ever is ended, as a failure."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    failed = True
    try:
        signal.alarm(PLAN["limits"]["seconds"])
        resource.setrlimit(resource.RLIMIT_AS, (PLAN["limits"]["bytes"],) * 2)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        sys.dont_write_bytecode = not may_compile  # else a mutant's could be taken for the module's
        sys.path[0] = os.getcwd()
        for module_name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
            del sys.modules[module_name]  # of the checkout
        for when in ("first", "then"):
            resource.setrlimit(resource.RLIMIT_CPU, (PLAN["limits"][when], resource.RLIM_INFINITY))
            if pytest.main([*PYTEST, *PLAN["modules"][module][when]]):
                break
        else:
            failed = False
    finally:
        os._exit(failed)


def _outcomes(module):
    """For each job number "killed", "survived", or None before its turn."""
    with closing(sqlite3.connect(BUILD / f"{module}.sqlite")) as connection:
        return dict(
            connection.execute(
                "SELECT job_id, lower(test_outcome) FROM work_items LEFT JOIN work_results USING (job_id)"
            )
        )


# -- what it says -----------------------------------------------------------------------------------------------------


def _report(rows, survivors, wrong):
    for mutant in sorted(survivors, key=lambda mutant: (mutant["where"].split(".")[0], mutant["number"])):
        print(f"survived: {mutant['where']}, line {mutant['number']}\n  - {mutant['line']}\n  + {mutant['becomes']}")
    for fault in wrong:
        print(f"mutants.toml explains wrongly: {fault}")
    total = ("all", *(sum(row[i] for row in rows) for i in (1, 2, 3)))
    print(f"{'module':10} {'mutants':>8} {'killed':>8} {'explained':>10} {'score':>8}")
    for module, mutants, killed, explained in [*rows, total]:
        score = f"{killed / (mutants - explained):.1%}" if mutants > explained else "none"
        print(f"{module:10} {mutants:8} {killed:8} {explained:10} {score:>8}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(PLAN["modules"])))
