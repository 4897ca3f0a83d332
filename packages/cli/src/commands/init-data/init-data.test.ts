import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AttestationDevice, serveAttestationSocket } from '@vouchsafe/guest';
import { fromHex, generateP384, UnavailableError } from '@vouchsafe/sev';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { makeReport } from '../../../../sev/src/testing/reports.js';
import { describeWithVectors, vectorPath } from '../../../../sev/src/testing/vectors.js';
import { run, runJson } from '../../testing/run.js';

let folder: string;
const at = (name: string) => join(folder, name);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vouchsafe-init-data-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
});

interface Created {
  readonly hostData: string;
  readonly document: string;
}

async function created(...more: string[]): Promise<Created> {
  writeFileSync(at('aa.toml'), '[token_configs.kbs]\nurl = "https://broker.example"\n');
  writeFileSync(at('rules'), 'package agent_policy\n');
  const outputs = ['--out', at('init.toml'), '--annotation', at('annotation'), '--disk', at('disk')];
  const words = ['init-data', 'create', at('aa.toml'), `policy.rego=${at('rules')}`, ...outputs, ...more];
  const { exit, document } = await runJson<Created>(words);
  expect(exit).toBe(0);
  return document;
}

async function deviceWith(hostData: Uint8Array): Promise<string> {
  const key = await generateP384();
  const device: AttestationDevice = {
    kind: 'software',
    report: async ({ reportData }) => ({
      report: await makeReport(key, { fields: { reportData, hostData } }),
    }),
    deriveKey: async () => {
      throw new UnavailableError('device', 'it has no keys');
    },
    close: async () => undefined,
  };
  const served = await serveAttestationSocket(device, at('device'));
  onTestFinished(() => served.close());
  return `socket:${at('device')}`;
}

it('a document, its annotation and its disk have one digest, which is the HOST_DATA to launch with', async () => {
  const { hostData, document } = await created('--algorithm', 'sha384');
  expect(readFileSync(at('init.toml'), 'utf8')).toBe(document);
  for (const [name, form] of [
    ['init.toml', 'toml'],
    ['annotation', 'annotation'],
    ['disk', 'disk'],
  ] as const) {
    const told = await runJson<object>(['init-data', 'digest', at(name)]);
    expect(told.document).toMatchObject({
      hostData,
      form,
      algorithm: 'sha384',
      files: ['aa.toml', 'policy.rego'],
    });
    expect((await run(['init-data', 'check', at(name), '--host-data', hostData])).exit).toBe(0);
  }
  expect((await run(['init-data', 'digest', at('disk')])).stdout.split('\n')[0]).toBe(hostData);
});

describe('init-data check', () => {
  it('inside a guest compares with a fresh report, and writes the files after that', async () => {
    const { hostData } = await created();
    const device = await deviceWith(fromHex(hostData));
    const words = ['init-data', 'check', at('disk'), '--device', device, '--out', at('settings')];
    expect((await runJson<{ accepted: boolean }>(words)).document.accepted).toBe(true);
    expect(readFileSync(at('settings/policy.rego'), 'utf8')).toBe('package agent_policy\n');
  });

  it('refuses what HOST_DATA does not bind at init-data.host-data, and writes nothing', async () => {
    const { hostData, document } = await created();
    const device = await deviceWith(fromHex(hostData));
    writeFileSync(at('init.toml'), document.replace('broker.example', 'mallory.example'));
    const words = ['init-data', 'check', at('init.toml'), '--device', device, '--out', at('settings')];
    const refused = await runJson<{ checks: { id: string; status: string }[] }>(words);
    expect(refused.exit).toBe(1);
    expect(refused.document.checks).toMatchObject([{ id: 'init-data.host-data', status: 'fail' }]);
    expect(readdirSync(folder)).not.toContain('settings');
    const { stdout } = await run(['init-data', 'check', at('init.toml'), '--host-data', hostData]);
    expect(stdout).toContain('failed: init-data is what HOST_DATA binds');
  });

  it('reads HOST_DATA out of a report', async () => {
    const { hostData } = await created();
    const key = await generateP384();
    writeFileSync(at('report.bin'), await makeReport(key, { fields: { hostData: fromHex(hostData) } }));
    writeFileSync(at('other.bin'), await makeReport(key, {}));
    const words = (report: string) => ['init-data', 'check', at('annotation'), '--report', at(report)];
    expect((await run(words('report.bin'))).exit).toBe(0);
    expect((await run(words('other.bin'))).exit).toBe(1);
    expect((await run([...words('other.bin'), '--host-data', hostData])).exit).toBe(2);
  });

  it('writes no file outside the folder, though HOST_DATA binds its name', async () => {
    const toml = 'version = "0.1.0"\nalgorithm = "sha256"\n[data]\n"../aa.toml" = "x"\n';
    writeFileSync(at('bad.toml'), toml);
    const { document } = await runJson<Created>(['init-data', 'digest', at('bad.toml')]);
    const words = ['init-data', 'check', at('bad.toml'), '--host-data', document.hostData];
    const { exit, stderr } = await run([...words, '--out', at('settings')]);
    expect([exit, stderr]).toEqual([2, expect.stringContaining('"../aa.toml" is no name of a file')]);
    expect(readdirSync(folder)).toEqual(['bad.toml']);
  });
});

it('init-data create refuses a name twice and what is no text', async () => {
  writeFileSync(at('a'), 'a');
  writeFileSync(at('b'), Uint8Array.of(0xff));
  expect((await run(['init-data', 'create', at('a'), `a=${at('b')}`])).exit).toBe(2);
  expect((await run(['init-data', 'create', at('b')])).stderr).toContain('is not text');
  expect((await run(['init-data', 'digest', at('b')])).exit).toBe(2);
});

describeWithVectors('kbs/initdata', () => {
  it('digest of the document with a policy', async () => {
    const file = vectorPath('kbs/initdata/init-data-with-policy.toml');
    const { document } = await runJson(['init-data', 'digest', file]);
    expect(document).toMatchObject({
      hostData: '0deccded0d87ec44702c7330fac3eb936b68dcca5c9f6b5df1fb3480c0b525ac',
    });
  });

  it('what is on Kata’s disk is no init-data', async () => {
    const { exit, stderr } = await run(['init-data', 'digest', vectorPath('kbs/initdata/initdata.img')]);
    expect([exit, stderr]).toEqual([2, expect.stringContaining('init-data')]);
  });
});
