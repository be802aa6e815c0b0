/* eslint-disable */
/**
 * Generated `api` utility.
 *
 * THIS CODE IS AUTOMATICALLY GENERATED.
 *
 * To regenerate, run `npx convex dev`.
 * @module
 */

import type {
  ApiFromModules,
  FilterApi,
  FunctionReference,
} from "convex/server";
import type * as crons from "../crons.js";
import type * as http from "../http.js";
import type * as model_access from "../model/access.js";
import type * as model_find from "../model/find.js";
import type * as model_metrics from "../model/metrics.js";
import type * as model_position from "../model/position.js";
import type * as model_requests from "../model/requests.js";
import type * as model_retention from "../model/retention.js";
import type * as model_upsert from "../model/upsert.js";
import type * as model_versions from "../model/versions.js";
import type * as queue from "../queue.js";
import type * as rows from "../rows.js";
import type * as sync from "../sync.js";
import type * as upkeep from "../upkeep.js";

/**
 * A utility for referencing Convex functions in your app's API.
 *
 * Usage:
 * ```js
 * const myFunctionReference = api.myModule.myFunction;
 * ```
 */
declare const fullApi: ApiFromModules<{
  crons: typeof crons;
  http: typeof http;
  "model/access": typeof model_access;
  "model/find": typeof model_find;
  "model/metrics": typeof model_metrics;
  "model/position": typeof model_position;
  "model/requests": typeof model_requests;
  "model/retention": typeof model_retention;
  "model/upsert": typeof model_upsert;
  "model/versions": typeof model_versions;
  queue: typeof queue;
  rows: typeof rows;
  sync: typeof sync;
  upkeep: typeof upkeep;
}>;
export declare const api: FilterApi<
  typeof fullApi,
  FunctionReference<any, "public">
>;
export declare const internal: FilterApi<
  typeof fullApi,
  FunctionReference<any, "internal">
>;
