import { buildGuestFirmware } from '@vouchsafe/guest';
import {
  type Appraisal,
  buildGuestPolicy,
  calculateLaunchDigest,
  Secret,
  systemRandom,
  verdict,
  wellKnownSecretGuids,
} from '@vouchsafe/sev';
import { createGuestOwner, type GuestOwner, type GuestOwnerOptions } from '../pre-launch/owner.js';
import { memorySessionStore, type PendingSession, type SessionStore } from '../pre-launch/sessions.js';
import { type TestPlatform, version } from './platform.js';

const text = (value: string) => new TextEncoder().encode(value);

export const files = { kernel: text('a kernel'), initrd: text('an initrd'), commandLine: 'console=ttyS0' };
export const image = {
  name: 'disk server',
  firmware: buildGuestFirmware(),
  directBoot: files,
  vcpus: [1, 2],
  vcpuTypes: ['EPYC-Milan'],
};
export const diskPassphrase = 'correct horse battery staple';
export const policies = {
  sev: buildGuestPolicy({ noDebug: true, noKeySharing: true, noSend: true }),
  'sev-es': buildGuestPolicy({ noDebug: true, noKeySharing: true, noSend: true, encryptedState: true }),
};

/** An owner with a clock that the test sets, and a store that shows the sessions it was given. */
export async function makeOwner(
  platform: TestPlatform,
  { offline = false, ...changes }: Partial<GuestOwnerOptions> & { readonly offline?: boolean } = {},
) {
  const clock = { now: Date.UTC(2026, 10, 22) };
  const sessions: PendingSession[] = [];
  const inner = changes.sessions ?? memorySessionStore();
  const store: SessionStore = {
    ...inner,
    async add(session) {
      sessions.push(session);
      await inner.add(session);
    },
  };
  const owner = await createGuestOwner({
    roots: [platform.authority.root],
    ...(offline ? {} : { keyService: platform.keyService }),
    policy: policies.sev,
    images: [image],
    secrets: [{ guid: wellKnownSecretGuids.luksKey, data: Secret.take(text(diskPassphrase)) }],
    random: systemRandom,
    now: () => clock.now,
    sessionLifetime: 60_000,
    ...changes,
    sessions: store,
  });
  return { owner, clock, sessions };
}

/** The launch digest of the image, or of what it was changed into. */
export async function digestOf(changes: object = {}): Promise<Uint8Array> {
  const { kernel, initrd, commandLine: append } = files;
  const { firmware } = image;
  const given = { mode: 'sev', firmware, kernel, initrd, append, ...changes } as const;
  return (await calculateLaunchDigest(given)).digest;
}

/** A session that the owner opened to the platform, the guest that was launched with it, and what reports its measurement. */
export async function launch(owner: GuestOwner, platform: TestPlatform) {
  const { bundle } = await owner.openSession(platform.request());
  if (bundle === undefined) throw new Error('no session was opened');
  const guest = await platform.start(bundle);
  const report = (measurement: Uint8Array, changes: object = {}) =>
    owner.appraiseMeasurement({
      launchId: bundle.launchId,
      measurement,
      ...version,
      policy: bundle.policy,
      ...changes,
    });
  return { bundle, guest, report };
}

/** Ids of the checks that failed. */
export const failedOf = (appraisal: Appraisal): string[] => verdict(appraisal).failed.map(({ id }) => id);
