/** The queue as an app sees it: `api.queue.…`. Queries are live; mutations ask the cluster, and the relay carries them out. */
import { ConvexError, v } from "convex/values";
import { paginationOptsValidator } from "convex/server";
import type { Doc } from "./_generated/dataModel";
import { internalMutation, mutation, query, type QueryCtx } from "./_generated/server";
import { requireRelay, requireSubmitter, requireViewer } from "./model/access";
import { findProgress } from "./model/find";
import { metrics as metricsOf } from "./model/metrics";
import { position as positionOf } from "./model/position";
import { ask, findRequest } from "./model/requests";
import { batchFields, upsert } from "./model/upsert";
import { guideStatus, priority, submission } from "./rows";

const PRIORITY_VALUE = { URGENT: 4, HIGH: 3, NORMAL: 2, LOW: 1 } as const;

// --- what the relay tells -----------------------------------------------------------------------------------------

/** One batch of what changed in a cluster. Sending it again changes nothing. */
export const upsertJobs = mutation({
  args: { secret: v.string(), ...batchFields },
  handler: async (ctx, { secret, ...batch }) => {
    requireRelay(secret);
    return await upsert(ctx, batch);
  },
});

/** The same for a relay that holds a deploy key instead of the secret. */
export const upsertJobsInternal = internalMutation({
  args: batchFields,
  handler: (ctx, batch) => upsert(ctx, batch),
});

// --- what people look at ------------------------------------------------------------------------------------------

const scope = { cluster: v.optional(v.string()), namespace: v.optional(v.string()), queue: v.optional(v.string()) };

/** The guide's queue status: how many wait and run, whether the queue takes and starts jobs, and who is next. */
export const status = query({
  args: scope,
  handler: async (ctx, args) => {
    const queues = await queuesOf(ctx, args);
    const clusters = await ctx.db.query("clusters").take(100);
    const sum = (of: (queue: Doc<"queues">) => number) => queues.reduce((total, queue) => total + of(queue), 0);
    return {
      queue_length: sum((queue) => queue.queued),
      active_jobs: sum((queue) => queue.active),
      retrying_jobs: sum((queue) => queue.backingOff),
      dead_letters: sum((queue) => queue.deadLettered),
      max_workers: sum((queue) => queue.maxConcurrentJobs),
      queues: queues.map(({ cluster, namespace, name, mode, queued, active, maxConcurrentJobs, maxQueueSize }) => ({
        cluster,
        namespace,
        name,
        mode,
        queue_length: queued,
        active_jobs: active,
        max_workers: maxConcurrentJobs,
        max_queue_size: maxQueueSize,
      })),
      /** Clusters that were not heard of for minutes: what is shown of them may be old. */
      silent_clusters: clusters.filter((cluster) => cluster.silent).map((cluster) => cluster.cluster),
    };
  },
});

/** The guide's metrics, over all queues or those that are named. `now` (ms) gives the uptime. */
export const metrics = query({
  args: { ...scope, now: v.optional(v.number()) },
  handler: async (ctx, { now, ...args }) => {
    const queues = await queuesOf(ctx, args);
    const names = new Set(queues.map((queue) => queue.cluster));
    const clusters = (await ctx.db.query("clusters").take(100)).filter((cluster) => names.has(cluster.cluster));
    const since = Math.min(...clusters.map((cluster) => cluster.leaderSince ?? Infinity));
    const uptime = now === undefined || !Number.isFinite(since) ? 0 : Math.max(0, Math.floor((now - since) / 1000));
    return metricsOf(queues, uptime);
  },
});

/** One job by its id, which nobody can guess: status, progress and position. Null where nobody knows it. */
export const job = query({
  args: { jobId: v.string() },
  handler: async (ctx, { jobId }) => {
    const row = await jobById(ctx, jobId);
    if (row === null) return await asked(ctx, jobId);
    const progress = await findProgress(ctx, row.cluster, row.uid);
    return { ...shown(row, progress), position: (await positionOf(ctx, row))?.position ?? null };
  },
});

/** Where a job stands in its queue, or would stand with another priority; null where it does not wait. */
export const position = query({
  args: { jobId: v.string(), priority: v.optional(priority) },
  handler: async (ctx, args) => {
    const row = await jobById(ctx, args.jobId);
    if (row === null) return null;
    return await positionOf(ctx, row, args.priority === undefined ? undefined : -PRIORITY_VALUE[args.priority]);
  },
});

/** Jobs by status, the newest first, a page at a time (`usePaginatedQuery`). */
export const list = query({
  args: { status: guideStatus, paginationOpts: paginationOptsValidator },
  handler: async (ctx, args) => {
    await requireViewer(ctx);
    const page = await ctx.db
      .query("jobs")
      .withIndex("by_status", (q) => q.eq("status", args.status))
      .order("desc")
      .paginate(args.paginationOpts);
    const rows = await Promise.all(
      page.page.map(async (row) => shown(row, await findProgress(ctx, row.cluster, row.uid))),
    );
    return { ...page, page: rows };
  },
});

// --- what people ask for ------------------------------------------------------------------------------------------

const asking = { cluster: v.optional(v.string()), appSecret: v.optional(v.string()) };

/** Queue an analysis. The id is good at once: `job` follows it from here to the end. */
export const submit = mutation({
  args: { ...asking, submission, key: v.optional(v.string()) },
  handler: async (ctx, { appSecret, cluster, submission, key }) => {
    const by = await requireSubmitter(ctx, appSecret);
    return { jobId: await ask(ctx, { by, cluster, kind: "submit", submission, key }) };
  },
});

/** Ask for a job to be cancelled. */
export const cancel = mutation({
  args: { ...asking, jobId: v.string() },
  handler: async (ctx, args) => ordered(ctx, args, { kind: "cancel" }),
});

/** Ask for another priority. */
export const setPriority = mutation({
  args: { ...asking, jobId: v.string(), priority },
  handler: async (ctx, { priority, ...args }) => ordered(ctx, args, { kind: "priority", priority }),
});

/** Ask for a job that failed for good to be run again. */
export const retry = mutation({
  args: { ...asking, jobId: v.string() },
  handler: async (ctx, args) => ordered(ctx, args, { kind: "retry" }),
});

/** What became of what was asked for a job, the latest last. */
export const requests = query({
  args: { jobId: v.string() },
  handler: async (ctx, { jobId }) => {
    const found = await ctx.db
      .query("requests")
      .withIndex("by_job_id", (q) => q.eq("jobId", jobId))
      .take(100);
    return found
      .sort((a, b) => a._creationTime - b._creationTime)
      .map(({ kind, state, error, settledAt }) => ({ kind, state, error: error ?? null, settledAt: settledAt ?? null }));
  },
});

// --- parts ----------------------------------------------------------------------------------------------------------

type Order = { kind: "cancel" } | { kind: "retry" } | { kind: "priority"; priority: Doc<"jobs">["priority"] };

async function ordered(
  ctx: Parameters<typeof ask>[0],
  args: { appSecret?: string | undefined; cluster?: string | undefined; jobId: string },
  order: Order,
): Promise<null> {
  const by = await requireSubmitter(ctx, args.appSecret);
  const row = await jobById(ctx, args.jobId);
  const submitted = await findRequest(ctx, args.jobId, "submit");
  if (row === null && submitted === null) {
    throw new ConvexError({ code: "NotFound", message: `No job has the id ${args.jobId}.` });
  }
  if (by !== "app" && submitted?.by !== by) {
    throw new ConvexError({ code: "Forbidden", message: "This job was submitted by somebody else." });
  }
  await ask(ctx, { by, cluster: row?.cluster ?? submitted?.cluster, jobId: args.jobId, ...order });
  return null;
}

async function queuesOf(
  ctx: QueryCtx,
  { cluster, namespace, queue }: { cluster?: string; namespace?: string; queue?: string },
): Promise<Doc<"queues">[]> {
  const all = await ctx.db.query("queues").take(1000);
  return all.filter(
    (row) =>
      (cluster === undefined || row.cluster === cluster) &&
      (namespace === undefined || row.namespace === namespace) &&
      (queue === undefined || row.name === queue),
  );
}

function jobById(ctx: QueryCtx, jobId: string): Promise<Doc<"jobs"> | null> {
  return ctx.db
    .query("jobs")
    .withIndex("by_job_id", (q) => q.eq("jobId", jobId))
    .first();
}

/** A job that was asked for here and is not in a cluster yet, or was refused there. */
async function asked(ctx: QueryCtx, jobId: string) {
  const request = await findRequest(ctx, jobId, "submit");
  if (request === null) return null;
  const refused = request.state === "refused";
  return {
    job_id: jobId,
    video_id: request.submission?.videoId ?? null,
    status: refused ? ("rejected" as const) : ("queued" as const),
    priority: request.submission?.priority ?? ("NORMAL" as const),
    queue: request.submission?.queue ?? null,
    attempt: 0,
    progress: { percentage: 0, current_stage: "Queued", estimated_completion_seconds: null, message: null },
    message: refused ? (request.error ?? null) : "Handed to the cluster soon.",
    reason: refused ? "Refused" : "Submitted",
    result_url: null,
    created_at: request._creationTime,
    queued_at: null,
    started_at: null,
    finished_at: refused ? (request.settledAt ?? null) : null,
    position: null,
  };
}

/** What may be shown to whoever knows the id: no URL of the video, no parameters. */
function shown(row: Doc<"jobs">, progress: Doc<"progress"> | null) {
  const completed = row.status === "completed";
  return {
    job_id: row.jobId,
    video_id: row.videoId ?? null,
    status: row.status,
    priority: row.priority,
    queue: row.queue ?? null,
    attempt: row.attempt,
    progress: {
      percentage: completed ? 100 : (progress?.percentage ?? 0),
      current_stage: completed ? "Completed" : (progress?.stage ?? "Queued"),
      estimated_completion_seconds: progress?.estimatedCompletionSeconds ?? null,
      message: progress?.message ?? null,
    },
    message: row.message ?? null,
    reason: row.reason ?? null,
    result_url: row.resultUrl ?? null,
    created_at: row.createdAt,
    queued_at: row.queuedAt ?? null,
    started_at: row.startedAt ?? null,
    finished_at: row.finishedAt ?? null,
  };
}
