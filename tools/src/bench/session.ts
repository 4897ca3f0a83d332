import { createCipheriv, createHmac, diffieHellman, generateKeyPairSync, randomBytes } from 'node:crypto';
import { createLaunchSession, generateP384, systemRandom } from '@vouchsafe/sev';
import { keyObject } from './keys.js';
import type { Benchmark } from './measure.js';

const policy = 0x0018_0005;

/** The owner's side of a launch, against its key pair, its ECDH, its five HMACs and its one AES. */
export async function sessionCreation(): Promise<Omit<Benchmark, 'name'>> {
  const pdh = await generateP384();
  const peer = keyObject(pdh.publicKey);
  return {
    unit: 'sessions/s',
    amount: 1,
    async ours() {
      const { tek, tik } = await createLaunchSession({ pdh: pdh.publicKey, policy, random: systemRandom });
      tek.zero();
      tik.zero();
    },
    raw() {
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
      const shared = diffieHellman({ privateKey, publicKey: peer });
      sessionSymmetric(shared);
    },
  };
}

/** What follows the ECDH: master secret, two wrapping keys, the wrapped transport keys and two MACs. */
export function sessionSymmetric(shared: Uint8Array): void {
  const drawn = randomBytes(64);
  const derive = (key: Uint8Array, length: number) =>
    createHmac('sha256', key).update(drawn.subarray(0, length)).digest();
  const master = derive(shared, 40);
  const [kek, kik] = [derive(master, 24), derive(master, 24)];
  createCipheriv('aes-128-ctr', kek.subarray(0, 16), drawn.subarray(0, 16)).update(drawn.subarray(16, 48));
  derive(kik, 32);
  derive(drawn.subarray(32, 48), 4);
}
