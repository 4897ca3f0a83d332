import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AttestationDevice,
  linuxSevGuestPath,
  linuxTsmFolder,
  serveAttestationSocket,
} from '@vouchsafe/guest';
import { initDataDigest } from '@vouchsafe/protocol';
import {
  buildCertificateTable,
  certificateTableGuids,
  toBase64,
  UnavailableError,
  wellKnownSecretGuids,
} from '@vouchsafe/sev';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { secretText } from '../../../../../tools/src/left-behind/secrets.js';
import {
  base64,
  makeBroker,
  permitAll,
  publish,
  storeSecret,
} from '../../../../broker/src/testing/broker.js';
import { packetOf, unwrapRequest, utf8 } from '../../../../guest/src/testing/agent-fixture.js';
import { makeReport } from '../../../../sev/src/testing/reports.js';
import { describeWithVectors, vectorPath, vectors } from '../../../../sev/src/testing/vectors.js';
import { run, runJson, start } from '../../testing/run.js';

/** The key that the image vectors were encrypted with. */
const imageKey = new Uint8Array(createHash('sha256').update('kek').digest());
const someInitData = (settings = '') =>
  `version = "0.1.0"\nalgorithm = "sha256"\n[data]\n"aa.toml" = '''\n${settings}\n'''\n`;

let folder: string;
const at = (name: string) => join(folder, name);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vouchsafe-agent-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
});

/** A broker with an image key of this owner and a secret of another, and a guest whose device is on a socket. */
async function meet(initData = (_broker: string) => someInitData()) {
  const world = await makeBroker();
  await publish(world);
  await storeSecret(world, 'default/credential/1', secretText('a credential'));
  await storeSecret(world, 'other/key/1', secretText('of another owner'));
  const { status } = await world.admin.put('/v1/secrets/default/key/1', { content: toBase64(imageKey) });
  expect(status).toBe(201);
  const forbidden = '@id("other-owner")\nforbid (principal, action, resource == Resource::"other/key/1");\n';
  expect(
    (await world.admin.put('/v1/policies/default', { policy: base64(permitAll + forbidden) })).status,
  ).toBeLessThan(300);
  const address = await world.broker.listen({ host: '127.0.0.1', port: 0 });
  const text = initData(address);
  writeFileSync(at('initdata.toml'), text);
  const hostData = await initDataDigest(text);
  const { endorser } = world.silicon;
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
  const served = await serveAttestationSocket(device, at('device'));
  onTestFinished(() => served.close());
  return { address, world };
}
const alone = () => ['--secrets-folder', at('none'), '--ignore-kernel-command-line'];
const guest = () => ['--device', `socket:${at('device')}`, ...alone()];
const optionsIn = (stdout: string) => {
  const { keyunwrapresults } = JSON.parse(stdout) as { keyunwrapresults: { optsdata: number[] } };
  return Buffer.from(keyunwrapresults.optsdata).toString();
};

describe('agent key-provider', () => {
  it('opens a layer with the broker’s key, and says what the broker says of another owner’s', async () => {
    const { address } = await meet();
    const words = ['agent', 'key-provider', '--broker', address, ...guest()];
    const ask = async (keyId: string) => run(words, { stdin: utf8(unwrapRequest(await packetOf(keyId))) });
    const opened = await ask('kbs:///default/key/1');
    expect([opened.exit, opened.stderr, optionsIn(opened.stdout)]).toEqual([0, '', 'the layer’s options']);
    const foreign = await ask('kbs:///other/key/1');
    expect([foreign.exit, foreign.stdout]).toEqual([1, '']);
    expect(foreign.stderr).toMatch(/does not release other\/key\/1: .*number [0-9-]{19}/);
    const packet = JSON.parse(new TextDecoder().decode(await packetOf('kbs:///default/key/1'))) as object;
    const altered = utf8(unwrapRequest(utf8(JSON.stringify({ ...packet, iv: base64('twelve bytes') }))));
    const refused = await runJson<{ error: { code: string } }>(words, { stdin: altered });
    expect([refused.exit, refused.document.error.code]).toEqual([1, 'wrong-layer-key']);
    expect((await run(words, { stdin: utf8('{}') })).exit).toBe(2);
  });

  it('opens it with a key that was injected, which is wiped; with another machine’s it does not', async () => {
    const entry = (key: Uint8Array) => {
      mkdirSync(at('coco'), { recursive: true });
      writeFileSync(
        at(`coco/${wellKnownSecretGuids.offlineKeys}`),
        JSON.stringify({ 'default/key/1': toBase64(key) }),
      );
    };
    const words = [
      'agent',
      'key-provider',
      '--secrets-folder',
      at('coco'),
      '--device',
      'socket:/none',
      '--ignore-kernel-command-line',
    ];
    const stdin = () => packetOf('kbs:///default/key/1').then((packet) => utf8(unwrapRequest(packet)));
    entry(imageKey);
    const opened = await run(words, { stdin: await stdin() });
    expect([opened.exit, optionsIn(opened.stdout)]).toEqual([0, 'the layer’s options']);
    expect(existsSync(at(`coco/${wellKnownSecretGuids.offlineKeys}`))).toBe(false);
    entry(new Uint8Array(32).fill(1));
    const other = await run(words, { stdin: await stdin() });
    expect([other.exit, other.stderr]).toEqual([1, expect.stringContaining('kbs:///default/key/1')]);
    const none = await run(words, { stdin: await stdin() });
    expect([none.exit, none.stderr]).toEqual([3, expect.stringContaining('injected at launch')]);
  });

  it('reads agent parameters of the kernel, and says when there are two', async () => {
    const { address } = await meet();
    const words = [
      'agent',
      'key-provider',
      '--device',
      `socket:${at('device')}`,
      '--secrets-folder',
      at('none'),
    ];
    const line = (text: string) => {
      writeFileSync(at('cmdline'), text);
      return ['--kernel-command-line', at('cmdline')];
    };
    const stdin = utf8(unwrapRequest(await packetOf('kbs:///default/key/1')));
    const broker = `agent.aa_kbc_params=cc_kbc::${address}`;
    expect((await run([...words, ...line(`quiet ${broker}`)], { stdin })).exit).toBe(0);
    const again = utf8(unwrapRequest(await packetOf('kbs:///default/key/1')));
    const twice = await run([...words, ...line(`${broker} ${broker}x`)], { stdin: again });
    expect([twice.exit, twice.stderr]).toEqual([2, expect.stringContaining('twice')]);
  });

  describeWithVectors('with skopeo’s transcript', () => {
    it('gives its options, from the sample of an offline table as well as from the broker', async () => {
      const { address } = await meet();
      const lines = readFileSync(vectorPath('kbs/image/oci-encrypted/transcript.log'), 'utf8').split('\n');
      const line = (name: string) =>
        lines.find((each) => each.startsWith(`${name} `))!.slice(name.length + 1);
      writeFileSync(at('keys.json'), JSON.stringify({ 'default/key/1': toBase64(imageKey) }));
      for (const source of [
        ['--broker', address, ...guest()],
        ['--offline-keys', at('keys.json'), '--device', 'socket:/none', ...alone()],
      ]) {
        const { exit, stdout } = await run(['agent', 'key-provider', ...source], {
          stdin: utf8(line('UNWRAP-IN')),
        });
        expect([exit, optionsIn(stdout)]).toEqual([0, line('WRAP-OPTS')]);
      }
    });
  });
});

describe('agent serve', () => {
  interface Served {
    places: { rest: string; dataHubSocket: string };
    keysFrom: string[];
    tee: string;
  }
  const places = () => [
    ...['--run', at('run'), '--grpc', '127.0.0.1:0', '--attestation-grpc', 'none'],
    ...['--rest', '127.0.0.1:0', '--rest-features', 'all'],
  ];

  it('serves with settings that HOST_DATA binds, one session for all, until it is stopped', async () => {
    const settings = (address: string) => someInitData(`[token_configs.kbs]\nurl = "${address}"`);
    const { address } = await meet(settings);
    const words = ['agent', 'serve', '--init-data', at('initdata.toml'), ...guest(), ...places()];
    const agent = await start<Served>(words);
    const { places: reached, keysFrom, tee } = agent.document;
    expect([keysFrom, tee, reached.dataHubSocket]).toEqual([[address], 'snp', at('run/cdh.sock')]);
    const get = async (path: string) => {
      const answer = await fetch(`http://${reached.rest}${path}`);
      return [answer.status, await answer.text()];
    };
    expect(await get('/cdh/resource/default/credential/1')).toEqual([200, secretText('a credential')]);
    expect(await get('/cdh/resource/other/key/1')).toEqual([403, expect.stringMatching(/number [0-9-]{19}/)]);
    expect(await get('/cdh/resource/default/none/1')).toEqual([404, expect.stringContaining('has no')]);
    expect((await get('/aa/token?token_type=kbs'))[0]).toBe(200);
    expect((await agent.stop()).exit).toBe(0);
    expect(existsSync(reached.dataHubSocket)).toBe(false);
  });

  it('refuses init-data that HOST_DATA does not bind, before anybody is asked', async () => {
    await meet();
    writeFileSync(at('other.toml'), someInitData('[token_configs.kbs]\nurl = "http://127.0.0.1:1"'));
    const words = ['agent', 'serve', '--init-data', at('other.toml'), ...guest(), ...places()];
    const { exit, document } = await runJson<{ checks: { id: string; status: string }[] }>(words);
    expect([exit, document.checks.map(({ id, status }) => [id, status])]).toEqual([
      1,
      [['init-data.host-data', 'fail']],
    ]);
    const unbound = [
      'agent',
      'serve',
      '--init-data',
      at('other.toml'),
      '--device',
      'socket:/none',
      ...alone(),
      ...places(),
    ];
    expect((await run(unbound)).exit).toBe(3);
  });

  it.each<[string, () => string[], number, string]>([
    ['an address beyond loopback', () => ['--rest', '0.0.0.0:8006'], 2, '127.0.0.1:PORT'],
    ['settings that are none', () => ['--settings', at('bad')], 2, 'attestation agent settings'],
    ['a user that is none', () => ['--allow-user', 'root'], 2, '--allow-user'],
    ['features that do not exist', () => ['--rest-features', 'most'], 2, '--rest-features'],
    ['a broker over plain HTTP', () => ['--broker', 'http://example.io:8080'], 2, 'plain HTTP'],
  ])('with %s is refused', async (_what, words, exit, said) => {
    writeFileSync(at('bad'), '[token_configs');
    writeFileSync(at('keys.json'), '{}');
    const usual = [
      '--offline-keys',
      at('keys.json'),
      '--device',
      'socket:/none',
      ...alone(),
      '--run',
      at('run'),
    ];
    const off = ['--grpc', 'none', '--attestation-grpc', 'none', '--rest', 'none'];
    const ended = await run(['agent', 'serve', ...usual, ...off, ...words()]);
    expect([ended.exit, ended.stderr]).toEqual([exit, expect.stringContaining(said)]);
  });

  it('with a broker and no device says that there is none', async ({ skip }) => {
    if (existsSync(linuxSevGuestPath) || existsSync(linuxTsmFolder)) return skip('this machine has a device');
    const words = ['agent', 'serve', '--broker', 'https://broker.example', ...alone(), ...places()];
    const { exit, stderr } = await run(words);
    expect([exit, stderr]).toEqual([3, expect.stringContaining('attestation device')]);
  });

  describeWithVectors('with the sample settings of guest-components', () => {
    it('takes their brokers, but for the one over plain HTTP', async () => {
      await meet();
      for (const [option, name, said] of [
        ['--data-hub-settings', 'cdh-config/example.config.json', 'plain HTTP to example.io'],
      ] as const) {
        writeFileSync(at('settings'), vectors(`kbs/${name}`));
        const ended = await run(['agent', 'serve', option, at('settings'), ...guest(), ...places()]);
        expect([ended.exit, ended.stderr], name).toEqual([2, expect.stringContaining(said)]);
      }
      for (const name of ['config1', 'config2', 'config3']) {
        writeFileSync(at('settings'), vectors(`kbs/aa-config/${name}.toml`));
        const agent = await start<Served>([
          'agent',
          'serve',
          '--settings',
          at('settings'),
          ...guest(),
          ...places(),
        ]);
        expect(agent.document.keysFrom, name).toEqual(['https://127.0.0.1:8080']);
        await agent.stop();
      }
    });
  });
});
