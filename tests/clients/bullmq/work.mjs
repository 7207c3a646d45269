// A real BullMQ worker: node work.mjs <queue> <name>, over the Redis at PORT.
import { Worker } from "bullmq";

const [queue, name] = process.argv.slice(2);
const worker = new Worker(
  queue,
  async (job) => {
    if (job.name === "fail") throw new Error("no such product");
    if (job.name === "flaky" && job.attemptsMade === 0) throw new Error("try again");
    if (job.name === "progress") await job.updateProgress(50);
    return { did: job.name };
  },
  { connection: { host: "127.0.0.1", port: Number(process.env.PORT) }, name, prefix: process.env.PREFIX ?? "bull", concurrency: 2 },
);
await worker.waitUntilReady();
console.log("ready");
