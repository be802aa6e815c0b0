"""The dashboard over HTTP, with a real operator: sessions, forms of other sites, who sees what, and limits."""

import re
import shlex
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from klipgate.browser import ROOT, Tab, browsing
from klipgate.minute import early_in_a_minute
from klipgate.process import Gateway
from klipgate.stack import Stack

PAGES = [
    "",
    "/jobs",
    "/queues/default",
    "/dead-letters",
    "/administration",
    "/submit",
    "/sign-in",
    "/nowhere",
    "/queues/no",
]


@contextmanager
def visit(gateway: Gateway, key: str | None = None) -> Iterator[httpx.Client]:
    """A browser without scripts, signed in with a key of the gateway."""
    with httpx.Client(base_url=gateway.url, timeout=60, headers={"Origin": gateway.url}) as client:
        if key is not None:
            answer = client.post("/dashboard/sign-in", data={"credential": gateway.keys[key]})
            assert answer.status_code == 303, answer.text
        yield client


def csrf_of(client: httpx.Client) -> str:
    """What a page puts into its forms."""
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', client.get("/dashboard").text)
    assert found is not None
    return found[1]


def text_of(answer: httpx.Response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))


@pytest.fixture
def admin(stack: Stack) -> Iterator[httpx.Client]:
    with visit(stack.gateway, "admin") as client:
        yield client


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("who", [None, "submit", "read", "red", "admin"])
def test_every_page_answers_everybody_with_a_page_under_a_strict_policy(stack, who, path):
    with visit(stack.gateway, who) as client:
        answer = client.get(f"/dashboard{path}")
    assert answer.status_code in (200, 401, 403, 404), answer.text
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "<h1" in answer.text


def test_without_credentials_only_what_the_api_shows_in_public_is_shown(stack):
    job_id = stack.submit(
        queue="paused", video_id="public-name", reference="secret-reference", params={"k": "secret-param"}
    )
    with visit(stack.gateway) as client:
        for path in ("", "/jobs", "/queues/paused"):
            shown = client.get(f"/dashboard{path}").text
            assert job_id not in shown
            assert "public-name" not in shown
        job = client.get(f"/dashboard/jobs/{job_id}")
        assert "public-name" in job.text
        assert "secret" not in job.text
        assert "/cancel" not in job.text
        assert client.get("/dashboard/dead-letters").status_code == 401
        assert client.get("/dashboard/submit").status_code == 401


def test_a_tenant_sees_and_changes_its_own_jobs_alone(stack):
    sent = {"video_url": "https://example.com/v.mp4", "queue": "paused", "reference": "reference-of-blue"}
    job_id = stack.gateway.client("blue").post("/api/v1/analysis", json=sent).json()["job_id"]
    with visit(stack.gateway, "red") as red, visit(stack.gateway, "blue") as blue:
        for path in ("", "/jobs", "/queues/paused", f"/jobs/{job_id}"):
            assert "reference-of-blue" not in red.get(f"/dashboard{path}").text
        assert "reference-of-blue" in blue.get(f"/dashboard/jobs/{job_id}").text
        assert red.get(f"/dashboard/jobs/{job_id}/log").status_code == 404
        answer = red.post(f"/dashboard/jobs/{job_id}/cancel", data={"csrf": csrf_of(red)})
        assert answer.status_code == 404
        assert stack.status(job_id)["status"] == "queued"


def test_a_cookie_is_for_browsers_alone_and_never_for_the_api(stack, admin):
    with visit(stack.gateway) as client:
        answer = client.post("/dashboard/sign-in", data={"credential": stack.gateway.keys["admin"]})
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie, "over plain HTTP a browser would not send it back"
    assert admin.post("/api/v1/queue/pause?queue=default").status_code == 401


def test_behind_a_proxy_with_tls_the_cookie_is_bound_to_the_host(stack):
    with visit(stack.gateway) as client:
        answer = client.post(
            "/dashboard/sign-in",
            data={"credential": stack.gateway.keys["read"]},
            headers={"X-Forwarded-Proto": "https"},
        )
    assert answer.headers["Set-Cookie"].startswith("__Host-klipstream-session=")
    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        ({"Origin": "https://elsewhere.example"}, {}),
        ({"Origin": "null"}, {}),
        ({"Sec-Fetch-Site": "cross-site"}, {}),
        ({"Sec-Fetch-Site": "same-site"}, {}),
        ({}, {"csrf": "0" * 64}),
        ({}, {"csrf": ""}),
    ],
    ids=["another-origin", "no-origin", "cross-site", "same-site", "wrong-token", "no-token"],
)
def test_a_form_of_another_site_changes_nothing(stack, admin, headers, form):
    job_id = stack.submit(queue="paused")
    answer = admin.post(f"/dashboard/jobs/{job_id}/cancel", data={"csrf": csrf_of(admin)} | form, headers=headers)
    assert answer.status_code == 403
    assert stack.status(job_id)["status"] == "queued"


def test_nobody_is_signed_in_from_another_site(stack):
    with visit(stack.gateway) as client:
        sent = {"credential": stack.gateway.keys["admin"]}
        answer = client.post("/dashboard/sign-in", data=sent, headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_signing_in_leads_to_no_other_site(stack):
    with visit(stack.gateway) as client:
        sent = {"credential": stack.gateway.keys["read"], "next": "https://elsewhere.example/"}
        assert client.post("/dashboard/sign-in", data=sent).headers["Location"] == "/dashboard"


def test_a_kubernetes_token_signs_in_with_what_its_role_allows(stack):
    stack.world.kubectl("create", "serviceaccount", "looker")
    binding = f"--serviceaccount={stack.world.namespace}:looker"
    for role, verb, what in (("jobs", "list", "analysisjobs.analysis.klipstream.io"), ("logs", "get", "pods/log")):
        stack.world.kubectl("create", "role", f"looker-{role}", f"--verb={verb}", f"--resource={what}")
        stack.world.kubectl("create", "rolebinding", f"looker-{role}", f"--role=looker-{role}", binding)
    token = stack.world.kubectl("create", "token", "looker").strip()
    with visit(stack.gateway) as client:
        answer = client.post("/dashboard/sign-in", data={"credential": token})
        assert answer.status_code == 303, text_of(answer)
        assert client.get("/dashboard/dead-letters").status_code == 200
        assert client.get("/dashboard/administration").status_code == 403


def test_what_is_done_here_is_in_the_audit_log_as_if_it_came_through_the_api(stack, admin):
    job_id = stack.submit(queue="paused")
    done = admin.post(f"/dashboard/jobs/{job_id}/priority", data={"csrf": csrf_of(admin), "priority": "URGENT"})
    assert done.status_code == 200
    assert "URGENT" in text_of(done)
    with visit(stack.gateway, "read") as reader:
        refused = reader.post(f"/dashboard/jobs/{job_id}/cancel", data={"csrf": csrf_of(reader)})
        assert refused.status_code == 403
    noted = [each for each in stack.gateway.audit() if each["target"].get("job_id") == job_id]
    assert [(each["operation"], each["who"], each["status"], each["problem"]) for each in noted] == [
        ("setJobPriority", "key:administrator", 200, None), ("cancelJob", "key:reader", 403, "forbidden"),
    ]  # fmt: skip


def test_a_form_that_is_sent_twice_makes_one_job(stack, admin):
    once = re.search(r'name="once" value="([A-Za-z0-9_-]+)"', admin.get("/dashboard/submit").text)
    assert once is not None
    sent = {"csrf": csrf_of(admin), "once": once[1], "video_url": "https://example.com/v.mp4", "queue": "paused"}
    first, second = (admin.post("/dashboard/submit", data=sent) for _ in range(2))
    assert first.status_code == second.status_code == 303, text_of(second)
    assert first.headers["Location"] == second.headers["Location"]


def test_what_workers_and_submitters_wrote_is_text_and_nothing_more(stack, admin):
    evil = "<script>alert(1)</script>'\""
    job_id = stack.submit(queue="paused", video_id=evil, reference=evil, params={"k": evil})
    for path in (f"/jobs/{job_id}", "/jobs", "/queues/paused", f"/queues/paused?q={evil}", f"/jobs?video_id={evil}"):
        assert "<script>alert" not in admin.get(f"/dashboard{path}").text


def test_forms_and_pages_are_counted_as_the_api_counts(control_plane, stack, tmp_path):
    gateway = Gateway(
        control_plane.kubeconfig, tmp_path, stack.world.namespace, KLIPSTREAM_RATE_ADMIN="2", KLIPSTREAM_RATE_STATUS="6"
    )
    gateway.start()
    try:
        gateway.wait()
        early_in_a_minute()  # before the first page, which counts as the others do
        with visit(gateway, "admin") as client:
            sent = {"csrf": csrf_of(client), "queue": "paused"}
            answers = [client.post("/dashboard/administration/pause", data=sent).status_code for _ in range(3)]
            assert answers == [200, 200, 429]
            pages = [client.get("/dashboard").status_code for _ in range(6)]
            assert pages == [200, 200, 200, 200, 200, 429]
            assert client.get("/dashboard/static/dashboard.css").status_code == 200
    finally:
        gateway.kill()


def test_guessing_credentials_is_stopped_here_as_well(control_plane, stack, tmp_path):
    gateway = Gateway(control_plane.kubeconfig, tmp_path, stack.world.namespace)
    gateway.start()
    try:
        gateway.wait()
        with visit(gateway) as client:
            wrong: dict[str, Any] = {"credential": f"klip_{'0' * 12}_{'x' * 43}"}
            early_in_a_minute()
            answers = [client.post("/dashboard/sign-in", data=wrong).status_code for _ in range(31)]
    finally:
        gateway.kill()
    assert answers == [401] * 30 + [429]


def test_files_may_be_kept_for_ever_by_their_address_and_nothing_else_is_served(stack):
    client = stack.anyone
    address = re.search(r'href="(/dashboard/static/dashboard\.css\?v=[0-9a-f]+)"', client.get("/dashboard").text)
    assert address is not None
    assert "immutable" in client.get(address[1]).headers["Cache-Control"]
    assert "immutable" not in client.get("/dashboard/static/dashboard.css?v=0").headers["Cache-Control"]
    for name in ("..%2fserver.py", "manifest.json", "vendor/htmx.min.js"):
        assert client.get(f"/dashboard/static/{name}").status_code in (404, 405)


def test_the_page_lives_in_a_browser_and_shows_what_happens(stack):
    job_id = stack.submit(queue="paused", video_id="looked-at")
    with browsing() as browser, Tab(browser, stack.gateway.url) as tab:
        tab.sign_in(stack.gateway.keys["admin"])
        page = tab.go(f"/jobs/{job_id}")
        stack.admin.put(f"/api/v1/jobs/{job_id}/priority", json={"priority": "HIGH"})
        expect(page.locator("#what-if-high")).to_contain_text("now")
        page.get_by_role("button", name="Cancel").click()
        tab.agree("Cancel this job?")
        expect(page.locator(".page-head .state")).to_have_text("Cancelled")
        assert tab.violations() == []
        assert tab.barriers() == []
        assert tab.complaints == []


def test_the_command_of_the_guide_gives_the_session_key(stack):
    page = (ROOT / "docs/dashboard.md").read_text()
    (command,) = re.findall(r"```bash\n(.*?)\n```", page, re.DOTALL)
    stack.world.kubectl("create", "secret", "generic", "klipstream-api-keys")
    words = shlex.split(command)
    assert words[:3] == ["kubectl", "-n", "klipstream"]
    (random,) = re.findall(r"\$\((.*?)\)", words[-1])
    made = subprocess.run(shlex.split(random), capture_output=True, text=True, check=True).stdout.strip()
    stack.world.kubectl(*words[3:-1], words[-1].replace(f"$({random})", made))
    stored = stack.world.get("secret", "klipstream-api-keys")["data"]["session-key"]
    assert b64decode(stored).decode() == made
    assert len(made) == 64


def test_the_bare_address_leads_to_the_overview(stack):
    assert stack.anyone.get("/dashboard/").headers["Location"] == "/dashboard"
