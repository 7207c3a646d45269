// Adds jobs of every fate, waits until BullMQ has done with them, and prints what BullMQ itself says of each.
// node drive.mjs <queue> <fates> over the Redis at PORT; "many:<n>" adds so many plain jobs.
import { Queue } from "bullmq";

const [name, list] = process.argv.slice(2);
const queue = new Queue(name, { connection: { host: "127.0.0.1", port: Number(process.env.PORT) }, prefix: process.env.PREFIX ?? "bull" });
const fates = list.split(",");
const jobs = {};
const add = async (fate, job, options = {}) => (jobs[fate] = await queue.add(job, { secret: "payload" }, options));

for (const fate of fates) {
  if (fate === "plain") for (const n of [1, 2, 3]) await add(`plain ${n}`, "plain");
  if (fate === "priority") await add("priority", "plain", { priority: 5 });
  if (fate === "progress") await add("progress", "progress");
  if (fate === "fail") await add("fail", "fail");
  if (fate === "flaky") await add("flaky", "flaky", { attempts: 2, backoff: 200 });
  if (fate === "delayed") await add("delayed", "plain", { delay: 1500 });
  if (fate === "later") await add("later", "plain", { delay: 3600000 });
  if (fate === "removed") await (await add("removed", "plain", { delay: 3600000 })).remove();
  if (fate.startsWith("many:")) {
    const count = Number(fate.slice(5));
    for (let at = 0; at < count; at += 100) {
      const added = await queue.addBulk(Array.from({ length: Math.min(100, count - at) }, () => ({ name: "plain", data: {} })));
      added.forEach((job, n) => (jobs[`many ${at + n}`] = job));
    }
  }
}
const settled = (fate, state) => ["completed", "failed"].includes(state) || (fate === "later" && state === "delayed") || fate === "removed";
const states = {};
const deadline = Date.now() + 80_000;
for (;;) {
  for (const [fate, job] of Object.entries(jobs)) if (!settled(fate, states[fate])) states[fate] = await job.getState();
  if (Object.entries(states).every(([fate, state]) => settled(fate, state)) || Date.now() > deadline) break;
  await new Promise((wake) => setTimeout(wake, 50));
}
console.log(JSON.stringify(Object.fromEntries(Object.entries(jobs).map(([fate, job]) => [fate, { id: job.id, state: states[fate] }]))));
await queue.close();
