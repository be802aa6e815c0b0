/** What goes wrong on purpose: set by POST /_test/faults, so that a client's behaviour can be tested. */

export interface Faults {
  /** Share of the requests that is answered 503 before anything is done. */
  unavailable: number;
  /** Share of the mutations whose connection is cut after they were committed. */
  dropAfterCommit: number;
  /** Every answer comes so many milliseconds later. */
  delayMilliseconds: number;
  /** Every connection is cut at once. */
  away: boolean;
}
export const NONE: Faults = { unavailable: 0, dropAfterCommit: 0, delayMilliseconds: 0, away: false };

/** Chances by a seed, so that a run can be repeated (mulberry32). */
export function chances(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
