"""The queue of keys that workers share."""

import asyncio

from klipstream_operator.work_queue import WorkQueue


async def test_a_key_is_with_one_worker_at_a_time_and_comes_again_if_it_was_added_meanwhile() -> None:
    queue = WorkQueue()
    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert len(queue) == 2
    async with queue.next() as first:
        queue.add(first)
        async with queue.next() as second:
            assert (first, second) == ("a", "b"), "the busy key is passed over"
        waiting = asyncio.create_task(_taken(queue))
        await asyncio.sleep(0)
        assert not waiting.done()
    assert await asyncio.wait_for(waiting, 5) == "a"
    assert len(queue) == 0


async def test_a_worker_that_fails_lets_go_of_its_key() -> None:
    queue = WorkQueue()
    queue.add("a")
    try:
        async with queue.next():
            raise ValueError
    except ValueError:
        queue.add("a")
    assert await asyncio.wait_for(_taken(queue), 5) == "a"


async def test_what_was_seen_does_not_come_up_again_and_what_came_later_does() -> None:
    queue = WorkQueue()
    queue.add("a")
    async with queue.next() as key:
        queue.add(key)
        queue.seen(key)
    assert len(queue) == 0
    queue.add("a")
    async with queue.next() as key:
        queue.seen(key)
        queue.add(key)
    assert await asyncio.wait_for(_taken(queue), 5) == "a"


async def _taken(queue: WorkQueue) -> str:
    async with queue.next() as key:
        return key
