/** The guard in front of every row: what is older than what was told already changes nothing. */
import type { Doc } from "../_generated/dataModel";
import type { MutationCtx } from "../_generated/server";
import type { Version } from "../rows";
import { findVersion } from "./find";

export type Kind = Doc<"versions">["kind"];
/** What became of an update. */
export type Outcome = "applied" | "unchanged" | "stale";

/**
 * Whether a version may be shown, and note it. An equal one passes with `repair` only: a sweep found the row to differ
 * from what that version holds.
 */
export async function advance(
  ctx: MutationCtx,
  cluster: string,
  kind: Kind,
  uid: string,
  to: Version,
  { repair = false, deleted = false }: { repair?: boolean; deleted?: boolean } = {},
): Promise<Outcome> {
  const known = await findVersion(ctx, cluster, kind, uid);
  const deletedAt = deleted ? Date.now() : undefined;
  if (known === null) {
    await ctx.db.insert("versions", { cluster, kind, uid, ...to, ...(deletedAt === undefined ? {} : { deletedAt }) });
    return "applied";
  }
  const order = compare(to, known);
  if (order < 0) return "stale";
  // A uid is never used twice, so within an epoch what was deleted stays so, unless a sweep saw it live since.
  if (known.deletedAt !== undefined && known.epoch === to.epoch && !(repair && order > 0)) {
    return deleted ? "unchanged" : "stale";
  }
  if (order === 0 && !repair && !deleted) return "unchanged";
  await ctx.db.patch(known._id, { epoch: to.epoch, version: to.version, deletedAt });
  return "applied";
}

/** Less than 0 where `a` is older than `b`. */
export function compare(a: Version, b: Version): number {
  return a.epoch - b.epoch || a.version - b.version;
}
