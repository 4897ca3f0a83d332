import { expect, test } from 'vitest';
import { createRequestQueue, QueueFullError } from './request-queue.js';

function gate() {
  const opening = new EventTarget();
  const opened = new Promise<void>((resolve) => opening.addEventListener('open', () => resolve()));
  return { opened, open: () => opening.dispatchEvent(new Event('open')) };
}

const noSleep = async () => undefined;
const settle = async () => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

test('so many run, so many wait, one more is refused; turns are taken in order', async () => {
  const queue = createRequestQueue({ atOnce: 2, waiting: 2, sleep: noSleep });
  const started: number[] = [];
  const gates = [gate(), gate(), gate(), gate()];
  const runs = gates.map((each, i) =>
    queue.run(async () => {
      started.push(i);
      await each.opened;
    }),
  );
  await settle();
  expect(started).toEqual([0, 1]);
  await expect(queue.run(noSleep)).rejects.toBeInstanceOf(QueueFullError);
  gates[1]!.open();
  await settle();
  expect(started).toEqual([0, 1, 2]);
  for (const each of gates) each.open();
  await Promise.all(runs);
  expect(started).toEqual([0, 1, 2, 3]);
  await queue.run(noSleep);
});

test('a failure gives its turn back', async () => {
  const queue = createRequestQueue({ atOnce: 1, waiting: 0, sleep: noSleep });
  for (let i = 0; i < 3; i++) {
    await expect(queue.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
  }
  expect(await queue.run(async () => 7)).toBe(7);
});

test('while one is asked to be patient, no other starts', async () => {
  const { opened, open } = gate();
  const pauses: number[] = [];
  const queue = createRequestQueue({
    atOnce: 4,
    waiting: 4,
    sleep: (milliseconds) => {
      pauses.push(milliseconds);
      return opened;
    },
  });
  const order: string[] = [];
  const first = queue.run(async () => {
    await queue.pause(5000);
    order.push('first again');
  });
  await settle();
  const second = queue.run(async () => void order.push('second'));
  await settle();
  expect(order).toEqual([]);
  open();
  await Promise.all([first, second]);
  expect(pauses).toEqual([5000]);
  expect(order.sort()).toEqual(['first again', 'second']);
});
