"""Sealed parameters come with the queue's answers, and are shown to nobody."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from klipqueue import Queue, reset
from klipstream_worker import AnalysisError, AnalysisTask, Cancelled

MakeTask = Callable[..., AnalysisTask]
PARAMS = {"apiKey": "opensesame"}


def answers(queue: Queue, *first: dict[str, Any]) -> None:
    """Each of them once, then answers that say nothing of it."""

    def reaction(more: dict[str, Any]) -> Callable[[Any], None]:
        return lambda handler: handler.reply(200, {**queue.reply, **more})

    queue.reactions += [reaction(more) for more in first]


def test_they_come_with_the_first_answer(queue: Queue, make_task: MakeTask) -> None:
    answers(queue, {"sealed_params": PARAMS})
    with make_task() as task:
        assert task.sealed_params() == PARAMS
        assert task.sealed_params() == PARAMS, "the queue says it once"
    assert queue.posts[0].body["sealed"] is True
    assert not any("sealed" in post.body for post in queue.posts[1:])


def test_what_came_unasked_is_kept(queue: Queue, make_task: MakeTask) -> None:
    answers(queue, {"sealed_params": PARAMS})
    with make_task() as task, task.stage("Downloading") as stage:
        stage.report(0.1)
        queue.wait_for(lambda: len(queue.posts) >= 1)
        assert task.sealed_params() == PARAMS


def test_an_answer_that_got_lost_is_asked_for_again(queue: Queue, make_task: MakeTask) -> None:
    queue.reactions += [reset]
    answers(queue, {"sealed_params": PARAMS})
    with make_task() as task:
        assert task.sealed_params() == PARAMS
    assert [post.body.get("sealed") for post in queue.posts[:2]] == [True, True]


def test_a_job_without_them_has_none(queue: Queue, make_task: MakeTask) -> None:
    with make_task() as task:
        assert task.sealed_params() == {}


def test_a_sealed_url_is_the_source_and_the_plain_one_is_shown(queue: Queue, make_task: MakeTask) -> None:
    answers(queue, {"sealed_params": {}, "sealed_video_url": "https://example.com/talk.mp4?sig=s3cr3t"})
    with make_task(sealed=True) as task:
        assert task.source_url() == "https://example.com/talk.mp4?sig=s3cr3t"
        assert task.source_url() == "https://example.com/talk.mp4?sig=s3cr3t", "the queue says it once"
        assert task.video_url == "https://example.com/talk.mp4"


def test_where_other_fields_are_sealed_the_source_is_the_plain_url(queue: Queue, make_task: MakeTask) -> None:
    answers(queue, {"sealed_params": PARAMS})
    with make_task(sealed=True) as task:
        assert task.source_url() == "https://example.com/talk.mp4"


def test_where_nothing_is_sealed_the_source_is_not_waited_for(queue: Queue, make_task: MakeTask) -> None:
    assert make_task().source_url(0.0) == "https://example.com/talk.mp4"
    assert queue.posts == []


def test_on_a_laptop_there_are_none(make_task: MakeTask) -> None:
    with make_task(progress_url=None) as task:
        assert task.sealed_params() == {}


@pytest.mark.parametrize("retryable", [False, True])
def test_what_cannot_be_opened_ends_the_attempt_and_the_job_where_it_never_will(
    queue: Queue, make_task: MakeTask, said: Callable[[], dict[str, Any]], retryable: bool
) -> None:
    problem = "the sealed fields cannot be opened: it was changed"
    answers(queue, {"sealed_problem": problem, "sealed_retryable": retryable})
    with pytest.raises(SystemExit), make_task() as task:
        task.sealed_params()
    assert said()["error_code"] == "SealedParamsNotOpened"
    assert said()["retryable"] is retryable
    assert "it was changed" in said()["message"]


def test_a_queue_that_does_not_say_is_not_waited_for_without_end(queue: Queue, make_task: MakeTask) -> None:
    queue.always = reset
    with make_task() as task:
        with pytest.raises(AnalysisError) as error:
            task.sealed_params(timeout_seconds=0.6)
        assert error.value.retryable


def test_a_cancel_ends_the_wait(queue: Queue, make_task: MakeTask) -> None:
    queue.always = reset
    with make_task() as task:
        task.cancel("enough")
        with pytest.raises(Cancelled):
            task.sealed_params(timeout_seconds=30)


def test_an_answer_that_is_not_understood_is_not_shown(
    queue: Queue, make_task: MakeTask, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    queue.reactions += [lambda handler: handler.reply(200, b'{"sealed_params": {"apiKey": "opensesame"')]
    answers(queue, {"sealed_params": PARAMS})
    with make_task() as task:
        assert task.sealed_params() == PARAMS
    assert "was not understood" in caplog.text
    assert "opensesame" not in caplog.text
