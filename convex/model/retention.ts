/** How long rows are kept. */
const DAY = 24 * 60 * 60 * 1000;
/** Finished jobs, tombstones and answered requests go after 30 days, as the guide promises for logs of failed jobs. */
export const KEPT_FOR = 30 * DAY;

/** Whether a job finished so long ago (ms since the epoch) that its row is purged. */
export function expired(finishedAt: number | undefined, now: number): boolean {
  return finishedAt !== undefined && finishedAt < now - KEPT_FOR;
}
