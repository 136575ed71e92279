"""Files are written as a whole: over links, with their rights, and whatever happens meanwhile."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import tinygrad_dls as tg
from tinygrad_dls.drawing.draw import draw
from tinygrad_dls.files import write_whole


@pytest.fixture
def picture():
    w = tg.Tensor(np.array([1.0, 2.0]), requires_grad=True, name="w")
    return draw(np.sum(w * w))


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_link_stays_and_the_file_that_it_leads_to_is_written(tmp_path, picture):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target, link, second = folder / "target.dot", tmp_path / "link.dot", tmp_path / "second.dot"
    target.write_text("old")
    link.symlink_to(target)
    second.symlink_to("link.dot")
    assert picture.save(second) == second
    assert link.is_symlink()
    assert second.is_symlink()
    assert target.read_text() == picture.source
    assert left_in(folder) == ["target.dot"]
    assert left_in(tmp_path) == ["elsewhere", "link.dot", "second.dot"]
    dangling = tmp_path / "new.dot"
    dangling.symlink_to(folder / "made.dot")
    picture.save(dangling)
    assert (folder / "made.dot").read_text() == picture.source


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o640])
def test_rights_are_kept(tmp_path, picture, mode):
    path = tmp_path / "graph.dot"
    path.write_text("old")
    path.chmod(mode)
    picture.save(path)
    assert path.stat().st_mode & 0o777 == mode
    assert path.read_text() == picture.source


def test_a_read_only_file_is_refused(tmp_path, picture):
    path, link = tmp_path / "graph.dot", tmp_path / "link.dot"
    path.write_text("old")
    path.chmod(0o444)
    link.symlink_to(path)
    for file in (path, link):
        with pytest.raises(
            PermissionError, match=r"is read-only\. Make it writable \(chmod u\+w\), or write to another file"
        ):
            picture.save(file)
    assert path.read_text() == "old"
    assert left_in(tmp_path) == ["graph.dot", "link.dot"]


def test_a_pipe_is_written_into(tmp_path, picture):
    path, got = tmp_path / "pipe.dot", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_text()))
    reader.start()
    picture.save(path)
    reader.join()
    assert got == [picture.source]
    assert path.is_fifo()


@pytest.mark.parametrize("name", ["x" * 251 + ".dot", "ü" * 125 + ".dot", ".dot.dot"])
def test_long_names_can_be_saved(tmp_path, picture, name):
    assert picture.save(tmp_path / name).read_text() == picture.source
    assert left_in(tmp_path) == [name]


KILLED = """
import os, signal
from pathlib import Path
from tinygrad_dls import files
def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)
{place}
files.write_whole(Path({path!r}), b"new" * 100_000)
"""
PLACES = {
    "before it is opened": "files._opened = killed",
    "before anything is written": "os.fdopen = killed",
    "before it takes its place": "os.replace = killed",
    "before its rights are set": "os.fchmod = killed",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_kill_leaves_the_old_file_and_the_next_save_clears_up(tmp_path, place):
    path = tmp_path / "graph.dot"
    path.write_text("old")
    code = textwrap.dedent(KILLED).format(place=PLACES[place], path=str(path))
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=os.getcwd())
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert set(left_in(tmp_path)) <= {"graph.dot", ".graph.dot.part"}
    write_whole(path, b"new")
    assert path.read_text() == "new"
    assert left_in(tmp_path) == ["graph.dot"]


def test_what_a_kill_left_gives_its_rights_to_no_new_file(tmp_path):
    part, other = tmp_path / ".graph.dot.part", tmp_path / "other"
    part.write_text("left behind by a kill")
    part.chmod(0o600)
    other.touch()
    write_whole(tmp_path / "graph.dot", b"new")
    assert (tmp_path / "graph.dot").stat().st_mode == other.stat().st_mode
    assert left_in(tmp_path) == ["graph.dot", "other"]


def test_threads_that_write_one_file_leave_one_of_their_contents(tmp_path):
    path, errors = tmp_path / "graph.dot", []
    contents = [bytes([65 + k]) * 100_000 for k in range(4)]

    def write(content):
        try:
            for _ in range(30):
                write_whole(path, content)
                assert path.read_bytes() in contents
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert path.read_bytes() in contents
    assert left_in(tmp_path) == ["graph.dot"]
