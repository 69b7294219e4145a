"""What a stage says of how far it is."""

import pytest

from mlcl import progress
from mlcl.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


def test_a_line_tells_share_rate_and_time_left(clock, capsys):
    bar = Progress("stage", 100, "images")
    clock[0] = 5
    bar.advance(20)
    bar.say("loss 1.0")
    assert capsys.readouterr().err == "stage  20% 4 images/s, 00:20 left loss 1.0\n"


def test_what_was_done_before_is_no_part_of_the_pace(clock, capsys):
    bar = Progress("stage", 100, "images", done=50)
    clock[0] = 10
    bar.advance(25)
    bar.say("")
    assert capsys.readouterr().err == "stage  75% 2 images/s, 00:10 left\n"


def test_units_that_take_longer_later_are_allowed_for(clock, capsys):
    bar = Progress("stage", 100, "images", work=lambda share: share**2)
    clock[0] = 10
    bar.advance(50)
    bar.say("")
    assert capsys.readouterr().err == "stage  50% 5 images/s, 00:30 left\n"


def test_a_log_gets_a_line_now_and_then(clock, capsys):
    bar = Progress("stage", 100, "images")
    bar.status = "loss 1.0"
    bar.advance(10)
    assert capsys.readouterr().err == ""
    clock[0] = progress.LOG_SECONDS + 1
    bar.advance(10)
    assert capsys.readouterr().err.startswith("stage  20% ")
    bar.advance(10)
    assert capsys.readouterr().err == ""
