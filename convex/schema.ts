/** The tables of the analysis queue. An app adds its own tables beside them. */
import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";
import { jobFields, priority, progressFields, queueFields, requestKind, requestState, submission, versionFields } from "./rows";

export const klipstreamTables = {
  /** The AnalysisJobs of every cluster. Positions are derived from the order of `by_rank`, never stored. */
  jobs: defineTable(jobFields)
    .index("by_uid", ["cluster", "uid"])
    .index("by_job_id", ["jobId"])
    .index("by_rank", ["cluster", "namespace", "queue", "phase", "negPriority", "sequence"])
    .index("by_status", ["status", "createdAt"])
    .index("by_finished", ["finishedAt"]),
  /** Progress of the jobs that have any. */
  progress: defineTable({ cluster: v.string(), uid: v.string(), ...progressFields }).index("by_uid", ["cluster", "uid"]),
  /** The AnalysisQueues of every cluster. */
  queues: defineTable(queueFields).index("by_uid", ["cluster", "uid"]).index("by_name", ["cluster", "namespace", "name"]),
  /**
   * Which state of each object the rows show: an older one never replaces it. A deleted object leaves its last version
   * here (a tombstone), so that an answer that was lost and is sent again does not bring it back.
   */
  versions: defineTable({
    cluster: v.string(),
    kind: v.union(v.literal("job"), v.literal("queue")),
    uid: v.string(),
    deletedAt: v.optional(v.number()),
    ...versionFields,
  })
    .index("by_uid", ["cluster", "kind", "uid"])
    .index("by_deleted", ["deletedAt"]),
  /** What apps asked of the cluster, until long after it was answered. */
  requests: defineTable({
    cluster: v.string(),
    kind: requestKind,
    state: requestState,
    /** Chosen by who asks: asking again with it is the same request. */
    key: v.optional(v.string()),
    /** Who asked: the identity's token identifier, or "app" for the app's own server. */
    by: v.string(),
    jobId: v.string(),
    submission: v.optional(submission),
    priority: v.optional(priority),
    settledAt: v.optional(v.number()),
    /** Why it was refused. */
    error: v.optional(v.string()),
  })
    .index("by_state", ["cluster", "state"])
    .index("by_key", ["by", "key"])
    .index("by_job_id", ["jobId", "kind"])
    .index("by_settled", ["settledAt"]),
  /** The clusters that a relay reports on. */
  clusters: defineTable({
    cluster: v.string(),
    /** Uid of the cluster's kube-system namespace: another one is another cluster. */
    clusterUid: v.string(),
    epoch: v.number(),
    /** The highest resourceVersion that was told; a lower one later means that the cluster was restored. */
    version: v.number(),
    heardAt: v.number(),
    sweptAt: v.optional(v.number()),
    /** Rows that the last sweep had to mend. */
    drift: v.optional(v.number()),
    /** Since when the operator's leader leads. */
    leaderSince: v.optional(v.number()),
    /** Set by a cron when nothing was heard for long, so that queries need no clock. */
    silent: v.boolean(),
  }).index("by_cluster", ["cluster"]),
};

export default defineSchema(klipstreamTables);
