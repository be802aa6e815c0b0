import { describe, expect, test, vi } from "vitest";
import { api, internal } from "../../convex/_generated/api";
import { CLUSTER, deployment, job, progress, queue, SECRET, update, type Deployment } from "./fixtures";

const tell = (t: Deployment, batch: Omit<(typeof api.queue.upsertJobs)["_args"], "secret" | "cluster">) =>
  t.mutation(api.queue.upsertJobs, { secret: SECRET, cluster: CLUSTER, ...batch });
const rows = (t: Deployment, table: "jobs" | "progress" | "versions" | "queues") =>
  t.run(async (ctx) => (await ctx.db.query(table).collect()) as Record<string, unknown>[]);

describe("what the relay tells", () => {
  test("a job shows up with its progress", async () => {
    const t = deployment();
    const counts = await tell(t, { jobs: [update(1, 10, { phase: "Running", status: "processing" }, progress(45))] });
    expect(counts).toEqual({ applied: 1, unchanged: 0, stale: 0 });
    expect(await t.query(api.queue.job, { jobId: "id-1" })).toMatchObject({
      status: "processing",
      progress: { percentage: 45, current_stage: "Analyzing" },
    });
  });

  test("an older version never replaces a newer one", async () => {
    const t = deployment();
    await tell(t, { jobs: [update(1, 10, { phase: "Succeeded", status: "completed" })] });
    expect(await tell(t, { jobs: [update(1, 9)] })).toMatchObject({ stale: 1 });
    expect(await rows(t, "jobs")).toMatchObject([{ status: "completed" }]);
  });

  test("the same batch sent again changes nothing", async () => {
    const t = deployment();
    const batch = { jobs: [update(1, 10, {}, progress(5)), update(2, 11)], queues: [{ epoch: 1, version: 5, queue: queue() }] };
    await tell(t, batch);
    const before = [await rows(t, "jobs"), await rows(t, "progress"), await rows(t, "queues"), await rows(t, "versions")];
    expect(await tell(t, batch)).toEqual({ applied: 0, unchanged: 3, stale: 0 });
    expect([await rows(t, "jobs"), await rows(t, "progress"), await rows(t, "queues"), await rows(t, "versions")]).toEqual(before);
  });

  test("a deleted job does not come back by an answer that was lost and is sent again", async () => {
    const t = deployment();
    await tell(t, { jobs: [update(1, 10, {}, progress(5))] });
    await tell(t, { deletedJobs: [{ uid: job(1).uid, epoch: 1, version: 12 }] });
    expect(await tell(t, { jobs: [update(1, 10)] })).toMatchObject({ stale: 1 });
    expect(await tell(t, { jobs: [update(1, 13)] })).toMatchObject({ stale: 1 });
    expect([await rows(t, "jobs"), await rows(t, "progress")]).toEqual([[], []]);
    expect(await rows(t, "versions")).toMatchObject([{ version: 12, deletedAt: expect.any(Number) }]);
  });

  test("a deletion that arrives before its job was ever told leaves a tombstone", async () => {
    const t = deployment();
    await tell(t, { deletedJobs: [{ uid: job(1).uid, epoch: 1, version: 12 }] });
    await tell(t, { jobs: [update(1, 11)] });
    expect(await rows(t, "jobs")).toEqual([]);
  });

  test("a newer epoch replaces what an older one told, however low its versions are", async () => {
    const t = deployment();
    await tell(t, { jobs: [update(1, 1000, { phase: "Succeeded", status: "completed" })] });
    expect(await tell(t, { jobs: [update(1, 3, {}, undefined, 2)] })).toMatchObject({ applied: 1 });
    expect(await rows(t, "jobs")).toMatchObject([{ status: "queued" }]);
    expect(await tell(t, { jobs: [update(1, 2000)] })).toMatchObject({ stale: 1 });
  });

  test("progress that changes leaves the job's row alone, so that lists do not run again", async () => {
    const t = deployment();
    await tell(t, { jobs: [update(1, 10, { phase: "Running", status: "processing" }, progress(5))] });
    const [before] = await rows(t, "jobs");
    await tell(t, { jobs: [update(1, 11, { phase: "Running", status: "processing" }, progress(6))] });
    expect(await rows(t, "jobs")).toEqual([before]);
    expect(await rows(t, "progress")).toMatchObject([{ percentage: 6 }]);
  });

  test("progress that a job no longer has is removed", async () => {
    const t = deployment();
    await tell(t, { jobs: [update(1, 10, {}, progress(5))] });
    await tell(t, { jobs: [update(1, 11)] });
    expect(await rows(t, "progress")).toEqual([]);
  });

  test("a field that is gone is removed from the row", async () => {
    const t = deployment();
    await tell(t, { jobs: [update(1, 10, { reason: "NoNodeFits", message: "m" })] });
    await tell(t, { jobs: [update(1, 11)] });
    const [row] = await rows(t, "jobs");
    expect(row).not.toHaveProperty("reason");
  });

  test("a sweep mends a row that differs at the same version, and only a sweep", async () => {
    const t = deployment();
    await tell(t, { jobs: [update(1, 10)] });
    await t.run(async (ctx) => {
      const [row] = await ctx.db.query("jobs").collect();
      await ctx.db.patch(row!._id, { status: "failed" });
    });
    expect(await tell(t, { jobs: [update(1, 10)] })).toMatchObject({ unchanged: 1 });
    expect(await rows(t, "jobs")).toMatchObject([{ status: "failed" }]);
    await tell(t, { jobs: [update(1, 10)], repair: true });
    expect(await rows(t, "jobs")).toMatchObject([{ status: "queued" }]);
  });

  test("what finished more than 30 days ago does not come back after it was purged", async () => {
    const t = deployment();
    const finishedAt = Date.now() - 31 * 24 * 3600 * 1000;
    expect(await tell(t, { jobs: [update(1, 10, { finishedAt })] })).toMatchObject({ unchanged: 1 });
    expect(await rows(t, "jobs")).toEqual([]);
  });

  test("200 jobs with all that can change are within a mutation's limits", async () => {
    const t = deployment();
    const batch = (version: number, percentage: number) =>
      Array.from({ length: 200 }, (_, number) => update(number, version, { reason: `r${version}` }, progress(percentage)));
    await tell(t, { jobs: batch(1, 1) });
    expect(await tell(t, { jobs: batch(2, 2) })).toMatchObject({ applied: 200 });
  });

  test("a cluster's rows are its own", async () => {
    const t = deployment();
    await tell(t, { jobs: [update(1, 10)] });
    await t.mutation(api.queue.upsertJobs, { secret: SECRET, cluster: "other", deletedJobs: [{ uid: job(1).uid, epoch: 1, version: 99 }] });
    expect(await rows(t, "jobs")).toHaveLength(1);
  });

  test("queues come, change and go", async () => {
    const t = deployment();
    await tell(t, { queues: [{ epoch: 1, version: 1, queue: queue() }] });
    await tell(t, { queues: [{ epoch: 1, version: 2, queue: queue({ queued: 7 }) }] });
    expect(await rows(t, "queues")).toMatchObject([{ queued: 7 }]);
    await tell(t, { deletedQueues: [{ uid: "queue-uid", epoch: 1, version: 3 }] });
    expect(await rows(t, "queues")).toEqual([]);
  });
});

describe("who may tell", () => {
  test.each([["", "wrong"], ["a wrong one of the same length", "x".repeat(SECRET.length)], ["empty", ""]])(
    "a secret that is wrong (%s) is refused",
    async (_, secret) => {
      const t = deployment();
      await expect(t.mutation(api.queue.upsertJobs, { secret, cluster: CLUSTER })).rejects.toThrow(/Forbidden/);
    },
  );

  test("the previous secret is good during a rotation", async () => {
    const t = deployment();
    vi.stubEnv("KLIPSTREAM_RELAY_SECRET", "n".repeat(40));
    await expect(tell(t, {})).rejects.toThrow(/Forbidden/);
    vi.stubEnv("KLIPSTREAM_RELAY_SECRET_PREVIOUS", SECRET);
    await tell(t, {});
  });

  test("without a secret in the deployment nobody is let in", async () => {
    const t = deployment();
    vi.stubEnv("KLIPSTREAM_RELAY_SECRET", "");
    await expect(t.mutation(api.queue.upsertJobs, { secret: "", cluster: CLUSTER })).rejects.toThrow(/Forbidden/);
  });

  test("a secret that is too short is said to be so", async () => {
    const t = deployment();
    vi.stubEnv("KLIPSTREAM_RELAY_SECRET", "short");
    await expect(t.mutation(api.queue.upsertJobs, { secret: "short", cluster: CLUSTER })).rejects.toThrow(/32 characters/);
  });

  test("a deploy key takes the internal way, without a secret", async () => {
    const t = deployment();
    await t.mutation(internal.queue.upsertJobsInternal, { cluster: CLUSTER, jobs: [update(1, 1)] });
    expect(await rows(t, "jobs")).toHaveLength(1);
  });
});
