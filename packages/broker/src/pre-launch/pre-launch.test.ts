import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  chipEndorsementRequest,
  connectGuest,
  connectHost,
  createSoftwareMachine,
  manufactureChip,
  serveMachine,
} from '@vouchsafe/firmware';
import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  buildGuestFirmware,
  formatDemoLuks,
  guestFirmwareProgram,
  hasCryptsetup,
  sealStandInVolume,
  unlockDiskInit,
  unlockVolume,
} from '@vouchsafe/guest';
import { connectGuestOwner, type MachineEvent, softwareLauncher, softwarePlatform } from '@vouchsafe/host';
import { createKdsClient, openDevelopmentAuthority, serveKds } from '@vouchsafe/kds';
import type { LaunchRequest } from '@vouchsafe/protocol';
import {
  buildGuestPolicy,
  concat,
  openSecret,
  RefusedError,
  Secret,
  systemRandom,
  vcpuSignatureOf,
} from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import { testAuthorityKeys } from '../../../kds/src/testing/authority-keys.js';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import { serveGuestOwner } from './http.js';
import { diskKey } from './launch-secrets.js';
import { createGuestOwner } from './owner.js';

const text = (value: string) => new TextEncoder().encode(value);
const directBoot = {
  kernel: systemRandom(1024 * 1024 + 5),
  initrd: systemRandom(100_000),
  commandLine: 'console=ttyS0 root=/dev/mapper/root',
};
const vcpuSignature = vcpuSignatureOf('EPYC-Milan');
const content = text('what the disk holds');

/** Key service, silicon, guest and owner, each behind a socket of its own, as in production. */
async function world(mode: 'sev' | 'sev-es') {
  const folder = temporaryFolder();
  const authority = await openDevelopmentAuthority({
    folder: join(folder, 'authority'),
    generation: 'milan',
    generateKeys: testAuthorityKeys,
  });
  const kds = await serveKds([authority], { host: '127.0.0.1', port: 0 });
  onTestFinished(() => kds.close());

  const chip = manufactureChip({ random: systemRandom, generation: 'milan' });
  const { chipId, unsignedCek } = chipEndorsementRequest(chip);
  await authority.endorse(chipId, unsignedCek);
  const machine = createSoftwareMachine({ chip, random: systemRandom, memory: 36 * 1024 * 1024 });
  const sockets = { hostSocket: join(folder, 'host.sock'), guestSocket: join(folder, 'guest.sock') };
  const served = await serveMachine(machine, sockets);
  onTestFinished(async () => {
    await machine.close();
    await served.close();
  });

  const key = Secret.take(systemRandom(32));
  const volume = join(folder, 'disk.img');
  if (await hasCryptsetup()) {
    writeFileSync(volume, '');
    truncateSync(volume, 20 * 1024 * 1024);
    await formatDemoLuks({ volume, key });
  } else {
    writeFileSync(volume, sealStandInVolume({ content, key, random: systemRandom }));
  }

  const seen: string[] = [];
  const program = guestFirmwareProgram({
    init: unlockDiskInit({
      unlock: async (given) => `${(await unlockVolume({ volume, key: given })).kind} volume unlocked`,
    }),
    onConsole: (line) => seen.push(line),
  });
  const guest = await connectGuest(sockets.guestSocket, program);
  onTestFinished(() => guest.close());

  const es = { encryptedState: mode === 'sev-es' };
  const owner = await createGuestOwner({
    roots: [authority.root],
    keyService: createKdsClient({ baseUrl: kds.url }),
    policy: buildGuestPolicy({ noDebug: true, noKeySharing: true, noSend: true, ...es }),
    images: [
      {
        name: 'disk server',
        firmware: buildGuestFirmware(),
        directBoot,
        vcpus: [1],
        vcpuTypes: ['EPYC-Milan'],
      },
    ],
    secrets: [diskKey(key)],
    random: systemRandom,
    now: Date.now,
  });
  const server = await serveGuestOwner(owner, { socketPath: join(folder, 'owner.sock') });
  onTestFinished(() => server.close());

  const host = await connectHost(sockets.hostSocket);
  onTestFinished(() => host.close());
  return { authority, chipId, host, key, seen, ownerAddress: server.address };
}

/** What an honest host does between its owner and its processor; `changes` makes it less so. */
async function launch(
  { authority, chipId, host, ownerAddress }: Awaited<ReturnType<typeof world>>,
  {
    which = 'A',
    changes = {},
  }: { which?: 'A' | 'B'; changes?: { firmware?: Uint8Array; directBoot?: typeof directBoot } } = {},
) {
  const platform = softwarePlatform(host);
  const owner = connectGuestOwner(ownerAddress);
  const { pdh, chain } = await platform.export();
  const { apiMajor, apiMinor, build } = await platform.status();
  const common = { apiMajor, apiMinor, buildId: build, pdh };
  const request: LaunchRequest =
    which === 'A'
      ? { case: 'A', ...common, certificateChain: chain, chipId: await platform.chipId() }
      : {
          case: 'B',
          ...common,
          certificateChain: concat(chain.slice(0, 2 * 0x824), (await authority.findCek(chipId))!),
          certificateAuthority: concat(authority.ask, authority.ark),
        };
  const { launchId, mode, policy, godhCertificate, session } = await owner.openSession(request);
  const channel = { godhCertificate, session };
  const configuration = {
    mode,
    policy,
    channel,
    firmware: buildGuestFirmware(),
    directBoot,
    vcpus: 1,
    vcpuSignature,
    ...changes,
  };
  const machine = await softwareLauncher(host).launch(configuration);
  onTestFinished(() => machine.quit());
  const reported = await machine.information();
  const { apiMajor: major, apiMinor: minor, buildId } = reported;
  const measurement = await machine.launchMeasurement();
  const evidence = {
    launchId,
    measurement,
    apiMajor: major,
    apiMinor: minor,
    buildId,
    policy: reported.policy,
  };
  return { machine, deliver: () => owner.reportMeasurement(evidence) };
}

async function runToEnd(machine: Awaited<ReturnType<typeof launch>>['machine']) {
  const events: MachineEvent[] = [];
  const over = new Promise<void>((resolve) => {
    machine.onEvent((event) => {
      events.push(event);
      if (event.type === 'booted' || event.type === 'ended') resolve();
    });
  });
  await machine.resume();
  await over;
  return events;
}

/** Searches all of physical memory, as the host reads it, in pieces that overlap. */
async function appearsInHostMemory({ memory }: HostMachine, wanted: Uint8Array): Promise<boolean> {
  const step = 4 * 1024 * 1024;
  const trustedRegion = 1024 * 1024;
  for (let at = 0; at < memory.size - trustedRegion; at += step) {
    const length = Math.min(step + wanted.length, memory.size - trustedRegion - at);
    if (Buffer.from(await memory.read(at, length)).includes(Buffer.from(wanted))) return true;
  }
  return false;
}

describe.each(['sev', 'sev-es'] as const)('from a platform’s keys to an unlocked disk, %s', (mode) => {
  it.each(['A', 'B'] as const)('case %s', async (which) => {
    const roles = await world(mode);
    const { machine, deliver } = await launch(roles, { which });
    await machine.injectSecret(await deliver());
    const events = await runToEnd(machine);

    const unlocked = `${(await hasCryptsetup()) ? 'luks2' : 'stand-in'} volume unlocked`;
    expect(roles.seen.at(-1)).toBe(unlocked);
    expect(events.filter(({ type }) => type === 'console').at(-1)).toEqual({
      type: 'console',
      line: unlocked,
    });
    expect(events.at(-1)).toEqual({ type: 'booted' });
    expect(await appearsInHostMemory(roles.host, openSecret(roles.key))).toBe(false);
    expect(await appearsInHostMemory(roles.host, text(unlocked))).toBe(true);
    await expect(deliver()).rejects.toThrow(/session.unused/);
  });

  it('altered firmware gets no secret, and does not pass for the project’s own', async () => {
    const roles = await world(mode);
    const { machine, deliver } = await launch(roles, {
      changes: { firmware: buildGuestFirmware().with(0x3000, 0) },
    });
    await expect(deliver()).rejects.toThrow(RefusedError);
    expect(await runToEnd(machine)).toContainEqual(
      expect.objectContaining({ type: 'ended', reason: 'shutdown' }),
    );
    expect(roles.seen).toEqual([]);
  });

  it('altered command line gets no secret, and boots a guest whose volume stays locked', async () => {
    const roles = await world(mode);
    const changed = { ...directBoot, commandLine: `${directBoot.commandLine} init=/bin/sh` };
    const { machine, deliver } = await launch(roles, { changes: { directBoot: changed } });
    await expect(deliver()).rejects.toThrow(/measurement.digest/);
    await runToEnd(machine);
    expect(roles.seen.at(-1)).toContain('stays locked');
  });
});
