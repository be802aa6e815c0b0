/** What the crons do. */
import { internal } from "./_generated/api";
import { internalMutation } from "./_generated/server";
import { findVersion } from "./model/find";
import { KEPT_FOR } from "./model/retention";
import { removeJob } from "./model/upsert";

/** Four calls a job at most stay far below the 4,096 of a mutation. */
const AT_ONCE = 500;
const SILENT_AFTER = 5 * 60 * 1000;

/** Remove what finished more than 30 days ago, what was deleted then, and requests that were answered then. */
export const purge = internalMutation({
  args: {},
  handler: async (ctx) => {
    const before = Date.now() - KEPT_FOR;
    // Absent values come first in an index, hence the lower bound.
    const jobs = await ctx.db
      .query("jobs")
      .withIndex("by_finished", (q) => q.gt("finishedAt", 0).lt("finishedAt", before))
      .take(AT_ONCE);
    for (const { cluster, uid } of jobs) {
      await removeJob(ctx, cluster, uid);
      const version = await findVersion(ctx, cluster, "job", uid);
      if (version !== null) await ctx.db.delete(version._id);
    }
    const tombstones = await ctx.db
      .query("versions")
      .withIndex("by_deleted", (q) => q.gt("deletedAt", 0).lt("deletedAt", before))
      .take(AT_ONCE);
    const requests = await ctx.db
      .query("requests")
      .withIndex("by_settled", (q) => q.gt("settledAt", 0).lt("settledAt", before))
      .take(AT_ONCE);
    for (const row of [...tombstones, ...requests]) await ctx.db.delete(row._id);
    if ([jobs, tombstones, requests].some((found) => found.length === AT_ONCE)) {
      await ctx.scheduler.runAfter(0, internal.upkeep.purge, {});
    }
    return { jobs: jobs.length, tombstones: tombstones.length, requests: requests.length };
  },
});

/** Mark the clusters that were not heard of for five minutes, so that the queries say that they may be out of date. */
export const listen = internalMutation({
  args: {},
  handler: async (ctx) => {
    const before = Date.now() - SILENT_AFTER;
    for (const cluster of await ctx.db.query("clusters").take(100)) {
      if (!cluster.silent && cluster.heardAt < before) await ctx.db.patch(cluster._id, { silent: true });
    }
    return null;
  },
});
