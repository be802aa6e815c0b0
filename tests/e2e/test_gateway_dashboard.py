"""The dashboard in a browser, on the real stack: API server, operator, gateway, and a kubelet that plays pods."""

import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from klipfake.worker import Worker
from klipgate.browser import PHONE, Tab, browsing
from klipgate.pictures import take
from klipgate.stack import Stack, stacked
from klipstream_gateway.routes import Scope

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(600)]
PAGES = ("", "/jobs", "/dead-letters", "/submit", "/administration", "/queues/default", "/sign-in", "/nowhere")
SHOTS = Path(__file__).resolve().parents[2] / "docs" / "images"


@pytest.fixture(scope="module")
def stack(control_plane, custom_resources, kubectl, tmp_path_factory) -> Iterator[Stack]:
    home = f"t-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", home)
    with stacked(kubectl, control_plane.kubeconfig, home, tmp_path_factory.mktemp("gateway")) as stack:
        yield stack
    kubectl("delete", "namespace", home, "--wait=false")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture
def tab(browser: Browser, stack: Stack) -> Iterator[Tab]:
    """Signed in as an administrator; whatever the page complains of fails the test."""
    with Tab(browser, stack.gateway.url) as tab:
        tab.sign_in(stack.gateway.keys["admin"])
        yield tab
        assert tab.complaints == []
        assert tab.violations() == []


def a_queue(stack: Stack, name: str, **spec: object) -> str:
    stack.world.queue(name, **spec)
    stack.world.until(lambda: stack.anyone.get(f"/api/v1/queue/status?queue={name}").status_code == 200, name)
    return name


def worker_of(stack: Stack, job_id: str) -> Worker:
    """The worker of a running job's pod."""
    uid = next(job["metadata"]["uid"] for job in stack.world.items("aj") if job["spec"].get("jobId") == job_id)
    selector = f"analysis.klipstream.io/job-uid={uid}"

    def pods() -> list[str]:
        found = json.loads(stack.world.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        return [pod["metadata"]["name"] for pod in found if pod["status"].get("phase") == "Running"]

    stack.world.until(lambda: bool(pods()), f"a running pod of {job_id}")
    return Worker(stack.world, pods()[0])


# --- doing things -----------------------------------------------------------------------------------------------


def test_a_video_is_submitted_and_seen_through_to_its_end(stack: Stack, tab: Tab) -> None:
    page = tab.go("/submit")
    page.get_by_label("Video URL").fill("https://example.com/talk.mp4")
    page.get_by_label("Video id").fill("from-the-form")
    page.get_by_label("High").check()
    page.get_by_label("Queue").select_option("default")
    page.locator("main").get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("from-the-form")
    expect(page.locator(".page-head .state")).to_have_text("Completed")
    expect(page.locator("main")).to_contain_text("High")


def test_a_form_that_is_wrong_says_which_field(stack: Stack, tab: Tab) -> None:
    page = tab.go("/submit")
    page.get_by_label("Video URL").fill("https://example.com/talk.mp4")
    page.get_by_label("Type").fill("Not A Label")
    page.locator("main").get_by_role("button", name="Submit").click()
    expect(page.get_by_role("status").filter(has_text="type")).to_contain_text("A value is not allowed")
    expect(page.get_by_label("Video URL")).to_have_value("https://example.com/talk.mp4")
    tab.complaints = [each for each in tab.complaints if "422" not in each]


def test_progress_moves_while_one_looks(stack: Stack, tab: Tab) -> None:
    a_queue(stack, "moving")
    job_id = stack.submit(queue="moving", video_id="moving-picture", params={"fake_seconds": "600"})
    page = tab.go(f"/jobs/{job_id}")
    expect(page.locator(".page-head .state")).to_have_text("Running")
    page.evaluate("window.same = true")
    worker = worker_of(stack, job_id)
    for percentage, stage in ((12, "Downloading"), (55, "Analyzing"), (90, "Finding Highlights")):
        assert worker.post(percentage, stage=stage).status_code == 200
        expect(page.locator("#percentage")).to_have_text(f"{percentage} %")
        expect(page.locator('[aria-current="step"]')).to_contain_text(stage)
    assert page.evaluate("window.same"), "the page was loaded again"
    page.goto("/dashboard/queues/moving")
    expect(page.locator("#running-title + .scroll progress")).to_have_attribute("value", "90.0")
    stack.admin.post(f"/api/v1/jobs/{job_id}/cancel")


def test_a_priority_is_changed_and_the_place_follows(stack: Stack, tab: Tab) -> None:
    queue = a_queue(stack, "order", mode="Paused")
    stack.submit(queue=queue)
    job_id = stack.submit(queue=queue, priority="LOW")
    page = tab.go(f"/jobs/{job_id}")
    expect(page.locator(".hero-figures")).to_contain_text("2nd")
    expect(page.locator("#what-if-urgent")).to_contain_text("1st")
    expect(page.get_by_role("heading", name="Why it waits")).to_be_visible()
    expect(page.locator("#why-queue-paused")).to_be_visible()
    page.get_by_role("button", name="Change to Urgent").click()
    expect(page.locator(".hero-figures")).to_contain_text("1st")
    expect(page.locator("#what-if-urgent")).to_contain_text("now")
    expect(page.locator("#notice")).to_contain_text("URGENT")
    assert stack.status(job_id)["priority"] == "URGENT"


def test_a_job_is_cancelled_only_after_a_yes(stack: Stack, tab: Tab) -> None:
    queue = a_queue(stack, "cancelling", mode="Paused")
    job_id = stack.submit(queue=queue)
    page = tab.go(f"/jobs/{job_id}")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep as it is").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    assert stack.status(job_id)["status"] == "queued"
    page.get_by_role("button", name="Cancel").click()
    tab.agree("Cancel this job?")
    expect(page.locator(".page-head .state")).to_have_text("Cancelled")
    stack.until(job_id, "cancelled")


def test_a_group_of_dead_letters_is_replayed(stack: Stack, tab: Tab) -> None:
    queue = a_queue(stack, "letters", maxRetries=0)
    message = json.dumps({"error_code": "SourceGone", "retryable": False})
    jobs = [stack.submit(queue=queue, params={"fake_exits": "3,0", "fake_message": message}) for _ in range(2)]
    for job_id in jobs:
        stack.until(job_id, "failed")
    page = tab.go("/dead-letters")
    group = page.locator("section.card", has_text="Queue letters")
    expect(group.locator(".count-problem")).to_have_text("2")
    expect(group).to_contain_text("SourceGone")
    group.get_by_text("2 jobs").click()
    expect(group.get_by_role("link", name=jobs[0][:8])).to_be_visible()
    group.get_by_role("button", name="Replay the group").click()
    tab.agree("Replay 2 jobs of the queue letters?")
    for job_id in jobs:
        stack.until(job_id, "completed")
    expect(group).to_have_count(0)


def test_a_failed_job_runs_again(stack: Stack, tab: Tab) -> None:
    queue = a_queue(stack, "again", maxRetries=0)
    job_id = stack.submit(queue=queue, params={"fake_exits": "1,0"})
    stack.until(job_id, "failed")
    page = tab.go(f"/jobs/{job_id}")
    expect(page.get_by_role("heading", name="Why it failed")).to_be_visible()
    page.get_by_role("button", name="Run again").click()
    expect(page.locator(".page-head .state")).to_have_text("Completed")
    expect(page.locator(".timeline-row .span-failed")).to_have_count(1)
    expect(page.locator(".timeline-row .span-completed")).to_have_count(1)
    expect(page.locator("#attempt-1")).to_contain_text("1")


def test_a_queue_is_paused_resumed_and_limited_and_the_audit_log_says_by_whom(stack: Stack, tab: Tab) -> None:
    a_queue(stack, "governed")
    page = tab.go("/queues/governed")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".page-head .state")).to_have_text("Paused")
    assert stack.world.get("aq", "governed")["spec"]["mode"] == "Paused"
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".page-head .state")).to_have_text("Running")
    tab.go("/administration")
    card = page.locator("#queue-governed")
    card.get_by_label("Slots").fill("7")
    card.get_by_role("button", name="Save").click()
    expect(page.locator("#notice")).to_contain_text("limits of governed are changed")
    assert stack.world.get("aq", "governed")["spec"]["maxConcurrentJobs"] == 7
    card.get_by_role("button", name="Drain").click()
    tab.agree("Drain governed?")
    expect(card.locator(".card-head .state")).to_have_text("Draining")
    noted = [each for each in stack.gateway.audit() if each["target"].get("queue") == "governed"]
    done = [(each["operation"], each["who"], each["status"]) for each in noted]
    assert done == [
        ("pauseQueue", "key:administrator", 200), ("resumeQueue", "key:administrator", 200),
        ("setQueueConfig", "key:administrator", 200), ("drainQueue", "key:administrator", 200),
    ]  # fmt: skip


# --- who sees what ----------------------------------------------------------------------------------------------


def test_signing_in_and_out(stack: Stack, browser: Browser) -> None:
    with Tab(browser, stack.gateway.url) as tab:
        page = tab.go()
        expect(page.locator("main")).to_contain_text("Sign in to see jobs")
        page.goto("/dashboard/administration")
        expect(page.get_by_role("alert")).to_contain_text("scope admin")
        page.get_by_label("API key or token").fill("klip_000000000000_" + "x" * 43)
        page.locator("main").get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("not valid")
        page.get_by_label("API key or token").fill(stack.gateway.keys["expired"])
        page.locator("main").get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("not valid")
        page.get_by_label("API key or token").fill(stack.gateway.keys["admin"])
        page.locator("main").get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(re.compile("/dashboard/administration$"))
        (cookie,) = tab.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert stack.gateway.keys["admin"] not in cookie["value"]
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("link", name="Sign in").first).to_be_visible()
        assert tab.context.cookies() == []
        page.goto("/dashboard/administration")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_a_tenant_sees_its_own_jobs_alone(stack: Stack, browser: Browser) -> None:
    queue = a_queue(stack, "shared", mode="Paused")
    ids = {}
    for name in ("red", "blue"):
        sent = {"video_url": "https://example.com/v.mp4", "queue": queue, "video_id": f"of-{name}"}
        ids[name] = stack.gateway.client(name).post("/api/v1/analysis", json=sent).json()["job_id"]
    with Tab(browser, stack.gateway.url) as tab:
        tab.sign_in(stack.gateway.keys["red"])
        for path in ("/jobs", "/queues/shared"):
            page = tab.go(path)
            expect(page.locator("main")).to_contain_text("of-red")
            expect(page.locator("main")).not_to_contain_text("of-blue")
        page = tab.go(f"/jobs/{ids['blue']}")
        expect(page.locator("main")).to_contain_text("This job belongs to somebody else")
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
        expect(page.get_by_role("link", name="Administration")).to_have_count(0)
        assert tab.complaints == []


# --- live, without getting in the way ---------------------------------------------------------------------------


def test_live_updates_keep_scroll_focus_open_details_and_what_was_typed(stack: Stack, tab: Tab) -> None:
    queue = a_queue(stack, "long", mode="Paused")
    for _ in range(30):
        first = stack.submit(queue=queue)
    page = tab.go(f"/queues/{queue}")
    page.locator("#q").fill("half a wor")
    page.locator("#priority").select_option("LOW")
    page.evaluate("window.scrollTo(0, 700)")
    link = page.locator(f"#waiting-{first}")
    link.evaluate("element => element.focus({preventScroll: true})")
    before = page.evaluate("window.scrollY")
    later = stack.submit(queue=queue, priority="LOW")
    expect(page.locator(f"#waiting-row-{later}")).to_have_count(1)
    expect(page.locator("#waiting-title")).to_contain_text("31")
    assert page.evaluate("window.scrollY") == before
    assert page.evaluate("document.activeElement.id") == f"waiting-{first}"
    expect(page.locator("#q")).to_have_value("half a wor")
    expect(page.locator("#priority")).to_have_value("LOW")
    # A row that moves to the front takes its focus along.
    stack.admin.put(f"/api/v1/jobs/{first}/priority", json={"priority": "URGENT"})
    expect(page.locator(f"#waiting-row-{first} .place")).to_have_text("1")
    assert page.evaluate("document.activeElement.id") == f"waiting-{first}"
    expect(page.locator("#q")).to_have_value("half a wor")

    tab.go()
    page.get_by_text("As a table").click()
    expect(page.locator("#day-figures table")).to_be_visible()
    waiting = page.locator("#queue-long td[data-label=Waiting]")
    expect(waiting).to_have_text("31")
    stack.submit(queue=queue)
    expect(waiting).to_have_text("32")
    expect(page.locator("#day-figures table")).to_be_visible()


def test_the_caret_stays_in_the_field_that_is_being_typed_into(stack: Stack, tab: Tab) -> None:
    a_queue(stack, "typed")
    page = tab.go("/administration")
    field = page.locator("#slots-typed")
    field.focus()
    field.fill("12")
    stack.admin.post("/api/v1/queue/pause?queue=typed")
    expect(page.locator("#queue-typed .card-head .state")).to_have_text("Paused")
    assert page.evaluate("document.activeElement.id") == "slots-typed"
    expect(field).to_have_value("12")
    # Where nobody typed, the page follows.
    stack.admin.put("/api/v1/queue/config?queue=typed", json={"max_queue_size": 77})
    expect(page.locator("#size-typed")).to_have_value("77")


def test_a_lost_stream_is_said_and_comes_back(stack: Stack, browser: Browser) -> None:
    with Tab(browser, stack.gateway.url) as tab:
        tab.sign_in(stack.gateway.keys["read"])
        page = tab.go()
        expect(page.locator("#lost")).to_be_hidden()
        stack.gateway.kill()
        expect(page.locator("#live")).to_have_text("Not live")
        expect(page.locator("#lost")).to_contain_text("this is how it was at")
        stack.gateway.start()
        stack.gateway.wait()
        tab.live()
        expect(page.locator("#lost")).to_be_hidden()
        a_queue(stack, "came-later")
        expect(page.locator("#queue-came-later")).to_be_visible()


def test_a_revoked_key_ends_the_session_at_once(stack: Stack, browser: Browser) -> None:
    key = stack.gateway.add_key("leaver", Scope.READ)
    with Tab(browser, stack.gateway.url) as tab:
        stack.world.until(lambda: stack.gateway.client().get(
            "/api/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200, "the key")  # fmt: skip
        (stack.gateway.keys_folder / "session-key").write_text("0" * 64)
        tab.sign_in(key)
        page = tab.go()
        (stack.gateway.keys_folder / f"{key.split('_')[1]}.json").unlink()
        expect(page.locator("#live")).to_have_text("Signed out")
        page.get_by_role("link", name="Load the page again").click()
        expect(page.locator("main")).to_contain_text("Sign in to see jobs")
        (stack.gateway.keys_folder / "session-key").unlink()


# --- for everybody ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def every_page(stack: Stack) -> list[str]:
    """All pages, with jobs in every state."""
    a_queue(stack, "states", mode="Paused")
    a_queue(stack, "busy", maxRetries=0)
    waiting = stack.submit(queue="states", callback_url="https://hooks.example.com/x")
    failed = stack.submit(queue="busy", params={"fake_exits": "1"})
    done = stack.submit(queue="busy")
    running = stack.submit(queue="busy", params={"fake_seconds": "3000"})
    stack.until(failed, "failed")
    stack.until(done, "completed")
    stack.until(running, "processing")
    jobs = [f"/jobs/{each}" for each in (waiting, failed, done, running)]
    return [*PAGES, *jobs, "/queues/states", "/queues/busy", "/queues/unknown"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_barrier_or_breaks_its_own_policy(
    stack: Stack, browser: Browser, every_page: list[str], scheme: str, figures: Callable[[str], None]
) -> None:
    found: dict[str, list[str]] = {}
    with Tab(browser, stack.gateway.url, color_scheme=scheme) as tab:
        for who in ("nobody", "admin"):
            if who == "admin":
                tab.sign_in(stack.gateway.keys["admin"])
            for path in every_page:
                page = tab.go(path)
                for details in page.locator("details").all():
                    details.locator("summary").click()
                found[f"{who} {path}"] = tab.violations() + tab.barriers()
        refused = [each for each in tab.complaints if "status of 40" not in each]
    wrong = sum(len(each) for each in found.values())
    figures(f"gateway dashboard, {scheme}: {len(found)} pages, {wrong} barriers and violations of the policy")
    assert {path: each for path, each in found.items() if each} == {}
    assert refused == []


def test_nothing_is_wider_than_a_phone(stack: Stack, browser: Browser, every_page: list[str]) -> None:
    with Tab(browser, stack.gateway.url, PHONE, has_touch=True, is_mobile=True) as tab:
        tab.sign_in(stack.gateway.keys["admin"])
        wide = {}
        for path in every_page:
            tab.go(path)
            wide[path] = tab.too_wide()
        assert {path: by for path, by in wide.items() if by > 0} == {}


def test_all_of_it_works_by_keyboard(stack: Stack, tab: Tab) -> None:
    a_queue(stack, "keys")
    page = tab.go()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reach(tab, "queue-link-keys")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Queue keys")
    tab.live()
    reach(tab, "pause")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    expect(page.locator(".page-head .state")).to_have_text("Paused")
    job_id = stack.submit(queue="keys")
    expect(page.locator(f"#waiting-row-{job_id}")).to_be_visible()
    reach(tab, f"waiting-{job_id}")
    page.keyboard.press("Enter")
    tab.live()
    reach(tab, "cancel")
    page.keyboard.press("Space")
    expect(page.get_by_role("dialog").get_by_role("button", name="Keep as it is")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".page-head .state")).to_have_text("Cancelled")


def reach(tab: Tab, wanted: str) -> None:
    """Press Tab until the element of that id has the focus."""
    for _ in range(80):
        if tab.page.evaluate("document.activeElement.id") == wanted:
            return
        tab.page.keyboard.press("Tab")
    pytest.fail(f"{wanted} cannot be reached by keyboard")


def test_forms_work_without_scripts(stack: Stack, browser: Browser) -> None:
    queue = a_queue(stack, "plain", mode="Paused")
    job_id = stack.submit(queue=queue)
    with Tab(browser, stack.gateway.url, java_script_enabled=False) as tab:
        page = tab.page
        page.goto("/dashboard/sign-in")
        page.get_by_label("API key or token").fill(stack.gateway.keys["admin"])
        page.locator("main").get_by_role("button", name="Sign in").click()
        page.goto(f"/dashboard/jobs/{job_id}")
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Done")
        page.get_by_role("link", name="Back").click()
        expect(page.locator(".page-head .state")).to_have_text("Cancelled")


def test_the_pictures_of_the_documentation_can_be_taken(
    control_plane, custom_resources, kubectl, browser: Browser, tmp_path: Path
) -> None:
    """In a namespace of its own; with KLIPSTREAM_SCREENSHOTS=1 they replace those in docs/images."""
    home, folder = f"t-{uuid.uuid4().hex[:8]}", tmp_path / "pictures"
    if "KLIPSTREAM_SCREENSHOTS" in os.environ:
        folder = SHOTS
    folder.mkdir(exist_ok=True)
    kubectl("create", "namespace", home)
    with stacked(kubectl, control_plane.kubeconfig, home, tmp_path) as stack:
        take(stack, browser, folder)
    kubectl("delete", "namespace", home, "--wait=false")
    sizes = {path.name: path.stat().st_size for path in folder.glob("dashboard-*.png")}
    assert set(sizes) == {path.name for path in SHOTS.glob("dashboard-*.png")}
    assert {name: size for name, size in sizes.items() if size > 200_000} == {}
