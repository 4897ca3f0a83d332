import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AttestationDevice, serveAttestationSocket } from '@vouchsafe/guest';
import { initDataDigest, teeKeyKinds } from '@vouchsafe/protocol';
import { buildCertificateTable, certificateTableGuids, UnavailableError } from '@vouchsafe/sev';
import { expect, it, onTestFinished } from 'vitest';
import { secretText } from '../../../../../../tools/src/left-behind/secrets.js';
import {
  makeBroker,
  publish,
  storeSecret,
  type TestBroker,
  theSecret,
} from '../../../../../broker/src/testing/broker.js';
import { makeReport } from '../../../../../sev/src/testing/reports.js';
import { run, runJson } from '../../../testing/run.js';

const initData = 'version = "0.1.0"\nalgorithm = "sha512"\n[data]\n';

/** A broker that answers on loopback, a guest's device on a socket, and a folder for both. */
async function meet(prepare: (world: TestBroker) => Promise<unknown> = publish) {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-key-broker-'));
  const world = await makeBroker();
  await prepare(world);
  await storeSecret(world);
  const address = await world.broker.listen({ host: '127.0.0.1', port: 0 });
  const { endorser } = world.silicon;
  const hostData = await initDataDigest(initData);
  const vcek = { guid: certificateTableGuids.VCEK, bytes: (await endorser.vek('VCEK')).raw };
  const device: AttestationDevice = {
    kind: 'software',
    report: async ({ reportData }) => ({
      report: await makeReport(endorser.vekKey, { fields: { vmpl: 0, hostData, reportData } }),
      certificateTable: buildCertificateTable([vcek]),
    }),
    deriveKey: async () => {
      throw new UnavailableError('device', 'it has no keys');
    },
    close: async () => undefined,
  };
  const socket = join(folder, 'device');
  const served = await serveAttestationSocket(device, socket);
  onTestFinished(async () => {
    await served.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const out = join(folder, 'secret');
  const words = (path: string, ...more: string[]) => [
    ...['guest', 'secrets', 'get', `kbs:///${path}`, '--broker', address],
    ...['--device', `socket:${socket}`, '--out', out, '--force', ...more],
  ];
  return { world, address, folder, out, words };
}

it('a guest proves itself to a broker and gets its secret, with each kind of key', async () => {
  const { address, folder, out, words } = await meet();
  const jwks = (await (await fetch(`${address}/.well-known/jwks.json`)).json()) as {
    keys: { kid: string }[];
  };
  const [{ kid = '' } = {}] = jwks.keys;
  const settings = join(folder, 'init.toml');
  writeFileSync(settings, initData);
  for (const kind of teeKeyKinds) {
    writeFileSync(out, '');
    const more = ['--key', kind, '--token-key', kid, '--init-data', settings];
    const { exit, stderr } = await run(words('repo/type/tag', ...more));
    expect([exit, stderr]).toEqual([0, '']);
    expect(readFileSync(out, 'utf8')).toBe(theSecret);
  }
  writeFileSync(settings, initData.replace('sha512', 'sha256'));
  const other = await run(words('repo/type/tag', '--init-data', settings));
  expect([other.exit, other.stderr]).toEqual([1, expect.stringContaining('report.host-data')]);
});

it('a guest that is not known is refused with a number, and an absent secret is absent', async () => {
  const unknown = await meet(async () => undefined);
  const denied = await runJson<{ error: { code: string; message: string } }>(unknown.words('repo/type/tag'));
  expect([denied.exit, denied.document.error.code]).toEqual([1, 'release-refused']);
  expect(denied.document.error.message).toMatch(/number [0-9-]{19}$/);
  const known = await meet();
  const absent = await runJson<{ error: { code: string } }>(known.words('repo/type/none'));
  expect([absent.exit, absent.document.error.code]).toEqual([3, 'resource-absent']);
});

it('a secret that is released once can be fetched by no second guest', async () => {
  const { world, out, words } = await meet();
  await storeSecret(world, 'repo/type/once', secretText('for one'), { releases: 1 });
  expect((await run(words('repo/type/once'))).exit).toBe(0);
  expect(readFileSync(out, 'utf8')).toBe(secretText('for one'));
  const again = await run(words('repo/type/once'));
  expect([again.exit, again.stderr]).toEqual([1, expect.stringContaining('does not release repo/type/once')]);
});
