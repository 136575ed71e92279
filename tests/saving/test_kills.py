"""A kill at any moment leaves the old file or the new one, whole. `make deep` kills more often."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import settings

import tinygrad_dls as tg

KILLS = 20 if settings.default.max_examples < 1_000 else 200

# One process imports, and forks those that are killed; each of them saves one model after the other, and says so.
SAVING = """
import os, sys, tinygrad_dls as tg
tg.save(os.devnull, tg.nn.Linear(1, 1, rng=0))  # imports what saving takes
for line in sys.stdin:
    number = int(line)
    child = os.fork()
    if child:
        print(child, flush=True)
        os.waitpid(child, 0)
        print("dead", flush=True)
        continue
    while True:
        model = tg.nn.TwoLayerNetwork(2, 3, rng=number)
        tg.save(sys.argv[1], model, number=number, much=model.layers[0].W.data.repeat(100_000))
        number += 1
"""


@pytest.fixture
def saver(tmp_path):
    code = [sys.executable, "-c", textwrap.dedent(SAVING), str(tmp_path / "model")]
    with subprocess.Popen(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=os.getcwd()) as process:
        yield process
        process.stdin.close()


def wait_for_another_file(path, before):
    """Wait until a whole file has taken the place of the one before, however long the machine takes for it."""
    latest = time.monotonic() + 60  # of a process that saves nothing
    while (now := os.stat(path)).st_ino == before.st_ino and now.st_mtime_ns == before.st_mtime_ns:
        assert time.monotonic() < latest
        time.sleep(0.001)


def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new(tmp_path, saver):
    moments, path = random.Random(0), tmp_path / "model"
    tg.save(path, tg.nn.TwoLayerNetwork(2, 3, rng=0), number=0)
    numbers, left_behind = [0], 0
    for kill in range(KILLS):
        before = os.stat(path)
        saver.stdin.write(f"{numbers[-1] + 1}\n")
        saver.stdin.flush()
        child = int(saver.stdout.readline())
        if kill % 2:  # so that some files are whole; and else, the kill may come at the very start
            wait_for_another_file(path, before)
        time.sleep(moments.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        assert saver.stdout.readline() == "dead\n"
        saved = tg.load(path)  # which sees to the checksum
        number = saved.extra["number"]
        twin = tg.nn.TwoLayerNetwork(2, 3, rng=number).state_dict()
        assert all(np.array_equal(x, twin[name]) for name, x in saved.model.state_dict().items())
        assert number == 0 or np.array_equal(saved.extra["much"], twin["W1"].repeat(100_000))
        assert number >= numbers[-1]
        numbers.append(number)
        left_behind += len(list(tmp_path.iterdir())) > 1
    assert numbers[-1] > 0  # some were whole
    assert left_behind or KILLS < 200  # and of many kills, some came in the middle
    tg.save(path, tg.nn.Linear(1, 1, rng=0))
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
