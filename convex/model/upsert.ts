/** How rows come to show what the relay tells. */
import { v } from "convex/values";
import type { Infer } from "convex/values";
import type { Doc, Id } from "../_generated/dataModel";
import type { MutationCtx } from "../_generated/server";
import { jobDeletion, jobUpdate, queueDeletion, queueUpdate } from "../rows";
import { findJob, findProgress, findQueue } from "./find";
import { expired } from "./retention";
import { advance, type Outcome } from "./versions";

/** One batch. The relay keeps within 200 jobs, which is at most 2,400 of the 4,096 calls that a mutation may make. */
export const batchFields = {
  cluster: v.string(),
  jobs: v.optional(v.array(jobUpdate)),
  deletedJobs: v.optional(v.array(jobDeletion)),
  queues: v.optional(v.array(queueUpdate)),
  deletedQueues: v.optional(v.array(queueDeletion)),
  /** Set by a sweep that found the rows to differ at an equal version. */
  repair: v.optional(v.boolean()),
};
const batch = v.object(batchFields);
export type Batch = Infer<typeof batch>;

/** How many updates were applied, told nothing new, and were older than what is known. */
export interface Counts {
  applied: number;
  unchanged: number;
  stale: number;
}

/** Apply a batch: each object by itself, whatever the others are. */
export async function upsert(ctx: MutationCtx, { cluster, repair = false, ...updates }: Batch): Promise<Counts> {
  const counts: Counts = { applied: 0, unchanged: 0, stale: 0 };
  const now = Date.now();
  for (const update of updates.jobs ?? []) {
    counts[expired(update.job.finishedAt, now) ? "unchanged" : await upsertJob(ctx, cluster, update, repair)] += 1;
  }
  for (const { uid, epoch, version } of updates.deletedJobs ?? []) {
    const outcome = await advance(ctx, cluster, "job", uid, { epoch, version }, { deleted: true });
    if (outcome === "applied") await removeJob(ctx, cluster, uid);
    counts[outcome] += 1;
  }
  for (const { queue, epoch, version } of updates.queues ?? []) {
    const outcome = await advance(ctx, cluster, "queue", queue.uid, { epoch, version }, { repair });
    if (outcome === "applied") await put(ctx, "queues", await findQueue(ctx, cluster, queue.uid), { ...queue, cluster });
    counts[outcome] += 1;
  }
  for (const { uid, epoch, version } of updates.deletedQueues ?? []) {
    const outcome = await advance(ctx, cluster, "queue", uid, { epoch, version }, { deleted: true });
    const row = outcome === "applied" ? await findQueue(ctx, cluster, uid) : null;
    if (row !== null) await ctx.db.delete(row._id);
    counts[outcome] += 1;
  }
  return counts;
}

async function upsertJob(
  ctx: MutationCtx,
  cluster: string,
  { job, progress, epoch, version }: Infer<typeof jobUpdate>,
  repair: boolean,
): Promise<Outcome> {
  const outcome = await advance(ctx, cluster, "job", job.uid, { epoch, version }, { repair });
  if (outcome !== "applied") return outcome;
  await put(ctx, "jobs", await findJob(ctx, cluster, job.uid), { ...job, cluster });
  const shown = await findProgress(ctx, cluster, job.uid);
  if (progress !== undefined) await put(ctx, "progress", shown, { cluster, uid: job.uid, ...progress });
  else if (shown !== null) await ctx.db.delete(shown._id);
  return outcome;
}

/** Forget a job and its progress. */
export async function removeJob(ctx: MutationCtx, cluster: string, uid: string): Promise<void> {
  for (const row of [await findJob(ctx, cluster, uid), await findProgress(ctx, cluster, uid)]) {
    if (row !== null) await ctx.db.delete(row._id);
  }
}

type Table = "jobs" | "progress" | "queues";
type Content<T extends Table> = Omit<Doc<T>, "_id" | "_creationTime">;

/** Make a row hold exactly this. Nothing is written where it does: a write would run every query that read the row. */
async function put<T extends Table>(
  ctx: MutationCtx,
  table: T,
  row: Doc<T> | null,
  content: Content<T>,
): Promise<void> {
  if (row === null) await ctx.db.insert(table, content as never);
  else if (!same(row, content)) await ctx.db.replace(row._id as Id<T>, content as never);
}

/** Whether a row holds exactly this. */
export function same(row: object, content: object): boolean {
  const have = Object.entries(row).filter(([name, value]) => !name.startsWith("_") && value !== undefined);
  const want = Object.entries(content).filter(([, value]) => value !== undefined);
  const known = new Map(have);
  return have.length === want.length && want.every(([name, value]) => known.has(name) && known.get(name) === value);
}
