import { join } from 'node:path';
import { inspectImage, OciLayout } from '@vouchsafe/guest';
import { keyIdText } from '@vouchsafe/protocol';
import { Secret, systemRandom, toHex } from '@vouchsafe/sev';
import type { BootFiles } from '../../boot-files.js';
import { type BrokerCounts, openDemoBroker } from '../../brokered/demo-broker.js';
import { expectedDigest } from '../../brokered/machine.js';
import { playRole } from '../../role-process.js';
import { encryptSampleImage } from '../encryption.js';
import { imageName, makeSampleImage } from '../sample-image.js';

/** The owner: encrypts an image, keeps its key in a broker, and says which machine may open it. Played again, it counts. */
export interface OwnerSettings {
  /** Absent when it is asked what its broker has done. */
  readonly begin?:
    | {
        readonly files: BootFiles;
        /** The owner's own. */
        readonly folder: string;
        /** Where the encrypted image goes: into the host's hands. */
        readonly encrypted: string;
        readonly keyService: string;
        readonly ark: Uint8Array;
      }
    | undefined;
}

export interface OwnerReady {
  /** Measured: it names the broker and the image. */
  readonly commandLine: string;
  readonly encryptedBy: string;
  /** Digests of the layers before they were encrypted, the lowest first. */
  readonly layers: readonly string[];
}

const keyId = { repository: 'demo', type: 'image-key', tag: 'web' };

let count: (() => Promise<BrokerCounts>) | undefined;

playRole<OwnerSettings>(async ({ settings: { begin }, narrate, ready }) => {
  if (begin === undefined) {
    ready(await count?.());
    return;
  }
  const { files, folder, encrypted, keyService, ark } = begin;
  const broker = await openDemoBroker({ folder, keyService, ark });
  count = broker.counted;

  const plain = join(folder, 'plain');
  const layers = await makeSampleImage(plain, systemRandom);
  await narrate.step('owner', `made an image of ${layers.length} layers, and a key broker of its own`);
  const key = Secret.take(systemRandom(32));
  await broker.store(keyId, key);
  await narrate.step('owner', `stored the image’s key with the broker, as ${keyIdText(keyId)}`);
  const encryptedBy = await encryptSampleImage({ from: plain, to: encrypted, folder, key, keyId });
  key.zero();
  const { manifest } = await inspectImage(await OciLayout.open(encrypted), imageName);
  await narrate.message(
    'owner',
    'host',
    `the encrypted image, made with ${encryptedBy}`,
    new TextEncoder().encode(manifest),
    'anyone, but for the layers: who gets the key',
  );

  const agent = `agent.aa_kbc_params=cc_kbc::${broker.address}`;
  const commandLine = `${files.commandLine} ${agent} demo.image=${manifest}`;
  const digest = await expectedDigest(files, commandLine);
  await broker.admit(digest);
  await narrate.step(
    'owner',
    `told the broker which machine may have the key, by the launch digest of its files: ${toHex(digest).slice(0, 16)}…`,
  );
  ready({ commandLine, encryptedBy, layers } satisfies OwnerReady);
});
