import { createPrivateKey } from 'node:crypto';
import { jsonText, snpEvidenceJson, type TeeKeyPair, toBase64Url } from '@vouchsafe/protocol';
import { InvalidArgumentError, openSecret } from '@vouchsafe/sev';
import { certificatesOf, type ReportSource } from '../../broker/evidence.js';

/** Length of REPORT_DATA in bytes. */
const reportDataSize = 64;

/**
 * Evidence over whatever a caller names, as key brokers read it: JSON of the report and the host's certificates.
 * @param runtimeData at most 64 bytes: REPORT_DATA, zeros behind it
 * @throws InvalidArgumentError for more
 * @throws UnavailableError, RequestRefusedError of the device
 */
export async function evidenceOver(device: ReportSource, runtimeData: Uint8Array): Promise<string> {
  if (runtimeData.length > reportDataSize) {
    throw new InvalidArgumentError('runtime data', `expected at most 64 bytes, found ${runtimeData.length}`, {
      hint: 'give the digest of longer data',
    });
  }
  const reportData = new Uint8Array(reportDataSize);
  reportData.set(runtimeData);
  // Level 0, as Confidential Containers' agent asks: what runs in the guest is the kernel's matter, not the level's.
  const { report, certificateTable } = await device.report({ reportData, vmpl: 0 });
  return jsonText(snpEvidenceJson({ report, certificates: certificatesOf(certificateTable) }));
}

/** What a client needs that shows a token and proves that it is its own: JSON of the token and its key in PEM. */
export function passportText(token: string, key: TeeKeyPair): string {
  return JSON.stringify({ token, tee_keypair: keyPairPem(key) });
}

/** EC: PKCS #8. RSA: PKCS #1. */
function keyPairPem({ publicKey, privateKey }: TeeKeyPair): string {
  const bytes = openSecret(privateKey);
  if (publicKey.kty === 'EC') {
    const { kty, crv, x, y } = publicKey;
    const key = createPrivateKey({ key: { kty, crv, x, y, d: toBase64Url(bytes) }, format: 'jwk' });
    return key.export({ type: 'pkcs8', format: 'pem' }).toString();
  }
  const key = createPrivateKey({ key: Buffer.from(bytes), format: 'der', type: 'pkcs8' });
  return key.export({ type: 'pkcs1', format: 'pem' }).toString();
}
