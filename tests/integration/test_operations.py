"""Administrative operations by annotations of the queue, and dead letters in groups, against the real API server."""

from klipfake.world import World, job

FAILS = {"fake_exits": "1", "fake_message": '{"message": "codec 17 unknown", "error_code": "CodecUnknown"}'}


def test_clear_needs_the_queues_name_and_cancels_what_waits(world: World) -> None:
    world.queue(maxConcurrentJobs=1, retryDelaysSeconds=[600])
    world.job("fails", params={"fake_exits": "1"})
    world.until_phase("fails", "BackingOff")
    world.job("runs", params={"fake_seconds": "25"})
    world.until_phase("runs", "Starting", "Running")
    world.apply(*(job(f"waits-{n}") for n in range(3)))
    world.until(lambda: world.get("aq", "default")["status"]["queued"] == 3, "three wait")
    world.ask("clear", "yes")
    world.until(lambda: world.operation("Clear").get("request") == "yes", "it is answered")
    assert world.operation("Clear")["message"].startswith("Refused")
    assert "at" not in world.operation("Clear")
    world.ask("clear", "default")
    world.until(lambda: world.operation("Clear").get("request") == "default", "it is acknowledged")
    assert world.operation("Clear")["count"] == 4
    world.until(lambda: list(world.phases().values()).count("Cancelled") == 4, "what waits is cancelled")
    assert world.condition("aj", "waits-1", "Finished")["reason"] == "QueueCleared"
    world.job("after")
    world.until(
        lambda: {world.phase("runs"), world.phase("after")} == {"Succeeded"}, "what runs and what comes goes on"
    )


def test_a_clear_that_the_operator_did_not_survive_is_carried_out_to_the_end(world: World) -> None:
    world.queue(mode="Paused", maxQueueSize=500)
    world.apply(*(job(f"job-{n}") for n in range(120)))
    world.until(lambda: world.get("aq", "default")["status"].get("queued") == 120, "all wait")
    world.ask("clear", "default now")
    world.until(lambda: world.operation("Clear").get("request") == "default now", "it is acknowledged")
    world.operator.kill()
    world.operator.start()
    world.until(lambda: set(world.phases().values()) == {"Cancelled"}, "all are cancelled")
    world.job("later")
    world.until(lambda: world.get("aq", "default")["status"].get("queued") == 1, "a later one stays")


def test_clear_stuck_leaves_what_may_still_get_on_alone(world: World) -> None:
    world.queue(retryDelaysSeconds=[600], stall={"noProgressSeconds": 10000})
    world.job("film", params={"fake_seconds": "300"})
    world.until_phase("film", "Running")
    world.ask("clear-stuck", "1")
    world.until(lambda: world.operation("ClearStuck").get("request") == "1", "it is acknowledged")
    assert world.operation("ClearStuck")["count"] == 0
    world.change("aq", "default", stall={"noProgressSeconds": 3})
    world.until_phase("film", "BackingOff")


def test_reconcile_reads_everything_again_and_says_what_had_been_missed(world: World) -> None:
    world.queue()
    world.job("film")
    world.until_phase("film", "Succeeded")
    world.ask("reconcile", "now")
    world.until(lambda: world.operation("Reconcile").get("request") == "now", "it is acknowledged")
    assert world.operation("Reconcile")["count"] == 0


def test_restart_forgets_and_reads_again_without_harm_to_what_runs(world: World) -> None:
    world.queue()
    world.job("film", params={"fake_seconds": "6"})
    world.until_phase("film", "Starting", "Running")
    pid = world.operator.pid
    world.ask("restart", "once")
    world.until(lambda: world.operation("Restart").get("request") == "once", "it is acknowledged")
    world.until(lambda: world.operator.said().count("Leading as") == 2, "it leads again")
    assert world.operator.running
    assert world.operator.pid == pid
    world.until_phase("film", "Succeeded")
    assert world.get("aj", "film")["status"]["attempt"] == 1
    assert world.operator.said().count("asked for a restart") == 1


def test_dead_letters_that_failed_alike_are_a_group_and_a_canary_goes_first(world: World) -> None:
    world.queue(maxRetries=0, maxConcurrentJobs=3)
    later = {"fake_exits": "1,0", "fake_message": FAILS["fake_message"]}
    world.apply(*(job(f"film-{n}", params=later) for n in range(4)))
    world.apply(job("other", params={"fake_exits": "1", "fake_message": '{"message": "disk gone"}'}))
    world.until(lambda: set(world.phases().values()) == {"Failed"}, "all are dead letters")
    world.until(lambda: world.get("aq", "default")["status"].get("deadLettered") == 5, "the queue counts them")
    largest, smallest = world.get("aq", "default")["status"]["deadLetterGroups"]
    assert (largest["count"], largest["reason"], smallest["count"]) == (4, "CodecUnknown", 1)
    world.ask("replay", largest["fingerprint"])

    def replay() -> str:
        replays = world.get("aq", "default")["status"].get("replays", [])
        return str(replays[0]["state"]) if replays else ""

    world.until(lambda: replay() == "Finished", "canary and followers are replayed")
    world.until(lambda: list(world.phases().values()).count("Succeeded") == 4, "the group succeeds")
    assert world.phase("other") == "Failed"
    done = world.get("aq", "default")["status"]["replays"][0]
    assert (done["jobs"], done["released"]) == (4, 3)
    canary = world.get("aj", done["canary"])["status"]["finishedAt"]
    others = [i["status"] for i in world.items("aj") if i["metadata"]["name"] not in (done["canary"], "other")]
    assert all(status["startedAt"] > canary for status in others)
    world.until(lambda: world.get("aq", "default")["status"].get("deadLettered") == 1, "one dead letter is left")


def test_a_canary_that_fails_again_leaves_the_others_alone(world: World) -> None:
    world.queue(maxRetries=0)
    world.apply(*(job(f"film-{n}", params=FAILS) for n in range(3)))
    world.until(lambda: world.get("aq", "default")["status"].get("deadLettered") == 3, "all are dead letters")
    fingerprint = world.get("aq", "default")["status"]["deadLetterGroups"][0]["fingerprint"]
    world.ask("replay", "nonsense")
    world.until(lambda: "Refused" in world.operation("Replay").get("message", ""), "an unknown group is refused")
    world.ask("replay", fingerprint)
    world.until(lambda: bool(world.get("aq", "default")["status"].get("replays")), "the replay begins")
    world.until(lambda: world.get("aq", "default")["status"]["replays"][0]["state"] == "Stopped", "it stops")
    assert "failed again" in world.get("aq", "default")["status"]["replays"][0]["message"]
    assert sorted(item["status"]["attempt"] for item in world.items("aj")) == [1, 1, 2]


def test_a_replay_into_a_draining_queue_is_refused_and_says_so(world: World) -> None:
    world.queue(maxRetries=0)
    world.job("film", params=FAILS)
    world.until_phase("film", "Failed")
    world.change("aq", "default", mode="Draining")
    world.until(lambda: world.get("aq", "default")["status"].get("observedGeneration") == 2, "draining is seen")
    world.change("aj", "film", replay=1)
    world.until(lambda: world.condition("aj", "film", "DeadLettered").get("reason") == "ReplayRefused", "it is refused")
    world.change("aq", "default", mode="Running")
    world.change("aj", "film", replay=2)
    world.until(lambda: world.get("aj", "film")["status"]["attempt"] == 2, "a later replay runs")
