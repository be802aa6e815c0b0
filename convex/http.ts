/** The queue over plain HTTP, for those without a Convex client: the guide's status answers. */
import { httpRouter } from "convex/server";
import { api } from "./_generated/api";
import { httpAction } from "./_generated/server";

const http = httpRouter();

http.route({
  path: "/klipstream/queue/status",
  method: "GET",
  handler: httpAction(async (ctx, request) => answer(await ctx.runQuery(api.queue.status, scope(request)))),
});

http.route({
  path: "/klipstream/queue/metrics",
  method: "GET",
  handler: httpAction(async (ctx, request) =>
    answer(await ctx.runQuery(api.queue.metrics, { ...scope(request), now: Date.now() })),
  ),
});

const JOBS = "/klipstream/jobs/";
http.route({
  pathPrefix: JOBS,
  method: "GET",
  handler: httpAction(async (ctx, request) => {
    const [jobId = "", what = "", ...more] = new URL(request.url).pathname.slice(JOBS.length).split("/");
    if (jobId === "" || what !== "status" || more.length > 0) return problem(404, "Ask for /klipstream/jobs/{job_id}/status.");
    const job = await ctx.runQuery(api.queue.job, { jobId });
    return job === null ? problem(404, "No job has this id.") : answer(job);
  }),
});

function scope(request: Request): { queue?: string } {
  const queue = new URL(request.url).searchParams.get("queue");
  return queue === null ? {} : { queue };
}

function answer(value: unknown): Response {
  return Response.json(value, { headers: { "Cache-Control": "no-store" } });
}

/** As RFC 9457 has it. */
function problem(status: number, detail: string): Response {
  const body = JSON.stringify({ type: "about:blank", title: status === 404 ? "Not Found" : "Error", status, detail });
  return new Response(body, { status, headers: { "Content-Type": "application/problem+json" } });
}

export default http;
