/** Positions, derived from the order of the index: nothing is written when the queue moves on. */
import type { Doc } from "../_generated/dataModel";
import type { QueryCtx } from "../_generated/server";

/** Jobs are counted up to here; a queue that is longer says so. */
export const COUNTED_AT_MOST = 1000;

export interface Position {
  /** 1 starts next. */
  position: number;
  /** False where the queue is so long that the position is only known to be at least this. */
  exact: boolean;
}

/**
 * How many jobs of its queue start before it, plus one; null for a job that does not wait. A priority may be given, to
 * say where the job would stand with it. What `notBefore` or a lack of room holds back is counted as if it came in
 * order.
 */
export async function position(ctx: QueryCtx, job: Doc<"jobs">, negPriority = job.negPriority): Promise<Position | null> {
  if (job.phase !== "Queued" || job.sequence === undefined || job.queue === undefined) return null;
  const { cluster, namespace, queue, sequence } = job;
  const higher = await ctx.db
    .query("jobs")
    .withIndex("by_rank", (q) =>
      q.eq("cluster", cluster).eq("namespace", namespace).eq("queue", queue).eq("phase", "Queued").lt("negPriority", negPriority),
    )
    .take(COUNTED_AT_MOST);
  const earlier = await ctx.db
    .query("jobs")
    .withIndex("by_rank", (q) =>
      q
        .eq("cluster", cluster)
        .eq("namespace", namespace)
        .eq("queue", queue)
        .eq("phase", "Queued")
        .eq("negPriority", negPriority)
        .lt("sequence", sequence),
    )
    .take(COUNTED_AT_MOST);
  // A job that is not accepted yet has no sequence, and an index puts it first: it comes last.
  const ahead = [...higher, ...earlier].filter((other) => other.uid !== job.uid && other.sequence !== undefined).length;
  return { position: ahead + 1, exact: Math.max(higher.length, earlier.length) < COUNTED_AT_MOST };
}
