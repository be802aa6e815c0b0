/** The queue, live: three subscriptions, and the page shows what they say. */
import { ConvexClient } from "convex/browser";
import { api } from "../../convex/_generated/api.js";

const url = new URLSearchParams(location.search).get("convex") ?? import.meta.env.VITE_CONVEX_URL;
const STATUSES = ["processing", "queued", "retrying", "failed", "rejected", "cancelled", "completed"];
const SHOWN = 50;
const element = (id) => document.getElementById(id);

if (!url) {
  element("connection").textContent = "Say which deployment: add ?convex=https://….convex.cloud, or set VITE_CONVEX_URL.";
} else {
  const client = new ConvexClient(url);
  const jobs = new Map();
  client.onUpdate(api.queue.status, {}, showStatus, showError);
  for (const status of STATUSES) {
    const args = { status, paginationOpts: { numItems: SHOWN, cursor: null } };
    client.onUpdate(api.queue.list, args, ({ page }) => showJobs(jobs.set(status, page)), showError);
  }
}

function showError(error) {
  element("connection").textContent = error.data?.message ?? error.message;
}

function showStatus(status) {
  const silent = status.silent_clusters;
  element("connection").textContent = silent.length ? `Nothing heard from ${silent.join(", ")}: this may be old.` : "Live";
  const figures = {
    Waiting: status.queue_length,
    Running: `${status.active_jobs} of ${status.max_workers}`,
    "Waiting for a retry": status.retrying_jobs,
    "Failed for good": status.dead_letters,
  };
  element("figures").replaceChildren(
    ...Object.entries(figures).map(([name, value]) => node("div", {}, node("dt", {}, name), node("dd", {}, String(value)))),
  );
}

function showJobs(jobs) {
  const all = STATUSES.flatMap((status) => jobs.get(status) ?? []);
  element("jobs").replaceChildren(...all.map(row));
  element("empty").hidden = all.length > 0;
}

function row(job) {
  const { percentage, current_stage: stage, message } = job.progress;
  const bar = node("progress", { max: 100, value: percentage, "aria-label": `${percentage} percent` });
  const cells = [job.video_id ?? job.job_id, job.status, job.priority, bar, stage, job.message ?? message ?? ""];
  const made = cells.map((cell, column) => node("td", column === 1 ? { class: "status" } : {}, cell));
  return node("tr", { "data-job": job.job_id, "data-status": job.status }, ...made);
}

/** Text is set as text: what a worker says is never read as markup. */
function node(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}
