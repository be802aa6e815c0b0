import { expect, test, vi } from "vitest";
import { api } from "../../convex/_generated/api";
import { CLUSTER, deployment, progress, queue, SECRET, update, type Deployment } from "./fixtures";

const tell = (t: Deployment, batch: Omit<(typeof api.queue.upsertJobs)["_args"], "secret" | "cluster">) =>
  t.mutation(api.queue.upsertJobs, { secret: SECRET, cluster: CLUSTER, ...batch });
const positions = async (t: Deployment, ...numbers: number[]) =>
  Promise.all(numbers.map(async (number) => (await t.query(api.queue.position, { jobId: `id-${number}` }))?.position ?? null));

test("positions follow priority, then the order of acceptance", async () => {
  const t = deployment();
  await tell(t, {
    jobs: [
      update(1, 1, { priority: "LOW" }),
      update(2, 2),
      update(3, 3),
      update(4, 4, { priority: "URGENT" }),
      update(5, 5, { phase: "Running", status: "processing" }),
      update(6, 6, { queue: "bulk" }),
    ],
  });
  expect(await positions(t, 4, 2, 3, 1, 5, 6)).toEqual([1, 2, 3, 4, null, 1]);
});

test("a raised priority moves a job without a write to any other row", async () => {
  const t = deployment();
  await tell(t, { jobs: [update(1, 1), update(2, 2), update(3, 3)] });
  expect((await t.query(api.queue.position, { jobId: "id-3", priority: "HIGH" }))?.position).toBe(1);
  await tell(t, { jobs: [update(3, 4, { priority: "HIGH" })] });
  expect(await positions(t, 3, 1, 2)).toEqual([1, 2, 3]);
});

test("a job that is not accepted yet stands nowhere and delays nobody", async () => {
  const t = deployment();
  const { sequence: _, ...unaccepted } = update(1, 1).job;
  await tell(t, { jobs: [{ epoch: 1, version: 1, job: unaccepted }, update(2, 2)] });
  expect(await positions(t, 1, 2)).toEqual([null, 1]);
});

test("a position beyond a thousand is said to be a lower bound", async () => {
  const t = deployment();
  for (let from = 0; from < 1200; from += 200) {
    await tell(t, { jobs: Array.from({ length: 200 }, (_, number) => update(from + number, from + number + 1)) });
  }
  expect(await t.query(api.queue.position, { jobId: "id-1199" })).toEqual({ position: 1001, exact: false });
  expect(await t.query(api.queue.position, { jobId: "id-10" })).toEqual({ position: 11, exact: true });
});

test("a job shows neither the URL of its video nor its parameters", async () => {
  const t = deployment();
  await tell(t, { jobs: [update(1, 1)] });
  const shown = JSON.stringify(await t.query(api.queue.job, { jobId: "id-1" }));
  expect(shown).not.toContain("signature");
  expect(shown).not.toContain("manifest");
});

test("an unknown id is null, not an error", async () => {
  expect(await deployment().query(api.queue.job, { jobId: "nobody" })).toBeNull();
});

test("a job that succeeded is at 100 percent, whatever its worker posted last", async () => {
  const t = deployment();
  await tell(t, { jobs: [update(1, 1, { phase: "Succeeded", status: "completed" }, progress(95))] });
  expect(await t.query(api.queue.job, { jobId: "id-1" })).toMatchObject({
    progress: { percentage: 100, current_stage: "Completed" },
  });
});

test("the metrics are the guide's", async () => {
  const t = deployment();
  await tell(t, {
    queues: [
      {
        epoch: 1,
        version: 1,
        queue: queue({ queued: 5, active: 2, succeeded: 147, failed: 3, retried: 8, runSeconds: 147 * 1847.5, maxQueueSize: 100 }),
      },
    ],
  });
  await t.mutation(api.sync.hello, { secret: SECRET, cluster: CLUSTER, clusterUid: "c", version: 1 });
  await t.mutation(api.sync.heartbeat, { secret: SECRET, cluster: CLUSTER, epoch: 1, version: 1, leaderSince: 1_000_000 });
  expect(await t.query(api.queue.metrics, { now: 1_000_000 + 86_400_000 })).toEqual({
    queue_length: 5,
    active_jobs: 2,
    active_workers: 2,
    max_workers: 3,
    utilization_percent: 66.67,
    queue_utilization_percent: 5,
    performance: {
      total_jobs_processed: 150,
      total_jobs_failed: 3,
      total_jobs_retried: 8,
      average_processing_time: 1847.5,
      uptime_seconds: 86_400,
    },
  });
});

test("metrics and status of no queue at all are zeros", async () => {
  const t = deployment();
  expect(await t.query(api.queue.metrics, {})).toMatchObject({ max_workers: 0, utilization_percent: 0 });
  expect(await t.query(api.queue.status, {})).toMatchObject({ queue_length: 0, queues: [], silent_clusters: [] });
});

test("the status is that of one queue where one is named", async () => {
  const t = deployment();
  await tell(t, {
    queues: [
      { epoch: 1, version: 1, queue: queue({ queued: 5 }) },
      { epoch: 1, version: 2, queue: queue({ uid: "b", name: "bulk", queued: 9, mode: "Paused" }) },
    ],
  });
  expect(await t.query(api.queue.status, {})).toMatchObject({ queue_length: 14 });
  expect(await t.query(api.queue.status, { queue: "bulk" })).toMatchObject({ queue_length: 9, queues: [{ mode: "Paused" }] });
});

test("lists are for signed-in users, unless they are made public", async () => {
  const t = deployment();
  await tell(t, { jobs: [update(1, 1), update(2, 2), update(3, 3, { status: "failed", phase: "Failed" })] });
  const args = { status: "queued" as const, paginationOpts: { numItems: 1, cursor: null } };
  await expect(t.query(api.queue.list, args)).rejects.toThrow(/Unauthenticated/);
  const user = t.withIdentity({ subject: "ann" });
  const first = await user.query(api.queue.list, args);
  expect(first.page).toMatchObject([{ job_id: "id-2" }]);
  const second = await user.query(api.queue.list, { ...args, paginationOpts: { numItems: 1, cursor: first.continueCursor } });
  expect(second.page).toMatchObject([{ job_id: "id-1" }]);
  vi.stubEnv("KLIPSTREAM_PUBLIC_LISTS", "true");
  expect((await t.query(api.queue.list, args)).page).toHaveLength(1);
});

test("the same answers come over HTTP", async () => {
  const t = deployment();
  await tell(t, { jobs: [update(1, 1)], queues: [{ epoch: 1, version: 1, queue: queue({ queued: 1 }) }] });
  const status = await t.fetch("/klipstream/jobs/id-1/status", { method: "GET" });
  expect([status.status, await status.json()]).toMatchObject([200, { job_id: "id-1", position: 1 }]);
  expect(await (await t.fetch("/klipstream/queue/status?queue=default", { method: "GET" })).json()).toMatchObject({ queue_length: 1 });
  expect(await (await t.fetch("/klipstream/queue/metrics", { method: "GET" })).json()).toMatchObject({ queue_length: 1 });
  for (const path of ["/klipstream/jobs/nobody/status", "/klipstream/jobs/id-1", "/klipstream/jobs/id-1/status/x"]) {
    const missing = await t.fetch(path, { method: "GET" });
    expect([missing.status, missing.headers.get("content-type")]).toEqual([404, "application/problem+json"]);
  }
});
