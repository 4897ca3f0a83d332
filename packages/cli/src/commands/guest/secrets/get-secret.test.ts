import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AttestationDevice, serveAttestationSocket } from '@vouchsafe/guest';
import { generateP384, toHex, UnavailableError } from '@vouchsafe/sev';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startFakeBroker } from '../../../../../guest/src/testing/fake-key-broker.js';
import { makeReport } from '../../../../../sev/src/testing/reports.js';
import { run, runJson } from '../../../testing/run.js';

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-guest-get-'));
const at = (name: string) => join(folder, name);
const resource = 'kbs:///default/key/1';
let served: { close(): Promise<void> };

beforeAll(async () => {
  const key = await generateP384();
  const device: AttestationDevice = {
    kind: 'software',
    report: async ({ reportData }) => ({ report: await makeReport(key, { fields: { reportData } }) }),
    deriveKey: async () => {
      throw new UnavailableError('device', 'it has no keys');
    },
    close: async () => undefined,
  };
  served = await serveAttestationSocket(device, at('device'));
});
afterAll(async () => {
  await served.close();
  rmSync(folder, { recursive: true, force: true });
});

const words = (broker: string, ...more: string[]) => {
  const device = `socket:${at('device')}`;
  return ['guest', 'secrets', 'get', resource, '--broker', broker, '--device', device, ...more];
};

describe('guest secrets get', () => {
  it('attests over the named device and writes the secret, readable by its owner only', async () => {
    const broker = await startFakeBroker();
    const { exit, document, stdout } = await runJson<{ resource: string }>(
      words(broker.address, '--out', at('one')),
    );
    expect([exit, document.resource]).toEqual([0, 'default/key/1']);
    expect(readFileSync(at('one'), 'utf8')).toBe('the first secret');
    expect(statSync(at('one')).mode & 0o777).toBe(0o600);
    expect(stdout).not.toContain('the first secret');
    expect((await run(words(broker.address, '--out', at('one')))).exit).toBe(3);
    expect((await run(words(broker.address, '--out', at('one'), '--force'))).exit).toBe(0);
  });

  it('knows the broker by authority, fingerprint and token key, and asks no other', async () => {
    const broker = await startFakeBroker({ tls: true });
    const other = await startFakeBroker({ tls: true });
    writeFileSync(at('ca.pem'), broker.certificate!.pem);
    const fingerprint = (of: typeof broker) => ['--fingerprint', toHex(of.certificate!.fingerprint)];
    const out = ['--out', at('two'), '--force'];
    for (const trust of [
      ['--ca', at('ca.pem')],
      fingerprint(broker),
      [...fingerprint(broker), '--token-key', broker.thumbprint],
    ])
      expect((await run(words(broker.address, ...trust, ...out))).exit).toBe(0);
    const asked = broker.requests.length;
    const wrong = await run(words(broker.address, ...fingerprint(other), ...out));
    expect([wrong.exit, wrong.stderr]).toEqual([
      3,
      expect.stringContaining('its certificate is another one'),
    ]);
    expect(broker.requests.length).toBe(asked);
    const key = await run(
      words(broker.address, ...fingerprint(broker), '--token-key', other.thumbprint, ...out),
    );
    expect([key.exit, key.stderr]).toEqual([
      3,
      expect.stringContaining('not signed by a key that is pinned'),
    ]);
  });

  it('sends init-data', async () => {
    let sent = '';
    const broker = await startFakeBroker({
      intercept: (route, { body }) => {
        if (route.endsWith('/attest')) sent = body;
        return undefined;
      },
    });
    writeFileSync(at('init.toml'), 'version = "0.1.0"\n');
    expect(
      (await run(words(broker.address, '--init-data', at('init.toml'), '--out', at('three')))).exit,
    ).toBe(0);
    expect(JSON.parse(sent)['init-data'].body).toBe('version = "0.1.0"\n');
  });

  it('ends with 1 when the broker says no, with 3 when it has no such secret, with 2 for a wrong name', async () => {
    const errors = 'https://github.com/confidential-containers/kbs/errors';
    const refusing = (path: string, status: number, variant: string) =>
      startFakeBroker({
        intercept: (route) =>
          route.endsWith(path)
            ? { status, body: JSON.stringify({ type: `${errors}/${variant}`, detail: 'number 17' }) }
            : undefined,
      });
    for (const [path, status, variant, exit, code] of [
      ['/attest', 401, 'AttestationError', 1, 'attestation-refused'],
      ['/key/1', 403, 'PolicyDeny', 1, 'release-refused'],
      ['/key/1', 404, 'PluginInternalError', 3, 'resource-absent'],
    ] as const) {
      const broker = await refusing(path, status, variant);
      const ended = await runJson<{ error: { code: string } }>(words(broker.address, '--out', at('none')));
      expect([ended.exit, ended.document.error.code]).toEqual([exit, code]);
    }
    const named = words('http://127.0.0.1:1', '--out', at('none'));
    named[3] = 'kbs:///default/../1';
    expect((await run(named)).exit).toBe(2);
  });

  it.each(['socket', 'tpm', 'auto:x', ''])('knows no device %j', async (device) => {
    const { exit, stderr } = await run([
      ...words('http://127.0.0.1:1', '--out', at('none')),
      '--device',
      device,
    ]);
    expect([exit, stderr]).toEqual([2, expect.stringContaining('--device')]);
  });
});
