import { readFile } from 'node:fs/promises';
import {
  createGuestOwner,
  describeExpectedLaunches,
  diskKey,
  type GuestOwner,
  serveGuestOwner,
} from '@vouchsafe/broker';
import { createKdsClient, type KdsClient } from '@vouchsafe/kds';
import { concat, developmentPlatformRoot, systemRandom } from '@vouchsafe/sev';
import type { BootFiles } from '../boot-files.js';
import { drawDiskKey, makeDisk } from '../disk.js';
import { type Narrator, tellVerdict } from '../narration.js';
import { playRole } from '../role-process.js';

/** The guest owner: has a disk and its key, and gives the key to nobody but the machine that it expects. */
export interface OwnerSettings {
  readonly policy: number;
  readonly mode: 'sev' | 'sev-es';
  readonly files: BootFiles;
  readonly vcpus: number;
  readonly vcpuType: string;
  readonly socket: string;
  readonly keyService: string;
  /** The development root that this owner trusts, and no other. */
  readonly ark: Uint8Array;
  /** Where the owner's encrypted disk goes. */
  readonly volume: string;
}

export interface OwnerReady {
  /** How the owner says that its disk is encrypted. */
  readonly disk: string;
}

playRole<OwnerSettings>(async ({ settings, narrate, ready }) => {
  const key = drawDiskKey();
  const disk = await makeDisk(settings.volume, key);
  await narrate.step('owner', `made ${disk}; its key has 64 characters, and only the owner knows it`);

  const keyService = narratedKeyService(createKdsClient({ baseUrl: settings.keyService }), narrate);
  const { firmware, kernel, initrd, commandLine } = settings.files;
  const owner = await createGuestOwner({
    roots: [await developmentPlatformRoot(settings.ark)],
    keyService,
    policy: settings.policy,
    images: [
      {
        name: 'demo machine',
        firmware: await readFile(firmware),
        directBoot: { kernel: await readFile(kernel), initrd: await readFile(initrd), commandLine },
        ...(settings.mode === 'sev' ? {} : { vcpus: [settings.vcpus], vcpuTypes: [settings.vcpuType] }),
      },
    ],
    secrets: [diskKey(key)],
    random: systemRandom,
    now: () => Date.now(),
  });
  await narrate.step(
    'owner',
    `computed ${owner.expected.digests.length === 1 ? 'the launch digest' : 'the launch digests'} that it expects, from its own copies of the images: ${describeExpectedLaunches(owner.expected)[0]?.slice(0, 16)}…`,
  );
  await serveGuestOwner(narratedOwner(owner, narrate), { socketPath: settings.socket });
  ready({ disk } satisfies OwnerReady);
});

/** Case A: the owner asks the key service itself. */
function narratedKeyService(client: KdsClient, narrate: Narrator): Pick<KdsClient, 'cek' | 'issuerOf'> {
  return {
    async cek(chipId, options) {
      await narrate.message('owner', 'key service', 'GET the CEK of this chip id', chipId);
      const cek = await client.cek(chipId, options);
      await narrate.message('key service', 'owner', 'CEK, signed by the ASK', cek);
      return cek;
    },
    async issuerOf(cek) {
      const issuer = await client.issuerOf(cek);
      await narrate.message('key service', 'owner', `ASK and ARK of ${issuer.generation}`, issuer.askArk);
      return issuer;
    },
  };
}

function narratedOwner(owner: GuestOwner, narrate: Narrator): GuestOwner {
  return {
    ...owner,
    async openSession(request) {
      const answer = await owner.openSession(request);
      await tellVerdict(narrate, 'platform', answer.appraisal);
      if (answer.bundle !== undefined) {
        const { godhCertificate, session } = answer.bundle;
        const content = concat(godhCertificate, session);
        await narrate.message(
          'owner',
          'host',
          'launch bundle: policy, GODH certificate, session',
          content,
          'owner and processor (the wrapped keys)',
        );
      }
      return answer;
    },
    async appraiseMeasurement(evidence) {
      const answer = await owner.appraiseMeasurement(evidence);
      await tellVerdict(narrate, 'measurement', answer.appraisal);
      if (answer.delivery !== undefined) {
        const { header, payload } = answer.delivery;
        await narrate.message(
          'owner',
          'host',
          'secret packet: the disk key',
          concat(header, payload),
          'owner and processor',
        );
      }
      return answer;
    },
  };
}
