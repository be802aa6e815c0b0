import { expect, test, vi } from "vitest";
import { api, internal } from "../../convex/_generated/api";
import { APP_SECRET, CLUSTER, deployment, job, progress, queue, SECRET, update } from "./fixtures";

const DAY = 24 * 3600 * 1000;
const secret = SECRET;
const cluster = CLUSTER;

test("an epoch goes on while the cluster is the same and its versions grow", async () => {
  const t = deployment();
  const hello = (clusterUid: string, version: number) => t.mutation(api.sync.hello, { secret, cluster, clusterUid, version });
  expect(await hello("a", 100)).toEqual({ epoch: 1 });
  expect(await hello("a", 100)).toEqual({ epoch: 1 });
  await t.mutation(api.sync.heartbeat, { secret, cluster, epoch: 1, version: 200 });
  expect(await hello("a", 150), "versions went back").toEqual({ epoch: 2 });
  expect(await hello("b", 900), "another cluster").toEqual({ epoch: 3 });
});

test("a relay of an older epoch is told so", async () => {
  const t = deployment();
  await t.mutation(api.sync.hello, { secret, cluster, clusterUid: "a", version: 100 });
  await t.mutation(api.sync.hello, { secret, cluster, clusterUid: "b", version: 1 });
  const heartbeat = (epoch: number) => t.mutation(api.sync.heartbeat, { secret, cluster, epoch, version: 100 });
  expect([await heartbeat(1), await heartbeat(2)]).toEqual([{ current: false }, { current: true }]);
});

test("a sweep sees every row and every tombstone, in pages", async () => {
  const t = deployment();
  const jobs = Array.from({ length: 200 }, (_, number) => update(number, number + 1, {}, number === 0 ? progress(3) : undefined));
  await t.mutation(api.queue.upsertJobs, { secret, cluster, jobs, queues: [{ epoch: 1, version: 1, queue: queue() }] });
  await t.mutation(api.queue.upsertJobs, {
    secret, cluster, jobs: [update(200, 500)], deletedJobs: [{ uid: job(5).uid, epoch: 1, version: 600 }],
  });
  const first = await t.query(api.sync.page, { secret, cluster, kind: "job", after: "" });
  expect(first.rows).toHaveLength(200);
  expect(first.rows[0]).toEqual({
    uid: job(0).uid, epoch: 1, version: 1, deleted: false, row: job(0), progress: { cluster, uid: job(0).uid, ...progress(3) },
  });
  expect(first.rows[5]).toMatchObject({ deleted: true, version: 600, row: null });
  const second = await t.query(api.sync.page, { secret, cluster, kind: "job", after: first.next! });
  expect([second.rows.length, second.next]).toEqual([1, null]);
  expect(await t.query(api.sync.page, { secret, cluster, kind: "queue", after: "" })).toMatchObject({ rows: [{ row: queue() }] });
});

test("a restore gets the manifests of what was not finished", async () => {
  const t = deployment();
  const jobs = [update(1, 1), update(2, 2, { phase: "Succeeded", status: "completed", finishedAt: Date.now() })];
  await t.mutation(api.queue.upsertJobs, { secret, cluster, jobs });
  expect(await t.query(api.sync.unfinished, { secret, cluster, after: "" })).toMatchObject({
    jobs: [{ jobId: "id-1", manifest: job(1).manifest }], next: null,
  });
});

test("all that the relay asks needs its secret", async () => {
  const t = deployment();
  const wrong = { secret: APP_SECRET, cluster };
  const version = { version: 1 };
  await expect(t.mutation(api.sync.hello, { ...wrong, clusterUid: "a", ...version })).rejects.toThrow(/Forbidden/);
  await expect(t.mutation(api.sync.heartbeat, { ...wrong, epoch: 1, ...version })).rejects.toThrow(/Forbidden/);
  await expect(t.query(api.sync.page, { ...wrong, kind: "job", after: "" })).rejects.toThrow(/Forbidden/);
  await expect(t.query(api.sync.pending, wrong)).rejects.toThrow(/Forbidden/);
  await expect(t.query(api.sync.unfinished, { ...wrong, after: "" })).rejects.toThrow(/Forbidden/);
  await expect(t.mutation(api.sync.settle, { secret: APP_SECRET, settled: [] })).rejects.toThrow(/Forbidden/);
});

test("what is older than 30 days is purged, however much it is, and nothing else", async () => {
  vi.useFakeTimers();
  const t = deployment();
  const fresh = update(9000, 9000, { phase: "Failed", status: "failed", finishedAt: Date.now() });
  for (let from = 0; from < 600; from += 200) {
    const jobs = Array.from({ length: 200 }, (_, number) =>
      update(from + number, 1, { phase: "Succeeded", status: "completed", finishedAt: Date.now() }, progress(90)),
    );
    await t.mutation(api.queue.upsertJobs, { secret, cluster, jobs });
  }
  await t.mutation(api.queue.upsertJobs, { secret, cluster, jobs: [update(7000, 1)], deletedJobs: [{ uid: "gone", epoch: 1, version: 1 }] });
  vi.advanceTimersByTime(31 * DAY);
  fresh.job.finishedAt = Date.now();
  await t.mutation(api.queue.upsertJobs, { secret, cluster, jobs: [fresh] });
  await t.mutation(internal.upkeep.purge, {});
  await t.finishAllScheduledFunctions(vi.runAllTimers);
  const left = await t.run(async (ctx) => ({
    jobs: (await ctx.db.query("jobs").collect()).map(({ name }) => name),
    progress: (await ctx.db.query("progress").collect()).length,
    versions: (await ctx.db.query("versions").collect()).length,
  }));
  expect(left).toEqual({ jobs: ["job-7000", "job-9000"], progress: 0, versions: 2 });
  vi.useRealTimers();
});

test("a relay that falls silent is noticed, and so is its return", async () => {
  vi.useFakeTimers();
  const t = deployment();
  await t.mutation(api.sync.hello, { secret, cluster, clusterUid: "a", version: 1 });
  const silent = async () => (await t.query(api.queue.status, {})).silent_clusters;
  await t.mutation(internal.upkeep.listen, {});
  expect(await silent()).toEqual([]);
  vi.advanceTimersByTime(6 * 60 * 1000);
  await t.mutation(internal.upkeep.listen, {});
  expect(await silent()).toEqual([cluster]);
  await t.mutation(api.sync.heartbeat, { secret, cluster, epoch: 1, version: 2 });
  expect(await silent()).toEqual([]);
  vi.useRealTimers();
});
