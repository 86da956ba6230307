// BullMQ: worker, creates and count. One process, concurrency 64, jobs removed once done, all else as it comes.
import { Queue, Worker } from 'bullmq';

const [command, order] = process.argv.slice(2);
const [host, port] = process.env.PEER_DATABASE.split(':');
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const target = process.env.PEER_RECEIVER;
const DATA = 'x'.repeat(150);

async function post(job) {
  const url = `${target}/${job.data.id}/${job.data.due}`;
  const answer = await fetch(url, { method: 'POST', body: JSON.stringify(job.data) });
  await answer.arrayBuffer();
  if (answer.status !== 200) throw new Error(`status ${answer.status}`);
}

function describe(id, due) {
  const timestamp = Date.now();
  const opts = { delay: Math.max(0, due - timestamp), timestamp, removeOnComplete: true };
  return { name: 'post', data: { id, due, data: DATA }, opts };
}

async function create(queue, load) {
  let next = 0, made = 0;
  const until = Date.now() + load.limit_s * 1000;
  const inTurn = async () => {
    while (next < load.count && Date.now() < until) {
      const begin = next;
      const end = next = Math.min(begin + load.batch, load.count);
      const jobs = [];
      for (let n = begin; n < end; n++) {
        jobs.push(describe(load.first + n, load.due_ms + Math.floor(n * load.spread_ms / load.count)));
      }
      await queue.addBulk(jobs);
      made += end - begin;
    }
  };
  await Promise.all(Array.from({ length: load.at_once }, inTurn));
  return made;
}

async function paced(queue, load) {
  const began = performance.now();
  const all = [];
  for (let n = 0; n < load.count; n++) {
    const wait = began + n * 1000 / load.per_s - performance.now();
    if (wait > 0) await new Promise(wake => setTimeout(wake, wait));
    const job = describe(load.first + n, Date.now() + load.lead_ms + n * 7919 % load.lead_spread_ms);
    all.push(queue.add(job.name, job.data, job.opts));
  }
  await Promise.all(all);
  return load.count;
}

if (command === 'worker') {
  new Worker('peers', post, { connection, concurrency: 64 }).on('error', error => console.error(String(error)));
} else {
  const queue = new Queue('peers', { connection });
  await queue.waitUntilReady();
  if (command === 'count') {
    console.log(await queue.getJobCountByTypes('waiting', 'active', 'delayed', 'prioritized'));
  } else {
    const load = JSON.parse(order);
    console.log(await (load.per_s > 0 ? paced : create)(queue, load));
  }
  await queue.close();
  process.exit(0);
}
