/** The row of an object, by what it is known by in its cluster. */
import type { Doc } from "../_generated/dataModel";
import type { QueryCtx } from "../_generated/server";

type Reader = Pick<QueryCtx, "db">;

export function findJob(ctx: Reader, cluster: string, uid: string): Promise<Doc<"jobs"> | null> {
  return ctx.db
    .query("jobs")
    .withIndex("by_uid", (q) => q.eq("cluster", cluster).eq("uid", uid))
    .unique();
}

export function findProgress(ctx: Reader, cluster: string, uid: string): Promise<Doc<"progress"> | null> {
  return ctx.db
    .query("progress")
    .withIndex("by_uid", (q) => q.eq("cluster", cluster).eq("uid", uid))
    .unique();
}

export function findQueue(ctx: Reader, cluster: string, uid: string): Promise<Doc<"queues"> | null> {
  return ctx.db
    .query("queues")
    .withIndex("by_uid", (q) => q.eq("cluster", cluster).eq("uid", uid))
    .unique();
}

/** Which state of an object is shown, or that it was deleted. */
export function findVersion(
  ctx: Reader,
  cluster: string,
  kind: Doc<"versions">["kind"],
  uid: string,
): Promise<Doc<"versions"> | null> {
  return ctx.db
    .query("versions")
    .withIndex("by_uid", (q) => q.eq("cluster", cluster).eq("kind", kind).eq("uid", uid))
    .unique();
}

export function findCluster(ctx: Reader, cluster: string): Promise<Doc<"clusters"> | null> {
  return ctx.db
    .query("clusters")
    .withIndex("by_cluster", (q) => q.eq("cluster", cluster))
    .unique();
}
