/** A deployment with these functions, and jobs as a relay tells them. */
import { convexTest } from "convex-test";
import { beforeEach, vi } from "vitest";
import type { Job, Progress, Queue } from "../../convex/rows";
import schema from "../../convex/schema";

export const SECRET = "the-relay-secret-of-these-tests-0123456789";
export const APP_SECRET = "the-app-secret-of-these-tests-0123456789ab";
export const CLUSTER = "test";

const modules = import.meta.glob(["../../convex/**/*.ts", "../../convex/**/*.js", "!../../convex/**/*.d.ts"]);

/** An empty deployment, within the limits of a real one. */
export function deployment() {
  return convexTest({ schema, modules, transactionLimits: true });
}
export type Deployment = ReturnType<typeof deployment>;

beforeEach(() => {
  vi.unstubAllEnvs();
  vi.stubEnv("KLIPSTREAM_RELAY_SECRET", SECRET);
  vi.stubEnv("KLIPSTREAM_APP_SECRET", APP_SECRET);
});

const VALUES = { URGENT: 4, HIGH: 3, NORMAL: 2, LOW: 1 } as const;

/** A waiting job. */
export function job(number: number, changes: Partial<Job> = {}): Job {
  const priority = changes.priority ?? "NORMAL";
  return {
    cluster: CLUSTER,
    uid: `uid-${String(number).padStart(5, "0")}`,
    namespace: "default",
    name: `job-${number}`,
    jobId: `id-${number}`,
    queue: "default",
    phase: "Queued",
    status: "queued",
    priority,
    negPriority: -VALUES[priority],
    sequence: number,
    attempt: 0,
    retries: 0,
    createdAt: 1_700_000_000_000 + number,
    deadLettered: false,
    manifest: JSON.stringify({ spec: { videoUrl: "https://example.com/v.mp4?signature=secret", params: { _x: "1" } } }),
    ...changes,
  };
}

export function update(number: number, version: number, changes: Partial<Job> = {}, progress?: Progress, epoch = 1) {
  return { epoch, version, job: job(number, changes), ...(progress === undefined ? {} : { progress }) };
}

export function progress(percentage: number, changes: Partial<Progress> = {}): Progress {
  return { attempt: 1, percentage, stage: "Analyzing", updatedAt: 1_700_000_100_000, ...changes };
}

export function queue(changes: Partial<Queue> = {}): Queue {
  return {
    cluster: CLUSTER, uid: "queue-uid", namespace: "default", name: "default", mode: "Running", maxConcurrentJobs: 3,
    maxQueueSize: 100, queued: 0, active: 0, backingOff: 0, deadLettered: 0, succeeded: 0, failed: 0, cancelled: 0,
    retried: 0, runSeconds: 0, ...changes,
  };
}
