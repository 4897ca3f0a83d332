import { launchBundle, launchRequest, measurementEvidence } from '@vouchsafe/protocol';
import { toHex, wellKnownSecretGuids } from '@vouchsafe/sev';
import { beforeAll, expect, it } from 'vitest';
import { secretText } from '../../../../tools/src/left-behind/secrets.js';
import type { DigestReference } from '../reference-values/document.js';
import {
  base64,
  inject,
  makeBroker,
  makeSilicon,
  permitAll,
  publish,
  type Silicon,
} from '../testing/broker.js';
import { policies } from '../testing/owner.js';
import { makeTestAuthority, makeTestPlatform, type TestPlatform, version } from '../testing/platform.js';

const [older, newer] = [new Uint8Array(32).fill(0xa1), new Uint8Array(32).fill(0xb2)];
const reference = (digest: Uint8Array, period: object = {}): DigestReference => ({
  value: toHex(digest),
  ...period,
});

let silicon: Silicon;
let platform: TestPlatform;
beforeAll(async () => {
  silicon = await makeSilicon();
  platform = await makeTestPlatform(await makeTestAuthority());
});

/** A broker whose only kind of launch takes its digests from a document. */
async function expecting(...launchDigests: DigestReference[]) {
  const world = await makeBroker({ silicon, platformRoots: [platform.authority.root] });
  const { admin, broker } = world;
  await admin.put('/v1/secrets/disks/luks/web', { content: base64(secretText('a pass-phrase')) });
  await admin.put('/v1/policies/default', { policy: base64(permitAll) });
  expect((await publish(world, { launchDigests })).status).toBe(201);
  const secrets = [{ guid: wellKnownSecretGuids.luksKey, resource: 'disks/luks/web' }];
  const set = (changes: object) =>
    admin.put('/v1/launches/default', { policy: policies.sev, secrets, ...changes });
  expect((await set({ references: ['releases@example.org/web'] })).status).toBe(200);
  const post = (url: string, payload: unknown) =>
    inject<{ checks?: { id: string; status: string }[] }>(broker, {
      method: 'POST',
      url,
      payload: payload as object,
    });
  /** Launches a guest of this digest: the status, and the check that refuses it. */
  const launch = async (digest: Uint8Array) => {
    const opened = await post('/pre-launch/sessions', launchRequest.toJson(platform.request()));
    const bundle = launchBundle.parse(opened.json);
    const measurement = await (await platform.start(bundle)).measure(digest);
    const evidence = { launchId: bundle.launchId, measurement, ...version, policy: bundle.policy };
    const { status, json } = await post(
      `/pre-launch/sessions/${bundle.launchId}/measurement`,
      measurementEvidence.toJson(evidence),
    );
    return [status, (json.checks ?? []).find((check) => check.status === 'fail')?.id];
  };
  return { ...world, set, launch };
}

it('old and new digests of a signed document are expected side by side, until one ends', async () => {
  const until = { notAfter: '2026-03-20T00:00:00Z' };
  const world = await expecting(reference(older, until), reference(newer));
  expect(await world.launch(older)).toEqual([200, undefined]);
  expect(await world.launch(newer)).toEqual([200, undefined]);
  expect((await world.launch(new Uint8Array(32)))[1]).toBe('measurement.digest');
  world.clock.now = Date.parse('2026-03-20T00:00:01Z');
  expect((await world.launch(older))[1]).toBe('measurement.digest');
  expect(await world.launch(newer)).toEqual([200, undefined]);
});

it('a later version takes digests away, and a kind without any is refused', async () => {
  const world = await expecting(reference(older));
  expect(await world.launch(older)).toEqual([200, undefined]);
  expect((await publish(world, { version: 8, launchDigests: [reference(newer)] })).status).toBe(201);
  expect((await world.launch(older))[1]).toBe('measurement.digest');
  expect((await world.set({ references: [] })).status).toBe(400);
});
