/** The guide's metrics, field for field, from the rows of the queues. */
import type { Doc } from "../_generated/dataModel";

export interface Metrics {
  queue_length: number;
  active_jobs: number;
  active_workers: number;
  max_workers: number;
  utilization_percent: number;
  queue_utilization_percent: number;
  performance: {
    total_jobs_processed: number;
    total_jobs_failed: number;
    total_jobs_retried: number;
    average_processing_time: number;
    uptime_seconds: number;
  };
}

/** Over all these queues. `uptimeSeconds` is since the operator's leader took over. */
export function metrics(queues: readonly Doc<"queues">[], uptimeSeconds: number): Metrics {
  const sum = (of: (queue: Doc<"queues">) => number) => queues.reduce((total, queue) => total + of(queue), 0);
  const [active, slots, queued, room] = [
    sum((queue) => queue.active),
    sum((queue) => queue.maxConcurrentJobs),
    sum((queue) => queue.queued),
    sum((queue) => queue.maxQueueSize),
  ];
  const succeeded = sum((queue) => queue.succeeded);
  const failed = sum((queue) => queue.failed);
  return {
    queue_length: queued,
    active_jobs: active,
    active_workers: active,
    max_workers: slots,
    utilization_percent: percent(active, slots),
    queue_utilization_percent: percent(queued, room),
    performance: {
      total_jobs_processed: succeeded + failed,
      total_jobs_failed: failed,
      total_jobs_retried: sum((queue) => queue.retried),
      average_processing_time: succeeded === 0 ? 0 : Math.round((sum((queue) => queue.runSeconds) / succeeded) * 10) / 10,
      uptime_seconds: uptimeSeconds,
    },
  };
}

function percent(part: number, whole: number): number {
  return whole === 0 ? 0 : Math.round((part / whole) * 10_000) / 100;
}
