"""Campaigns: side by side, on a cluster of two workers, stopped and gone on."""

import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from balproof.campaign import Folder, run
from balproof.errors import RequestError
from balproof.theorems import verify


def square(x):
    return {"square": x * x}


def refuse(x):
    raise AssertionError(f"computed again: {x}")


INSTANCES = {f"case/{i}": i for i in range(7)}
SQUARES = {f"case/{i}": {"square": i * i} for i in range(7)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_stand_in_the_order_of_the_instances(jobs):
    said = []
    results = run(square, INSTANCES, jobs=jobs, progress=lambda *now: said.append(now))
    assert list(results.items()) == list(SQUARES.items())
    assert [now[:2] for now in said] == [(i, 7) for i in range(8)]
    assert sorted(now[2] for now in said[1:]) == sorted(INSTANCES)


def test_what_is_finished_is_not_computed_again(tmp_path):
    first = dict(list(INSTANCES.items())[:4])
    run(square, first, resume=tmp_path / "r")
    assert run(refuse, first, resume=tmp_path / "r") == run(square, first)
    with pytest.raises(AssertionError, match="computed again: 4"):
        run(refuse, INSTANCES, resume=tmp_path / "r")


def test_a_killed_run_loses_what_was_in_hand_and_no_more(tmp_path):
    script = f"""
import time
from pathlib import Path
from balproof.campaign import run
def slow(i):
    if i == 3:
        print("in hand", flush=True)
        time.sleep(60)
    return {{"square": i * i}}
run(slow, {INSTANCES!r}, resume=Path({str(tmp_path / "r")!r}))
"""
    killed = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert killed.stdout.readline() == "in hand\n"
    killed.kill()
    killed.wait()
    killed.stdout.close()
    folder = Folder(tmp_path / "r", {})
    assert [folder.read(k) for k in INSTANCES] == [{"square": i * i} if i < 3 else None for i in range(7)]
    assert run(square, INSTANCES, resume=tmp_path / "r") == SQUARES


def test_another_stamp_is_refused(tmp_path):
    run(square, INSTANCES, resume=tmp_path, stamp={"version": "1", "seeds": 3})
    with pytest.raises(RequestError, match="belongs to a run with seeds 3, not 4: name another folder"):
        run(square, INSTANCES, resume=tmp_path, stamp={"version": "1", "seeds": 4})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: (p / "notes.txt").write_text("x"), "has files, and no campaign.json"),
        (lambda p: (p / "campaign.json").write_text("{"), r"cannot be read \(no JSON\)"),
        (lambda p: (p / "campaign.json").write_text("[]"), "is no result"),
        (lambda p: (p / "campaign.json").mkdir(), "cannot be read"),
    ],
)
def test_folders_that_are_none(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(RequestError, match=message):
        run(square, INSTANCES, resume=tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match="is no folder"):
        run(square, INSTANCES, resume=tmp_path / "file")


def test_a_result_of_another_instance_is_refused(tmp_path):
    run(square, INSTANCES, resume=tmp_path)
    file = next(tmp_path.glob("case_3-*.json"))
    file.write_text(json.dumps({"key": "case/4", "result": {}}))
    with pytest.raises(RequestError, match="is no result of case/3: delete it"):
        run(square, INSTANCES, resume=tmp_path)


def test_a_worker_that_is_replaced_is_no_error():
    """Warnings are errors here; joblib's comes in the thread that waits for all workers, and ended it."""

    def said(done, *_):
        if done:
            warnings.warn("A worker stopped while some jobs were given to it", UserWarning, stacklevel=1)

    assert run(square, INSTANCES, jobs=2, progress=said) == run(square, INSTANCES, jobs=1)


def test_no_jobs():
    with pytest.raises(RequestError, match="0 jobs: ask for at least 1"):
        run(square, INSTANCES, jobs=0)


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers, in processes of their own; its address."""
    pytest.importorskip("distributed")
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    where = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [
        subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", where],
            **quiet,
        )
    ]
    try:
        for _ in range(300):
            if where.exists():
                break
            time.sleep(0.1)
        address = json.loads(where.read_text())["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
        folder = ["--no-dashboard", "--local-directory", tmp_path, "--no-nanny"]
        started += [subprocess.Popen([*worker, *folder], cwd=Path.cwd(), **quiet) for _ in range(2)]
        yield address
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_cluster_of_two_workers(cluster, tmp_path):
    found = run(json.loads, {f"case/{i}": f'{{"square": {i * i}}}' for i in range(7)}, dask=cluster)
    assert found == SQUARES
    run(json.loads, {"one": '{"square": 1}'}, dask=cluster, resume=tmp_path / "r")
    assert Folder(tmp_path / "r", {}).read("one") == {"square": 1}

    [here] = verify("S.bounds", samples=4)
    [there] = verify("S.bounds", samples=4, dask=cluster, resume=tmp_path / "s")
    assert len(list((tmp_path / "s").glob("S.bounds*.json"))) == 5
    assert without_seconds(here.as_json()) == without_seconds(there.as_json())


def without_seconds(data):
    if isinstance(data, dict):
        return {k: without_seconds(v) for k, v in data.items() if k != "seconds"}
    return [without_seconds(v) for v in data] if isinstance(data, list) else data


def test_no_scheduler(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("balproof.campaign._PATIENCE", 1)
    with pytest.raises(
        RequestError, match=r"no dask scheduler at tcp://127.0.0.1:9 \(.*\): see that it runs"
    ):
        run(square, INSTANCES, dask="tcp://127.0.0.1:9")
    with pytest.raises(RequestError, match="no dask scheduler at what://x"):
        run(square, INSTANCES, dask="what://x")
