/** Who may do what. The relay shows a secret; people are known by the app's own sign-in. This is the file to adapt. */
import { ConvexError } from "convex/values";
import type { MutationCtx, QueryCtx } from "../_generated/server";

const SHORTEST_SECRET = 32;

/** Refuse whoever does not know the relay's secret. During a rotation the previous one is good too. */
export function requireRelay(secret: string): void {
  requireOneOf(secret, ["KLIPSTREAM_RELAY_SECRET", "KLIPSTREAM_RELAY_SECRET_PREVIOUS"]);
}

/**
 * Who asks: a signed-in user, or the app's own server, which shows KLIPSTREAM_APP_SECRET. Only they may submit, and a
 * user may only touch what is his.
 */
export async function requireSubmitter(ctx: QueryCtx | MutationCtx, appSecret: string | undefined): Promise<string> {
  if (appSecret !== undefined) {
    requireOneOf(appSecret, ["KLIPSTREAM_APP_SECRET", "KLIPSTREAM_APP_SECRET_PREVIOUS"]);
    return APP;
  }
  const identity = await ctx.auth.getUserIdentity();
  if (identity === null) {
    throw new ConvexError({ code: "Unauthenticated", message: "Sign in, or call with the app's secret." });
  }
  return identity.tokenIdentifier;
}
export const APP = "app";

/** Lists show every job, so they are for signed-in users, or for all where KLIPSTREAM_PUBLIC_LISTS is "true". */
export async function requireViewer(ctx: QueryCtx): Promise<void> {
  if (process.env.KLIPSTREAM_PUBLIC_LISTS === "true") return;
  if ((await ctx.auth.getUserIdentity()) === null) {
    throw new ConvexError({ code: "Unauthenticated", message: "Sign in to list jobs." });
  }
}

function requireOneOf(shown: string, variables: readonly string[]): void {
  const known = variables.map((name) => process.env[name] ?? "").filter((secret) => secret !== "");
  if (known.some((secret) => secret.length < SHORTEST_SECRET)) {
    throw new ConvexError({
      code: "Misconfigured",
      message: `${variables[0]} must have at least ${SHORTEST_SECRET} characters: npx convex env set ${variables[0]} …`,
    });
  }
  // Each is compared, so that the time does not tell which one is nearly right.
  const matches = known.map((secret) => equal(shown, secret));
  if (!matches.includes(true)) {
    throw new ConvexError({ code: "Forbidden", message: `The secret is wrong; it is ${variables[0]} of the deployment.` });
  }
}

/** Whether two strings are equal, in a time that depends on the length of the first alone. */
export function equal(shown: string, secret: string): boolean {
  let difference = shown.length ^ secret.length;
  for (let i = 0; i < shown.length; i++) {
    difference |= shown.charCodeAt(i) ^ secret.charCodeAt(i % secret.length);
  }
  return difference === 0;
}
