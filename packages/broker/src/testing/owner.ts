import { buildGuestFirmware } from '@vouchsafe/guest';
import { buildGuestPolicy, Secret, systemRandom, wellKnownSecretGuids } from '@vouchsafe/sev';
import { createGuestOwner, type GuestOwnerOptions } from '../pre-launch/owner.js';
import { memorySessionStore, type PendingSession, type SessionStore } from '../pre-launch/sessions.js';
import type { TestPlatform } from './platform.js';

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
