import { rcarErrorVariant } from '@vouchsafe/protocol';
import { afterAll, beforeAll } from 'vitest';
import type { RecordEntry } from '../record/entry.js';
import {
  type Answered,
  type AtEnd,
  makeBroker,
  numberIn,
  publish,
  storeSecret,
  type TestBroker,
  type TestBrokerOptions,
} from './broker.js';

/** The secret that {@link releasing} stores: `theSecret`. */
export const path = 'repo/type/tag';

/** A broker that releases one secret to every guest with the test measurement. */
export async function releasing(options: TestBrokerOptions): Promise<TestBroker> {
  const world = await makeBroker(options);
  await publish(world);
  await storeSecret(world, path);
  return world;
}

/** One broker for all tests around the call: for those that change nothing which another of them sees. */
export function shared(make: (atEnd: AtEnd) => Promise<TestBroker>): () => TestBroker {
  const ends: (() => Promise<void> | void)[] = [];
  let world: TestBroker | undefined;
  beforeAll(async () => {
    world = await make((end) => ends.unshift(end));
  });
  afterAll(async () => {
    for (const end of ends) await end();
  });
  return () => {
    if (world === undefined) throw new Error('the broker is made before the tests, not before that');
    return world;
  };
}

/** What a guest is told when it gets nothing. */
export type ErrorAnswer = Answered<{ type: string; detail: string }>;

export const variantOf = ({ json }: ErrorAnswer) => rcarErrorVariant(json);

/** The record, oldest entry first. @param query more of the query, such as `&kind=release` */
export async function entries({ admin }: TestBroker, query = ''): Promise<RecordEntry[]> {
  return (await admin.get<RecordEntry[]>(`/v1/audit/entries?limit=1000${query}`)).json;
}

/** What the operator is told about the number in a guest's answer. */
export async function explained({ admin }: TestBroker, answer: ErrorAnswer): Promise<RecordEntry> {
  const { json } = await admin.get<{ entry: RecordEntry }>(`/v1/decisions/${numberIn(answer)}`);
  return json.entry;
}
