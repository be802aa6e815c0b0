"""Lives of a Job: what its controller and the collectors do while a scripted hand plays scheduler and kubelet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from klipsim.conformance.sites import Case
from klipsim.conformance.stage import NOBODY_UID, Stage
from klipstream_kube import Client

Life = Callable[[Stage], Awaitable[None]]


async def a_pod_that_succeeds_completes_its_job(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.end("Succeeded")
    await stage.until(lambda: stage.true("Complete"))


async def a_pod_that_fails_fails_its_job(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.end("Failed")
    await stage.until(lambda: stage.true("Failed"))


async def a_pod_that_fails_before_it_ran_fails_its_job(stage: Stage) -> None:
    await stage.begin()
    await stage.has_pod()
    await stage.bind()
    await stage.end("Failed", reason="OutOfcpu")
    await stage.until(lambda: stage.true("Failed"))


async def a_suspended_job_runs_nothing(stage: Stage) -> None:
    await stage.begin(suspend=True)
    await stage.until(lambda: stage.true("Suspended"))


async def a_suspended_job_is_resumed(stage: Stage) -> None:
    await stage.begin(suspend=True)
    await stage.until(lambda: stage.true("Suspended"))
    await stage.suspend(False)
    await stage.start()
    await stage.end("Succeeded")
    await stage.until(lambda: stage.true("Complete"))


async def a_job_is_suspended_while_its_pod_runs(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.suspend(True)
    await stage.deleting()
    await stage.end("Failed")
    await stage.remove()
    await stage.gone()
    await stage.stopped()


async def a_job_is_suspended_and_its_pod_succeeds_nevertheless(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.suspend(True)
    await stage.deleting()
    await stage.quiet(2)
    await stage.end("Succeeded")
    await stage.remove()
    await stage.gone()
    await stage.stopped()


async def a_job_is_suspended_while_its_pod_waits_for_a_node(stage: Stage) -> None:
    await stage.begin()
    await stage.has_pod()
    await stage.suspend(True)
    await stage.gone()
    await stage.stopped()


async def a_job_is_suspended_while_its_pod_is_being_started(stage: Stage) -> None:
    await stage.begin()
    await stage.has_pod()
    await stage.bind()
    await stage.suspend(True)
    await stage.deleting()
    await stage.end("Failed")
    await stage.remove()
    await stage.gone()
    await stage.stopped()


async def a_job_is_suspended_and_resumed(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.suspend(True)
    await stage.deleting()
    await stage.end("Failed")
    await stage.remove()
    await stage.gone()
    await stage.stopped()
    await stage.suspend(False)
    await stage.start(2)
    await stage.end("Succeeded")
    await stage.until(lambda: stage.true("Complete"))


async def a_job_is_resumed_while_its_pod_still_ends(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.suspend(True)
    await stage.deleting()
    await stage.until(lambda: stage.true("Suspended"))
    await stage.suspend(False)
    await stage.quiet()
    await stage.end("Failed")
    await stage.remove()
    await stage.has_pod(2)


async def a_pod_is_deleted_while_it_runs(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.delete_pod()
    await stage.deleting()
    await stage.quiet(2)
    await stage.end("Failed")
    await stage.remove()
    await stage.gone()
    await stage.until(lambda: stage.true("Failed"))


async def a_deleted_pod_succeeds_nevertheless(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.delete_pod()
    await stage.deleting()
    await stage.end("Succeeded")
    await stage.remove()
    await stage.gone()
    await stage.until(lambda: stage.true("Complete"))


async def a_pod_is_deleted_while_it_waits_for_a_node(stage: Stage) -> None:
    await stage.begin()
    await stage.has_pod()
    await stage.delete_pod()
    await stage.gone()
    await stage.until(lambda: stage.true("Failed"))


async def a_pod_is_deleted_by_force_while_it_runs(stage: Stage) -> None:
    """The Job holds it, until somebody says that it has ended; as an operator does for a pod on a lost node."""
    await stage.begin()
    await stage.start()
    await stage.delete_pod(gracePeriodSeconds=0)
    await stage.deleting()
    await stage.quiet()
    await stage.end("Failed", reason="NodeLost")
    await stage.gone()
    await stage.until(lambda: stage.true("Failed"))


async def a_lost_pod_is_ended_and_deleted(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.delete_pod()
    await stage.deleting()
    lost = {"type": "DisruptionTarget", "status": "True", "reason": "NodeLost",
            "lastTransitionTime": "2036-01-02T03:04:05Z"}  # fmt: skip
    await stage.end("Failed", reason="NodeLost", conditions=[lost])
    await stage.delete_pod()
    await stage.until(lambda: stage.true("Failed"))
    await stage.quiet()
    await stage.remove()
    await stage.gone()


async def a_job_is_deleted_while_its_pod_runs(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.delete_job()
    await stage.deleting()
    await stage.quiet(2)
    await stage.end("Failed")
    await stage.remove()
    await stage.gone()


async def a_job_is_deleted_while_its_pod_waits_for_a_node(stage: Stage) -> None:
    await stage.begin()
    await stage.has_pod()
    await stage.delete_job()
    await stage.gone()


async def a_finished_job_is_deleted(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.end("Succeeded")
    await stage.until(lambda: stage.true("Complete"))
    await stage.quiet(2)
    await stage.delete_job()
    await stage.gone()


async def a_suspended_job_is_deleted(stage: Stage) -> None:
    await stage.begin(suspend=True)
    await stage.until(lambda: stage.true("Suspended"))
    await stage.delete_job()
    await stage.until(lambda: stage.job is None)


async def an_owner_is_deleted_while_the_pod_runs(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.delete_owner()
    await stage.deleting()
    await stage.quiet(2)
    await stage.end("Failed")
    await stage.remove()
    await stage.gone()


async def an_owner_is_deleted_after_the_end(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.end("Failed")
    await stage.until(lambda: stage.true("Failed"))
    await stage.quiet(2)
    await stage.delete_owner()
    await stage.gone()


async def a_job_that_comes_after_its_owner_has_gone_is_collected(stage: Stage) -> None:
    await stage.begin(owner=NOBODY_UID)
    await stage.until(lambda: stage.job is None)
    await stage.gone()


async def a_suspended_job_that_comes_after_its_owner_has_gone_is_collected(stage: Stage) -> None:
    await stage.begin(owner=NOBODY_UID, suspend=True)
    await stage.until(lambda: stage.job is None)


async def a_finished_job_is_suspended(stage: Stage) -> None:
    await stage.begin()
    await stage.start()
    await stage.end("Succeeded")
    await stage.until(lambda: stage.true("Complete"))
    await stage.suspend(True)


LIVES: tuple[Life, ...] = (
    a_pod_that_succeeds_completes_its_job,
    a_pod_that_fails_fails_its_job,
    a_pod_that_fails_before_it_ran_fails_its_job,
    a_suspended_job_runs_nothing,
    a_suspended_job_is_resumed,
    a_job_is_suspended_while_its_pod_runs,
    a_job_is_suspended_and_its_pod_succeeds_nevertheless,
    a_job_is_suspended_while_its_pod_waits_for_a_node,
    a_job_is_suspended_while_its_pod_is_being_started,
    a_job_is_suspended_and_resumed,
    a_job_is_resumed_while_its_pod_still_ends,
    a_pod_is_deleted_while_it_runs,
    a_deleted_pod_succeeds_nevertheless,
    a_pod_is_deleted_while_it_waits_for_a_node,
    a_pod_is_deleted_by_force_while_it_runs,
    a_lost_pod_is_ended_and_deleted,
    a_job_is_deleted_while_its_pod_runs,
    a_job_is_deleted_while_its_pod_waits_for_a_node,
    a_finished_job_is_deleted,
    a_suspended_job_is_deleted,
    an_owner_is_deleted_while_the_pod_runs,
    an_owner_is_deleted_after_the_end,
    a_job_that_comes_after_its_owner_has_gone_is_collected,
    a_suspended_job_that_comes_after_its_owner_has_gone_is_collected,
    a_finished_job_is_suspended,
)


RACES = (
    a_job_that_comes_after_its_owner_has_gone_is_collected,
    a_suspended_job_that_comes_after_its_owner_has_gone_is_collected,
)
"""The garbage collector and the Job's controller both see the new Job at once: how far the controller comes before it
is gone again is chance, in the real cluster too. Of these only what is left is compared."""


def _case(life: Life) -> Case:
    async def case(client: Client, namespace: str) -> list[str]:
        async with Stage(client, namespace).recording() as stage:
            try:
                await life(stage)
            except TimeoutError:
                return [*stage.transcript(), "what the script waited for did not come"]
            await stage.quiet()
            return stage.left() if life in RACES else stage.transcript()

    return case


CASES: dict[str, Case] = {life.__name__: _case(life) for life in LIVES}
