"""A receiver of the analysis queue's webhooks with nothing but Flask and standardwebhooks.

It verifies each webhook, takes it once however often it is delivered, and ignores what is older than what it has.
Settings: WEBHOOK_SECRET (whsec_…, several between spaces while one is replaced), RECEIVER_DATABASE (a file) and,
optionally, WEBHOOK_TOKEN (the bearer token that is expected) and PORT.
"""

import hmac
import json
import os
import sqlite3
from contextlib import closing

from flask import Flask, Response, request
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

SECRETS = [Webhook(secret) for secret in os.environ["WEBHOOK_SECRET"].split()]
TOKEN = os.environ.get("WEBHOOK_TOKEN")
DATABASE = os.environ.get("RECEIVER_DATABASE", "receiver.db")
LARGEST_BYTES = 20_000

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = LARGEST_BYTES


def database() -> sqlite3.Connection:
    """The database, with its tables."""
    connection = sqlite3.connect(DATABASE, timeout=5)
    connection.executescript(
        "CREATE TABLE IF NOT EXISTS webhooks (id TEXT PRIMARY KEY, body TEXT NOT NULL);"
        "CREATE TABLE IF NOT EXISTS jobs (job_id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, body TEXT NOT NULL);"
    )
    return connection


def verified(body: bytes) -> dict:
    """The webhook, if one of our secrets signed it within the last five minutes. Raises WebhookVerificationError."""
    problem = WebhookVerificationError("no secret is known")
    for secret in SECRETS:
        try:
            return secret.verify(body, dict(request.headers))
        except WebhookVerificationError as error:
            problem = error
    raise problem


@app.post("/hook")
def take() -> Response:
    """Take a webhook. Any 2xx says that it is kept: answer only once it is, and do slow work afterwards."""
    if TOKEN is not None and not hmac.compare_digest(
        request.headers.get("Authorization", "").encode(), f"Bearer {TOKEN}".encode()
    ):
        return Response("the bearer token is missing or wrong\n", 401)
    body = request.get_data()
    try:
        webhook = verified(body)
    except WebhookVerificationError as error:
        return Response(f"{error}\n", 401)
    with closing(database()) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        new = connection.execute(
            "INSERT OR IGNORE INTO webhooks VALUES (?, ?)", (request.headers["webhook-id"], body.decode())
        ).rowcount
        if new:
            # A later webhook may come first: its sequence is higher, and then this one says nothing new.
            connection.execute(
                "INSERT INTO jobs VALUES (:job_id, :sequence, :body) ON CONFLICT (job_id) DO UPDATE"
                " SET sequence = excluded.sequence, body = excluded.body WHERE excluded.sequence > jobs.sequence",
                {"job_id": webhook["job_id"], "sequence": webhook["sequence"], "body": body.decode()},
            )
    return Response(status=204)


@app.get("/jobs")
def jobs() -> Response:
    """What is known of each job: its latest webhook."""
    with closing(database()) as connection:
        rows = connection.execute("SELECT body FROM jobs ORDER BY job_id").fetchall()
        count = connection.execute("SELECT count(*) FROM webhooks").fetchone()[0]
    return Response(json.dumps({"webhooks": count, "jobs": [json.loads(row[0]) for row in rows]}),
                    mimetype="application/json")  # fmt: skip


if __name__ == "__main__":
    app.run(host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000")))
