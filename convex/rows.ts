/** What the rows hold: validators that the schema, the relay's mutations and their tests share. */
import { v, type Infer } from "convex/values";

export const PRIORITIES = ["URGENT", "HIGH", "NORMAL", "LOW"] as const;

/** URGENT, HIGH, NORMAL or LOW, as in the guide. */
export const priority = v.union(v.literal("URGENT"), v.literal("HIGH"), v.literal("NORMAL"), v.literal("LOW"));

/** Where an AnalysisJob stands in the cluster. */
export const phase = v.union(
  v.literal("Queued"),
  v.literal("Starting"),
  v.literal("Running"),
  v.literal("BackingOff"),
  v.literal("Succeeded"),
  v.literal("Failed"),
  v.literal("Cancelled"),
  v.literal("Rejected"),
);

/** The same in the guide's words. */
export const guideStatus = v.union(
  v.literal("queued"),
  v.literal("processing"),
  v.literal("retrying"),
  v.literal("completed"),
  v.literal("failed"),
  v.literal("cancelled"),
  v.literal("rejected"),
);

/** One AnalysisJob; times in milliseconds since the epoch. */
export const jobFields = {
  cluster: v.string(),
  uid: v.string(),
  namespace: v.string(),
  name: v.string(),
  /** The id that the outside world knows; unguessable. */
  jobId: v.string(),
  /** The AnalysisQueue that accepted it; absent before that. */
  queue: v.optional(v.string()),
  phase,
  status: guideStatus,
  priority,
  /** The priority that counts (aging may have raised it), 4 to 1, negated so that an index puts the first ones first. */
  negPriority: v.number(),
  /** Place in the order of acceptance. */
  sequence: v.optional(v.number()),
  attempt: v.number(),
  retries: v.number(),
  videoId: v.optional(v.string()),
  type: v.optional(v.string()),
  createdAt: v.number(),
  queuedAt: v.optional(v.number()),
  notBefore: v.optional(v.number()),
  startedAt: v.optional(v.number()),
  nextAttemptAt: v.optional(v.number()),
  finishedAt: v.optional(v.number()),
  /** Why it waits, failed or was rejected: one word and a sentence. */
  reason: v.optional(v.string()),
  message: v.optional(v.string()),
  resultUrl: v.optional(v.string()),
  deadLettered: v.boolean(),
  /** Labels, annotations and spec as JSON: what a restore creates again. Sealed parts are sealed here too. */
  manifest: v.string(),
};
export const job = v.object(jobFields);
export type Job = Infer<typeof job>;

/** How far a job is; apart from the job, since it changes often. */
export const progressFields = {
  attempt: v.number(),
  percentage: v.number(),
  stage: v.string(),
  message: v.optional(v.string()),
  estimatedCompletionSeconds: v.optional(v.number()),
  updatedAt: v.number(),
};
export const progress = v.object(progressFields);
export type Progress = Infer<typeof progress>;

/** One AnalysisQueue. */
export const queueFields = {
  cluster: v.string(),
  uid: v.string(),
  namespace: v.string(),
  name: v.string(),
  mode: v.union(v.literal("Running"), v.literal("Paused"), v.literal("Draining")),
  maxConcurrentJobs: v.number(),
  maxQueueSize: v.number(),
  queued: v.number(),
  active: v.number(),
  backingOff: v.number(),
  deadLettered: v.number(),
  succeeded: v.number(),
  failed: v.number(),
  cancelled: v.number(),
  retried: v.number(),
  runSeconds: v.number(),
};
export const queue = v.object(queueFields);
export type Queue = Infer<typeof queue>;

/** Which state of an object a row shows: resourceVersions grow within an epoch, which the relay owns. */
export const versionFields = { epoch: v.number(), version: v.number() };
export const versioned = v.object(versionFields);
export type Version = Infer<typeof versioned>;

/** A job as the relay sends it. */
export const jobUpdate = v.object({ ...versionFields, job, progress: v.optional(progress) });
/** A job that is gone from the cluster. */
export const jobDeletion = v.object({ ...versionFields, uid: v.string() });
export const queueUpdate = v.object({ ...versionFields, queue });
export const queueDeletion = v.object({ ...versionFields, uid: v.string() });

/** What an app asks of the cluster. */
export const requestKind = v.union(
  v.literal("submit"),
  v.literal("cancel"),
  v.literal("priority"),
  v.literal("retry"),
);
export const requestState = v.union(v.literal("pending"), v.literal("done"), v.literal("refused"));

/** The part of an AnalysisJob's spec that an app may give. */
export const submission = v.object({
  videoUrl: v.string(),
  videoId: v.optional(v.string()),
  queue: v.optional(v.string()),
  type: v.optional(v.string()),
  priority: v.optional(priority),
  /** Parameters for the worker as pairs, since a Convex object cannot hold any name. */
  params: v.optional(v.array(v.object({ name: v.string(), value: v.string() }))),
  notBefore: v.optional(v.number()),
  callbackUrl: v.optional(v.string()),
  timeoutSeconds: v.optional(v.number()),
  maxRetries: v.optional(v.number()),
  sealed: v.optional(v.string()),
});
