import { expect, test } from "vitest";
import { api } from "../../convex/_generated/api";
import { APP_SECRET, CLUSTER, deployment, SECRET, update, type Deployment } from "./fixtures";

const VIDEO = { videoUrl: "https://example.com/v.mp4" };

async function reported(): Promise<Deployment> {
  const t = deployment();
  await t.mutation(api.sync.hello, { secret: SECRET, cluster: CLUSTER, clusterUid: "c", version: 1 });
  return t;
}
const pending = (t: Deployment) => t.query(api.sync.pending, { secret: SECRET, cluster: CLUSTER });

test("a submission has its id at once and is followed by it to the end", async () => {
  const t = await reported();
  const { jobId } = await t.withIdentity({ subject: "ann" }).mutation(api.queue.submit, { submission: { ...VIDEO, priority: "HIGH" } });
  expect(await t.query(api.queue.job, { jobId })).toMatchObject({ status: "queued", priority: "HIGH", reason: "Submitted" });
  const [request] = await pending(t);
  expect(request).toMatchObject({ kind: "submit", jobId, submission: { priority: "HIGH" } });
  await t.mutation(api.queue.upsertJobs, { secret: SECRET, cluster: CLUSTER, jobs: [update(1, 5, { jobId })] });
  await t.mutation(api.sync.settle, { secret: SECRET, settled: [{ id: request!._id }] });
  expect(await t.query(api.queue.job, { jobId })).toMatchObject({ status: "queued", position: 1 });
  expect(await pending(t)).toEqual([]);
  expect(await t.query(api.queue.requests, { jobId })).toMatchObject([{ kind: "submit", state: "done" }]);
});

test("a submission that the cluster refuses says why", async () => {
  const t = await reported();
  const { jobId } = await t.mutation(api.queue.submit, { appSecret: APP_SECRET, submission: VIDEO });
  const [request] = await pending(t);
  const settled = [{ id: request!._id, error: "The queue default is draining." }];
  await t.mutation(api.sync.settle, { secret: SECRET, settled });
  await t.mutation(api.sync.settle, { secret: SECRET, settled: [{ id: request!._id }] });
  expect(await t.query(api.queue.job, { jobId })).toMatchObject({ status: "rejected", message: "The queue default is draining." });
});

test("the same key by the same user is the same submission", async () => {
  const t = await reported();
  const [ann, bob] = [t.withIdentity({ subject: "ann" }), t.withIdentity({ subject: "bob" })];
  const first = await ann.mutation(api.queue.submit, { submission: VIDEO, key: "k" });
  expect(await ann.mutation(api.queue.submit, { submission: VIDEO, key: "k" })).toEqual(first);
  expect(await bob.mutation(api.queue.submit, { submission: VIDEO, key: "k" })).not.toEqual(first);
  expect(await pending(t)).toHaveLength(2);
});

test("nobody submits without signing in or the app's secret", async () => {
  const t = await reported();
  await expect(t.mutation(api.queue.submit, { submission: VIDEO })).rejects.toThrow(/Unauthenticated/);
  await expect(t.mutation(api.queue.submit, { appSecret: SECRET, submission: VIDEO })).rejects.toThrow(/Forbidden/);
});

test("a user touches only his own jobs, the app any", async () => {
  const t = await reported();
  const { jobId } = await t.withIdentity({ subject: "ann" }).mutation(api.queue.submit, { submission: VIDEO });
  await expect(t.withIdentity({ subject: "bob" }).mutation(api.queue.cancel, { jobId })).rejects.toThrow(/somebody else/);
  await t.withIdentity({ subject: "ann" }).mutation(api.queue.setPriority, { jobId, priority: "URGENT" });
  await t.mutation(api.queue.cancel, { appSecret: APP_SECRET, jobId });
  expect((await pending(t)).map(({ kind }) => kind)).toEqual(["submit", "priority", "cancel"]);
});

test("a job that came by kubectl is cancelled and retried by the app", async () => {
  const t = await reported();
  await t.mutation(api.queue.upsertJobs, { secret: SECRET, cluster: CLUSTER, jobs: [update(1, 5)] });
  await t.mutation(api.queue.retry, { appSecret: APP_SECRET, jobId: "id-1" });
  await expect(t.mutation(api.queue.retry, { appSecret: APP_SECRET, jobId: "nobody" })).rejects.toThrow(/No job/);
  expect(await pending(t)).toMatchObject([{ kind: "retry", jobId: "id-1", cluster: CLUSTER }]);
});

test.each([
  [{ videoUrl: "ftp://example.com/v" }, /http\(s\) URL/],
  [{ ...VIDEO, callbackUrl: "http://example.com" }, /https URL/],
  [{ ...VIDEO, params: [{ name: "a", value: "x".repeat(13_000) }] }, /12288 characters/],
  [{ ...VIDEO, params: Array.from({ length: 33 }, (_, n) => ({ name: `p${n}`, value: "" })) }, /32 pairs/],
  [{ ...VIDEO, videoId: "x".repeat(129) }, /128 characters/],
  [{ ...VIDEO, notBefore: 1e17 }, /milliseconds since 1970/],
  [{ ...VIDEO, notBefore: Date.UTC(2026, 0) / 1000 }, /milliseconds since 1970/],
])("a submission that no cluster takes is refused at once: %#", async (submission, message) => {
  const t = await reported();
  await expect(t.mutation(api.queue.submit, { appSecret: APP_SECRET, submission })).rejects.toThrow(message);
  expect(await pending(t)).toEqual([]);
});

test("with several clusters one has to be named, with none nothing is taken", async () => {
  const t = deployment();
  const submit = (cluster?: string) =>
    t.mutation(api.queue.submit, { appSecret: APP_SECRET, submission: VIDEO, ...(cluster === undefined ? {} : { cluster }) });
  await expect(submit()).rejects.toThrow(/No relay/);
  for (const cluster of ["a", "b"]) await t.mutation(api.sync.hello, { secret: SECRET, cluster, clusterUid: cluster, version: 1 });
  await expect(submit()).rejects.toThrow(/Several clusters/);
  await submit("b");
  expect(await t.query(api.sync.pending, { secret: SECRET, cluster: "b" })).toHaveLength(1);
});
