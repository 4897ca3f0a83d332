import { createCipheriv, createDecipheriv, createECDH, hkdfSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { brokerResources, connectKeyBroker, guestKeyProvider } from '@vouchsafe/guest';
import { annotationPacketBytes, keyProviderInput, parseKeyId, wrapLayerOptions } from '@vouchsafe/protocol';
import { buildCertificateTable, Secret, systemRandom, toHex } from '@vouchsafe/sev';
import { administrator, admitGuests, initialise, startReplica, storeSecret } from '../broker-load/replica.js';
import { connect } from '../broker-load/requests.js';
import { makeSoftwareChip } from '../software-chip/chip.js';
import type { Benchmark } from './measure.js';

const path = 'default/image-key/bench';
/** 32 characters, because secrets of the load are text. */
const key = toHex(systemRandom(16));
const optionsSize = 180;
const unwraps = 16;

/**
 * Packets of layers that an agent opens, one after the other, in a session that it has: each asks the broker, which decides
 * and records, for the key. Against the cryptography of that: the key sealed to the guest's own and opened (ECDH on P-256,
 * AES-256-GCM), and the packet.
 */
export async function keyUnwraps(): Promise<Omit<Benchmark, 'name'>> {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-bench-'));
  const chip = await makeSoftwareChip(join(folder, 'authority'));
  const data = join(folder, 'broker');
  await initialise(data, chip);
  const replica = await startReplica(data);
  await admitGuests(data, replica.address, chip);
  const connection = connect(replica.address);
  await storeSecret(administrator(data, connection.ask), path, key);
  connection.close();

  const certificateTable = buildCertificateTable(chip.certificates);
  const broker = connectKeyBroker({
    address: replica.address,
    device: {
      report: async ({ reportData }) => ({ report: await chip.report(reportData), certificateTable }),
    },
    now: () => performance.now(),
    pause: (milliseconds) => delay(milliseconds),
  });
  const provider = guestKeyProvider(brokerResources(broker));
  const packet = await wrapLayerOptions({
    key: Secret.take(new TextEncoder().encode(key)),
    keyId: parseKeyId(`kbs:///${path}`),
    layerOptions: Secret.take(systemRandom(optionsSize)),
  });
  const annotation = annotationPacketBytes(packet);
  const asked = { op: 'keyunwrap', keyunwrapparams: { dc: { Parameters: {} }, annotation } } as const;
  const request = new TextEncoder().encode(JSON.stringify(keyProviderInput.toJson(asked)));
  await provider.answer(request);

  const guest = createECDH('prime256v1');
  const guestKey = guest.generateKeys();
  return {
    unit: 'unwraps/s',
    amount: unwraps,
    async ours() {
      for (let i = 0; i < unwraps; i++) await provider.answer(request);
    },
    raw() {
      for (let i = 0; i < unwraps; i++) rawUnwrap(guest, guestKey);
    },
    async close() {
      await replica.end();
      await chip.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function rawUnwrap(guest: ReturnType<typeof createECDH>, guestKey: Uint8Array): void {
  const ephemeral = createECDH('prime256v1');
  const ephemeralKey = ephemeral.generateKeys();
  sealAndOpen(ephemeral.computeSecret(guestKey), guest.computeSecret(ephemeralKey), 32);
  const wrapping = systemRandom(32);
  sealAndOpen(wrapping, wrapping, optionsSize);
}

/** AES-256-GCM of so many bytes, by one side and by the other. */
function sealAndOpen(oneSecret: Uint8Array, otherSecret: Uint8Array, size: number): void {
  const iv = systemRandom(12);
  const keyOf = (secret: Uint8Array) => Buffer.from(hkdfSync('sha256', secret, iv, 'bench', 32));
  const cipher = createCipheriv('aes-256-gcm', keyOf(oneSecret), iv);
  const sealed = Buffer.concat([cipher.update(new Uint8Array(size)), cipher.final()]);
  const decipher = createDecipheriv('aes-256-gcm', keyOf(otherSecret), iv);
  decipher.setAuthTag(cipher.getAuthTag());
  Buffer.concat([decipher.update(sealed), decipher.final()]);
}
