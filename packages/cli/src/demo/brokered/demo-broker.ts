import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  createMasterKeyFile,
  generateIssuerKey,
  initialiseBroker,
  masterKeyFromFile,
  openBroker,
  referenceFormat,
  signReferenceDocument,
} from '@vouchsafe/broker';
import { createKdsClient } from '@vouchsafe/kds';
import { type ResourcePath, resourcePathText } from '@vouchsafe/protocol';
import {
  developmentEndorsementRoot,
  openSecret,
  type Secret,
  systemRandom,
  toBase64,
  toHex,
  UnavailableError,
} from '@vouchsafe/sev';

/** An owner's key broker, as `vouchsafe broker` serves one, in the process of the owner. */
export interface DemoBroker {
  readonly address: string;
  /** Stores a secret for the guests that were admitted. */
  store(path: ResourcePath, secret: Secret): Promise<void>;
  /** Makes a measurement known, and lets guests that have it get what is stored. @param digest 48 bytes */
  admit(digest: Uint8Array): Promise<void>;
  /** What it has done so far. */
  counted(): Promise<BrokerCounts>;
  close(): Promise<void>;
}

/** As the broker's metrics have it. */
export interface BrokerCounts {
  readonly challenges: number;
  readonly attested: number;
  readonly released: number;
  readonly denied: number;
}

export interface DemoBrokerOptions {
  /** Where its database and its keys go. */
  readonly folder: string;
  readonly keyService: string;
  /** The development root that it trusts, and no other: an ARK certificate in DER. */
  readonly ark: Uint8Array;
  /** Of tokens, and so of sessions: machines that live for moments need none that last. Milliseconds. */
  readonly lease?: number;
}

const day = 86_400_000;
const issuerName = 'owner';

export async function openDemoBroker({
  folder,
  keyService,
  ark,
  lease = 60_000,
}: DemoBrokerOptions): Promise<DemoBroker> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const keyFile = join(folder, 'broker.key');
  await createMasterKeyFile(keyFile, systemRandom);
  const masterKey = await masterKeyFromFile(keyFile, systemRandom);
  const { privateKey, issuer } = await generateIssuerKey(issuerName);
  const state = {
    database: `sqlite:${join(folder, 'broker.db')}`,
    masterKey,
    random: systemRandom,
    now: () => Date.now(),
  };
  const { token } = await initialiseBroker({ ...state, issuers: [issuer] });
  const broker = await openBroker({
    ...state,
    roots: [await developmentEndorsementRoot(ark)],
    keyService: createKdsClient({ baseUrl: keyService }),
    tokenLifetime: lease,
  });
  // What is due soon after a start is done before the first guest, and not counted among what guests cause.
  await broker.maintain();
  const address = await broker.listen({ host: '127.0.0.1', port: 0 });

  async function tell(method: 'PUT' | 'POST', path: string, body: object): Promise<void> {
    const response = await fetch(new URL(`/v1${path}`, address), {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new UnavailableError('broker', `${path}: status ${response.status}`);
  }

  return {
    address,
    store: (path, secret) =>
      tell('PUT', `/secrets/${resourcePathText(path)}`, { content: toBase64(openSecret(secret)) }),
    async admit(digest) {
      const value = toHex(digest);
      const now = Date.now();
      const document = await signReferenceDocument(
        {
          format: referenceFormat,
          issuer: issuerName,
          name: 'machines',
          version: 1,
          notBefore: new Date(now - day).toISOString(),
          notAfter: new Date(now + day).toISOString(),
          measurements: [{ value }],
        },
        privateKey,
      );
      await tell('POST', '/reference-values', { document });
      const policy = `@id("the-machine")
permit (principal is SnpGuest, action == Action::"release", resource)
when { principal.measurement == "${value}" };
`;
      await tell('PUT', '/policies/default', { policy: toBase64(new TextEncoder().encode(policy)) });
    },
    async counted() {
      const text = await (await fetch(new URL('/metrics', address))).text();
      return {
        challenges: sumOf(text, 'kbs_auth_successes_total'),
        attested: sumOf(text, 'kbs_attestation_successes_total'),
        released: sumOf(text, 'vouchsafe_releases_total'),
        denied: sumOf(text, 'kbs_policy_violations_total'),
      };
    },
    async close() {
      await broker.close();
      masterKey.close();
    },
  };
}

/** All values of a metric, in Prometheus' text. */
function sumOf(text: string, name: string): number {
  const values = text.split('\n').flatMap((line) => {
    const [, value] = new RegExp(`^${name}(?:\\{[^}]*\\})? (\\d+)$`).exec(line) ?? [];
    return value === undefined ? [] : [Number(value)];
  });
  return values.reduce((sum, value) => sum + value, 0);
}
