/** What is done at times: see upkeep.ts. */
import { cronJobs } from "convex/server";
import { internal } from "./_generated/api";

const crons = cronJobs();
crons.daily("remove what is older than 30 days", { hourUTC: 3, minuteUTC: 17 }, internal.upkeep.purge);
crons.interval("notice relays that fell silent", { minutes: 1 }, internal.upkeep.listen);
export default crons;
