/** What the relay asks besides telling changes: who it is, what the rows show, and what apps want. */
import { v } from "convex/values";
import { internalMutation, internalQuery, mutation, query, type MutationCtx, type QueryCtx } from "./_generated/server";
import { requireRelay } from "./model/access";
import { findCluster, findJob, findProgress, findQueue } from "./model/find";
import type { Doc } from "./_generated/dataModel";

const PAGE = 200;
const secret = { secret: v.string() };

// --- a relay begins, and is alive -------------------------------------------------------------------------------

const greeting = {
  cluster: v.string(),
  clusterUid: v.string(),
  /** The resourceVersion of the relay's first list. */
  version: v.number(),
};

/**
 * The epoch that a relay is to use. Another cluster by the same name, or one whose versions went back (it was restored),
 * begins a new epoch: what it tells replaces what is shown, however low its versions are.
 */
async function greeted(ctx: MutationCtx, { cluster, clusterUid, version }: { cluster: string; clusterUid: string; version: number }) {
  const row = await findCluster(ctx, cluster);
  const heard = { clusterUid, version, heardAt: Date.now(), silent: false };
  if (row === null) {
    await ctx.db.insert("clusters", { cluster, epoch: 1, ...heard });
    return { epoch: 1 };
  }
  const epoch = row.clusterUid !== clusterUid || version < row.version ? row.epoch + 1 : row.epoch;
  await ctx.db.patch(row._id, { ...heard, epoch });
  return { epoch };
}
export const hello = mutation({
  args: { ...secret, ...greeting },
  handler: async (ctx, { secret, ...args }) => {
    requireRelay(secret);
    return await greeted(ctx, args);
  },
});
export const helloInternal = internalMutation({ args: greeting, handler: greeted });

const sign = {
  cluster: v.string(),
  epoch: v.number(),
  version: v.number(),
  leaderSince: v.optional(v.number()),
  /** Of a sweep that has just ended: how many rows it had to mend. */
  drift: v.optional(v.number()),
};

/** A sign of life; false where another relay has begun a newer epoch, so that this one must greet again. */
async function heard(
  ctx: MutationCtx,
  { cluster, epoch, version, leaderSince, drift }: { cluster: string; epoch: number; version: number; leaderSince?: number; drift?: number },
) {
  const row = await findCluster(ctx, cluster);
  if (row === null || row.epoch !== epoch) return { current: false };
  await ctx.db.patch(row._id, {
    heardAt: Date.now(),
    version: Math.max(row.version, version),
    silent: false,
    ...(leaderSince === undefined ? {} : { leaderSince }),
    ...(drift === undefined ? {} : { drift, sweptAt: Date.now() }),
  });
  return { current: true };
}
export const heartbeat = mutation({
  args: { ...secret, ...sign },
  handler: async (ctx, { secret, ...args }) => {
    requireRelay(secret);
    return await heard(ctx, args);
  },
});
export const heartbeatInternal = internalMutation({ args: sign, handler: heard });

const ended = { cluster: v.string(), epoch: v.number() };
/** A new epoch, for a relay that finds rows of this one to be ahead of the cluster: it was restored from a backup. */
async function begun(ctx: MutationCtx, { cluster, epoch }: { cluster: string; epoch: number }) {
  const row = await findCluster(ctx, cluster);
  if (row === null) return { epoch: 1 };
  if (row.epoch === epoch) await ctx.db.patch(row._id, { epoch: epoch + 1, version: 0 });
  return { epoch: row.epoch === epoch ? epoch + 1 : row.epoch };
}
export const restored = mutation({
  args: { ...secret, ...ended },
  handler: async (ctx, { secret, ...args }) => {
    requireRelay(secret);
    return await begun(ctx, args);
  },
});
export const restoredInternal = internalMutation({ args: ended, handler: begun });

// --- a sweep compares -----------------------------------------------------------------------------------------------

const paging = { cluster: v.string(), kind: v.union(v.literal("job"), v.literal("queue")), after: v.string() };

/** What is shown of the objects whose uid comes after `after`, in the order of the uids; `next` is null at the end. */
async function pageOf(
  ctx: QueryCtx,
  { cluster, kind, after }: { cluster: string; kind: "job" | "queue"; after: string },
) {
  const versions = await ctx.db
    .query("versions")
    .withIndex("by_uid", (q) => q.eq("cluster", cluster).eq("kind", kind).gt("uid", after))
    .take(PAGE);
  const rows = await Promise.all(
    versions.map(async ({ uid, epoch, version, deletedAt }) => ({
      uid,
      epoch,
      version,
      deleted: deletedAt !== undefined,
      ...(kind === "job"
        ? { row: content(await findJob(ctx, cluster, uid)), progress: content(await findProgress(ctx, cluster, uid)) }
        : { row: content(await findQueue(ctx, cluster, uid)) }),
    })),
  );
  return { rows, next: versions.length < PAGE ? null : (versions.at(-1)?.uid ?? null) };
}
export const page = query({
  args: { ...secret, ...paging },
  handler: async (ctx, { secret, ...args }) => {
    requireRelay(secret);
    return await pageOf(ctx, args);
  },
});
export const pageInternal = internalQuery({ args: paging, handler: pageOf });

/** A row without what Convex adds to it. */
function content(row: Doc<"jobs"> | Doc<"progress"> | Doc<"queues"> | null) {
  if (row === null) return null;
  const { _id, _creationTime, ...fields } = row;
  return fields;
}

// --- what apps want -------------------------------------------------------------------------------------------------

async function pendingOf(ctx: QueryCtx, { cluster }: { cluster: string }) {
  return await ctx.db
    .query("requests")
    .withIndex("by_state", (q) => q.eq("cluster", cluster).eq("state", "pending"))
    .take(PAGE);
}
/** The oldest requests that were not carried out yet. */
export const pending = query({
  args: { ...secret, cluster: v.string() },
  handler: async (ctx, { secret, ...args }) => {
    requireRelay(secret);
    return await pendingOf(ctx, args);
  },
});
export const pendingInternal = internalQuery({ args: { cluster: v.string() }, handler: pendingOf });

const settlement = {
  settled: v.array(v.object({ id: v.id("requests"), error: v.optional(v.string()) })),
};
/** What became of requests. Settling again changes nothing. */
async function settled(ctx: MutationCtx, { settled }: { settled: { id: Doc<"requests">["_id"]; error?: string }[] }) {
  for (const { id, error } of settled) {
    const request = await ctx.db.get(id);
    if (request?.state !== "pending") continue;
    const outcome = error === undefined ? { state: "done" as const } : { state: "refused" as const, error };
    await ctx.db.patch(id, { ...outcome, settledAt: Date.now() });
  }
  return null;
}
export const settle = mutation({
  args: { ...secret, ...settlement },
  handler: async (ctx, { secret, ...args }) => {
    requireRelay(secret);
    return await settled(ctx, args);
  },
});
export const settleInternal = internalMutation({ args: settlement, handler: settled });

// --- a restore reads back ---------------------------------------------------------------------------------------------

const unfinishedArgs = { cluster: v.string(), after: v.string() };
/** Manifests of the jobs that were not finished, by uid: what a new cluster is to take over. */
async function unfinishedOf(ctx: QueryCtx, { cluster, after }: { cluster: string; after: string }) {
  const rows = await ctx.db
    .query("jobs")
    .withIndex("by_uid", (q) => q.eq("cluster", cluster).gt("uid", after))
    .take(PAGE);
  const jobs = rows
    .filter((row) => row.finishedAt === undefined)
    .map(({ uid, namespace, name, jobId, queue, phase, sequence, manifest }) => ({
      uid,
      namespace,
      name,
      jobId,
      queue: queue ?? null,
      phase,
      sequence: sequence ?? null,
      manifest,
    }));
  return { jobs, next: rows.length < PAGE ? null : (rows.at(-1)?.uid ?? null) };
}
export const unfinished = query({
  args: { ...secret, ...unfinishedArgs },
  handler: async (ctx, { secret, ...args }) => {
    requireRelay(secret);
    return await unfinishedOf(ctx, args);
  },
});
export const unfinishedInternal = internalQuery({ args: unfinishedArgs, handler: unfinishedOf });
