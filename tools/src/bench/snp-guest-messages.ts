import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  generateKeyPairSync,
  randomBytes,
  sign,
} from 'node:crypto';
import type { DerivedKeyRequest } from '@vouchsafe/guest';
import { derivedKeyContext, keyRequests, keyResponse, reportRequest, reportResponse } from '@vouchsafe/sev';
import type { Benchmark } from './measure.js';
import { snpGuest } from './snp-machine.js';

/** A guest's report, from its request to the bytes in its hands, against the signature and the four AES-256-GCM. */
export async function snpReports(): Promise<Omit<Benchmark, 'name'>> {
  const { device, close } = await snpGuest();
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  const unsigned = randomBytes(0x2a0);
  const reportData = new Uint8Array(randomBytes(64));
  return {
    unit: 'reports/s',
    amount: 1,
    ours: () => device.report({ reportData }),
    raw() {
      sign('sha384', unsigned, { key: privateKey, dsaEncoding: 'ieee-p1363' });
      thereAndBack(reportRequest.size, reportResponse.size);
    },
    close,
  };
}

/** A derived key from its request to the guest, against the HMACs that derive it and the four AES-256-GCM. */
export async function snpDerivedKeys(): Promise<Omit<Benchmark, 'name'>> {
  const { device, close } = await snpGuest();
  const request: DerivedKeyRequest = { root: 'VEK', fields: { measurement: true, guestSvn: true }, vmpl: 0 };
  const [secret, context] = [randomBytes(32), randomBytes(derivedKeyContext.size)];
  return {
    unit: 'keys/s',
    amount: 1,
    ours: async () => (await device.deriveKey(request)).zero(),
    raw() {
      const seed = createHmac('sha384', secret).update('seed of a TCB version').digest();
      createHmac('sha384', seed).update(context).digest();
      thereAndBack(keyRequests.v1.size, keyResponse.size);
    },
    close,
  };
}

/** A request and its response, each sealed by one side and opened by the other. */
function thereAndBack(...sizes: readonly number[]): void {
  const [key, iv] = [randomBytes(32), randomBytes(12)];
  for (const size of sizes) {
    const sealing = createCipheriv('aes-256-gcm', key, iv);
    const sealed = sealing.update(new Uint8Array(size));
    sealing.final();
    const opening = createDecipheriv('aes-256-gcm', key, iv).setAuthTag(sealing.getAuthTag());
    opening.update(sealed);
    opening.final();
  }
}
