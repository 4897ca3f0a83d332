import { readFile, writeFile } from 'node:fs/promises';
import { calculateSnpLaunchDigest, openSecret, toHex, vcpuSignatureOf } from '@vouchsafe/sev';
import { connectBroker } from '../../../commands/broker/client.js';
import { denialsOf, type ExplanationAnswer } from '../../../commands/broker/explain.js';
import { serveFolder } from '../../../commands/broker/serve-folder.js';
import { tellBroker } from '../../../commands/up/tell-broker.js';
import { processIo } from '../../../frame/io.js';
import type { BootFiles } from '../../boot-files.js';
import { drawDiskKey } from '../../disk.js';
import type { Narrator } from '../../narration.js';
import { playRole } from '../../role-process.js';
import { commandLineOf, snpGuest } from '../../snp/release.js';
import { resource } from '../story-facts.js';

/** The guest owner: has a key broker of its own, and administers it. It plays again for each thing that it does. */
export type OwnerSettings = { readonly data: string; readonly files: BootFiles } & (
  | {
      readonly act: 'open';
      readonly keyService: string;
      readonly ark: { readonly file: string; readonly content: Uint8Array };
      readonly release: number;
    }
  | { readonly act: 'explain'; readonly number: string }
  | { readonly act: 'publish'; readonly releases: readonly number[] }
  | { readonly act: 'verify' }
);

export interface OwnerReady {
  /** Where the broker answers. */
  readonly address: string;
}

playRole<OwnerSettings>(({ settings, narrate, ready }) => {
  if (settings.act === 'open') return open(settings, narrate, ready);
  ready();
  if (settings.act === 'explain') return explain(settings, narrate);
  return settings.act === 'publish'
    ? publish(settings, settings.releases, narrate)
    : verify(settings, narrate);
});

async function open(
  settings: OwnerSettings & { readonly act: 'open' },
  narrate: Narrator,
  ready: (value: OwnerReady) => void,
): Promise<void> {
  const { data, ark, keyService, release } = settings;
  await writeFile(ark.file, ark.content);
  const folder = ['--data', data];
  const listen = ['--listen', '127.0.0.1:0'];
  await tellBroker(['init', ...folder, ...listen, '--root', ark.file, '--kds', keyService]);
  await narrate.step('owner', 'makes a key broker: keys, a token, and a policy that denies everything');
  const served = await serveFolder({ data, acceptClock: false, log: 'silent' }, processIo());
  const key = drawDiskKey();
  await tellBroker(
    ['secret', 'put', resource, ...folder, '--from', '-'],
    new TextDecoder().decode(openSecret(key)),
  );
  key.zero();
  await narrate.step('owner', `stores ${resource}, encrypted under the broker’s master key`);
  await publish(settings, [release], narrate);
  await tellBroker(['policy', 'set', 'default', ...folder, '--reference', 'owner/images']);
  await narrate.step('owner', 'sets the policy: whoever is one of the published images gets it');
  ready(served.json as OwnerReady);
}

/** The digests are computed from the owner's own files. */
async function publish(
  { data, files }: OwnerSettings,
  releases: readonly number[],
  narrate: Narrator,
): Promise<void> {
  const measurements: string[] = [];
  for (const release of releases) {
    const { digest } = await calculateSnpLaunchDigest({
      firmware: new Uint8Array(await readFile(files.firmware)),
      kernel: new Uint8Array(await readFile(files.kernel)),
      initrd: new Uint8Array(await readFile(files.initrd)),
      append: commandLineOf(files, release),
      vcpus: snpGuest.vcpus,
      vcpuSignature: vcpuSignatureOf(snpGuest.vcpuType),
    });
    measurements.push('--measurement', toHex(digest));
  }
  await tellBroker(['reference', 'publish', '--data', data, ...measurements]);
  const which = releases.length === 1 ? `release ${releases[0]}` : `releases ${releases.join(' and ')}`;
  await narrate.step('owner', `computes the launch digest of ${which}, signs and publishes it`);
}

async function explain(
  { data, number }: OwnerSettings & { readonly act: 'explain' },
  narrate: Narrator,
): Promise<ExplanationAnswer> {
  const broker = await connectBroker({ data }, processIo());
  const answer = await broker.ask<ExplanationAnswer>('GET', `/decisions/${number}`);
  const rules = denialsOf(answer.entry).map(({ rule }) => rule);
  await narrate.step(
    'owner',
    `asks the broker to explain ${number}: denied by ${rules.join(', ')}`,
    'refused',
  );
  return answer;
}

/** Verifies the record as `broker audit verify` does. */
async function verify({ data }: OwnerSettings, narrate: Narrator): Promise<void> {
  await tellBroker(['audit', 'verify', '--data', data]);
  await narrate.step(
    'owner',
    'verifies the record: every challenge, decision and release is as it was written',
    'accepted',
  );
}
