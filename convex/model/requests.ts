/** What apps ask of the cluster: kept until the relay has carried it out, and for a while after. */
import { ConvexError, type Infer } from "convex/values";
import type { Doc } from "../_generated/dataModel";
import type { MutationCtx } from "../_generated/server";
import type { requestKind, submission } from "../rows";

type Submission = Infer<typeof submission>;
const HTTP = /^https?:\/\/[^\s/]+/;
/** The bounds of the AnalysisJob resource, told here so that nothing waits for the cluster to say so. */
const BOUNDS = { videoUrl: 2048, videoId: 128, params: 32, paramCharacters: 12_288 };

interface Asked {
  by: string;
  cluster?: string | undefined;
  kind: Infer<typeof requestKind>;
  jobId?: string;
  key?: string | undefined;
  submission?: Submission;
  priority?: Doc<"jobs">["priority"];
}

/** Store a request; the id of the job it is about. The same key by the same asker is the same request. */
export async function ask(ctx: MutationCtx, asked: Asked): Promise<string> {
  if (asked.submission !== undefined) check(asked.submission);
  if (asked.key !== undefined) {
    const known = await ctx.db
      .query("requests")
      .withIndex("by_key", (q) => q.eq("by", asked.by).eq("key", asked.key))
      .first();
    if (known !== null) return known.jobId;
  }
  const { jobId = "", cluster, key, ...rest } = asked;
  const id = await ctx.db.insert("requests", {
    ...rest,
    ...(key === undefined ? {} : { key }),
    cluster: cluster ?? (await onlyCluster(ctx)),
    state: "pending",
    jobId,
  });
  if (jobId !== "") return jobId;
  // The row's own id is as good as a random one: nobody can guess it, and nothing else has it.
  await ctx.db.patch(id, { jobId: id });
  return id;
}

/** The first request of a kind for a job. */
export function findRequest(
  ctx: Pick<MutationCtx, "db"> | { db: Pick<MutationCtx["db"], "query"> },
  jobId: string,
  kind: Infer<typeof requestKind>,
): Promise<Doc<"requests"> | null> {
  return ctx.db
    .query("requests")
    .withIndex("by_job_id", (q) => q.eq("jobId", jobId).eq("kind", kind))
    .first();
}

async function onlyCluster(ctx: MutationCtx): Promise<string> {
  const [first, second] = await ctx.db.query("clusters").take(2);
  if (first === undefined) {
    throw new ConvexError({ code: "NoCluster", message: "No relay has ever reported here: install it, or wait for it." });
  }
  if (second !== undefined) {
    throw new ConvexError({ code: "WhichCluster", message: "Several clusters report here: name one with `cluster`." });
  }
  return first.cluster;
}

function check({ videoUrl, videoId, params = [], callbackUrl, notBefore }: Submission): void {
  const problems = [
    HTTP.test(videoUrl) && videoUrl.length <= BOUNDS.videoUrl
      ? null
      : `videoUrl must be an http(s) URL of at most ${BOUNDS.videoUrl} characters`,
    (videoId?.length ?? 0) <= BOUNDS.videoId ? null : `videoId may have ${BOUNDS.videoId} characters`,
    params.length <= BOUNDS.params ? null : `params may hold ${BOUNDS.params} pairs`,
    params.reduce((sum, { name, value }) => sum + name.length + value.length, 0) <= BOUNDS.paramCharacters
      ? null
      : `params may hold ${BOUNDS.paramCharacters} characters with their names`,
    callbackUrl === undefined || callbackUrl.startsWith("https://") ? null : "callbackUrl must be an https URL",
    notBefore === undefined || (notBefore >= Date.UTC(2000, 0) && notBefore < Date.UTC(3000, 0))
      ? null
      : "notBefore must be milliseconds since 1970, from 2000 to 2999",
  ].filter((problem) => problem !== null);
  if (problems.length > 0) {
    throw new ConvexError({ code: "Invalid", message: `The submission cannot be queued: ${problems.join("; ")}.` });
  }
}
