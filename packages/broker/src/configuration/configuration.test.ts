import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodePem, systemRandom, toBase64 } from '@vouchsafe/sev';
import { exportJWK, exportSPKI, generateKeyPair } from 'jose';
import { describe, expect, it, onTestFinished } from 'vitest';
import { makeSilicon } from '../testing/broker.js';
import { configurationText, parseBrokerConfiguration } from './configuration.js';
import { addressIn, configuredBroker } from './open.js';

const first = { listen: '127.0.0.1:8080', database: 'sqlite:broker.db' };

function folderWith(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-configuration-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files))
    writeFileSync(join(folder, name), content, { mode: 0o600 });
  return folder;
}

const key = toBase64(new Uint8Array(32).fill(1));
const surroundings = { environment: {}, random: systemRandom, now: () => 0 };

describe('a broker’s set-up', () => {
  it('as it is written first reads as what it says', () => {
    expect(parseBrokerConfiguration(configurationText(first))).toEqual({
      ...first,
      'master-key': { file: 'master.key' },
      record: { outside: 'checkpoint.json' },
      roots: {},
      'key-service': { url: 'amd' },
      demands: { vmpl: 0, measurement: 'known', 'revocation-grace-hours': 24 },
    });
    const development = {
      developmentRoot: 'a"b.der',
      developmentPlatformRoot: 'p.cert',
      keyService: 'http://x',
    };
    const read = parseBrokerConfiguration(configurationText({ ...first, ...development }));
    expect([read.roots, read['key-service']]).toEqual([
      { development: 'a"b.der', 'development-platform': 'p.cert' },
      { url: 'http://x' },
    ]);
  });

  it.each([
    ['listen = "127.0.0.1:8080"', 'listen = 7', 'listen'],
    ['vmpl = 0', 'vmpl = 4', 'demands.vmpl'],
    ['vmpl = 0', 'vmlp = 0', 'demands'],
    ['file = "master.key"', 'file = "x"\nenvironment = "Y"', 'master-key'],
    ['vmpl = 0', 'skip-revocation = false', 'demands.skip-revocation'],
    ['[roots]', 'nonsense', 'TOML'],
    ['[roots]', '[debug]', 'debug'],
    ['[record]', '[record]\ndebug = 1', 'record'],
    ['[roots]', '[roots]\ndebug = 1', 'roots'],
    ['[key-service]', '[key-service]\ndebug = 1', 'key-service'],
    ['[roots]', '[tls]\ncertificate = "c"\n[roots]', 'tls.key'],
    ['[roots]', '[tls]\ncertificate = "c"\nkey = "k"\ndebug = 1\n[roots]', 'tls'],
    ['[roots]', '[sessions]\nlifetime-seconds = 9\n[roots]', 'sessions.lifetime-seconds'],
    ['[roots]', '[sessions]\ndebug = 1\n[roots]', 'sessions'],
    ['[roots]', '[limits]\nrequests-per-minute = 0\n[roots]', 'limits.requests-per-minute'],
    ['[roots]', '[limits]\ndebug = 1\n[roots]', 'limits'],
    [
      '[roots]',
      '[[trustee-administrators]]\nname = "a"\nkeys = "k"\n[roots]',
      'trustee-administrators.0.roles',
    ],
    ['file = "master.key"', 'environment = "A B"', 'master-key.environment'],
    ['file = "master.key"', 'file = "x"\ndebug = 1', 'master-key'],
    ['file = "master.key"', 'vault = { address = "a", key = "k" }', 'master-key.vault.token-environment'],
  ])('is strict: %j becomes %j', (written, instead, where) => {
    const text = configurationText(first);
    expect(text).toContain(written);
    expect(() => parseBrokerConfiguration(text.replace(written, instead))).toThrow(where);
  });

  it('names files in its folder, and what it names is read', async () => {
    const pair = await generateKeyPair('ES256', { extractable: true });
    const folder = folderWith({
      'broker.toml': `${configurationText(first)}
[[trustee-administrators]]
name = "pem"
keys = "admin.pem"
roles = { admin = ["admin"] }
[[trustee-administrators]]
name = "set"
keys = "admin.json"
roles = {}
without-role = ["reader"]
`,
      'master.key': `${key}\n`,
      'admin.pem': await exportSPKI(pair.publicKey),
      'admin.json': JSON.stringify({ keys: [await exportJWK(pair.publicKey)] }),
    });
    const { options, address, close } = await configuredBroker(folder, surroundings);
    onTestFinished(close);
    expect(address).toEqual({ host: '127.0.0.1', port: 8080 });
    expect(options.database).toBe(`sqlite:${join(folder, 'broker.db')}`);
    expect(options.outside?.name).toBe(join(folder, 'checkpoint.json'));
    expect(options.demands).toEqual({ vmpl: 0, measurement: 'known', revocationGrace: 24 * 3_600_000 });
    expect(options.trusteeAdministrators?.map(({ keys }) => keys[0]?.x)).toEqual([
      (await exportJWK(pair.publicKey)).x,
      (await exportJWK(pair.publicKey)).x,
    ]);
    expect(options.roots).toHaveLength(3);
    expect(options.platformRoots?.length).toBeGreaterThan(0);
  });

  it('takes the master key from the environment', async () => {
    const text = configurationText(first).replace('file = "master.key"', 'environment = "BROKER_KEY"');
    const folder = folderWith({ 'broker.toml': text });
    await expect(configuredBroker(folder, surroundings)).rejects.toMatchObject({ argument: 'BROKER_KEY' });
    const { close } = await configuredBroker(folder, { ...surroundings, environment: { BROKER_KEY: key } });
    close();
  });

  it('takes tokens of other services from the environment, and says which variable is missing', async () => {
    const vault = 'vault = { address = "https://v.example", key = "k", token-environment = "VAULT_TOKEN" }';
    const record = 'witness = "https://w.example"\nwitness-token-environment = "WITNESS_TOKEN"';
    for (const [written, instead, variable] of [
      ['file = "master.key"', vault, 'VAULT_TOKEN'],
      ['outside = "checkpoint.json"', record, 'WITNESS_TOKEN'],
    ] as const) {
      const text = configurationText(first).replace(written, instead);
      const folder = folderWith({ 'broker.toml': text, 'master.key': `${key}\n` });
      for (const environment of [{}, { [variable]: '' }])
        await expect(configuredBroker(folder, { ...surroundings, environment })).rejects.toMatchObject({
          argument: variable,
        });
      const environment = { [variable]: 'a token' };
      (await configuredBroker(folder, { ...surroundings, environment })).close();
    }
  });

  it('names files that hold what they should', async () => {
    const { endorser } = await makeSilicon();
    const administrators = '[[trustee-administrators]]\nname = "a"\nkeys = "file"\nroles = {}\n[roots]';
    for (const [instead, file, argument] of [
      ['[roots]\ndevelopment = "file"', encodePem('CERTIFICATE', endorser.ask.raw), 'roots.development'],
      [administrators, 'no keys', 'trustee-administrators'],
    ] as const) {
      const text = configurationText(first).replace('[roots]', instead);
      const folder = folderWith({ 'broker.toml': text, 'master.key': `${key}\n`, file });
      await expect(configuredBroker(folder, surroundings)).rejects.toMatchObject({ argument });
    }
  });

  it('says which file is missing', async () => {
    await expect(configuredBroker(folderWith({}), surroundings)).rejects.toMatchObject({
      hint: expect.stringContaining('broker init'),
    });
  });
});

describe('an address', () => {
  it.each([
    ['127.0.0.1:80', { host: '127.0.0.1', port: 80 }],
    ['[::1]:0', { host: '::1', port: 0 }],
    ['localhost:65535', { host: 'localhost', port: 65535 }],
    ['unix:/run/broker', { socketPath: '/run/broker' }],
  ])('%s', (text, address) => {
    expect(addressIn(text)).toEqual(address);
  });

  it.each(['', '127.0.0.1', ':80', 'a:b', '::1:80', 'a:65536', 'unix:', 'a b:1'])('is not %j', (text) => {
    expect(() => addressIn(text)).toThrow('listen');
  });
});
