import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sealStandInVolume } from '@vouchsafe/guest';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import { Secret, systemRandom } from '@vouchsafe/sev';
import { beforeAll, expect, it, onTestFinished } from 'vitest';
import { secretText } from '../../../tools/src/left-behind/secrets.js';
import { testAuthorityKeys } from '../../kds/src/testing/authority-keys.js';
import { temporaryFolder } from '../../kds/src/testing/temporary.js';
import { carryOut, startService } from './commands/up/processes.js';
import { build } from './testing/process.js';
import { recordingIo } from './testing/run.js';

/** A broker, a key service, a host and two machines that get secrets, each in a process of its own, over HTTP. */

beforeAll(build);

/** Many processes take turns on a busy computer. Milliseconds. */
const timeout = 300_000;

interface Entry {
  readonly sequence: number;
  readonly reference: string;
  readonly at: string;
  readonly kind: string;
  readonly subject?: string;
}

interface Verdict {
  readonly accepted: boolean;
  readonly checks: readonly { readonly id: string; readonly status: string; readonly found?: string }[];
}

const secrets = {
  snp: secretText('what only the SEV-SNP machine knows'),
  'sev-es': secretText('what only the SEV-ES machine knows'),
};

async function world() {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  const { io, output } = recordingIo();
  const serve = async <T>(name: string, ...words: string[]) => {
    const service = await startService<T>(words, { name, io, patience: 60_000 });
    onTestFinished(() => service.close());
    return service;
  };
  const vouchsafe = async <T>(...words: string[]) => {
    const { exit, document } = await carryOut(words);
    expect(exit, `vouchsafe ${words.join(' ')}: ${JSON.stringify(document)}`).toBe(0);
    return document as T;
  };
  await openDevelopmentAuthority({
    folder: at('authority'),
    generation: 'milan',
    generateKeys: testAuthorityKeys,
  });
  const kds = await serve<{ url: string; ark: string; snpArk: string }>(
    'key service',
    ...['kds', 'serve', '--authority', at('authority')],
  );
  const { url, ark, snpArk } = kds.document;
  const data = ['--data', at('broker')];
  await vouchsafe(
    ...['broker', 'init', ...data, '--listen', '127.0.0.1:0'],
    ...['--root', snpArk, '--platform-root', ark, '--kds', url],
  );
  const serveBroker = () => serve<{ address: string }>('broker', 'broker', 'serve', ...data);
  const broker = <T>(...words: string[]) => vouchsafe<T>('broker', ...words, ...data);
  return { at, data, output, serve, serveBroker, broker, vouchsafe };
}

/** One bit of the sealed content of an entry, in the file itself. */
function changeOneByte(file: string, { reference, at, kind }: Entry): void {
  const content = readFileSync(file);
  const columns = Buffer.from(`${reference}${at}${kind}`);
  const start = content.indexOf(columns);
  expect([start > 0, content.indexOf(columns, start + 1)]).toEqual([true, -1]);
  // The entry's number stands between them and the content.
  const place = start + columns.length + 40;
  content.writeUInt8(content.readUInt8(place) ^ 1, place);
  writeFileSync(file, content);
}

it(
  'machines of SEV-SNP and SEV-ES get their secrets, and the record notices a changed byte',
  { timeout },
  async () => {
    const { at, data, output, serve, serveBroker, broker, vouchsafe } = await world();
    const first = await serveBroker();
    const { address } = first.document;
    const software = ['--software', at('host'), '--authority', at('authority')];
    const machine = serve('machine', 'guest', 'device', 'serve', ...software, '--socket', at('device'));

    await vouchsafe('guest', 'firmware', at('firmware.fd'));
    const cpu = ['--vcpus', '1', '--vcpu-type', 'EPYC-Milan'];
    const images = ['--mode', 'snp', '--ovmf', at('firmware.fd'), ...cpu];
    const { digest } = await vouchsafe<{ digest: string }>('digest', ...images);
    await broker('reference', 'publish', '--measurement', digest);
    await broker('policy', 'set', 'default', '--measurement', digest);
    const rule = 'permit (principal is PreLaunchGuest, action == Action::"release", resource)';
    writeFileSync(at('launches.cedar'), `@id("launches") ${rule} when { principal.tee == "sev-es" };`);
    await broker('policy', 'set', 'launches', '--from', at('launches.cedar'));
    for (const [name, policy] of [
      ['snp', 'default'],
      ['sev-es', 'launches'],
    ] as const) {
      writeFileSync(at(`${name}.secret`), secrets[name]);
      const from = ['--from', at(`${name}.secret`), '--policy', policy];
      await broker('secret', 'put', `machines/${name}/key`, ...from);
    }
    await broker(
      ...['launch', 'set', 'default', '--policy', '0xf', '--firmware', at('firmware.fd'), ...cpu],
      ...['--secret', 'luks-key:machines/sev-es/key'],
    );

    await machine;
    const get = ['guest', 'secrets', 'get', 'kbs:///machines/snp/key', '--broker', address];
    await vouchsafe(...get, '--device', `socket:${at('device')}`, '--out', at('got'));
    expect(readFileSync(at('got'), 'utf8')).toBe(secrets.snp);
    const key = Secret.take(new TextEncoder().encode(secrets['sev-es']));
    const content = new TextEncoder().encode('what the disk holds');
    writeFileSync(at('disk.img'), sealStandInVolume({ content, key, random: systemRandom }));
    const launched = await vouchsafe<{ mode: string; console: readonly string[] }>(
      ...['host', 'launch', ...software, '--owner', address, '--disk', at('disk.img')],
    );
    expect([launched.mode, launched.console.at(-1)]).toEqual(['sev-es', 'stand-in volume unlocked']);

    const record = await broker<Entry[]>('audit', 'tail', '--limit', '100');
    const releases = record.filter(({ kind }) => kind === 'release');
    expect(releases.map(({ subject }) => subject)).toEqual(['machines/snp/key', 'machines/sev-es/key']);
    for (const kind of ['challenge', 'appraisal', 'decision', 'launch'])
      expect(
        record.some((each) => each.kind === kind),
        kind,
      ).toBe(true);
    expect((await broker<Verdict>('audit', 'verify')).accepted).toBe(true);

    await first.close();
    const [released] = releases as [Entry];
    changeOneByte(at('broker/broker.db'), released);
    await serveBroker();
    const { exit, document } = await carryOut(['broker', 'audit', 'verify', ...data]);
    const failed = (document as Verdict).checks.filter(({ status }) => status === 'fail');
    expect([exit, failed.map(({ id }) => id)]).toEqual([
      1,
      ['record.chain', 'record.sealed', 'record.state'],
    ]);
    for (const { id, found } of failed)
      if (id !== 'record.state') expect(found).toContain(`entry ${released.sequence} of replica`);
    for (const secret of Object.values(secrets)) expect(output().stderr).not.toContain(secret);
  },
);
