import { createCipheriv, createHmac, diffieHellman, generateKeyPairSync, randomBytes } from 'node:crypto';
import {
  appraiseLaunchMeasurement,
  buildSecretPacket,
  buildSecretTable,
  calculateLaunchDigest,
  createLaunchSession,
  deactivateBuffer,
  decommissionBuffer,
  type FirmwareVersion,
  type LaunchSession,
  launchFinishBuffer,
  launchMeasureBuffer,
  launchMeasurementBlob,
  launchSecretBuffer,
  launchUpdateDataBuffer,
  p384KeyOf,
  parseLaunchMeasurement,
  requireAccepted,
  systemRandom,
  wellKnownSecretGuids,
} from '@vouchsafe/sev';
import { hashAndEncrypt } from './launch-update.js';
import { BenchMachine, layout } from './machine.js';
import type { Benchmark } from './measure.js';
import { sessionSymmetric } from './session.js';

const policy = 1;
const imageSize = 2 ** 20;
const secretSize = 64;

/**
 * A whole launch of 1 MiB with its owner: session, launch, measurement, appraisal, secret, finish, and the guest taken
 * down again. The primitives are those of both sides.
 */
export async function launches(): Promise<Omit<Benchmark, 'name'>> {
  const machine = await BenchMachine.start(16 * 2 ** 20);
  const pdh = p384KeyOf(await machine.pdh());
  const image = new Uint8Array(randomBytes(imageSize));
  const platform = await machine.version();
  const { digest } = await calculateLaunchDigest({ mode: 'sev', firmware: image });
  const peer = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  return {
    unit: 'launches/s',
    amount: 1,
    async ours() {
      const session = await createLaunchSession({ pdh, policy, random: systemRandom });
      const handle = await machine.startGuest(policy, session);
      await machine.host.memory.write(layout.image, image);
      await machine.command('LAUNCH_UPDATE_DATA', launchUpdateDataBuffer, { handle, ...imageRange });
      const blob = await measure(machine, handle);
      await provision(machine, handle, { session, blob, platform, digest });
      await machine.command('LAUNCH_FINISH', launchFinishBuffer, { handle });
      await machine.command('DEACTIVATE', deactivateBuffer, { handle });
      await machine.command('DECOMMISSION', decommissionBuffer, { handle });
      await machine.flush();
    },
    raw() {
      const owner = generateKeyPairSync('ec', { namedCurve: 'P-384' });
      for (const [own, other] of [[owner, peer] as const, [peer, owner] as const]) {
        sessionSymmetric(diffieHellman({ privateKey: own.privateKey, publicKey: other.publicKey }));
        measurementAndPacket();
      }
      hashAndEncrypt(image);
    },
    close: () => machine.close(),
  };
}

const imageRange = { address: BigInt(layout.image), length: imageSize };

async function measure(machine: BenchMachine, handle: number): Promise<Uint8Array> {
  const address = layout.chain;
  await machine.command('LAUNCH_MEASURE', launchMeasureBuffer, {
    handle,
    address: BigInt(address),
    length: launchMeasurementBlob.size,
  });
  return machine.host.memory.read(address, launchMeasurementBlob.size);
}

/** The owner appraises the measurement and answers it with a disk key; the host injects it. */
async function provision(
  machine: BenchMachine,
  handle: number,
  launch: { session: LaunchSession; blob: Uint8Array; platform: FirmwareVersion; digest: Uint8Array },
): Promise<void> {
  const { tek, tik } = launch.session;
  const { platform } = launch;
  const expectedDigests = [{ name: 'image', digest: launch.digest }];
  requireAccepted(
    await appraiseLaunchMeasurement({ blob: launch.blob, tik, policy, expectedDigests, platform }),
  );

  const { measurement } = parseLaunchMeasurement(launch.blob);
  const plaintext = buildSecretTable([
    { guid: wellKnownSecretGuids.luksKey, data: systemRandom(secretSize - 40) },
  ]);
  const binding = { tek, tik, measurement, ...platform };
  const { header, payload } = await buildSecretPacket({ ...binding, plaintext, iv: systemRandom(16) });
  await machine.host.memory.write(layout.certificate, header);
  await machine.host.memory.write(layout.session, payload);
  await machine.command('LAUNCH_SECRET', launchSecretBuffer, {
    handle,
    headerAddress: BigInt(layout.certificate),
    headerLength: header.length,
    guestAddress: BigInt(layout.image),
    guestLength: payload.length,
    transportAddress: BigInt(layout.session),
    transportLength: payload.length,
  });
  for (const secret of [plaintext, tek, tik]) secret.zero();
}

function measurementAndPacket(): void {
  const key = randomBytes(16);
  createHmac('sha256', key).update(randomBytes(56)).digest();
  createCipheriv('aes-128-ctr', key, randomBytes(16)).update(randomBytes(secretSize));
  createHmac('sha256', key).update(randomBytes(93)).digest();
}
